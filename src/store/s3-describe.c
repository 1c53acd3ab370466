/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What an object is besides its bytes. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "store/s3-describe.h"

/* Does the line tell about the object, and can it be sent? */
static bool is_kept(const char *line, size_t len)
{
	static const char *const names[] = {
		"cache-control:", "content-disposition:", "content-encoding:",
		"content-language:", "content-type:", "x-amz-meta-",
	};
	bool found = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		found |= len > strlen(names[i]) &&
			 !strncasecmp(line, names[i], strlen(names[i]));
	for (size_t i = 0; found && i < len; i++)
		found = line[i] >= ' ' && line[i] <= '~';
	return found;
}

static int collect(const struct http_response *response, const char *key,
		   char *lines[S3_HEADERS_MAX + 1], struct error *err)
{
	const char *line = response->headers.data;
	const char *end = line ? line + response->headers.len : NULL;
	size_t n = 0;

	while (line < end) {
		const char *next = memchr(line, '\n', (size_t)(end - line));
		size_t len = (size_t)((next ? next : end) - line);

		while (len && (line[len - 1] == '\r' || line[len - 1] == ' '))
			len--;
		if (is_kept(line, len)) {
			if (n == S3_HEADERS_MAX - 1) {
				log_warning("%s: its copy has only %zu of its "
					    "headers", key, n);
				return 0;
			}
			lines[n] = strndup(line, len);
			if (!lines[n++])
				return error_nomem(err);
		}
		line = next ? next + 1 : end;
	}
	return 0;
}

int s3_describe(struct s3_bucket *bucket, const char *key,
		const atomic_bool *cancelled, char *lines[S3_HEADERS_MAX + 1],
		struct error *err)
{
	struct s3_request request = {
		.method = "HEAD",
		.key = key,
		.cancelled = cancelled,
	};
	struct http_response response;
	int ret;

	memset(lines, 0, (S3_HEADERS_MAX + 1) * sizeof(*lines));
	ret = s3_send_again(bucket, S3_CALL_ASK, &request, &response, err);
	if (!ret)
		ret = collect(&response, key, lines, err);
	http_response_free(&response);
	return ret;
}

void s3_describe_free(char *lines[S3_HEADERS_MAX + 1])
{
	for (size_t i = 0; i <= S3_HEADERS_MAX; i++)
		free(lines[i]);
}
