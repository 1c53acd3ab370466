/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The calls of a multipart upload. */
#include "config.h"

#include <libxml/xmlwriter.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xml.h"
#include "store/http-fields.h"
#include "store/s3-intent.h"
#include "store/s3-multipart.h"
#include "store/s3-verify.h"

#define QUERY_MAX   (8u << 10)
#define LINES_MAX   (S3_OBJECT_HEADERS + S3_HEADERS_MAX + 2)
#define ANSWER_MAX  (256u << 10)
#define THINK_MS    300000 /* servers put 10,000 parts together in this */
#define ABORT_MS    30000

static bool is_code(const struct error *err, const char *code)
{
	return !strcmp(err->remote.code, code);
}

/* Text of a child element. Cut where size ends; "" where there is none. */
static void read_text(const xmlNode *parent, const char *name, char *out,
		      size_t size)
{
	const xmlNode *node = xml_child(parent, name);
	xmlChar *content = node ? xmlNodeGetContent(node) : NULL;

	snprintf(out, size, "%s", content ? (const char *)content : "");
	xmlFree(content);
}

/* The answer is none of this protocol's: somebody in between gave it, and the
 * next one may be right. */
static int misread(const char *what, struct error *err)
{
	return error_set(err, ERR_NETWORK, "the answer is no %s", what);
}

/* Parse an answer whose root has that name. */
static int load(xmlDoc **out, const struct strbuf *text, const char *root,
		struct error *err)
{
	struct error oddity = { 0 };

	*out = NULL;
	if (!text->len || xml_load(out, text->data, text->len, &oddity, NULL))
		return misread(root, err);
	if (xml_is(xmlDocGetRootElement(*out), root))
		return 0;
	xmlFreeDoc(*out);
	*out = NULL;
	return misread(root, err);
}

/* All headers of a request that makes an object: a first one (or NULL), the
 * client's, and more. */
static void collect_headers(const char *lines[LINES_MAX],
			    const struct s3_bucket *bucket, bool is_copy,
			    const char *first, const char *const *more)
{
	const struct s3_headers *own = s3_client_headers(bucket->client);
	size_t n = 0, most;

	if (first)
		lines[n++] = first;
	for (size_t i = 0; own->lines[i]; i++)
		if (!is_copy || i < own->for_copies)
			lines[n++] = own->lines[i];
	most = n + S3_HEADERS_MAX;
	for (; more && *more && n < most; more++)
		lines[n++] = *more;
	lines[n] = NULL;
}

/* Beginning. */

struct beginning {
	struct s3_upload *upload;
	struct strbuf text;
};

static int read_upload_id(void *arg, const struct http_response *response,
			  struct error *err)
{
	static const char root[] = "InitiateMultipartUploadResult";
	struct beginning *beginning = arg;
	struct s3_upload *upload = beginning->upload;
	xmlDoc *doc;

	if (load(&doc, &beginning->text, root, err))
		return -1;
	read_text(xmlDocGetRootElement(doc), "UploadId", upload->id,
		  sizeof(upload->id));
	xmlFreeDoc(doc);
	upload->begun_ns = http_date(response) * 1000000000;
	if (*upload->id && strlen(upload->id) < sizeof(upload->id) - 1)
		return 0;
	upload->id[0] = '\0';
	return misread(root, err);
}

int s3_upload_begin(struct s3_upload *upload, const char *const *headers,
		    struct error *err)
{
	struct beginning beginning = { upload, { .max = ANSWER_MAX } };
	unsigned int tries = 0;
	const char *lines[LINES_MAX];
	struct s3_request request = {
		.method = "POST",
		.key = upload->key,
		.query = "uploads=",
		.headers = lines,
		.text = &beginning.text,
		.cancelled = upload->cancelled,
		.tries = &tries,
		.on_answer = read_upload_id,
		.answer_arg = &beginning,
	};
	struct http_response response;
	struct error why = { 0 };
	int ret;

	upload->id[0] = '\0';
	collect_headers(lines, upload->bucket, upload->is_copy, NULL,
			headers);
	if (s3_intent_begin(upload, err))
		return -1;
	ret = s3_send_again(upload->bucket, S3_CALL_CREATE, &request,
			    &response, &why);
	tries += response.is_repeated;
	http_response_free(&response);
	strbuf_free(&beginning.text);
	if (!ret) {
		s3_intent_know(upload, tries == 1);
		return 0;
	}
	s3_intent_fail(upload, tries, &why);
	s3_headers_blame(s3_client_headers(upload->bucket->client), &why);
	if (err)
		*err = why;
	return -1;
}

/* Parts. */

int s3_payload_digest(const struct s3_bucket *bucket,
		      struct s3_payload *payload, struct error *err)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = context && EVP_DigestInit_ex(context, EVP_md5(), NULL);

	for (int i = 0; good && i < payload->iovcnt; i++)
		good = EVP_DigestUpdate(context, payload->iov[i].iov_base,
					payload->iov[i].iov_len);
	good = good && EVP_DigestFinal_ex(context, payload->md5, NULL);
	EVP_MD_CTX_free(context);
	if (!good)
		return error_set(err, ERR_NOMEM, "no MD5 can be computed");
	s3_hash_body(bucket, payload->iov, payload->iovcnt, payload->hash);
	return 0;
}

static void md5_header(const struct s3_payload *payload, char *line,
		       size_t size)
{
	unsigned char base64[32];

	EVP_EncodeBlock(base64, payload->md5, S3_MD5_BYTES);
	snprintf(line, size, "Content-MD5: %s", base64);
}

static void hex_of(const unsigned char md5[S3_MD5_BYTES], char *hex)
{
	for (int i = 0; i < S3_MD5_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", md5[i]);
}

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

int s3_part_set(const struct s3_bucket *bucket, struct s3_part *part,
		unsigned int number, uint64_t size,
		const struct http_response *response, const char *etag,
		struct error *err)
{
	*part = (struct s3_part){ .number = number, .size = size };
	if (!field_etag(etag, part->etag, NULL))
		return error_set(err, ERR_NETWORK, "the answer has no ETag");
	part->etag_is_md5 = s3_etag_is_md5(bucket, response, part->etag) &&
			    !strchr(part->etag, '-');
	for (int i = 0; part->etag_is_md5 && i < S3_MD5_BYTES; i++)
		part->md5[i] = (unsigned char)
			(hex_digit(part->etag[2 * i]) << 4 |
			 hex_digit(part->etag[2 * i + 1]));
	return 0;
}

struct sent_part {
	const struct s3_upload *upload;
	unsigned int number;
	const struct s3_payload *payload;
	struct s3_part *part;
};

static int read_part(void *arg, const struct http_response *response,
		     struct error *err)
{
	struct sent_part *sent = arg;
	struct s3_part *part = sent->part;
	char etag[STORE_ETAG_MAX + 8], hex[2 * S3_MD5_BYTES + 1];

	http_header(response, "ETag", etag, sizeof(etag));
	if (s3_part_set(sent->upload->bucket, part, sent->number,
			sent->payload->bytes, response, etag, err))
		return -1;
	hex_of(sent->payload->md5, hex);
	if (part->etag_is_md5 && strcmp(part->etag, hex) != 0)
		return error_set(err, ERR_CORRUPT, "the server has stored "
				 "other bytes than it was sent: MD5 %s, not "
				 "%s", part->etag, hex);
	return 0;
}

/* What is stored of a payload that was sent as a whole. */
static void expect(struct s3_expected *expected,
		   const struct s3_bucket *bucket,
		   const struct s3_payload *payload)
{
	*expected = (struct s3_expected){
		.size = payload->bytes,
		.since_ns = s3_client_time(bucket->client) * 1000000000,
	};
	hex_of(payload->md5, expected->etag);
}

int s3_put(const struct s3_upload *upload, const char *const *headers,
	   const struct s3_payload *payload, struct object_info *info,
	   struct error *err)
{
	struct s3_bucket *bucket = upload->bucket;
	const char *lines[LINES_MAX];
	char md5[64];
	struct s3_request request = {
		.method = "PUT",
		.key = upload->key,
		.headers = lines,
		.body = payload->iov,
		.body_count = payload->iovcnt,
		.payload_hash = payload->hash,
		.cancelled = upload->cancelled,
	};
	struct s3_expected expected;
	struct http_response response;
	struct error why = { 0 };
	int ret;

	md5_header(payload, md5, sizeof(md5));
	collect_headers(lines, bucket, upload->is_copy, md5, headers);
	expect(&expected, bucket, payload);
	ret = s3_send_again(bucket, S3_CALL_PUT, &request, &response, &why);
	if (ret && response.is_repeated)
		why.remote.attempts++;
	http_response_free(&response);
	if (!ret)
		return s3_verify(bucket, upload->key, &expected, info, err);
	if (!s3_find_lost(bucket, upload->key, &expected, info, &why))
		return 0;
	s3_headers_blame(s3_client_headers(bucket->client), &why);
	if (err)
		*err = why;
	return -1;
}

void s3_part_query(const struct s3_upload *upload, unsigned int number,
		   struct strbuf *out)
{
	strbuf_printf(out, "partNumber=%u&uploadId=", number);
	uri_encode(out, upload->id, false);
}

int s3_upload_part(const struct s3_upload *upload, unsigned int number,
		   const struct s3_payload *payload, struct s3_part *part,
		   struct error *err)
{
	struct strbuf query = { .max = QUERY_MAX };
	char md5[64];
	const char *headers[] = { md5, NULL };
	struct sent_part sent = { upload, number, payload, part };
	struct s3_request request = {
		.method = "PUT",
		.key = upload->key,
		.headers = headers,
		.body = payload->iov,
		.body_count = payload->iovcnt,
		.body_file = payload->file,
		.file_bytes = payload->bytes,
		.payload_hash = payload->hash,
		.cancelled = upload->cancelled,
		.on_answer = read_part,
		.answer_arg = &sent,
	};
	struct http_response response = { 0 };
	int ret;

	md5_header(payload, md5, sizeof(md5));
	s3_part_query(upload, number, &query);
	request.query = query.data;
	ret = query.failed ? error_nomem(err) :
	      s3_send_again(upload->bucket, S3_CALL_PART, &request, &response,
			    err);
	http_response_free(&response);
	strbuf_free(&query);
	return ret ? error_prefix(err, "part %u", number) : 0;
}

bool s3_parts_etag(const struct s3_part *parts, unsigned int count,
		   char etag[STORE_ETAG_MAX])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char md5[EVP_MAX_MD_SIZE];
	bool good = context && EVP_DigestInit_ex(context, EVP_md5(), NULL);

	for (unsigned int i = 0; good && i < count; i++)
		good = parts[i].etag_is_md5 &&
		       EVP_DigestUpdate(context, parts[i].md5, S3_MD5_BYTES);
	good = good && EVP_DigestFinal_ex(context, md5, NULL);
	EVP_MD_CTX_free(context);
	if (!good)
		return false;
	hex_of(md5, etag);
	snprintf(etag + 2 * S3_MD5_BYTES, STORE_ETAG_MAX - 2 * S3_MD5_BYTES,
		 "-%u", count);
	return true;
}

/* Completing. */

static bool write_part(xmlTextWriter *writer, const struct s3_part *part)
{
	return xmlTextWriterStartElement(writer, BAD_CAST "Part") >= 0 &&
	       xmlTextWriterWriteFormatElement(
			writer, BAD_CAST "PartNumber", "%u",
			part->number) >= 0 &&
	       xmlTextWriterWriteFormatElement(
			writer, BAD_CAST "ETag", "\"%s\"", part->etag) >= 0 &&
	       xmlTextWriterEndElement(writer) >= 0;
}

/* The list of parts. Freed with xmlBufferFree(). */
static int make_list(xmlBuffer **out, const struct s3_part *parts,
		     unsigned int count, struct error *err)
{
	static const char name[] = "CompleteMultipartUpload";
	static const char space[] = "http://s3.amazonaws.com/doc/2006-03-01/";
	xmlBuffer *buffer = xmlBufferCreate();
	xmlTextWriter *writer = buffer ? xmlNewTextWriterMemory(buffer, 0) :
					 NULL;
	bool good = writer &&
		xmlTextWriterStartDocument(writer, NULL, "UTF-8", NULL) >= 0 &&
		xmlTextWriterStartElementNS(writer, NULL, BAD_CAST name,
					    BAD_CAST space) >= 0;

	for (unsigned int i = 0; good && i < count; i++)
		good = write_part(writer, &parts[i]);
	good = good && xmlTextWriterEndDocument(writer) >= 0;
	if (writer)
		xmlFreeTextWriter(writer);
	*out = buffer;
	if (good)
		return 0;
	if (buffer)
		xmlBufferFree(buffer);
	*out = NULL;
	return error_nomem(err);
}

static int send_complete(const struct s3_upload *upload,
			 const char *condition, const xmlBuffer *list,
			 struct error *err)
{
	const struct iovec body = { (void *)xmlBufferContent(list),
				    (size_t)xmlBufferLength(list) };
	const char *headers[] = { "Content-Type: application/xml", condition,
				  NULL };
	struct strbuf query = { .max = QUERY_MAX };
	struct strbuf text = { .max = ANSWER_MAX };
	char hash[SIGV4_HASH_SIZE];
	struct s3_request request = {
		.method = "POST",
		.key = upload->key,
		.headers = headers,
		.body = &body,
		.body_count = 1,
		.payload_hash = hash,
		.text = &text,
		.timeout_ms = THINK_MS,
		.answer_ms = THINK_MS,
		.may_outlast = true,
		.may_fail_late = true,
		.cancelled = upload->cancelled,
	};
	struct http_response response = { 0 };
	int ret;

	strbuf_puts(&query, "uploadId=");
	uri_encode(&query, upload->id, false);
	request.query = query.data;
	s3_hash_body(upload->bucket, &body, 1, hash);
	ret = query.failed ? error_nomem(err) :
	      s3_send_again(upload->bucket, S3_CALL_COMPLETE, &request,
			    &response, err);
	http_response_free(&response);
	strbuf_free(&query);
	strbuf_free(&text);
	return ret;
}

int s3_upload_complete(const struct s3_upload *upload, const char *condition,
		       const struct s3_part *parts, unsigned int count,
		       struct object_info *info, struct error *err)
{
	struct s3_bucket *bucket = upload->bucket;
	struct s3_expected expected = { .since_ns = upload->begun_ns };
	struct error why = { 0 };
	xmlBuffer *list;
	int ret;

	for (unsigned int i = 0; i < count; i++)
		expected.size += parts[i].size;
	if (!s3_parts_etag(parts, count, expected.etag))
		expected.etag[0] = '\0';
	if (make_list(&list, parts, count, err))
		return -1;
	ret = send_complete(upload, condition, list, &why);
	xmlBufferFree(list);
	if (!ret) {
		s3_intent_end(upload, false);
		return s3_verify(bucket, upload->key, &expected, info, err);
	}
	if (!s3_find_lost(bucket, upload->key, &expected, info, &why)) {
		s3_intent_end(upload, false);
		return 0;
	}
	if (err)
		*err = why;
	return -1;
}

/* Aborting. */

int s3_upload_abort(const struct s3_upload *upload, bool *was_gone,
		    struct error *err)
{
	struct strbuf query = { .max = QUERY_MAX };
	struct s3_request request = {
		.method = "DELETE",
		.key = upload->key,
		.timeout_ms = ABORT_MS,
		.outlives = true,
	};
	struct error why = { 0 };
	struct http_response response = { 0 };
	int ret;

	strbuf_puts(&query, "uploadId=");
	uri_encode(&query, upload->id, false);
	request.query = query.data;
	ret = query.failed ? error_nomem(&why) :
	      s3_send_again(upload->bucket, S3_CALL_ABORT, &request, &response,
			    &why);
	http_response_free(&response);
	strbuf_free(&query);
	/* Swift says so of one that was completed. */
	*was_gone = ret && (is_code(&why, "NoSuchUpload") ||
			    is_code(&why, "NoSuchKey"));
	s3_intent_end(upload, ret && !*was_gone);
	if (!ret || *was_gone)
		return 0;
	if (err)
		*err = why;
	return -1;
}
