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

#define QUERY_MAX (16u << 10)
#define PAGES_MAX 10000 /* against servers that never come to an end */

/* A list on its way. */
struct list {
	struct s3_bucket *bucket;
	const char *key, *root;
	const atomic_bool *cancelled;
	bool asks_encoded, is_encoded;
	bool has_more;
};

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

/* Get one page. */
static int get_page(struct list *list, const char *query, xmlDoc **out,
		    struct error *err)
{
	struct strbuf text = { .max = XML_TEXT_MAX };
	struct s3_request request = {
		.method = "GET",
		.key = list->key,
		.query = query,
		.text = &text,
		.cancelled = list->cancelled,
	};
	struct http_response response;
	struct error oddity = { 0 };
	int ret = s3_send_again(list->bucket, S3_CALL_ASK, &request,
				&response, err);

	*out = NULL;
	if (!ret && (!text.len ||
		     xml_load(out, text.data, text.len, &oddity, NULL) ||
		     !xml_is(xmlDocGetRootElement(*out), list->root)))
		ret = error_set(err, ERR_CORRUPT, "the answer is no %s",
				list->root);
	http_response_free(&response);
	strbuf_free(&text);
	if (ret) {
		xmlFreeDoc(*out);
		*out = NULL;
		return -1;
	}
	list->is_encoded = is_child(xmlDocGetRootElement(*out),
				    "EncodingType", "url");
	list->has_more = is_child(xmlDocGetRootElement(*out), "IsTruncated",
				  "true");
	return 0;
}

static int no_text(struct error *err)
{
	return error_set(err, ERR_CORRUPT, "the answer has a text that cannot "
			 "be decoded, or memory is out");
}

/* Uploads. */

static int tell_uploads(const struct list *list, const xmlNode *root,
			s3_pending_fn *fn, void *arg, struct error *err)
{
	for (const xmlNode *node = xml_child(root, "Upload"); node;
	     node = xml_next(node, "Upload")) {
		AUTO_FREE char *key = text_of(node, "Key", list->is_encoded);
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

static void uploads_query(struct strbuf *out, bool asks_encoded,
			  const char *prefix, const char *key_marker,
			  const char *id_marker)
{
	/* In the order that signatures want. */
	if (asks_encoded)
		strbuf_puts(out, "encoding-type=url&");
	if (key_marker) {
		strbuf_puts(out, "key-marker=");
		uri_encode(out, key_marker, false);
		strbuf_puts(out, "&");
	}
	strbuf_puts(out, "max-uploads=1000&prefix=");
	uri_encode(out, prefix, false);
	if (id_marker) {
		strbuf_puts(out, "&upload-id-marker=");
		uri_encode(out, id_marker, false);
	}
	strbuf_puts(out, "&uploads=");
}

/* One page from the markers on, which are replaced by those of the next. */
static int page_of_uploads(struct list *list, const char *prefix,
			   char **key_marker, char **id_marker,
			   s3_pending_fn *fn, void *arg, struct error *err)
{
	struct strbuf query = { .max = QUERY_MAX };
	struct error why = { 0 };
	const xmlNode *root;
	xmlDoc *doc = NULL;
	int ret;

	uploads_query(&query, list->asks_encoded, prefix, *key_marker,
		      *id_marker);
	ret = query.failed ? error_nomem(&why) :
	      get_page(list, query.data, &doc, &why);
	strbuf_free(&query);
	if (ret && why.kind == ERR_CORRUPT && !list->asks_encoded) {
		/* XML has no control characters, which keys may have. */
		list->asks_encoded = true;
		return page_of_uploads(list, prefix, key_marker, id_marker, fn,
				       arg, err);
	}
	if (ret && err)
		*err = why;
	if (ret)
		return -1;
	root = xmlDocGetRootElement(doc);
	ret = tell_uploads(list, root, fn, arg, err);
	free(*key_marker);
	free(*id_marker);
	*key_marker = text_of(root, "NextKeyMarker", list->is_encoded);
	*id_marker = text_of(root, "NextUploadIdMarker", false);
	if (!ret && (!*key_marker || !*id_marker))
		ret = no_text(err);
	xmlFreeDoc(doc);
	return ret;
}

static int endless(struct error *err)
{
	return error_set(err, ERR_LIMIT, "the list has more than %d pages",
			 PAGES_MAX);
}

int s3_uploads_list(struct s3_bucket *bucket, const char *prefix,
		    s3_pending_fn *fn, void *arg, struct error *err)
{
	struct list list = { .bucket = bucket, .key = "",
			     .root = "ListMultipartUploadsResult" };
	AUTO_FREE char *key_marker = NULL;
	AUTO_FREE char *id_marker = NULL;

	for (unsigned int i = 0; i < PAGES_MAX; i++) {
		if (page_of_uploads(&list, prefix, &key_marker, &id_marker,
				    fn, arg, err))
			return -1;
		if (!list.has_more || !*key_marker)
			return 0;
	}
	return endless(err);
}

/* Parts. */

static int tell_part(const struct s3_upload *upload, const xmlNode *node,
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
	if (s3_part_set(upload->bucket, &part, (unsigned int)number_value,
			size_value, &none, etag, err))
		return -1;
	if (!time || !field_iso_time(time, &part.stored_ns))
		part.stored_ns = 0;
	return fn(arg, &part, err);
}

static int page_of_parts(struct list *list, const struct s3_upload *upload,
			 char **marker, s3_part_fn *fn, void *arg,
			 struct error *err)
{
	struct strbuf query = { .max = QUERY_MAX };
	const xmlNode *root;
	xmlDoc *doc = NULL;
	int ret;

	if (*marker)
		strbuf_printf(&query, "part-number-marker=%s&", *marker);
	strbuf_puts(&query, "uploadId=");
	uri_encode(&query, upload->id, false);
	ret = query.failed ? error_nomem(err) :
	      get_page(list, query.data, &doc, err);
	strbuf_free(&query);
	if (ret)
		return -1;
	root = xmlDocGetRootElement(doc);
	for (const xmlNode *node = xml_child(root, "Part"); node && !ret;
	     node = xml_next(node, "Part"))
		ret = tell_part(upload, node, fn, arg, err);
	free(*marker);
	*marker = text_of(root, "NextPartNumberMarker", false);
	if (!ret && (!*marker || strspn(*marker, "0123456789") !=
				 strlen(*marker)))
		ret = no_text(err);
	xmlFreeDoc(doc);
	return ret;
}

int s3_parts_list(const struct s3_upload *upload, s3_part_fn *fn, void *arg,
		  struct error *err)
{
	struct list list = { .bucket = upload->bucket, .key = upload->key,
			     .cancelled = upload->cancelled,
			     .root = "ListPartsResult" };
	AUTO_FREE char *marker = NULL;

	for (unsigned int i = 0; i < PAGES_MAX; i++) {
		if (page_of_parts(&list, upload, &marker, fn, arg, err))
			return -1;
		if (!list.has_more || !*marker)
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
