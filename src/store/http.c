/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The HTTP client over libcurl's multi interface.
 *
 * Threads: "http" owns the multi handle and all easy handles; nobody else
 * calls into them. Who performs a request queues it under the lock, wakes that
 * thread and sleeps on the transfer's condition; the thread ends each transfer
 * by its deadline, so a waiter needs none of its own. The lock guards what is
 * marked so, and is never held while libcurl runs. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/pool.h"
#include "store/http-internal.h"
#include "store/http.h"

#define DEFAULT_CONNECT_MS  10000
#define DEFAULT_STALL_MS    20000
#define DEFAULT_CONNECTIONS 64
#define NS_PER_MS           1000000u
#define IDLE_NS             3600000000000u /* nothing to watch */
#define OUTLIVE_NS          5000000000u

struct http {
	atomic_uint refs;
	struct http_options options; /* without zeroes; ca_bundle is owned */
	pthread_mutex_t lock;
	struct transfer *queue, **queue_tail; /* lock */
	struct http_stats stats;              /* lock */
	bool stop;                            /* lock */
	_Atomic uint64_t cancelled_ns;        /* 0: it is not */
	bool is_started;
	pthread_t thread;

	/* The thread's own. */
	CURLM *multi;
	struct transfer *running;
	unsigned int running_count;
	CURL **idle; /* easy handles to be used again */
	unsigned int idle_count;
};

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static unsigned int or_default(unsigned int value, unsigned int fallback)
{
	return value ? value : fallback;
}

static int copy_options(struct http *self, const struct http_options *options,
			struct error *err)
{
	struct http_options *own = &self->options;

	own->connect_ms = or_default(options->connect_ms, DEFAULT_CONNECT_MS);
	own->stall_ms = or_default(options->stall_ms, DEFAULT_STALL_MS);
	own->connections_max = or_default(options->connections_max,
					  DEFAULT_CONNECTIONS);
	if (!options->ca_bundle)
		return 0;
	/* libcurl would say so of each single connection. */
	if (access(options->ca_bundle, R_OK))
		return error_errno(err, errno, "ca-bundle %s",
				   options->ca_bundle);
	own->ca_bundle = strdup(options->ca_bundle);
	return own->ca_bundle ? 0 : error_nomem(err);
}

int http_new(struct http **out, const struct http_options *options,
	     struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	pthread_once(&once, init_curl);
	if (copy_options(self, options, err)) {
		free(self);
		return -1;
	}
	atomic_init(&self->refs, 1);
	pthread_mutex_init(&self->lock, NULL);
	self->queue_tail = &self->queue;
	*out = self;
	return 0;
}

/* What the client's thread does. */

/* The waiter may free it from here on. */
static void complete(struct http *self, struct transfer *t)
{
	pthread_mutex_lock(&self->lock);
	t->done = true;
	pthread_cond_signal(&t->ended);
	pthread_mutex_unlock(&self->lock);
}

static void count(struct http *self, const struct transfer *t)
{
	curl_off_t down = 0, up = 0;
	long headers = 0, request = 0, connects = 0;

	curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	curl_easy_getinfo(t->easy, CURLINFO_HEADER_SIZE, &headers);
	curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &request);
	curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
	pthread_mutex_lock(&self->lock);
	self->stats.requests++;
	self->stats.connections += (uint64_t)connects;
	self->stats.bytes_in += (uint64_t)down + (uint64_t)headers;
	self->stats.bytes_out += (uint64_t)up + (uint64_t)request;
	pthread_mutex_unlock(&self->lock);
}

/* Take a transfer out of the running ones and give its answer. */
static void finish(struct http *self, struct transfer *t)
{
	struct transfer **link = &self->running;

	count(self, t);
	curl_multi_remove_handle(self->multi, t->easy);
	while (*link != t)
		link = &(*link)->next;
	*link = t->next;
	self->running_count--;
	/* The buffer for messages goes away with the waiter's stack. */
	curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
	self->idle[self->idle_count++] = t->easy;
	t->easy = NULL;
	complete(self, t);
}

/* A pooled connection that broke before any answer was most likely closed
 * while it was idle; libcurl repeats most such requests by itself, but not
 * one whose body was on its way. */
static bool repeat(struct http *self, struct transfer *t, CURLcode code)
{
	long connects = 0;

	if (code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR &&
	    code != CURLE_GOT_NOTHING)
		return false;
	curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
	if (connects || t->header_bytes || t->is_repeated)
		return false;
	count(self, t);
	t->is_repeated = true;
	t->response->is_repeated = true;
	t->is_sending = false;
	http_rewind(t);
	curl_multi_remove_handle(self->multi, t->easy);
	curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
	return !curl_multi_add_handle(self->multi, t->easy);
}

static void reap(struct http *self)
{
	const CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(self->multi, &left))) {
		struct transfer *t;
		CURLcode code = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
		if (!t->error.kind && repeat(self, t, code))
			continue;
		/* Hanging up inside the headers is no error for libcurl. */
		if (!code && !t->has_headers)
			code = CURLE_GOT_NOTHING;
		if (!t->error.kind && code)
			http_explain(t, code);
		else if (!t->error.kind && http_fills_iov(t) &&
			 t->response->filled < t->want)
			http_explain_length(t, false);
		finish(self, t);
	}
}

static int begin(struct http *self, struct transfer *t)
{
	unsigned int bad;

	t->easy = self->idle_count ? self->idle[--self->idle_count] :
				     http_easy_new(&self->options);
	if (!t->easy)
		return error_nomem(&t->error);
	bad = http_easy_set(t->easy, t);
	if (bad || curl_multi_add_handle(self->multi, t->easy)) {
		self->idle[self->idle_count++] = t->easy;
		return error_nomem(&t->error);
	}
	t->next = self->running;
	self->running = t;
	self->running_count++;
	return 0;
}

/* Begin what is queued while there is room. False = time to end. */
static bool begin_queued(struct http *self)
{
	while (self->running_count < self->options.connections_max) {
		struct transfer *t;
		bool stop;

		pthread_mutex_lock(&self->lock);
		stop = self->stop;
		t = self->queue;
		if (t)
			self->queue = t->next;
		if (!self->queue)
			self->queue_tail = &self->queue;
		pthread_mutex_unlock(&self->lock);
		if (!t)
			return !stop;
		if (begin(self, t))
			complete(self, t);
	}
	return true;
}

/* Has it been cancelled, by itself or with all the others? What outlives these
 * gets a little time. */
static bool is_over(struct http *self, const struct transfer *t, uint64_t now,
		    uint64_t *next_ns)
{
	uint64_t cancelled_ns = atomic_load(&self->cancelled_ns);

	if (t->request->cancelled && atomic_load(t->request->cancelled))
		return true;
	if (!cancelled_ns || !t->request->outlives ||
	    now >= cancelled_ns + OUTLIVE_NS)
		return cancelled_ns != 0;
	*next_ns = min_u64(*next_ns, cancelled_ns + OUTLIVE_NS);
	return false;
}

/* Those in the queue whose time is over, taken out of it. */
static struct transfer *late_in_queue(struct http *self, uint64_t now,
				      uint64_t *next_ns)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	struct transfer **link = &self->queue, *late = NULL;

	(void)held;
	while (*link) {
		struct transfer *t = *link;

		if (now < t->deadline_ns && !is_over(self, t, now, next_ns)) {
			*next_ns = min_u64(*next_ns, t->deadline_ns);
			link = &t->next;
			continue;
		}
		*link = t->next;
		t->next = late;
		late = t;
	}
	self->queue_tail = link;
	return late;
}

/* Time is cut into slices; a slice that carried enough is a good one, and
 * stall_ms without a good one is a stall. */
static bool has_stalled(struct transfer *t, uint64_t now, uint64_t *next_ns)
{
	uint64_t stall_ns = (uint64_t)http_stall_ms(t) * NS_PER_MS, bytes;
	uint64_t slice_ns = (uint64_t)t->options->stall_ms * NS_PER_MS / 20;
	curl_off_t down = 0, up = 0;

	if (!t->is_sending)
		return false;
	if (now - t->slot_ns >= slice_ns) {
		curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
		curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
		bytes = (uint64_t)down + (uint64_t)up;
		if (bytes - t->slot_bytes >= (now - t->slot_ns) / NS_PER_MS *
					     STALL_BYTES_PER_SECOND / 1000)
			t->good_ns = now;
		t->slot_bytes = bytes;
		t->slot_ns = now;
	}
	*next_ns = min_u64(*next_ns, t->slot_ns + slice_ns);
	return now - t->good_ns >= stall_ns;
}

/* It has to end now, for whatever reason. */
static void explain_end(struct transfer *t, uint64_t now)
{
	if (now >= t->deadline_ns)
		http_explain_timeout(t);
	else
		error_set(&t->error, ERR_CANCELLED, "stopped");
}

/* End what is late. How long libcurl may wait until the next look, in ms. */
static int watch(struct http *self)
{
	uint64_t now = http_now_ns(), next_ns = now + IDLE_NS;
	struct transfer *t = late_in_queue(self, now, &next_ns);
	struct transfer *next;

	for (; t; t = next) {
		next = t->next;
		explain_end(t, now);
		complete(self, t);
	}
	for (t = self->running; t; t = next) {
		next = t->next;
		if (now >= t->deadline_ns || is_over(self, t, now, &next_ns))
			explain_end(t, now);
		else if (has_stalled(t, now, &next_ns))
			http_explain_stall(t);
		if (t->error.kind)
			finish(self, t);
		else
			next_ns = min_u64(next_ns, t->deadline_ns);
	}
	return (int)((next_ns - now) / NS_PER_MS) + 1;
}

/* Somebody waits and there is room: ended transfers made it. */
static bool can_begin(struct http *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	return self->queue &&
	       self->running_count < self->options.connections_max;
}

static void *drive(void *arg)
{
	struct http *self = arg;
	int running;

	while (begin_queued(self)) {
		int wait_ms;

		curl_multi_perform(self->multi, &running);
		reap(self);
		wait_ms = watch(self);
		if (!can_begin(self))
			curl_multi_poll(self->multi, NULL, 0, wait_ms, NULL);
	}
	return NULL;
}

/* Signals are for main; OpenSSL may raise SIGPIPE, too. */
static int start_thread(struct http *self)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&self->thread, NULL, drive, self);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!ret)
		pthread_setname_np(self->thread, "http");
	return ret;
}

int http_start(struct http *self, struct error *err)
{
	unsigned int connections = self->options.connections_max;
	int ret;

	assert(!self->is_started);
	self->idle = calloc(connections, sizeof(*self->idle));
	self->multi = curl_multi_init();
	if (!self->idle || !self->multi)
		return error_nomem(err);
	curl_multi_setopt(self->multi, CURLMOPT_MAXCONNECTS, (long)connections);
	ret = start_thread(self);
	if (ret)
		return error_errno(err, ret, "cannot start a thread");
	self->is_started = true;
	return 0;
}

struct http *http_ref(struct http *self)
{
	atomic_fetch_add(&self->refs, 1);
	return self;
}

void http_unref(struct http *self)
{
	if (!self || atomic_fetch_sub(&self->refs, 1) > 1)
		return;
	if (self->is_started) {
		pthread_mutex_lock(&self->lock);
		self->stop = true;
		pthread_mutex_unlock(&self->lock);
		curl_multi_wakeup(self->multi);
		pthread_join(self->thread, NULL);
	}
	assert(!self->running);
	for (unsigned int i = 0; i < self->idle_count; i++)
		curl_easy_cleanup(self->idle[i]);
	free(self->idle);
	curl_multi_cleanup(self->multi);
	pthread_mutex_destroy(&self->lock);
	free((char *)self->options.ca_bundle);
	free(self);
}

void http_cancel(struct http *self)
{
	uint64_t never = 0;

	atomic_compare_exchange_strong(&self->cancelled_ns, &never,
				       http_now_ns());
	http_wake(self);
}

void http_wake(struct http *self)
{
	if (self->is_started)
		curl_multi_wakeup(self->multi);
}

/* The waiter's side. */

static int add_header(struct curl_slist **list, const char *line,
		      struct error *err)
{
	struct curl_slist *longer;

	/* A value may come from a file or a server: no second header in it. */
	if (strpbrk(line, "\r\n"))
		return error_set(err, ERR_ARG,
				 "a request header would have two lines");
	longer = curl_slist_append(*list, line);
	if (!longer)
		return error_nomem(err);
	*list = longer;
	return 0;
}

static bool has_header(const char *const *headers, const char *name)
{
	for (; headers && *headers; headers++)
		if (!strncasecmp(*headers, name, strlen(name)))
			return true;
	return false;
}

static int make_headers(struct transfer *t, struct error *err)
{
	/* What libcurl would add by itself; "Name:" keeps it from doing so. */
	static const char *const unwanted[] = { "Accept:", "Content-Type:",
						"Expect:" };
	const char *const *given = t->request->headers;

	for (const char *const *line = given; line && *line; line++)
		if (add_header(&t->headers, *line, err))
			return -1;
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
		if (!has_header(given, unwanted[i]) &&
		    add_header(&t->headers, unwanted[i], err))
			return -1;
	return 0;
}

static void queue_and_wait(struct http *self, struct transfer *t)
{
	pthread_cond_init(&t->ended, NULL);
	pthread_mutex_lock(&self->lock);
	*self->queue_tail = t;
	self->queue_tail = &t->next;
	pthread_mutex_unlock(&self->lock);
	curl_multi_wakeup(self->multi);

	pool_blocking_begin();
	pthread_mutex_lock(&self->lock);
	while (!t->done)
		pthread_cond_wait(&t->ended, &self->lock);
	pthread_mutex_unlock(&self->lock);
	pool_blocking_end();
	pthread_cond_destroy(&t->ended);
}

/* The URL without its secrets: user and query. */
static void log_transfer(const struct transfer *t, uint64_t begun_ns)
{
	const char *path = strstr(t->request->url, "://");
	char host[256];

	path = path ? strchr(path + 3, '/') : NULL;
	path = path ? path : "";
	log_debug("%s %s%.*s: %d, %llu ms%s%s", t->request->method,
		  http_host(t->request->url, host, sizeof(host)),
		  (int)strcspn(path, "?#"), path, t->response->status,
		  (unsigned long long)((http_now_ns() - begun_ns) / NS_PER_MS),
		  t->error.kind ? ": " : "", t->error.text);
}

int http_perform(struct http *self, const struct http_request *request,
		 struct http_response *response, struct error *err)
{
	uint64_t now = http_now_ns();
	struct transfer t = {
		.options = &self->options,
		.request = request,
		.response = response,
		.deadline_ns = now + (uint64_t)NS_PER_MS *
			       http_timeout_ms(request),
	};

	*response = (struct http_response){ .headers = {
						.max = HTTP_HEADERS_MAX } };
	if (!self->is_started)
		return error_set(err, ERR_BUG, "the client was not started");
	t.want = http_iov_bytes(request->iov, request->iovcnt);
	t.body_bytes = request->body ?
		http_iov_bytes(request->body, request->body_count) :
		request->file_bytes;
	if (!make_headers(&t, &t.error))
		queue_and_wait(self, &t);
	curl_slist_free_all(t.headers);
	if (log_level() >= LOG_LEVEL_DEBUG)
		log_transfer(&t, now);
	if (!t.error.kind)
		return 0;
	if (err)
		*err = t.error;
	return -1;
}

void http_response_free(struct http_response *response)
{
	strbuf_free(&response->headers);
}

struct http_stats http_stats(struct http *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	return self->stats;
}
