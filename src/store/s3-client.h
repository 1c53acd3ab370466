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
#include <stdbool.h>

#include "store/credentials.h"
#include "store/http.h"
#include "store/s3-url.h"
#include "store/store.h"

/* What all buckets of a mount share: connections, keys, endpoint, clock. */
struct s3_client;

/* No thread and no network. ERR_ARG for options that make no sense. */
int s3_client_new(struct s3_client **out, const struct store_options *options,
		  struct error *err);
int s3_client_start(struct s3_client *client, struct error *err);
struct s3_client *s3_client_ref(struct s3_client *client);
void s3_client_cancel(struct s3_client *client); /* as store_cancel() */
void s3_client_unref(struct s3_client *client); /* NULL is legal */
struct http *s3_client_http(struct s3_client *client); /* borrowed */

/* A bucket and what was found out about it. */
struct s3_bucket {
	struct s3_client *client;
	char name[S3_BUCKET_MAX];   /* "" = the service itself */
	bool region_is_given;       /* by an option: no other will do */
	pthread_mutex_t lock;       /* of what follows */
	char region[S3_REGION_MAX];
};

/* References client. With binding, a region= among the client's options is
 * this bucket's; without, it is where the search begins. */
void s3_bucket_init(struct s3_bucket *bucket, struct s3_client *client,
		    const char *name, bool binding);
void s3_bucket_destroy(struct s3_bucket *bucket);

struct s3_request {
	const char *method;         /* "GET" or "HEAD" */
	const char *key;            /* "" = the bucket */
	const char *query;          /* sorted, values encoded; NULL: none */
	const char *const *headers; /* more of them, NULL-ended; or NULL */
	unsigned int timeout_ms;    /* 0 = 60 s; for each try */

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
