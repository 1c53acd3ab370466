/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests for one file of a web server, redirects followed: at most three,
 * each checked as the URL itself was.
 *
 * Threads: https_ask() may be called from any thread, in parallel. */
#ifndef VMIEFS_HTTPS_ASK_H
#define VMIEFS_HTTPS_ASK_H

#include <pthread.h>

#include "store/http.h"
#include "store/https-url.h"

struct https_target;

struct https_file {
	struct http *http;
	struct https_url url;
	pthread_mutex_t lock;        /* of what follows */
	struct https_target *target; /* where reads are redirected to; NULL:
				      * not known */
};

struct https_ask {
	const char *method;         /* "HEAD" or "GET" */
	const char *const *headers; /* NULL-ended, or NULL */
	unsigned int timeout_ms;    /* 0 = 60 s */
	int (*on_headers)(void *arg, const struct http_response *response,
			  struct error *err);
	void *arg;
	const struct iovec *iov;
	int iovcnt;
};

/* Takes url over on success. No network. */
int https_file_init(struct https_file *file, struct https_url *url,
		    const struct http_options *options, struct error *err);
void https_file_destroy(struct https_file *file);

/* Send and wait, at most until the deadline of retry.h. 0 for a 2xx answer;
 * *response is to be freed in either case. A GET begins where the last one
 * was redirected to; HEAD begins anew, and finds out if that has changed. */
int https_ask(struct https_file *file, const struct https_ask *ask,
	      struct http_response *response, struct error *err);

#endif
