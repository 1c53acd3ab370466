/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The HTTP client against servers that refuse, reset, cut, stall, lie or
 * close their idle connections: which error it is, what its sentence says,
 * and how many bytes of the answer hold good. */
#include "config.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <time.h>

#include "tests/tap.h"
#include "tests/unit/http-client.h"

#define HEAD(length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n"
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

#define STALL_MS 300

static const struct http_options defaults;
static const struct http_options impatient = { .stall_ms = STALL_MS };

/* Ten bytes are asked for. */
static const struct row {
	const char *name;
	struct answer answer;
	enum error_kind kind; /* ERR_NONE: all is well */
	const char *part;     /* of the sentence, behind the host */
	uint64_t filled;
} rows[] = {
	{ "reset before the headers", { "", RESET }, ERR_NETWORK,
	  "the connection was reset before it answered", 0 },
	{ "closed before the headers", { "", CLOSE }, ERR_NETWORK,
	  "the connection was closed before it answered", 0 },
	{ "silent", { "", HANG }, ERR_NETWORK,
	  "stalled below 1024 bytes/s for 300 ms", 0 },
	{ "reset inside the headers", { "HTTP/1.1 200 OK\r\nConte", RESET },
	  ERR_NETWORK, "the connection was reset before it answered", 0 },
	{ "closed inside the headers", { "HTTP/1.1 200 OK\r\nConte", CLOSE },
	  ERR_NETWORK, "the connection was closed before it answered", 0 },
	{ "stalled inside the headers", { "HTTP/1.1 200 OK\r\nConte", HANG },
	  ERR_NETWORK, "stalled below 1024 bytes/s for 300 ms", 0 },
	{ "reset behind the headers", { HEAD("10"), RESET }, ERR_NETWORK,
	  "the connection was reset after 0 of 10 bytes", 0 },
	{ "closed behind the headers", { HEAD("10"), CLOSE }, ERR_NETWORK,
	  "the answer was cut off after 0 of 10 bytes", 0 },
	{ "reset in the body", { HEAD("10") "0123", RESET }, ERR_NETWORK,
	  "the connection was reset after 4 of 10 bytes", 4 },
	{ "closed in the body", { HEAD("10") "0123", CLOSE }, ERR_NETWORK,
	  "the answer was cut off after 4 of 10 bytes", 4 },
	{ "stalled in the body", { HEAD("10") "0123", HANG }, ERR_NETWORK,
	  "stalled below 1024 bytes/s for 300 ms after 4 of 10 bytes", 4 },
	{ "a body that is short", { HEAD("4") "0123" }, ERR_NETWORK,
	  "the answer ends before the 10 bytes asked for", 4 },
	{ "a body that is long", { HEAD("12") "0123456789xx" }, ERR_NETWORK,
	  "the answer is longer than the 10 bytes asked for", 0 },
	{ "more than was announced", { HEAD("10") "0123456789xx" }, ERR_NONE,
	  NULL, 10 },
	{ "an end by closing", { "HTTP/1.1 200 OK\r\n\r\n0123456789", CLOSE },
	  ERR_NONE, NULL, 10 },
	{ "an end by closing, short", { "HTTP/1.1 200 OK\r\n\r\n012", CLOSE },
	  ERR_NETWORK, "the answer ends before the 10 bytes asked for", 3 },
	{ "204", { "HTTP/1.1 204 No Content\r\n\r\n" }, ERR_NETWORK,
	  "the answer ends before the 10 bytes asked for", 0 },
	{ "HTTP/1.0", { "HTTP/1.0 200 OK\r\n\r\n0123456789", CLOSE },
	  ERR_NONE, NULL, 10 },
	{ "chunks", { CHUNKED "4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\n\r\n" },
	  ERR_NONE, NULL, 10 },
	{ "chunks with a trailer", { CHUNKED "a\r\n0123456789\r\n0\r\n"
	  "ETag: no\r\n\r\n" }, ERR_NONE, NULL, 10 },
	{ "chunks, short", { CHUNKED "4\r\n0123\r\n0\r\n\r\n" }, ERR_NETWORK,
	  "the answer ends before the 10 bytes asked for", 4 },
	{ "chunks, long", { CHUNKED "b\r\n0123456789x\r\n0\r\n\r\n" },
	  ERR_NETWORK, "the answer is longer than the 10 bytes asked for", 0 },
	{ "chunks, cut", { CHUNKED "a\r\n01234", CLOSE }, ERR_NETWORK,
	  "the answer was cut off after 5 of 10 bytes", 5 },
	{ "chunks without their end", { CHUNKED "a\r\n0123456789\r\n", CLOSE },
	  ERR_NETWORK, "the answer was cut off after 10 of 10 bytes", 10 },
	{ "no chunks", { CHUNKED "what?\r\n0123456789", CLOSE }, ERR_NETWORK,
	  "the connection broke after 0 of 10 bytes", 0 },
	{ "a chunk of 2^64 bytes", { CHUNKED "10000000000000000\r\n01", CLOSE },
	  ERR_NETWORK, "the connection broke after 0 of 10 bytes", 0 },
	{ "another protocol", { "220 ESMTP\r\n", CLOSE }, ERR_NETWORK,
	  "the answer is not HTTP/1.1: ", 0 },
	{ "a negative length", { HEAD("-1") "0123456789", CLOSE }, ERR_NETWORK,
	  "the answer is not HTTP/1.1: ", 0 },
	{ "a length of 2^64", { HEAD("18446744073709551616") "01", CLOSE },
	  ERR_NETWORK, "the answer ends before the 10 bytes asked for", 2 },
};

static void check_row(const struct row *row)
{
	char data[12] = "............";
	char want[12] = "............";
	struct iovec iov[] = { { data, 5 }, { data + 5, 5 } };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &row->answer, &impatient);
	c.request.iov = iov;
	c.request.iovcnt = 2;
	if (row->kind)
		fails_with(client_perform(&c, &err), &err, row->kind,
			   row->part, row->name);
	else
		succeeds(client_perform(&c, &err), &err, row->name);
	ok(!row->kind || !strncmp(err.text, "127.0.0.1:", 10),
	   "the host is named");
	is_u64(c.response.filled, row->filled, "filled");
	memcpy(want, "0123456789", row->filled);
	is_mem(data, want, row->filled, "good bytes");
	is_mem(data + 10, "..", 2, "nothing behind the end");
	is_u64(script_server_connections(c.server), 1, "one connection");
	client_end(&c);
}

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

/* Headers without end. */

static void serve_many_headers(struct script_connection *c)
{
	script_hear(c);
	script_say(c, "HTTP/1.1 200 OK\r\n");
	while (script_say(c, "X-More: and more\r\n"))
		;
}

static void serve_long_header(struct script_connection *c)
{
	script_hear(c);
	script_say(c, "HTTP/1.1 200 OK\r\nX-Long: ");
	while (script_say(c, "and more, and more, and more"))
		;
}

static void serve_many_hints(struct script_connection *c)
{
	script_hear(c);
	while (script_say(c, "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"))
		;
}

static void serve_many_trailers(struct script_connection *c)
{
	script_hear(c);
	script_say(c, CHUNKED "a\r\n0123456789\r\n0\r\n");
	while (script_say(c, "X-More: and more\r\n"))
		;
}

static void test_endless_headers(void)
{
	static script_fn *const servers[] = {
		serve_many_headers, serve_long_header, serve_many_hints,
		serve_many_trailers };

	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		struct client c;
		struct error err;

		client_begin(&c, servers[i], NULL, &defaults);
		fails_with(client_perform(&c, &err), &err, ERR_LIMIT,
			   "the headers of an answer are above the limit of "
			   "65536 bytes", "headers without end");
		client_end(&c);
	}
}

/* Speed. */

static void serve_slowly(struct script_connection *c)
{
	const unsigned int *bytes = c->arg;
	struct timespec pause = { 0, 20000000 };
	char data[400];

	memset(data, 'x', sizeof(data));
	script_hear(c);
	script_say(c, HEAD("8000"));
	for (unsigned int sent = 0; sent < 8000; sent += *bytes) {
		nanosleep(&pause, NULL);
		if (!script_send(c, data, *bytes))
			return;
	}
}

static void test_slow(void)
{
	static const unsigned int slow = 200, too_slow = 5;
	static char data[8000];
	struct iovec iov = { data, sizeof(data) };
	struct client c;
	struct error err;

	client_begin(&c, serve_slowly, &slow, &impatient);
	c.request.iov = &iov;
	c.request.iovcnt = 1;
	succeeds(client_perform(&c, &err), &err, "10 KB/s is slow");
	client_end(&c);
	client_begin(&c, serve_slowly, &too_slow, &impatient);
	c.request.iov = &iov;
	c.request.iovcnt = 1;
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "stalled below 1024 bytes/s for 300 ms after ",
		   "250 bytes/s is a stall");
	ok(c.response.filled > 0 && c.response.filled < 8000, "of %d bytes",
	   (int)c.response.filled);
	client_end(&c);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void test_timeout(void)
{
	static const struct answer part = { HEAD("10") "012", HANG };
	char data[10];
	struct iovec iov = { data, sizeof(data) };
	uint64_t begun = now_ms();
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &part, &defaults);
	c.request.iov = &iov;
	c.request.iovcnt = 1;
	c.request.timeout_ms = 250;
	fails_with(client_perform(&c, &err), &err, ERR_TIMEOUT,
		   "no complete answer within 250 ms after 3 of 10 bytes",
		   "the deadline passes");
	is_u64(c.response.filled, 3, "what came by then");
	ok(now_ms() - begun >= 250, "not sooner");
	ok(now_ms() - begun < 20000, "nor by the stall limit");
	client_end(&c);
}

static void *perform_other(void *arg)
{
	struct client *c = arg;
	struct http_request request = c->request;
	struct http_response response;

	request.timeout_ms = 1500;
	http_perform(c->http, &request, &response, NULL);
	http_response_free(&response);
	return NULL;
}

/* One connection at a time, and it hangs: who queues has a deadline, too. */
static void test_timeout_queued(void)
{
	static const struct http_options one = { .connections_max = 1 };
	static const struct answer silence = { "", HANG };
	struct timespec tick = { 0, 5000000 };
	pthread_t other;
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &silence, &one);
	pthread_create(&other, NULL, perform_other, &c);
	while (!script_server_connections(c.server))
		nanosleep(&tick, NULL);
	c.request.timeout_ms = 100;
	fails_with(client_perform(&c, &err), &err, ERR_TIMEOUT,
		   "all 1 connections were busy for 100 ms",
		   "queued too long");
	is_u64(script_server_connections(c.server), 1, "never connected");
	pthread_join(other, NULL);
	client_end(&c);
}

/* No server. */

static void test_nobody(void)
{
	static const struct answer silence = { "", HANG };
	struct client c;
	char url[256];
	struct error err;

	client_begin(&c, serve_answer, &silence, &defaults);
	script_server_stop(c.server);
	c.server = NULL;
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "cannot connect: Connection refused", "nobody listens");
	/* Longer than a label may be: no name server is asked. */
	snprintf(url, sizeof(url), "http://user:secret@%070d.invalid/?secret",
		 0);
	c.request.url = url;
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "0.invalid: the name cannot be resolved", "no such name");
	client_end(&c);
}

/* Names that end in ".hang" hang in the resolver until told otherwise: this
 * function takes the place of libc's for libcurl, too. */
static pthread_mutex_t hang_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_changed = PTHREAD_COND_INITIALIZER;
static unsigned int hanging;
static bool hang_released;

static void hang(void)
{
	pthread_mutex_lock(&hang_lock);
	hanging++;
	while (!hang_released)
		pthread_cond_wait(&hang_changed, &hang_lock);
	hanging--;
	pthread_cond_broadcast(&hang_changed);
	pthread_mutex_unlock(&hang_lock);
}

int getaddrinfo(const char *name, const char *service,
		const struct addrinfo *hints, struct addrinfo **result)
{
	int (*real)(const char *, const char *, const struct addrinfo *,
		    struct addrinfo **);

	if (name && strlen(name) > 5 && !strcmp(name + strlen(name) - 5,
						".hang")) {
		hang();
		return EAI_AGAIN;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(name, service, hints, result);
}

static unsigned int hangs(void)
{
	unsigned int count;

	pthread_mutex_lock(&hang_lock);
	count = hanging;
	pthread_mutex_unlock(&hang_lock);
	return count;
}

static void end_hangs(void)
{
	pthread_mutex_lock(&hang_lock);
	hang_released = true;
	pthread_cond_broadcast(&hang_changed);
	while (hanging)
		pthread_cond_wait(&hang_changed, &hang_lock);
	pthread_mutex_unlock(&hang_lock);
}

/* libcurl has a thread wait for the name; it must not wait for that one. */
static void test_name_server_hangs(void)
{
	static const struct http_options options = { .connect_ms = 300 };
	static const struct answer answer = { HEAD("10") "0123456789" };
	uint64_t begun = now_ms();
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &answer, &options);
	c.request.url = "http://name.hang/?secret";
	c.request.timeout_ms = 200;
	fails_with(client_perform(&c, &err), &err, ERR_TIMEOUT,
		   "name.hang: the name was not resolved within 200 ms",
		   "no answer from the name server in time");
	c.request.timeout_ms = 0;
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "name.hang: the name was not resolved within 300 ms",
		   "nor in the time for a connection");
	client_url(&c, "http", "/");
	succeeds(client_perform(&c, &err), &err, "others go on");
	ok(now_ms() - begun < 10000, "soon");
	is_u64(hangs(), 2, "while those still hang");
	client_end(&c);
	end_hangs();
}

static void test_urls(void)
{
	static const char *const urls[] = {
		"", "/secret", "ftp://h/secret", "file:///secret",
		"http://", "http://h:99999/secret", "http://[::1/secret",
		"http://a b/secret", "gopher://h/secret" };
	static const struct answer silence = { "", HANG };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &silence, &defaults);
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		c.request.url = urls[i];
		c.request.timeout_ms = 5000;
		fails_with(client_perform(&c, &err), &err, ERR_ARG,
			   "no URL of HTTP or HTTPS", urls[i]);
	}
	client_end(&c);
}

/* Connections that are used again. */

#define OK_10 HEAD("10") "0123456789"

static void serve_once(struct script_connection *c)
{
	if (script_hear(c))
		script_say(c, OK_10);
}

/* The first connection answers once and is reset by the second request. */
static void serve_reset_second(struct script_connection *c)
{
	char byte;

	if (c->number == 0 && script_hear(c)) {
		script_say(c, OK_10);
		script_peek(c, &byte);
		script_reset(c);
		return;
	}
	while (script_hear(c))
		script_say(c, strncmp(c->request, "HEAD", 4) ?
			   OK_10 : HEAD("10"));
}

static void serve_reset_rest(struct script_connection *c)
{
	if (script_hear(c) && c->number == 0) {
		script_say(c, OK_10);
		script_hear(c);
	}
	script_reset(c);
}

static void test_closed_while_idle(void)
{
	struct timespec tick = { 0, 5000000 };
	struct client c;
	struct error err;

	client_begin(&c, serve_once, NULL, &defaults);
	for (int i = 0; i < 3; i++) {
		succeeds(client_perform(&c, &err), &err,
			 "the server hung up meanwhile");
		while (script_server_open(c.server))
			nanosleep(&tick, NULL);
	}
	is_u64(script_server_connections(c.server), 3, "a new one each");
	client_end(&c);
}

static void test_reset_second(void)
{
	/* How far a large body comes before the reset varies. */
	static const char *const methods[] = { "GET", "HEAD", "POST", "DELETE",
					       "PUT", "PUT", "PUT", "PUT",
					       "PUT", "PUT", "PUT", "PUT" };
	static char body[4 << 20];
	const struct iovec all = { body, sizeof(body) };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		struct client c;
		struct error err;

		client_begin(&c, serve_reset_second, NULL, &defaults);
		succeeds(client_perform(&c, &err), &err, "first request");
		c.request.method = methods[i];
		if (!strcmp(methods[i], "PUT")) {
			c.request.body = &all;
			c.request.body_count = 1;
		}
		succeeds(client_perform(&c, &err), &err, methods[i]);
		is_u64(script_server_connections(c.server), 2,
		       "on a new connection");
		client_end(&c);
	}
}

static void test_reset_always(void)
{
	struct client c;
	struct error err;

	client_begin(&c, serve_reset_rest, NULL, &defaults);
	succeeds(client_perform(&c, &err), &err, "first request");
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "the connection was reset before it answered",
		   "the new one is reset, too");
	is_u64(script_server_connections(c.server), 2, "and that was it");
	client_end(&c);
}

int main(void)
{
	test_rows();
	test_endless_headers();
	test_slow();
	test_timeout();
	test_timeout_queued();
	test_nobody();
	test_name_server_hangs();
	test_urls();
	test_closed_while_idle();
	test_reset_second();
	test_reset_always();
	return tap_done();
}
