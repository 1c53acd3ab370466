/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Bodies of requests, and servers that do not want them: an answer before the
 * body is there, no reading, no answer, and a caller that gives up. */
#include "config.h"

#include <pthread.h>

#include "tests/tap.h"
#include "tests/unit/http-client.h"

#define STALL_MS 300
#define OK       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define FORBIDDEN                                                              \
	"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n<why/>"
#define LARGE (64u << 20) /* more than there are buffers between sockets */

static const struct http_options impatient = { .stall_ms = STALL_MS };
static const struct http_options patient = { .stall_ms = 600000 };
static const struct http_options usual = { 0 };

static struct iovec large_body(void)
{
	struct iovec body = { calloc(1, LARGE), LARGE };

	if (!body.iov_base)
		abort();
	return body;
}

/* An answer to the headers of the first request. */
struct early {
	const char *answer;
	enum { READ_REST, DEAF, HANG_UP, RESET_IT } then;
};

static void serve_early(struct script_connection *c)
{
	const struct early *early = c->arg;

	if (!script_hear_headers(c))
		return;
	script_say(c, early->answer);
	if (early->then == READ_REST)
		script_hang(c);
	if (early->then == DEAF)
		script_be_deaf(c);
	if (early->then == RESET_IT)
		script_reset(c);
}

/* A server that has said no does not care for the rest. */
static void test_early(void)
{
	static const struct {
		const char *name;
		struct early early;
		int status;
	} rows[] = {
		{ "403, and the rest is read", { FORBIDDEN, READ_REST }, 403 },
		{ "403, and the rest is not", { FORBIDDEN, DEAF }, 403 },
		{ "400, and the rest is not",
		  { "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		    DEAF }, 400 },
		{ "503 with an end of the connection",
		  { "HTTP/1.1 503 Busy\r\nConnection: close\r\n"
		    "Content-Length: 0\r\n\r\n", READ_REST }, 503 },
	};
	struct iovec body = large_body();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct client c;
		struct error err;

		client_begin(&c, serve_early, &rows[i].early, &impatient);
		c.request.method = "PUT";
		c.request.body = &body;
		c.request.body_count = 1;
		succeeds(client_perform(&c, &err), &err, rows[i].name);
		is_u64((uint64_t)c.response.status, (uint64_t)rows[i].status,
		       "is that answer");
		client_end(&c);
	}
	free(body.iov_base);
}

/* Who closes with our bytes unread sends RST, which may overtake the answer:
 * it is that, or a broken connection, and never anything else. */
static void test_early_end(void)
{
	static const struct early hangs_up = { FORBIDDEN, HANG_UP };
	struct iovec body = large_body();

	for (int i = 0; i < 8; i++) {
		struct client c;
		struct error err = { 0 };
		int ret;

		client_begin(&c, serve_early, &hangs_up, &impatient);
		c.request.method = "PUT";
		c.request.body = &body;
		c.request.body_count = 1;
		ret = client_perform(&c, &err);
		ok(ret ? err.kind == ERR_NETWORK : c.response.status == 403,
		   "403 and the end: %d, %s", c.response.status,
		   ret ? err.text : "");
		client_end(&c);
	}
	free(body.iov_base);
}

static void test_no_answer(void)
{
	static const struct {
		const char *name, *part;
		struct early early;
	} rows[] = {
		{ "nobody reads", "stalled below 1024 bytes/s for 300 ms after",
		  { "", DEAF } },
		{ "all is read, none answered", "stalled below 1024 bytes/s "
		  "for 300 ms after 67108864 of 67108864 bytes were sent",
		  { "", READ_REST } },
		{ "it is reset", "bytes were sent", { "", RESET_IT } },
		{ "an answer that stops", "stalled below 1024 bytes/s",
		  { "HTTP/1.1 403 Forb", DEAF } },
	};
	struct iovec body = large_body();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct client c;
		struct error err;

		client_begin(&c, serve_early, &rows[i].early, &impatient);
		c.request.method = "PUT";
		c.request.body = &body;
		c.request.body_count = 1;
		fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
			   rows[i].part, rows[i].name);
		client_end(&c);
	}
	free(body.iov_base);
}

/* A server that has to think gets the time for it. */
static void serve_thinker(struct script_connection *c)
{
	const struct timespec pause = { 0, 4 * STALL_MS * 1000000l / 2 };

	while (script_hear(c)) {
		nanosleep(&pause, NULL);
		script_say(c, OK);
	}
}

static void test_thinking(void)
{
	const struct iovec body = { (char *)"<a/>", 4 };
	struct client c;
	struct error err;

	client_begin(&c, serve_thinker, NULL, &impatient);
	c.request.method = "POST";
	c.request.body = &body;
	c.request.body_count = 1;
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK, "stalled",
		   "no answer for twice the stall time");
	c.request.answer_ms = 60000;
	succeeds(client_perform(&c, &err), &err, "the time is granted");
	client_end(&c);
}

struct giving_up {
	struct client client;
	atomic_bool cancelled, is_there;
};

static void serve_deaf(struct script_connection *c)
{
	struct giving_up *self = c->arg;

	if (!script_hear_headers(c))
		return;
	atomic_store(&self->is_there, true);
	script_be_deaf(c);
}

static void *give_up(void *arg)
{
	const struct timespec tick = { 0, 1000000 };
	struct giving_up *self = arg;

	while (!atomic_load(&self->is_there))
		nanosleep(&tick, NULL);
	atomic_store(&self->cancelled, true);
	http_wake(self->client.http);
	return NULL;
}

static void test_cancelled(void)
{
	struct giving_up self = { .cancelled = false };
	struct client *c = &self.client;
	pthread_t thread;
	struct error err;

	client_begin(c, serve_deaf, &self, &patient);
	c->request.cancelled = &self.cancelled;
	c->request.timeout_ms = 600000;
	if (pthread_create(&thread, NULL, give_up, &self))
		abort();
	fails_with(client_perform(c, &err), &err, ERR_CANCELLED, "stopped",
		   "the caller gives up");
	pthread_join(thread, NULL);
	fails_with(client_perform(c, &err), &err, ERR_CANCELLED, "stopped",
		   "and does not begin again");
	client_end(c);
}

static void serve_ok(struct script_connection *c)
{
	while (script_hear(c))
		script_say(c, OK);
}

static void test_counted(void)
{
	struct iovec body = large_body();
	struct http_stats before, after;
	struct client c;
	struct error err;

	client_begin(&c, serve_ok, NULL, &patient);
	c.request.method = "PUT";
	before = http_stats(c.http);
	c.request.body = &body;
	c.request.body_count = 1;
	succeeds(client_perform(&c, &err), &err, "PUT of 64 MiB");
	after = http_stats(c.http);
	ok(after.bytes_out - before.bytes_out > LARGE &&
	   after.bytes_out - before.bytes_out < LARGE + 1000,
	   "its bytes are counted: %" PRIu64,
	   after.bytes_out - before.bytes_out);
	client_end(&c);
	free(body.iov_base);
}

static void serve_sum(struct script_connection *c)
{
	unsigned int *sum = c->arg;

	while (script_hear(c)) {
		*sum = c->body_sum;
		script_say(c, OK);
	}
}

static unsigned int sum_of(const unsigned char *data, size_t len)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + data[i];
	return sum;
}

static void test_file(void)
{
	FILE *file = tmpfile();
	size_t size = (5 << 20) + 3;
	unsigned char *data = malloc(size);
	unsigned int sum = 0;
	struct client c;
	struct error err;

	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)(i * 2654435761u >> 13);
	if (!file || fwrite(data, size, 1, file) != 1 || fflush(file))
		abort();
	client_begin(&c, serve_sum, &sum, &usual);
	c.request.method = "PUT";
	c.request.body_file = fileno(file);
	c.request.file_bytes = size;
	succeeds(client_perform(&c, &err), &err, "PUT of a file");
	is_u64(sum, sum_of(data, size), "its bytes");
	succeeds(client_perform(&c, &err), &err, "and again");
	is_u64(sum, sum_of(data, size), "from its start");
	c.request.file_bytes = size + 1;
	fails_with(client_perform(&c, &err), &err, ERR_IO, "cannot read what "
		   "is to be sent", "a file that is too short");
	client_end(&c);
	fclose(file);
	free(data);
}

int main(void)
{
	test_file();
	test_early();
	test_early_end();
	test_no_answer();
	test_thinking();
	test_cancelled();
	test_counted();
	return tap_done();
}
