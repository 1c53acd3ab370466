/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What S3 copies itself. */
#include "config.h"

#include <limits.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/xml.h"
#include "store/http-fields.h"
#include "store/retrier.h"
#include "store/s3-copy.h"

#define HEADER_MAX (8u << 10) /* a key of 1024 bytes takes 3 KiB */
#define ANSWER_MAX (256u << 10)

/* Servers copy at disk speed, and say nothing meanwhile, or send blanks. */
#define TRY_MS           120000
#define SLOWEST_COPY_RATE 4096 /* bytes a millisecond */

/* The headers that name a source. */
struct source_headers {
	struct strbuf source;
	char if_match[STORE_ETAG_MAX + 32], rgw_if_match[STORE_ETAG_MAX + 32];
	char range[96];
};

static bool is_pinned(const struct s3_bucket *bucket)
{
	return !(atomic_load(&bucket->refuses) & S3_SOURCE_MATCH);
}

static int name_source(struct source_headers *headers,
		       const struct s3_bucket *bucket,
		       const struct s3_range *source, struct error *err)
{
	*headers = (struct source_headers){ .source.max = HEADER_MAX };
	strbuf_printf(&headers->source, "x-amz-copy-source: /%s/",
		      bucket->name);
	uri_encode(&headers->source, source->key, true);
	snprintf(headers->if_match, sizeof(headers->if_match),
		 "x-amz-copy-source-if-match: \"%s\"", source->info->etag);
	/* radosgw (16 to 19) looks for the condition here. */
	snprintf(headers->rgw_if_match, sizeof(headers->rgw_if_match),
		 "x-amz-copy-if-match: \"%s\"", source->info->etag);
	snprintf(headers->range, sizeof(headers->range),
		 "x-amz-copy-source-range: bytes=%llu-%llu",
		 (unsigned long long)source->offset,
		 (unsigned long long)(source->offset + source->length - 1));
	if (!headers->source.failed)
		return 0;
	strbuf_free(&headers->source);
	return error_nomem(err);
}

/* Swift takes the ETag of a multipart upload, which it has told, for another
 * one. Where HEAD says that the source is what it was, its condition is not
 * sent again. */
static bool unpin(struct s3_bucket *bucket, const struct s3_range *source,
		  const atomic_bool *cancelled, const struct error *err)
{
	if (err->remote.http_status != 412 ||
	    s3_client_is_aws(bucket->client) ||
	    s3_copy_check(bucket, source, cancelled, NULL))
		return false;
	if (is_pinned(bucket))
		log_info("bucket %s: its server cannot compare sources of "
			 "copies; they are looked at instead", bucket->name);
	atomic_fetch_or(&bucket->refuses, S3_SOURCE_MATCH);
	return true;
}

static void set_times(struct s3_request *request,
		      const struct s3_bucket *bucket, uint64_t length)
{
	struct retrier *retrier = s3_client_retrier(bucket->client);
	uint64_t copying_ms = length / SLOWEST_COPY_RATE;

	request->timeout_ms = (unsigned int)min_u64(TRY_MS + copying_ms,
						    UINT_MAX);
	request->answer_ms = request->timeout_ms;
	request->within_ms = (unsigned int)min_u64(
		2ull * retrier_options(retrier)->timeout_ms + copying_ms,
		UINT_MAX);
}

/* The answer: CopyPartResult or CopyObjectResult. */
struct copied {
	struct strbuf text;
	char etag[STORE_ETAG_MAX + 16]; /* as it was sent */
};

static int read_copied(void *arg, const struct http_response *response,
		       struct error *err)
{
	struct copied *copied = arg;
	struct error oddity = { 0 };
	const xmlNode *node = NULL;
	xmlChar *content;
	xmlDoc *doc = NULL;

	if (copied->text.len && !xml_load(&doc, copied->text.data,
					  copied->text.len, &oddity, NULL))
		node = xml_child(xmlDocGetRootElement(doc), "ETag");
	content = node ? xmlNodeGetContent(node) : NULL;
	snprintf(copied->etag, sizeof(copied->etag), "%s",
		 content ? (const char *)content : "");
	xmlFree(content);
	xmlFreeDoc(doc);
	/* Something in between gave the answer; the next may be right. */
	return *copied->etag ? 0 : error_set(err, ERR_NETWORK, "the answer "
					     "does not say what was copied");
}

/* What does a refusal mean that is about the source? */
static void explain(struct error *err)
{
	const struct error_remote remote = err->remote;
	bool is_gone = !strcmp(remote.code, "NoSuchKey");

	if (is_gone || remote.http_status == 412 || remote.http_status == 416 ||
	    !strcmp(remote.code, "InvalidRange")) {
		error_set(err, ERR_STALE, is_gone ? "was deleted while it was "
			  "copied" : "was replaced while it was copied");
		err->remote = remote;
	}
}

static int send_part(const struct s3_upload *upload, unsigned int number,
		     const struct s3_range *source,
		     struct source_headers *headers, bool pinned,
		     struct s3_part *part, struct error *err)
{
	struct strbuf query = { .max = HEADER_MAX };
	struct copied copied = { .text.max = ANSWER_MAX };
	const char *lines[] = { headers->source.data, headers->range,
				pinned ? headers->if_match : NULL, NULL };
	struct s3_request request = {
		.method = "PUT",
		.key = upload->key,
		.headers = lines,
		.text = &copied.text,
		.on_answer = read_copied,
		.answer_arg = &copied,
		.may_fail_late = true,
		.cancelled = upload->cancelled,
	};
	struct http_response response = { 0 };
	int ret;

	set_times(&request, upload->bucket, source->length);
	s3_part_query(upload, number, &query);
	request.query = query.data;
	ret = query.failed ? error_nomem(err) :
	      s3_send_again(upload->bucket, S3_CALL_COPY, &request, &response,
			    err);
	if (!ret)
		ret = s3_part_set(upload->bucket, part, number, source->length,
				  &response, copied.etag, err);
	http_response_free(&response);
	strbuf_free(&query);
	strbuf_free(&copied.text);
	return ret;
}

int s3_copy_part(const struct s3_upload *upload, unsigned int number,
		 const struct s3_range *source, struct s3_part *part,
		 struct error *err)
{
	bool pinned = is_pinned(upload->bucket);
	struct source_headers headers;
	struct error why = { 0 };
	int ret;

	if (name_source(&headers, upload->bucket, source, err))
		return -1;
	ret = send_part(upload, number, source, &headers, pinned, part, &why);
	if (ret && pinned &&
	    unpin(upload->bucket, source, upload->cancelled, &why))
		ret = send_part(upload, number, source, &headers, false, part,
				&why);
	strbuf_free(&headers.source);
	if (!ret)
		return 0;
	explain(&why);
	if (err)
		*err = why;
	return -1;
}

static int send_object(struct s3_bucket *bucket, const char *key,
		       const struct s3_range *source,
		       const char *const *headers,
		       const atomic_bool *cancelled,
		       char etag[STORE_ETAG_MAX], struct error *err)
{
	struct copied copied = { .text.max = ANSWER_MAX };
	struct s3_request request = {
		.method = "PUT",
		.key = key,
		.headers = headers,
		.text = &copied.text,
		.on_answer = read_copied,
		.answer_arg = &copied,
		.may_fail_late = true,
		.cancelled = cancelled,
	};
	struct http_response response;
	int ret;

	set_times(&request, bucket, source->length);
	ret = s3_send_again(bucket, S3_CALL_COPY, &request, &response, err);
	if (!ret && !field_etag(copied.etag, etag, NULL))
		etag[0] = '\0';
	http_response_free(&response);
	strbuf_free(&copied.text);
	return ret;
}

int s3_copy_object(struct s3_bucket *bucket, const char *key,
		   const struct s3_range *source, const char *const *headers,
		   const atomic_bool *cancelled, char etag[STORE_ETAG_MAX],
		   struct error *err)
{
	const struct s3_headers *client = s3_client_headers(bucket->client);
	const char *lines[S3_COPY_HEADERS + S3_OBJECT_HEADERS + 4];
	bool pinned = is_pinned(bucket);
	struct source_headers own;
	struct error why = { 0 };
	size_t n = 0;
	int ret;

	if (name_source(&own, bucket, source, err))
		return -1;
	lines[n++] = own.source.data;
	for (unsigned int i = 0; i < client->for_copies; i++)
		lines[n++] = client->lines[i];
	for (size_t i = 0; headers[i] && i < S3_COPY_HEADERS; i++)
		lines[n++] = headers[i];
	if (pinned) {
		lines[n] = own.if_match;
		lines[n + 1] = s3_client_is_aws(bucket->client) ?
			       NULL : own.rgw_if_match;
		lines[n + 2] = NULL;
	} else {
		lines[n] = NULL;
	}
	ret = send_object(bucket, key, source, lines, cancelled, etag, &why);
	if (ret && pinned && !*headers &&
	    unpin(bucket, source, cancelled, &why)) {
		lines[n] = NULL;
		ret = send_object(bucket, key, source, lines, cancelled, etag,
				  &why);
	}
	strbuf_free(&own.source);
	if (ret && err)
		*err = why;
	return ret;
}

int s3_copy_check(struct s3_bucket *bucket, const struct s3_range *source,
		  const atomic_bool *cancelled, struct error *err)
{
	struct error why = { 0 };
	struct s3_head head;

	if (s3_ask(bucket, source->key, cancelled, 0, &head, &why)) {
		if (why.kind == ERR_NOT_FOUND)
			error_set(&why, ERR_STALE, "was deleted while it was "
				  "copied");
		if (err)
			*err = why;
		return -1;
	}
	if (head.info.size == source->info->size &&
	    !strcmp(head.info.etag, source->info->etag))
		return 0;
	return error_set(err, ERR_STALE, "was replaced while it was copied");
}
