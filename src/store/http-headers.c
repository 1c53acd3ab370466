/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the headers of an answer say. */
#include "config.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/checked.h"
#include "store/http.h"

#define RETRY_AFTER_MAX_S 300

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The value's bytes in the line, if it has that name. */
static const char *value_in(const char *line, size_t line_len,
			    const char *name, size_t *len)
{
	size_t name_len = strlen(name);
	const char *value = line + name_len + 1, *end = line + line_len;

	if (line_len <= name_len || line[name_len] != ':' ||
	    strncasecmp(line, name, name_len) != 0)
		return NULL;
	while (value < end && is_blank(*value))
		value++;
	while (end > value && is_blank(end[-1]))
		end--;
	*len = (size_t)(end - value);
	return value;
}

/* Texts of servers end up in messages, and these on terminals. */
static void copy_value(char *out, const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];

		out[i] = c < ' ' || c == 0x7f ? '?' : value[i];
	}
	out[len] = '\0';
}

char *http_header(const struct http_response *response, const char *name,
		  char *value, size_t size)
{
	const char *line = response->headers.data;
	const char *end = line ? line + response->headers.len : NULL;

	*value = '\0';
	while (line < end) {
		const char *next = memchr(line, '\n', (size_t)(end - line));
		const char *found;
		size_t len;

		next = next ? next + 1 : end;
		found = value_in(line, (size_t)(next - line), name, &len);
		if (found) {
			len = min_u64(len, size - 1);
			copy_value(value, found, len);
			break;
		}
		line = next;
	}
	return value;
}

int64_t http_date(const struct http_response *response)
{
	char value[64];
	time_t date;

	http_header(response, "Date", value, sizeof(value));
	date = curl_getdate(value, NULL);
	return date > 0 ? date : 0;
}

/* A date is meant by the server's clock. */
static int64_t seconds_until(const struct http_response *response,
			     const char *value)
{
	int64_t date = curl_getdate(value, NULL), now = http_date(response);

	if (date <= 0)
		return 0;
	return date - (now ? now : time(NULL));
}

unsigned int http_retry_after_ms(const struct http_response *response)
{
	char value[64];
	char *end;
	int64_t seconds;

	http_header(response, "Retry-After", value, sizeof(value));
	seconds = strtoll(value, &end, 10);
	if (*end || end == value)
		seconds = seconds_until(response, value);
	if (seconds <= 0)
		return 0;
	return (unsigned int)min_u64((uint64_t)seconds, RETRY_AFTER_MAX_S) *
	       1000;
}
