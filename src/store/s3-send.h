/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests that write: each is tried again by itself, with the mount's policy,
 * so that an upload of hours does not fail for one of them.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_S3_SEND_H
#define VMIEFS_S3_SEND_H

#include "store/s3-client.h"
#include "store/sigv4.h"

/* As s3_send(), tried again where that is worth it: until twice the mount's
 * timeout has passed, and what the body takes at 256 KiB/s. A try with a body
 * that has begun by then may take longer, as long as it moves. So a server that
 * starts anew is waited for. What failed at last has err->remote.attempts. */
int s3_send_again(struct s3_bucket *bucket, enum s3_call_kind kind,
		  const struct s3_request *request,
		  struct http_response *response, struct error *err);

/* What to sign for a body: its SHA-256, computed here, or SIGV4_UNSIGNED. */
void s3_hash_body(const struct s3_bucket *bucket, const struct iovec *body,
		  int count, char hex[SIGV4_HASH_SIZE]);

/* What HEAD says of an object. */
struct s3_head {
	struct object_info info;
	bool etag_is_md5; /* or that of a list of MD5s, as far as it tells */
};

/* Ask for key, tried again as s3_send_again(); within that time unless it is
 * 0. ERR_NOT_FOUND. */
int s3_ask(struct s3_bucket *bucket, const char *key,
	   const atomic_bool *cancelled, unsigned int within_ms,
	   struct s3_head *head, struct error *err);

/* The same without another try, for whoever makes those. */
int s3_ask_once(struct s3_bucket *bucket, const char *key,
		struct s3_head *head, struct error *err);

/* The same of an answer's ETag, with 32 digits, or with "-7" behind them. */
bool s3_etag_is_md5(const struct s3_bucket *bucket,
		    const struct http_response *response, const char *etag);

#endif
