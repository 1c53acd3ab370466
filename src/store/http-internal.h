/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What http.c and the files beside it share: one request on its way. */
#ifndef VMIEFS_HTTP_INTERNAL_H
#define VMIEFS_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <pthread.h>
#include <time.h>

#include "store/http.h"

/* The rate below which a transfer stalls. */
#define STALL_BYTES_PER_SECOND 1024

/* Lives on the stack of the thread that waits for it. The client's thread
 * alone touches it from the moment it is queued until `done`. */
struct transfer {
	struct transfer *next; /* in the queue, or among the running ones */
	const struct http_options *options;
	const struct http_request *request;
	struct http_response *response;
	struct curl_slist *headers;
	CURL *easy;            /* while it runs */
	char curl_text[CURL_ERROR_SIZE]; /* may quote the URL */
	struct error error;    /* why it failed; kind ERR_NONE = it did not */

	uint64_t body_bytes, body_taken; /* of the request's body */
	int body_index;        /* where its next byte is */
	size_t body_used;

	uint64_t want;         /* bytes of iov */
	int iov_index;         /* where the next byte of the body goes */
	size_t iov_used;
	size_t header_bytes;   /* of all header blocks */
	bool is_sending;       /* the connection is there */
	bool has_headers;      /* those of the answer itself, not of a 1xx */
	bool is_repeated;

	uint64_t deadline_ns;
	uint64_t slot_ns, slot_bytes; /* when this slice of time began */
	uint64_t good_ns;      /* the last slice with enough bytes ended */

	pthread_cond_t ended;  /* with the client's lock */
	bool done;
};

static inline uint64_t http_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline unsigned int http_timeout_ms(const struct http_request *request)
{
	return request->timeout_ms ? request->timeout_ms : 60000;
}

/* Without enough bytes for so long it has stalled. */
static inline unsigned int http_stall_ms(const struct transfer *t)
{
	return t->body_bytes && t->body_taken == t->body_bytes &&
	       t->request->answer_ms ? t->request->answer_ms :
				       t->options->stall_ms;
}

static inline uint64_t http_iov_bytes(const struct iovec *iov, int count)
{
	uint64_t bytes = 0;

	for (int i = 0; iov && i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* The body is sent from its start again. */
void http_rewind(struct transfer *t);

/* An easy handle with what never changes; NULL = out of memory. */
CURL *http_easy_new(const struct http_options *options);

/* Give it t's request. Not 0 = out of memory. */
unsigned int http_easy_set(CURL *easy, struct transfer *t);

/* The body belongs into the request's iov. */
bool http_fills_iov(const struct transfer *t);

/* "host:port" of url, without user, path and query. Returns text. */
char *http_host(const char *url, char *text, size_t size);

/* Make a sentence of libcurl's result. Sets t->error. */
void http_explain(struct transfer *t, CURLcode code);

/* The sentences for what libcurl does not watch. Set t->error. */
void http_explain_headers(struct transfer *t);
void http_explain_timeout(struct transfer *t);
void http_explain_stall(struct transfer *t);
void http_explain_length(struct transfer *t, bool is_longer);

#endif
