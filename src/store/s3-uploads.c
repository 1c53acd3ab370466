/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What there is of multipart uploads: their lists, and those of their parts,
 * page by page. Keys come as they are, where XML can have them; radosgw 16.2,
 * when asked for percent-encoded ones, sends them without saying so. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/pool.h"
#include "common/xml.h"
#include "store/http-fields.h"
#include "store/s3-intent.h"
#include "store/s3-multipart.h"
#include "store/s3-uploads.h"

#define QUERY_MAX (16u << 10)
#define PAGES_MAX 10000 /* against servers that never come to an end */

/* A child's text, "" where there is none; NULL: out of memory, or it cannot be
 * decoded. */
static char *text_of(const xmlNode *parent, const char *name, bool is_encoded)
{
	const xmlNode *node = xml_child(parent, name);
	xmlChar *content = node ? xmlNodeGetContent(node) : NULL;
	AUTO_FREE char *text = strdup(content ? (const char *)content : "");

	xmlFree(content);
	if (text && is_encoded && !field_unescape(text, true))
		return NULL;
	return take_ptr(text);
}

static bool is_child(const xmlNode *parent, const char *name,
		     const char *value)
{
	AUTO_FREE char *text = text_of(parent, name, false);

	return text && !strcmp(text, value);
}

static int no_text(struct error *err)
{
	return error_set(err, ERR_CORRUPT, "the answer has a text that cannot "
			 "be decoded, or memory is out");
}

static int load(xmlDoc **out, const char *text, size_t len, const char *root,
		struct error *err)
{
	struct error oddity = { 0 };

	*out = NULL;
	if (len && !xml_load(out, text, len, &oddity, NULL) &&
	    xml_is(xmlDocGetRootElement(*out), root))
		return 0;
	xmlFreeDoc(*out);
	*out = NULL;
	return error_set(err, ERR_CORRUPT, "the answer is no %s", root);
}

/* Send a request for a list. */
static int get_text(struct s3_bucket *bucket, const char *key,
		    const struct strbuf *query, const atomic_bool *cancelled,
		    struct strbuf *text, struct error *err)
{
	struct s3_request request = {
		.method = "GET",
		.key = key,
		.query = query->data,
		.text = text,
		.cancelled = cancelled,
	};
	struct http_response response;
	int ret;

	if (query->failed)
		return error_nomem(err);
	ret = s3_send_again(bucket, S3_CALL_ASK, &request, &response, err);
	http_response_free(&response);
	return ret;
}

/* Uploads. */

static int tell_uploads(const xmlNode *root, bool is_encoded,
			s3_pending_fn *fn, void *arg, struct error *err)
{
	for (const xmlNode *node = xml_child(root, "Upload"); node;
	     node = xml_next(node, "Upload")) {
		AUTO_FREE char *key = text_of(node, "Key", is_encoded);
		AUTO_FREE char *id = text_of(node, "UploadId", false);
		AUTO_FREE char *time = text_of(node, "Initiated", false);
		struct s3_pending pending = { key, id, 0 };

		if (!key || !id || !time)
			return no_text(err);
		if (!*key || !*id)
			continue;
		if (!field_iso_time(time, &pending.initiated_ns))
			pending.initiated_ns = 0;
		if (fn(arg, &pending, err))
			return -1;
	}
	return 0;
}

static int load_uploads(xmlDoc **out, const char *text, size_t len,
			struct error *err)
{
	return load(out, text, len, "ListMultipartUploadsResult", err);
}

/* Frees doc. */
static int parse_uploads(struct s3_marker *next, xmlDoc *doc,
			 s3_pending_fn *fn, void *arg, struct error *err)
{
	const xmlNode *root = xmlDocGetRootElement(doc);
	bool is_encoded = is_child(root, "EncodingType", "url");
	int ret = tell_uploads(root, is_encoded, fn, arg, err);

	*next = (struct s3_marker){ NULL, NULL };
	if (!ret && is_child(root, "IsTruncated", "true")) {
		next->key = text_of(root, "NextKeyMarker", is_encoded);
		next->id = text_of(root, "NextUploadIdMarker", false);
		if (!next->key || !next->id)
			ret = no_text(err);
	}
	xmlFreeDoc(doc);
	if (ret || (next->key && !*next->key))
		s3_marker_free(next);
	return ret;
}

int s3_uploads_parse(struct s3_marker *next, const char *text, size_t len,
		     s3_pending_fn *fn, void *arg, struct error *err)
{
	xmlDoc *doc;

	*next = (struct s3_marker){ NULL, NULL };
	return load_uploads(&doc, text, len, err) ? -1 :
	       parse_uploads(next, doc, fn, arg, err);
}

void s3_marker_free(struct s3_marker *marker)
{
	free(take_ptr(marker->key));
	free(take_ptr(marker->id));
}

static void uploads_query(struct strbuf *out, bool asks_encoded,
			  const char *prefix, const struct s3_marker *marker)
{
	/* In the order that signatures want. */
	if (asks_encoded)
		strbuf_puts(out, "encoding-type=url&");
	if (marker->key) {
		strbuf_puts(out, "key-marker=");
		uri_encode(out, marker->key, false);
		strbuf_puts(out, "&");
	}
	strbuf_puts(out, "max-uploads=1000&prefix=");
	uri_encode(out, prefix, false);
	if (marker->id) {
		strbuf_puts(out, "&upload-id-marker=");
		uri_encode(out, marker->id, false);
	}
	strbuf_puts(out, "&uploads=");
}

static int get_uploads(struct s3_bucket *bucket, bool asks_encoded,
		       const char *prefix, const struct s3_marker *marker,
		       xmlDoc **out, struct error *err)
{
	struct strbuf query = { .max = QUERY_MAX };
	struct strbuf text = { .max = XML_TEXT_MAX };
	int ret;

	uploads_query(&query, asks_encoded, prefix, marker);
	ret = get_text(bucket, "", &query, NULL, &text, err);
	if (!ret)
		ret = load_uploads(out, text.data, text.len, err);
	strbuf_free(&query);
	strbuf_free(&text);
	return ret;
}

/* One page from the marker on, which becomes that of the next. XML has no
 * control characters, which keys may have: what cannot be read is asked for
 * once more, with its keys encoded. */
static int page_of_uploads(struct s3_bucket *bucket, bool *asks_encoded,
			   const char *prefix, struct s3_marker *marker,
			   s3_pending_fn *fn, void *arg, struct error *err)
{
	struct error why = { 0 };
	xmlDoc *doc = NULL;
	int ret = get_uploads(bucket, *asks_encoded, prefix, marker, &doc,
			      &why);

	if (ret && why.kind == ERR_CORRUPT && !*asks_encoded) {
		*asks_encoded = true;
		ret = get_uploads(bucket, true, prefix, marker, &doc, &why);
	}
	s3_marker_free(marker);
	if (!ret)
		return parse_uploads(marker, doc, fn, arg, err);
	if (err)
		*err = why;
	return -1;
}

static int endless(struct error *err)
{
	return error_set(err, ERR_LIMIT, "the list has more than %d pages",
			 PAGES_MAX);
}

int s3_uploads_list(struct s3_bucket *bucket, const char *prefix,
		    s3_pending_fn *fn, void *arg, struct error *err)
{
	struct s3_marker marker = { NULL, NULL };
	bool asks_encoded = false;

	for (unsigned int i = 0; i < PAGES_MAX; i++) {
		if (page_of_uploads(bucket, &asks_encoded, prefix, &marker, fn,
				    arg, err))
			return -1;
		if (!marker.key)
			return 0;
	}
	s3_marker_free(&marker);
	return endless(err);
}

/* Parts. */

static int tell_part(const struct s3_bucket *bucket, const xmlNode *node,
		     s3_part_fn *fn, void *arg, struct error *err)
{
	static const struct http_response none;
	AUTO_FREE char *number = text_of(node, "PartNumber", false);
	AUTO_FREE char *size = text_of(node, "Size", false);
	AUTO_FREE char *etag = text_of(node, "ETag", false);
	AUTO_FREE char *time = text_of(node, "LastModified", false);
	uint64_t number_value, size_value;
	struct s3_part part;

	if (!number || !size || !etag ||
	    !field_number(number, &number_value) ||
	    !field_number(size, &size_value) || number_value > S3_PARTS_MAX)
		return error_set(err, ERR_CORRUPT, "the answer has a part "
				 "without number or size");
	if (s3_part_set(bucket, &part, (unsigned int)number_value, size_value,
			&none, etag, err))
		return -1;
	if (!time || !field_iso_time(time, &part.stored_ns))
		part.stored_ns = 0;
	return fn(arg, &part, err);
}

int s3_parts_parse(char **next, const struct s3_bucket *bucket,
		   const char *text, size_t len, s3_part_fn *fn, void *arg,
		   struct error *err)
{
	AUTO_FREE char *marker = NULL;
	const xmlNode *root;
	xmlDoc *doc;
	int ret = 0;

	*next = NULL;
	if (load(&doc, text, len, "ListPartsResult", err))
		return -1;
	root = xmlDocGetRootElement(doc);
	for (const xmlNode *node = xml_child(root, "Part"); node && !ret;
	     node = xml_next(node, "Part"))
		ret = tell_part(bucket, node, fn, arg, err);
	if (!ret && is_child(root, "IsTruncated", "true")) {
		marker = text_of(root, "NextPartNumberMarker", false);
		if (!marker || strspn(marker, "0123456789") != strlen(marker))
			ret = no_text(err);
		else if (*marker)
			*next = take_ptr(marker);
	}
	xmlFreeDoc(doc);
	return ret;
}

static int page_of_parts(const struct s3_upload *upload, char **marker,
			 s3_part_fn *fn, void *arg, struct error *err)
{
	struct strbuf query = { .max = QUERY_MAX };
	struct strbuf text = { .max = XML_TEXT_MAX };
	int ret;

	if (*marker)
		strbuf_printf(&query, "part-number-marker=%s&", *marker);
	strbuf_puts(&query, "uploadId=");
	uri_encode(&query, upload->id, false);
	ret = get_text(upload->bucket, upload->key, &query, upload->cancelled,
		       &text, err);
	free(take_ptr(*marker));
	if (!ret)
		ret = s3_parts_parse(marker, upload->bucket, text.data,
				     text.len, fn, arg, err);
	strbuf_free(&query);
	strbuf_free(&text);
	return ret;
}

int s3_parts_list(const struct s3_upload *upload, s3_part_fn *fn, void *arg,
		  struct error *err)
{
	AUTO_FREE char *marker = NULL;

	for (unsigned int i = 0; i < PAGES_MAX; i++) {
		if (page_of_parts(upload, &marker, fn, arg, err))
			return -1;
		if (!marker)
			return 0;
	}
	return endless(err);
}

/* Aborting without anybody who waits. */

struct abort_job {
	struct job job;
	struct s3_upload upload;
	char key[];
};

static void run_abort(struct job *job)
{
	struct abort_job *self = (struct abort_job *)job;
	struct s3_bucket *bucket = self->upload.bucket;
	struct error err = { 0 };
	bool was_gone;

	if (s3_upload_abort(&self->upload, &was_gone, &err))
		log_warning("s3://%s/%s: upload %s is left behind, it could "
			    "not be aborted: %s", bucket->name, self->key,
			    self->upload.id, err.text);
	free(self);
	s3_bucket_end(bucket);
}

void s3_upload_abort_later(const struct s3_upload *upload)
{
	size_t size = strlen(upload->key) + 1;
	struct abort_job *self = malloc(sizeof(*self) + size);

	if (!self) {
		log_warning("s3://%s/%s: upload %s is left behind: out of "
			    "memory", upload->bucket->name, upload->key,
			    upload->id);
		s3_intent_end(upload, true);
		return;
	}
	memcpy(self->key, upload->key, size);
	self->job = (struct job){ .run = run_abort };
	self->upload = *upload;
	self->upload.key = self->key;
	self->upload.cancelled = NULL;
	s3_bucket_begin(upload->bucket);
	pool_add(s3_client_pool(upload->bucket->client), &self->job,
		 JOB_URGENT);
}
