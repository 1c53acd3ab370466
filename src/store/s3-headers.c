/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What new objects are to be besides their bytes. Which storage classes and
 * ACLs there are, servers know; here is only seen to it that a value is one. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "store/s3-headers.h"

#define VALUE_MAX 2048 /* bytes of a value */

static const char word_chars[] = "abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/* Printable, without blanks at its ends, which would not be signed. */
static int check_text(const char *option, const char *value,
		      struct error *err)
{
	size_t len = strlen(value);

	if (!len || len > VALUE_MAX)
		return error_set(err, ERR_ARG, "%s=: has to have 1 to %d "
				 "bytes", option, VALUE_MAX);
	for (size_t i = 0; i < len; i++)
		if (value[i] < ' ' || value[i] > '~')
			return error_set(err, ERR_ARG, "%s=: has to be "
					 "printable ASCII", option);
	if (value[0] == ' ' || value[len - 1] == ' ')
		return error_set(err, ERR_ARG, "%s=%.80s: begins or ends with "
				 "a blank", option, value);
	return 0;
}

static int check_word(const char *option, const char *value,
		      struct error *err)
{
	if (check_text(option, value, err))
		return -1;
	if (value[strspn(value, word_chars)])
		return error_set(err, ERR_ARG, "%s=%.80s: has to be letters, "
				 "digits, '-' and '_'", option, value);
	return 0;
}

/* "a=1&b=2", escaped as in a query, which only who gives it can do. */
static int check_tags(const char *value, struct error *err)
{
	unsigned int count = 1;

	if (check_text("tags", value, err))
		return -1;
	for (const char *at = value; *at; at++)
		count += *at == '&';
	if (strchr(value, ' ') || count > 10)
		return error_set(err, ERR_ARG, "tags=%.80s: has to be at most "
				 "ten like a=1&b=2, with %%20 for a blank",
				 value);
	return 0;
}

__attribute__((format(printf, 3, 4)))
static int add(struct s3_headers *headers, struct error *err, const char *fmt,
	       ...)
{
	size_t n = 0;
	va_list args;
	int len;

	while (headers->lines[n])
		n++;
	va_start(args, fmt);
	len = vasprintf(&headers->lines[n], fmt, args);
	va_end(args);
	if (len >= 0)
		return 0;
	headers->lines[n] = NULL;
	return error_nomem(err);
}

static int add_kms(struct s3_headers *headers, const char *key,
		   struct error *err)
{
	if (add(headers, err, "x-amz-server-side-encryption: aws:kms"))
		return -1;
	if (!key)
		return 0;
	return check_text("sse-kms-key", key, err) ||
	       add(headers, err, "x-amz-server-side-encryption-aws-kms-key-id"
		   ": %s", key) ? -1 : 0;
}

static int add_encryption(struct s3_headers *headers,
			  const struct store_new_options *options,
			  struct error *err)
{
	const char *sse = options->sse, *key = options->sse_kms_key;

	if (!sse && !key)
		return 0;
	if (!sse || !strcmp(sse, "kms"))
		return add_kms(headers, key, err);
	if (key)
		return error_set(err, ERR_ARG, "sse-kms-key= is for sse=kms");
	if (!strcmp(sse, "s3"))
		return add(headers, err,
			   "x-amz-server-side-encryption: AES256");
	if (!strcmp(sse, "c"))
		return error_set(err, ERR_ARG, "sse=c: objects with a key of "
				 "the client's own (SSE-C) are not supported: "
				 "the key would go over the network "
				 "with each request, and who loses it loses "
				 "the disks; use sse=s3 or sse=kms");
	return error_set(err, ERR_ARG, "sse=%.40s: has to be s3 or kms", sse);
}

int s3_headers_init(struct s3_headers *headers,
		    const struct store_new_options *options,
		    struct error *err)
{
	memset(headers, 0, sizeof(*headers));
	headers->has_metadata = options->metadata;
	if (add_encryption(headers, options, err))
		return -1;
	if (options->storage_class &&
	    (check_word("storage-class", options->storage_class, err) ||
	     add(headers, err, "x-amz-storage-class: %s",
		 options->storage_class)))
		return -1;
	if (options->acl &&
	    (check_word("acl", options->acl, err) ||
	     add(headers, err, "x-amz-acl: %s", options->acl)))
		return -1;
	while (headers->lines[headers->for_copies])
		headers->for_copies++;
	if (options->content_type &&
	    (check_text("content-type", options->content_type, err) ||
	     add(headers, err, "Content-Type: %s", options->content_type)))
		return -1;
	if (options->tags &&
	    (check_tags(options->tags, err) ||
	     add(headers, err, "x-amz-tagging: %s", options->tags)))
		return -1;
	return 0;
}

void s3_headers_free(struct s3_headers *headers)
{
	for (size_t i = 0; i < S3_OBJECT_HEADERS; i++)
		free(headers->lines[i]);
	memset(headers, 0, sizeof(*headers));
}

/* Not for a condition that does not hold, nor for what is passing. */
void s3_headers_blame(const struct s3_headers *headers, struct error *err)
{
	int status = err->remote.http_status;
	struct strbuf text = { .max = sizeof(err->text) / 2 };

	if (!headers->lines[0] ||
	    (status != 400 && status != 403 && status != 501))
		return;
	for (size_t i = 0; headers->lines[i]; i++)
		strbuf_printf(&text, "%s%s", i ? ", " : "",
			      headers->lines[i]);
	if (!text.failed)
		error_prefix(err, "with the options for new objects (%s)",
			     text.data);
	strbuf_free(&text);
}

int s3_metadata(char *lines[S3_METADATA_MAX + 1], const char *const *items,
		struct error *err)
{
	size_t n = 0;

	memset(lines, 0, (S3_METADATA_MAX + 1) * sizeof(*lines));
	for (; items && *items && n < S3_METADATA_MAX; items++) {
		const char *value = strchr(*items, '=');

		if (!value || value == *items || check_text("", value, NULL))
			continue;
		if (asprintf(&lines[n], "x-amz-meta-vmiefs-%.*s: %s",
			     (int)(value - *items), *items, value + 1) < 0) {
			lines[n] = NULL;
			return error_nomem(err);
		}
		n++;
	}
	return 0;
}

void s3_metadata_free(char *lines[S3_METADATA_MAX + 1])
{
	for (size_t i = 0; i <= S3_METADATA_MAX; i++)
		free(lines[i]);
}
