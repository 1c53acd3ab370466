/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * HTTP/1.1 over libcurl: one client for a store and all that it talks to, with
 * pooled connections. Redirects are never followed here: whoever signs a
 * request has to sign the next one, too.
 *
 * Threads: one thread of the client's own drives all transfers; callers wait
 * for theirs and may come from any thread, in parallel. */
#ifndef VMIEFS_HTTP_H
#define VMIEFS_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/error.h"
#include "common/strbuf.h"

#define HTTP_HEADERS_MAX (64u << 10) /* bytes of one answer's headers */

struct http;
struct http_response;

struct http_options {
	const char *ca_bundle;        /* file of PEM certificates; NULL: the
				       * system's */
	unsigned int connect_ms;      /* 0 = 10 s: name, connection and TLS */
	unsigned int stall_ms;        /* 0 = 20 s below 1 KiB/s */
	unsigned int connections_max; /* at one time; 0 = 64 */
};

/* No thread and no network yet. */
int http_new(struct http **out, const struct http_options *options,
	     struct error *err);
int http_start(struct http *http, struct error *err);
struct http *http_ref(struct http *http);
void http_unref(struct http *http); /* NULL is legal; waits for the thread */

/* End all transfers, and every later one, with ERR_CANCELLED: soon, without
 * waiting for it here. */
void http_cancel(struct http *http);

/* Some request's `cancelled` has been set: it ends with ERR_CANCELLED, soon. */
void http_wake(struct http *http);

struct http_request {
	const char *method;           /* "GET" */
	const char *url;              /* escaped, as it goes out */
	const char *const *headers;   /* "Name: value"; NULL-ended, or NULL */
	const struct iovec *body;     /* sent from there, perhaps again from
				       * its start; NULL: none, or: */
	int body_count;
	uint64_t file_bytes;          /* of body_file from its start; or 0 */
	int body_file;                /* a descriptor that can be pread() */
	unsigned int timeout_ms;      /* of the whole exchange; 0 = 60 s */
	unsigned int answer_ms;       /* what a stall is once the body is sent,
				       * whatever the rate; 0 = stall_ms */
	const atomic_bool *cancelled; /* see http_wake(); NULL: never */
	bool outlives;                /* http_cancel() by 5 s: it cleans up */
	bool no_proxy;                /* metadata services */

	/* The headers are there. Return -1 with err set to end the transfer
	 * with that error; for a status of 200 and above only. Called by the
	 * client's thread: it must not wait. NULL: none. */
	int (*on_headers)(void *arg, const struct http_response *response,
			  struct error *err);
	void *arg;
	/* Where the body of a 2xx answer goes: exactly these bytes (a longer
	 * or shorter body is ERR_NETWORK). Without iov, and for any other
	 * status, it is appended to *text up to its max (above: ERR_LIMIT);
	 * NULL: dropped. */
	const struct iovec *iov;
	int iovcnt;
	struct strbuf *text;
};

struct http_response {
	int status;
	bool is_repeated;      /* it was sent twice: a pooled connection broke
				* before anything was heard on it */
	uint64_t filled;       /* bytes at the start of iov, also on failure */
	struct strbuf headers; /* lines of the last header block */
};

/* Send it and wait. 0: an answer with any status came whole, perhaps before
 * all of the body was sent, which then ends there. -1: no answer,
 * or not all of it: ERR_NETWORK (worth another try: refused, reset, stalled,
 * cut off), ERR_TIMEOUT (timeout_ms passed), ERR_DENIED (certificate), ERR_ARG
 * (URL, headers of two lines), ERR_LIMIT (headers above HTTP_HEADERS_MAX),
 * ERR_CANCELLED (http_cancel()), what on_headers set. *response is initialised
 * here and is to be freed in either case. The text names the host, never the
 * query. */
int http_perform(struct http *http, const struct http_request *request,
		 struct http_response *response, struct error *err);
void http_response_free(struct http_response *response);

/* The value of a header by its name without regard to case, copied without
 * outer blanks, with '?' for control characters; "" where there is none. Cut
 * where size ends. Returns value. */
char *http_header(const struct http_response *response, const char *name,
		  char *value, size_t size);

/* "Retry-After" (seconds or a date) in ms, 0 = not asked; at most 5 min. */
unsigned int http_retry_after_ms(const struct http_response *response);

/* The answer's Date in seconds since 1970; 0 = none. */
int64_t http_date(const struct http_response *response);

/* Counters for control/stats, of what has ended. */
struct http_stats {
	uint64_t requests, connections, bytes_in, bytes_out;
};
struct http_stats http_stats(struct http *http);

#endif
