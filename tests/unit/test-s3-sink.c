/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a sink into S3 holds and how it waits: for memory, for parts that a
 * server keeps waiting, for nothing once it is cancelled; and parts that wait
 * in scratch space. The server here knows one protocol and no bytes: what is
 * sent is compared elsewhere (tests/s3/test-sink.py). */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "common/budget.h"
#include "common/scratch.h"
#include "store/s3-part.h"
#include "store/sink.h"
#include "tests/lib/script-server.h"
#include "tests/tap.h"

#define MIB     (1ull << 20)
#define SOON_MS 20000 /* nothing here waits for any time to pass */

/* The server, and what it has seen. */
struct world {
	struct script_server *server;
	struct store *store;
	struct budget *budget;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool holds_parts;     /* it does not answer to them */
	bool is_busy;         /* it wants none for a minute */
	unsigned int refused; /* then */
	unsigned int parts;   /* on their way */
	unsigned int parts_max, begun, completed, aborted;
	uint64_t bytes;       /* of parts and small objects */
};

static struct error err;

static void change(struct world *w, unsigned int *count, int by)
{
	pthread_mutex_lock(&w->lock);
	*count += (unsigned int)by;
	if (w->parts > w->parts_max)
		w->parts_max = w->parts;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* A count while the server still runs. */
static unsigned int now(struct world *w, const unsigned int *count)
{
	unsigned int is;

	pthread_mutex_lock(&w->lock);
	is = *count;
	pthread_mutex_unlock(&w->lock);
	return is;
}

/* Until a count is reached. */
static void wait_for(struct world *w, const unsigned int *count,
		     unsigned int least)
{
	pthread_mutex_lock(&w->lock);
	while (*count < least)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

static void hold_parts(struct world *w, bool holds)
{
	pthread_mutex_lock(&w->lock);
	w->holds_parts = holds;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* A part is heard, and answered when that is allowed. */
static bool serve_part(struct world *w, struct script_connection *c)
{
	bool holds;

	change(w, &w->parts, 1);
	pthread_mutex_lock(&w->lock);
	holds = w->holds_parts;
	pthread_mutex_unlock(&w->lock);
	if (holds)
		script_be_deaf(c);
	else
		script_hear_body(c);
	pthread_mutex_lock(&w->lock);
	w->bytes += c->body_len;
	pthread_mutex_unlock(&w->lock);
	change(w, &w->parts, -1);
	return !holds && script_say(c, "HTTP/1.1 200 OK\r\nETag: \"part\"\r\n"
				    "Content-Length: 0\r\n\r\n");
}

static bool say_xml(struct script_connection *c, const char *text)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu"
		 "\r\n\r\n", strlen(text));
	return script_say(c, head) && script_say(c, text);
}

/* The object is there once it was completed. */
static bool serve_head(struct world *w, struct script_connection *c)
{
	char head[256];

	if (!w->completed)
		return script_say(c, "HTTP/1.1 404 Not Found\r\n\r\n");
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nETag: \"all\"\r\n"
		 "Last-Modified: Fri, 20 Nov 2099 19:24:18 GMT\r\n"
		 "Content-Length: %llu\r\n\r\n", (unsigned long long)w->bytes);
	return script_say(c, head);
}

static bool serve_request(struct world *w, struct script_connection *c)
{
	if (strstr(c->request, "?partNumber=") && !w->is_busy)
		return serve_part(w, c);
	if (!script_hear_body(c))
		return false;
	if (strstr(c->request, "?partNumber=")) {
		change(w, &w->refused, 1);
		return script_say(c, "HTTP/1.1 503 Busy\r\nRetry-After: 60\r\n"
				  "Content-Length: 0\r\n\r\n");
	}
	if (!strncmp(c->request, "HEAD", 4))
		return serve_head(w, c);
	if (strstr(c->request, "?uploads=")) {
		change(w, &w->begun, 1);
		return say_xml(c, "<InitiateMultipartUploadResult><UploadId>u"
			       "</UploadId></InitiateMultipartUploadResult>");
	}
	if (!strncmp(c->request, "DELETE", 6)) {
		change(w, &w->aborted, 1);
		return script_say(c, "HTTP/1.1 204 No Content\r\n\r\n");
	}
	change(w, &w->completed, 1);
	if (!strncmp(c->request, "PUT", 3))
		w->bytes = c->body_len;
	return say_xml(c, "<CompleteMultipartUploadResult/>");
}

static void serve(struct script_connection *c)
{
	while (script_hear_headers(c)) {
		c->body_len = 0;
		if (!serve_request(c->arg, c))
			return;
	}
}

/* timeout_ms is what a request gets that is not answered. */
static void world_begin(struct world *w, uint64_t budget)
{
	char endpoint[64];
	struct store_options options = {
		.endpoint = endpoint,
		.is_anonymous = true,
		.timeout_ms = 600000,
	};

	*w = (struct world){ .holds_parts = false };
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->server = script_server_start(serve, w, NULL);
	snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d",
		 script_server_port(w->server));
	succeeds(budget_new(&w->budget, budget, &err), &err, "a budget");
	succeeds(store_open(&w->store, "s3://bucket", &options, &err), &err,
		 "a store");
	succeeds(store_start(w->store, &err), &err, "that starts");
}

static void world_end(struct world *w)
{
	store_close(w->store);
	is_u64(budget_stats(w->budget).used, 0, "no memory is in use");
	budget_free(w->budget);
	script_server_stop(w->server);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
}

static int make(struct world *w, struct sink **sink, unsigned int wait_ms)
{
	struct sink_args args = { .size = SINK_SIZE_UNKNOWN,
				  .budget = w->budget,
				  .patience.wait_ms = wait_ms };

	memset(&err, 0, sizeof(err));
	return store_create(sink, w->store, "k", &args, &err);
}

/* Reserves: of three parts, or of three of the smallest. */
static void test_reserve(void)
{
	struct sink *a, *b, *c;
	struct world w;

	world_begin(&w, 40 * MIB);
	succeeds(make(&w, &a, 0), &err, "a sink");
	is_u64(budget_stats(w.budget).used, 24 * MIB, "has three parts");
	succeeds(make(&w, &b, 0), &err, "a second one");
	is_u64(budget_stats(w.budget).used, 39 * MIB, "has three small ones");
	fails_with(make(&w, &c, 200), &err, ERR_NOMEM, "an upload needs "
		   "15728640 bytes of the 41943040 byte memory budget; "
		   "raise -o memory=", "a third one waits");
	sink_discard(a);
	succeeds(make(&w, &c, 0), &err, "and may come when one has gone");
	sink_discard(b);
	sink_discard(c);
	is_u64(now(&w, &w.begun), 0, "nothing was begun");
	world_end(&w);
}

/* A reserve leaves what its writer needs besides. */
static void test_besides(void)
{
	struct sink_args args = { .size = SINK_SIZE_UNKNOWN,
				  .besides = 17 * MIB };
	struct sink *a, *b;
	struct world w;

	world_begin(&w, 40 * MIB);
	args.budget = w.budget;
	succeeds(store_create(&a, w.store, "k", &args, &err), &err, "a sink");
	is_u64(budget_stats(w.budget).used, 15 * MIB,
	       "has small parts where more would leave too little");
	args.besides = 11 * MIB;
	fails_with(store_create(&b, w.store, "l", &args, &err), &err,
		   ERR_NOMEM, "an upload needs 27262976 bytes",
		   "another one would leave too little");
	args.besides = 10 * MIB;
	succeeds(store_create(&b, w.store, "l", &args, &err), &err,
		 "or just enough");
	sink_discard(a);
	sink_discard(b);
	is_u64(budget_stats(w.budget).used, 0, "nothing is kept");
	world_end(&w);
}

struct maker {
	struct world *w;
	struct sink *sink;
	int ret;
};

static void *make_late(void *arg)
{
	struct maker *maker = arg;

	maker->ret = make(maker->w, &maker->sink, 600000);
	return NULL;
}

static void test_wait(void)
{
	struct maker maker = { .ret = -1 };
	struct timespec tick = { 0, 100000000 };
	struct sink *first;
	pthread_t thread;
	struct world w;

	world_begin(&w, 24 * MIB);
	succeeds(make(&w, &first, 0), &err, "a sink takes all memory");
	maker.w = &w;
	pthread_create(&thread, NULL, make_late, &maker);
	nanosleep(&tick, NULL);
	sink_discard(first);
	pthread_join(thread, NULL);
	ok(!maker.ret, "the next one has waited for it");
	sink_discard(maker.sink);
	world_end(&w);
}

/* Somebody who writes `bytes`, and what comes of it. */
struct writer_thread {
	struct sink *sink;
	uint64_t bytes;
	bool is_finishing;
	struct error err;
	int ret;
	pthread_t thread;
};

static void *write_all(void *arg)
{
	struct writer_thread *t = arg;
	static const char data[1 << 20] = { 1 };

	for (uint64_t done = 0; !t->ret && done < t->bytes;
	     done += sizeof(data))
		t->ret = sink_write(t->sink, data, sizeof(data), &t->err);
	if (!t->ret && t->is_finishing)
		t->ret = sink_finish(t->sink, NULL, &t->err);
	return NULL;
}

static void start_writer(struct writer_thread *t, struct sink *sink,
			 uint64_t bytes)
{
	*t = (struct writer_thread){ .sink = sink, .bytes = bytes,
				     .is_finishing = true };
	pthread_create(&t->thread, NULL, write_all, t);
}

/* Memory bounds what is on its way; what is there is used. */
static void test_bounded(void)
{
	struct writer_thread t;
	struct sink *sink;
	struct world w;

	world_begin(&w, 44 * MIB);
	succeeds(make(&w, &sink, 0), &err, "a sink");
	start_writer(&t, sink, 200 * MIB);
	pthread_join(t.thread, NULL);
	ok(!t.ret, "200 MiB: %s", t.err.text);
	sink_discard(sink);
	is_u64(w.bytes, 200 * MIB, "have come");
	ok(w.parts_max <= 5, "at most five parts at once: %u", w.parts_max);
	ok(budget_stats(w.budget).peak <= 44 * MIB, "within the budget");
	is_u64(now(&w, &w.aborted), 0, "nothing was aborted");
	world_end(&w);
}

/* All memory is in reserves: each goes on with its own. */
static void test_crowd(void)
{
	struct writer_thread threads[3];
	struct sink *sinks[3];
	struct world w;

	world_begin(&w, 72 * MIB);
	for (int i = 0; i < 3; i++)
		succeeds(make(&w, &sinks[i], 0), &err, "a sink");
	/* All of them end up as the same object, of other sizes than HEAD
	 * says: what counts here is that they get there. */
	for (int i = 0; i < 3; i++)
		start_writer(&threads[i], sinks[i], 64 * MIB);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i].thread, NULL);
		sink_discard(sinks[i]);
	}
	is_u64(w.bytes, 3 * 64 * MIB, "all bytes have come");
	ok(budget_stats(w.budget).peak <= 72 * MIB, "within the budget");
	world_end(&w);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* A server that does not answer holds up a writer, who is let go. */
static void test_cancel(void)
{
	for (int large = 0; large < 2; large++) {
		struct writer_thread t;
		struct sink *sink;
		struct world w;
		uint64_t begun;

		world_begin(&w, 24 * MIB);
		hold_parts(&w, true);
		succeeds(make(&w, &sink, 0), &err, "a sink");
		/* In write() for memory, or in finish() for the end. */
		start_writer(&t, sink, large ? 100 * MIB : 15 * MIB);
		wait_for(&w, &w.parts, 2);
		begun = now_ms();
		sink_cancel(sink);
		pthread_join(t.thread, NULL);
		ok(t.ret && t.err.kind == ERR_CANCELLED, "is cancelled: %s",
		   t.err.text);
		sink_discard(sink);
		ok(now_ms() - begun < SOON_MS, "soon");
		is_u64(budget_stats(w.budget).used, 0, "gives memory back");
		wait_for(&w, &w.aborted, 1);
		is_u64(now(&w, &w.completed), 0, "nothing has appeared");
		world_end(&w);
	}
}

/* A server that asks to wait does not hold up who gives up. */
static void test_cancel_pause(void)
{
	struct writer_thread t;
	struct sink *sink;
	struct world w;
	uint64_t begun;

	world_begin(&w, 24 * MIB);
	w.is_busy = true;
	succeeds(make(&w, &sink, 0), &err, "a sink");
	start_writer(&t, sink, 100 * MIB);
	wait_for(&w, &w.refused, 3); /* that is all there is memory for */
	begun = now_ms();
	sink_cancel(sink);
	pthread_join(t.thread, NULL);
	sink_discard(sink);
	ok(t.ret && t.err.kind == ERR_CANCELLED, "is cancelled: %s",
	   t.err.text);
	ok(now_ms() - begun < SOON_MS, "soon");
	/* One of them perhaps by libcurl, on another connection. */
	ok(now(&w, &w.refused) < 6, "they were not sent again");
	world_end(&w);
}

/* A writer that gives up without a word. */
static void test_discard(void)
{
	struct writer_thread t;
	struct sink *sink;
	struct world w;

	world_begin(&w, 64 * MIB);
	hold_parts(&w, true);
	succeeds(make(&w, &sink, 0), &err, "a sink");
	start_writer(&t, sink, 20 * MIB);
	t.is_finishing = false;
	wait_for(&w, &w.parts, 2);
	pthread_join(t.thread, NULL);
	sink_discard(sink);
	is_u64(now(&w, &w.completed), 0, "nothing has appeared");
	world_end(&w);
	is_u64(w.aborted, 1, "the upload is aborted before the store ends");
}

/* A mount ends: what is on its way is let go, and cleaned up all the same. */
static void test_store_cancel(void)
{
	struct writer_thread t;
	struct sink *sink;
	struct world w;

	world_begin(&w, 24 * MIB);
	hold_parts(&w, true);
	succeeds(make(&w, &sink, 0), &err, "a sink");
	start_writer(&t, sink, 100 * MIB);
	wait_for(&w, &w.parts, 2);
	store_cancel(w.store);
	pthread_join(t.thread, NULL);
	ok(t.ret && t.err.kind == ERR_CANCELLED, "is cancelled: %s",
	   t.err.text);
	sink_discard(sink);
	fails_with(make(&w, &sink, 0), &err, ERR_CANCELLED, "stopped",
		   "no new ones");
	world_end(&w);
	is_u64(w.aborted, 1, "the upload is aborted");
}

/* Sums are kept while it is written, and zeroes are bytes. */
static void test_spooled(void)
{
	static char data[100000];
	struct s3_buffer *file = calloc(1, sizeof(*file));
	struct s3_buffer *memory = calloc(1, sizeof(*memory));
	struct s3_payload of_file, of_memory;
	struct scratch *scratch;
	struct s3_client *client;
	struct s3_bucket bucket;
	struct store_options options = { .endpoint = "http://127.0.0.1:1" };
	struct iovec iov;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 31 >> 3);
	succeeds(s3_client_new(&client, &options, &err), &err, "a client");
	s3_bucket_init(&bucket, client, "bucket", true);
	succeeds(scratch_new(&scratch, "/tmp", 1 << 20, &err), &err,
		 "scratch space of 1 MiB");
	fails_with(s3_buffer_spool(file, scratch, 2 << 20, &err), &err,
		   ERR_IO, "a large part needs 2097152 bytes of scratch "
		   "space, and others have too much of the 1048576 bytes of "
		   "-o scratch-size=", "scratch space ends");
	is_u64((uint64_t)err.errnum, ENOSPC, "as a disk does");
	succeeds(s3_buffer_spool(file, scratch, 1 << 20, &err), &err,
		 "but there is some");
	succeeds(s3_buffer_init(file, 7500, 1 << 20, true, &err), &err,
		 "a part in a file");
	succeeds(s3_buffer_init(memory, 1, 1 << 20, true, &err), &err,
		 "one in memory");
	for (int i = 0; i < 2; i++) {
		struct s3_buffer *buffer = i ? memory : file;

		succeeds(s3_buffer_add(buffer, data, sizeof(data), &err), &err,
			 "bytes");
		succeeds(s3_buffer_add(buffer, NULL, 200000, &err), &err,
			 "zeroes");
		succeeds(s3_buffer_add(buffer, data, 7, &err), &err, "bytes");
	}
	is_u64(scratch_stats(scratch).used, 1 << 20, "takes scratch space");
	succeeds(s3_buffer_payload(file, &bucket, &iov, &of_file, &err), &err,
		 "a file to be sent");
	ok(!of_file.iov && of_file.bytes == 300007, "as a file");
	succeeds(s3_buffer_payload(memory, &bucket, &iov, &of_memory, &err),
		 &err, "memory to be sent");
	is_mem(of_file.md5, of_memory.md5, S3_MD5_BYTES, "the same MD5");
	is_str(of_file.hash, of_memory.hash, "the same SHA-256");
	s3_buffer_free(file);
	s3_buffer_free(memory);
	is_u64(scratch_stats(scratch).used, 0, "is given back");
	scratch_free(scratch);
	s3_bucket_destroy(&bucket);
	s3_client_unref(client);
}

/* The disk below has less room than -o scratch-size= says. */
static void test_full_disk(void)
{
	static char data[100000];
	struct s3_buffer *buffer = calloc(1, sizeof(*buffer));
	struct rlimit limit, small;
	struct scratch *scratch;

	succeeds(scratch_new(&scratch, "/tmp", 1 << 20, &err), &err,
		 "scratch space");
	succeeds(s3_buffer_spool(buffer, scratch, 1 << 20, &err), &err,
		 "for a part");
	succeeds(s3_buffer_init(buffer, 7500, 1 << 20, true, &err), &err,
		 "in a file");
	fflush(NULL);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	small = limit;
	small.rlim_cur = sizeof(data) / 2;
	setrlimit(RLIMIT_FSIZE, &small);
	(void)s3_buffer_add(buffer, data, sizeof(data), &err);
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_DFL);
	is_u64((uint64_t)err.errnum, EFBIG, "a disk without room");
	is_str(err.text, "scratch=/tmp: cannot write a part: File too large",
	       "is named");
	s3_buffer_free(buffer);
	is_u64(scratch_stats(scratch).used, 0, "and nothing is kept");
	scratch_free(scratch);
}

int main(void)
{
	test_reserve();
	test_besides();
	test_wait();
	test_bounded();
	test_crowd();
	test_cancel();
	test_cancel_pause();
	test_discard();
	test_store_cancel();
	test_spooled();
	test_full_disk();
	return tap_done();
}
