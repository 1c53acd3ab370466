/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests that write. */
#include "config.h"

#include <ctype.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "store/http-fields.h"
#include "store/retrier.h"
#include "store/s3-send.h"

/* Some parts share a line, and one that is slow moves all the same; what does
 * not move is ended by the HTTP client, as a stall. Nobody has to wait longer
 * for a server that does not answer because bodies may take long. */
#define SLOW_BYTES_PER_MS  8   /* KiB/s, nearly: for a try that moves */
#define USUAL_BYTES_PER_MS 256 /* for the time in which tries begin */
#define TRY_MS             60000

struct send_call {
	struct retry_call retry;
	struct s3_bucket *bucket;
	const struct s3_request *request;
	struct http_response *response;
};

static int try_send(struct retry_call *base, struct error *err)
{
	struct send_call *call = (struct send_call *)base;

	http_response_free(call->response);
	if (s3_send(call->bucket, call->request, call->response, err))
		return -1;
	return call->request->on_answer ?
		call->request->on_answer(call->request->answer_arg,
					 call->response, err) : 0;
}

static uint64_t bytes_of(const struct s3_request *request)
{
	uint64_t bytes = request->body ? 0 : request->file_bytes;

	for (int i = 0; request->body && i < request->body_count; i++)
		bytes += request->body[i].iov_len;
	return bytes;
}

int s3_send_again(struct s3_bucket *bucket, enum s3_call_kind kind,
		  const struct s3_request *request,
		  struct http_response *response, struct error *err)
{
	struct retrier *retrier = s3_client_retrier(bucket->client);
	uint64_t timeout_ms = retrier_options(retrier)->timeout_ms;
	uint64_t bytes = bytes_of(request);
	struct s3_request timed = *request;
	struct send_call call = {
		.retry = {
			.make_try = try_send,
			.kind = kind,
			.url = bucket->name,
			.key = request->key,
			.attempts = UINT_MAX,
			.timeout_ms = request->within_ms ? request->within_ms :
				(unsigned int)min_u64(2 * timeout_ms + bytes /
						      USUAL_BYTES_PER_MS,
						      UINT_MAX),
			.cancelled = request->cancelled,
		},
		.bucket = bucket,
		.request = &timed,
		.response = response,
	};
	int ret;

	if (!timed.timeout_ms && bytes) {
		timed.may_outlast = true;
		timed.timeout_ms = (unsigned int)min_u64(
			TRY_MS + bytes / SLOW_BYTES_PER_MS, UINT_MAX);
	}
	memset(response, 0, sizeof(*response));
	ret = retrier_run(retrier, &call.retry, err);
	if (request->tries)
		*request->tries = call.retry.tries;
	return ret;
}

static void sha256_of(const struct iovec *body, int count,
		      char hex[SIGV4_HASH_SIZE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	/* Out of memory leaves zeros, which every server refuses. */
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	bool good = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);

	for (int i = 0; good && i < count; i++)
		good = EVP_DigestUpdate(context, body[i].iov_base,
					body[i].iov_len);
	if (good)
		EVP_DigestFinal_ex(context, digest, NULL);
	EVP_MD_CTX_free(context);
	sigv4_hex(hex, digest);
}

void s3_hash_body(const struct s3_bucket *bucket, const struct iovec *body,
		  int count, char hex[SIGV4_HASH_SIZE])
{
	if (s3_client_signs_bodies(bucket->client))
		sha256_of(body, count, hex);
	else
		snprintf(hex, SIGV4_HASH_SIZE, "%s", SIGV4_UNSIGNED);
}

static bool has_md5_form(const char *etag)
{
	size_t digits = strspn(etag, "0123456789abcdef");

	if (digits != 32)
		return false;
	etag += digits;
	return !*etag || (*etag == '-' && isdigit((unsigned char)etag[1]));
}

/* With keys of its own the server makes ETags of the encrypted bytes, and
 * directory buckets, whose names end so, make them up. */
bool s3_etag_is_md5(const struct s3_bucket *bucket,
		    const struct http_response *response, const char *etag)
{
	static const char directory[] = "--x-s3";
	size_t len = strlen(bucket->name);
	char value[32];

	if (!has_md5_form(etag) ||
	    (len > strlen(directory) &&
	     !strcmp(bucket->name + len - strlen(directory), directory)))
		return false;
	http_header(response, "x-amz-server-side-encryption", value,
		    sizeof(value));
	if (!strncmp(value, "aws:kms", 7))
		return false;
	return !*http_header(response, "x-amz-server-side-encryption-"
			     "customer-algorithm", value, sizeof(value));
}

/* One question, request, sent by HEAD or by GET. */
static int ask(struct s3_bucket *bucket, struct s3_request *request,
	       bool is_tried_again, struct s3_head *head, struct error *err)
{
	struct http_response response;
	bool is_weak;
	int ret = is_tried_again ?
		s3_send_again(bucket, S3_CALL_ASK, request, &response, err) :
		s3_send(bucket, request, &response, err);

	if (!ret)
		ret = field_object_info(&response, &head->info, &is_weak, err);
	if (!ret)
		head->etag_is_md5 = s3_etag_is_md5(bucket, &response,
						   head->info.etag);
	http_response_free(&response);
	return ret;
}

/* An answer to HEAD cannot say why it fails (an expired token looks like any
 * bad request): one to a GET of one byte can. */
static int ask_why(struct s3_bucket *bucket, struct s3_request *request,
		   bool is_tried_again, struct s3_head *head,
		   struct error *err)
{
	static const char *const one_byte[] = { "Range: bytes=0-0", NULL };
	struct error why = { 0 };
	int ret;

	request->method = "HEAD";
	ret = ask(bucket, request, is_tried_again, head, &why);
	if (ret && !*why.remote.code && (why.remote.http_status == 400 ||
					 why.remote.http_status == 403)) {
		request->method = "GET";
		request->headers = one_byte;
		ret = ask(bucket, request, is_tried_again, head, &why);
	}
	if (ret && err)
		*err = why;
	return ret;
}

int s3_ask(struct s3_bucket *bucket, const char *key,
	   const atomic_bool *cancelled, unsigned int within_ms,
	   struct s3_head *head, struct error *err)
{
	struct s3_request request = {
		.key = key,
		.cancelled = cancelled,
		.within_ms = within_ms,
	};

	return ask_why(bucket, &request, true, head, err);
}

int s3_ask_once(struct s3_bucket *bucket, const char *key,
		struct s3_head *head, struct error *err)
{
	struct s3_request request = { .key = key };

	return ask_why(bucket, &request, false, head, err);
}
