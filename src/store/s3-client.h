/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests to S3: addressed, signed, sent; sent again where the server says
 * that the bucket is in another region, that the session token has expired or
 * that our clock is wrong. All other failures are answered at once: trying
 * again is the work of retry.h.
 *
 * Threads: everything but new and start may be called from any thread. */
#ifndef VMIEFS_S3_CLIENT_H
#define VMIEFS_S3_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "store/credentials.h"
#include "store/http.h"
#include "store/s3-headers.h"
#include "store/s3-url.h"
#include "store/store.h"

/* What all buckets of a mount share: connections, keys, endpoint, clock. */
struct s3_client;
struct journal;
struct pool;
struct retrier;

/* No thread and no network. ERR_ARG for options that make no sense. */
int s3_client_new(struct s3_client **out, const struct store_options *options,
		  struct error *err);
int s3_client_start(struct s3_client *client, struct error *err);
struct s3_client *s3_client_ref(struct s3_client *client);
void s3_client_cancel(struct s3_client *client); /* as store_cancel() */
void s3_client_wake(struct s3_client *client); /* some `cancelled` is set */
void s3_client_unref(struct s3_client *client); /* NULL is legal */
struct http *s3_client_http(struct s3_client *client); /* borrowed */

/* What uploads of all buckets share, borrowed: the policy of their tries (its
 * kinds are enum s3_call_kind), and threads for parts in parallel. */
struct retrier *s3_client_retrier(struct s3_client *client);
struct pool *s3_client_pool(struct s3_client *client);

/* What new objects are to be, by the options. */
const struct s3_headers *s3_client_headers(const struct s3_client *client);

/* Of part uploads; NULL: none is kept. */
struct journal *s3_client_journal(struct s3_client *client);

/* Of the mounts whose uploads are to be known; NULL: of none. */
struct journal *s3_client_mounts(struct s3_client *client);
const struct s3_endpoint *s3_client_endpoint(const struct s3_client *client);

/* Seconds since 1970 by the server's clock: as far as it has to be known to
 * sign by it; and as its last answer told. */
int64_t s3_client_time(struct s3_client *client);
int64_t s3_client_seen_time(struct s3_client *client);

/* Are bodies signed, or is TLS, or the user, content without? */
bool s3_client_signs_bodies(const struct s3_client *client);

/* Count bytes of an object made from others: that the server has copied, or
 * that were sent. For control/stats, where they are "copies". */
void s3_client_count_copy(struct s3_client *client, bool is_copied,
			  uint64_t bytes);
int s3_client_copies_json(struct s3_client *client, struct json_t *object,
			  struct error *err);

/* Is it AWS itself, whose servers heed every condition? */
bool s3_client_is_aws(const struct s3_client *client);

/* What an upload sends, for control/stats. */
enum s3_call_kind {
	S3_CALL_PUT, S3_CALL_CREATE, S3_CALL_PART, S3_CALL_COPY,
	S3_CALL_FETCH, S3_CALL_COMPLETE, S3_CALL_ABORT, S3_CALL_ASK,
	S3_CALL_CHANGE,
	S3_CALL_KINDS,
};

/* If-None-Match: * and If-Match, of a PUT, of CompleteMultipartUpload, of
 * CopyObject; of DELETE; and on the source of a copy. */
enum s3_condition {
	S3_PUT_NEW = 1, S3_PUT_MATCH = 2, S3_COMPLETE_NEW = 4,
	S3_COMPLETE_MATCH = 8, S3_COPY_NEW = 16, S3_COPY_MATCH = 32,
	S3_DELETE_MATCH = 64, S3_SOURCE_MATCH = 128,
};

/* A bucket and what was found out about it. */
struct s3_bucket {
	struct s3_client *client;
	char name[S3_BUCKET_MAX];   /* "" = the service itself */
	bool region_is_given;       /* by an option: no other will do */
	atomic_uint refuses;        /* conditions that its server does not
				     * know: of enum s3_condition */
	pthread_mutex_t lock;       /* of what follows */
	char region[S3_REGION_MAX];
	unsigned int background;    /* jobs of s3_bucket_begin() */
	pthread_cond_t is_idle;
};

/* References client. With binding, a region= among the client's options is
 * this bucket's; without, it is where the search begins. */
void s3_bucket_init(struct s3_bucket *bucket, struct s3_client *client,
		    const char *name, bool binding);
void s3_bucket_destroy(struct s3_bucket *bucket);

/* A job in the background uses the bucket: s3_bucket_destroy() waits until it
 * has said that it has ended. */
void s3_bucket_begin(struct s3_bucket *bucket);
void s3_bucket_end(struct s3_bucket *bucket);

struct s3_request {
	const char *method;         /* "GET" */
	const char *key;            /* "" = the bucket */
	const char *query;          /* sorted, values encoded; NULL: none */
	const char *const *headers; /* more of them, NULL-ended; or NULL */
	unsigned int timeout_ms;    /* 0 = 60 s; for each try */
	unsigned int within_ms;     /* of s3_send_again(): all tries; 0 = as
				     * it says there */
	unsigned int answer_ms;     /* as in struct http_request */
	const atomic_bool *cancelled; /* set, then s3_client_wake() */
	bool outlives;              /* as in struct http_request */
	const struct iovec *body;   /* as in struct http_request */
	int body_count;
	uint64_t file_bytes;
	int body_file;
	const char *payload_hash;   /* of the body, in hex, or SIGV4_UNSIGNED;
				     * NULL: there is no body */
	bool may_outlast;           /* a try that began before the deadline
				     * of retrier.h may end behind it */
	bool may_fail_late;         /* an <Error> in an answer of 200 is one */
	/* Of s3_send_again(), which calls it for each 2xx answer: -1 with err
	 * set makes a failure of it, worth another try if its kind is. */
	int (*on_answer)(void *arg, const struct http_response *response,
			 struct error *err);
	void *answer_arg;
	unsigned int *tries;        /* how many s3_send_again() made; NULL:
				     * nobody asks */

	/* As in struct http_request; called for answers of any status. */
	int (*on_headers)(void *arg, const struct http_response *response,
			  struct error *err);
	void *arg;
	const struct iovec *iov;
	int iovcnt;
	struct strbuf *text;        /* emptied before each try */
};

/* Send and wait, at most until the deadline of retry.h. 0 for a 2xx answer;
 * *response is to be freed in either case. All else is an error with what
 * the server said in err->remote. */
int s3_send(struct s3_bucket *bucket, const struct s3_request *request,
	    struct http_response *response, struct error *err);

/* Name the cause in a mount's words: what was asked, where. Returns -1. */
int s3_explain(struct s3_bucket *bucket, struct error *err);

#endif
