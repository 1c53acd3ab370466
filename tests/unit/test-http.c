/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The HTTP client: what goes out, where the parts of an answer go, and how
 * connections and proxies are used. */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/strbuf.h"
#include "tests/tap.h"
#include "tests/unit/http-client.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"
#define OK_10   OK_HEAD "\r\n0123456789"

static const struct http_options defaults;

/* What a server heard, for the test to read. */
struct heard {
	pthread_mutex_t lock;
	char request[SCRIPT_REQUEST_MAX];
	size_t body_len;
	unsigned int body_sum;
	const char *answer;
};

static void serve_heard(struct script_connection *c)
{
	struct heard *heard = c->arg;
	const char *answer;

	while (script_hear(c)) {
		pthread_mutex_lock(&heard->lock);
		memcpy(heard->request, c->request, sizeof(c->request));
		heard->body_len = c->body_len;
		heard->body_sum = c->body_sum;
		answer = heard->answer;
		pthread_mutex_unlock(&heard->lock);
		script_say(c, answer);
	}
}

static struct heard *heard_new(const char *answer)
{
	struct heard *heard = calloc(1, sizeof(*heard));

	pthread_mutex_init(&heard->lock, NULL);
	heard->answer = answer;
	return heard;
}

static void heard_free(struct heard *heard)
{
	pthread_mutex_destroy(&heard->lock);
	free(heard);
}

static void heard_answer(struct heard *heard, const char *answer)
{
	pthread_mutex_lock(&heard->lock);
	heard->answer = answer;
	pthread_mutex_unlock(&heard->lock);
}

static size_t heard_body(struct heard *heard, unsigned int *sum)
{
	size_t len;

	pthread_mutex_lock(&heard->lock);
	len = heard->body_len;
	*sum = heard->body_sum;
	pthread_mutex_unlock(&heard->lock);
	return len;
}

/* The last request as a copy of our own, its lines cut to '\n'. */
static char *heard_request(struct heard *heard)
{
	static char text[SCRIPT_REQUEST_MAX];
	char *to = text;

	pthread_mutex_lock(&heard->lock);
	for (const char *from = heard->request; *from; from++)
		if (*from != '\r')
			*to++ = *from;
	*to = '\0';
	pthread_mutex_unlock(&heard->lock);
	return text;
}

static void test_scatter(void)
{
	static const struct answer answer = {
		OK_HEAD "X-Odd:  a b \r\n\r\n0123456789" };
	char data[16], value[8];
	struct iovec iov[] = { { data, 3 }, { NULL, 0 }, { data + 4, 7 } };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &answer, &defaults);
	c.request.iov = iov;
	c.request.iovcnt = 3;
	for (int i = 0; i < 3; i++) {
		memset(data, '.', sizeof(data));
		succeeds(client_perform(&c, &err), &err, "GET");
		is_u64((uint64_t)c.response.status, 200, "status");
		is_u64(c.response.filled, 10, "filled");
		is_mem(data, "012.3456789.....", 16, "the body in its places");
		is_str(http_header(&c.response, "x-odd", value, sizeof(value)),
		       "a b", "a header");
	}
	is_u64(http_stats(c.http).connections, 1, "one connection for all");
	is_u64(http_stats(c.http).requests, 3, "three requests");
	is_u64(http_stats(c.http).bytes_in, 3 * strlen(answer.text),
	       "bytes in");
	ok(http_stats(c.http).bytes_out > 3 * 60, "bytes out");
	client_end(&c);
}

static void test_request(void)
{
	static const char *const headers[] = { "Range: bytes=0-9",
					       "x-amz-date: now", NULL };
	static const char *const injected[] = { "x-a: b\r\nx-c: d", NULL };
	struct heard *heard = heard_new(OK_10);
	struct client c;
	char want[512];
	struct error err;

	client_begin(&c, serve_heard, heard, &defaults);
	client_url(&c, "http", "/a/../b//c%20%2F+");
	c.request.headers = headers;
	succeeds(client_perform(&c, &err), &err, "GET");
	snprintf(want, sizeof(want), "GET /a/../b//c%%20%%2F+?sig=secret "
		 "HTTP/1.1\nHost: 127.0.0.1:%d\nUser-Agent: vmiefs/%s\n"
		 "Range: bytes=0-9\nx-amz-date: now\n\n",
		 script_server_port(c.server), PACKAGE_VERSION);
	is_str(heard_request(heard), want, "exactly this goes out");
	c.request.headers = NULL;
	c.request.method = "DELETE";
	succeeds(client_perform(&c, &err), &err, "DELETE");
	snprintf(want, sizeof(want), "DELETE /a/../b//c%%20%%2F+?sig=secret "
		 "HTTP/1.1\nHost: 127.0.0.1:%d\nUser-Agent: vmiefs/%s\n\n",
		 script_server_port(c.server), PACKAGE_VERSION);
	is_str(heard_request(heard), want, "the next one has none of it");
	c.request.headers = injected;
	fails_with(client_perform(&c, &err), &err, ERR_ARG, "two lines",
		   "a header with a line break");
	client_end(&c);
	heard_free(heard);
}

static unsigned int sum_of(const unsigned char *data, size_t len)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + data[i];
	return sum;
}

static void test_upload(void)
{
	struct heard *heard = heard_new(OK_10);
	const size_t size = 4 << 20;
	unsigned char *body = malloc(size);
	const struct iovec pieces[] = {
		{ body, 4711 }, { NULL, 0 }, { body + 4711, size - 4711 },
	};
	const struct iovec text = { (char *)"<a/>", 4 };
	unsigned int sum;
	struct client c;
	struct error err;

	for (size_t i = 0; i < size; i++)
		body[i] = (unsigned char)(i * 2654435761u >> 13);
	client_begin(&c, serve_heard, heard, &defaults);
	c.request.method = "PUT";
	c.request.body = pieces;
	c.request.body_count = 3;
	succeeds(client_perform(&c, &err), &err, "PUT of 4 MiB");
	ok(strstr(heard_request(heard), "Content-Length: 4194304\n"),
	   "its length is announced");
	ok(!strstr(heard_request(heard), "Content-Type") &&
	   !strstr(heard_request(heard), "Expect"), "nothing is added");
	is_u64(heard_body(heard, &sum), size, "all of it came");
	is_u64(sum, sum_of(body, size), "as it was");
	c.request.body = NULL;
	c.request.body_count = 0;
	succeeds(client_perform(&c, &err), &err, "an empty PUT");
	ok(strstr(heard_request(heard), "Content-Length: 0\n"),
	   "says that it is empty");
	c.request.method = "POST";
	c.request.body = &text;
	c.request.body_count = 1;
	succeeds(client_perform(&c, &err), &err, "POST");
	is_u64(heard_body(heard, &sum), 4, "its body");
	c.request.method = "HEAD";
	c.request.body = NULL;
	heard_answer(heard, OK_HEAD "\r\n");
	succeeds(client_perform(&c, &err), &err, "HEAD behind it");
	ok(!strstr(heard_request(heard), "Content-Length"), "has no body");
	is_u64(http_stats(c.http).connections, 1, "on one connection");
	client_end(&c);
	heard_free(heard);
	free(body);
}

static void test_text(void)
{
	static const struct answer found = { OK_10 }, missing = {
		"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n<no/>" };
	char data[10] = "untouched";
	struct iovec iov = { data, sizeof(data) };
	struct strbuf text = { .max = 10 };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &missing, &defaults);
	c.request.text = &text;
	c.request.iov = &iov;
	c.request.iovcnt = 1;
	succeeds(client_perform(&c, &err), &err, "404 is an answer");
	is_u64((uint64_t)c.response.status, 404, "status");
	is_str(text.data, "<no/>", "its body is text");
	is_str(data, "untouched", "and nothing for iov");
	is_u64(c.response.filled, 0, "filled");
	c.request.text = NULL;
	succeeds(client_perform(&c, &err), &err, "or nowhere");
	is_u64(http_stats(c.http).connections, 1, "read to its end");
	client_end(&c);
	client_begin(&c, serve_answer, &found, &defaults);
	strbuf_free(&text);
	c.request.text = &text;
	succeeds(client_perform(&c, &err), &err, "a 200 without iov");
	is_str(text.data, "0123456789", "is text");
	strbuf_free(&text);
	text.max = 9;
	fails_with(client_perform(&c, &err), &err, ERR_LIMIT,
		   "more than 9 bytes", "above its limit");
	strbuf_free(&text);
	client_end(&c);
}

struct refusal {
	unsigned int calls;
	int status;
	char etag[16];
	size_t text_len; /* of the body, when called */
	const struct strbuf *text;
	bool refuses;
};

static int look_at_headers(void *arg, const struct http_response *response,
			   struct error *err)
{
	struct refusal *refusal = arg;

	refusal->calls++;
	refusal->status = response->status;
	refusal->text_len = refusal->text->len;
	http_header(response, "ETag", refusal->etag, sizeof(refusal->etag));
	if (refusal->refuses)
		return error_set(err, ERR_STALE, "another ETag");
	return 0;
}

static void test_on_headers(void)
{
	static const struct answer answer = {
		"HTTP/1.1 100 Continue\r\nETag: wrong\r\n\r\n"
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
		OK_HEAD "ETag: \"right\"\r\n\r\n0123456789" };
	struct strbuf text = { .max = 100 };
	struct refusal refusal = { .text = &text };
	char value[16];
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &answer, &defaults);
	c.request.text = &text;
	c.request.on_headers = look_at_headers;
	c.request.arg = &refusal;
	succeeds(client_perform(&c, &err), &err, "behind a 100 and a 103");
	is_u64(refusal.calls, 1, "called once");
	is_u64((uint64_t)refusal.status, 200, "with the status");
	is_str(refusal.etag, "\"right\"", "and the last headers");
	is_u64(refusal.text_len, 0, "before any of the body");
	is_str(text.data, "0123456789", "which follows");
	is_str(http_header(&c.response, "Link", value, sizeof(value)), "",
	       "nothing is left of the 103");
	strbuf_free(&text);
	refusal.refuses = true;
	fails_with(client_perform(&c, &err), &err, ERR_STALE, "another ETag",
		   "refused");
	is_u64((uint64_t)c.response.status, 200, "the status is known");
	is_u64(text.len, 0, "no byte of the body");
	refusal.refuses = false;
	succeeds(client_perform(&c, &err), &err, "the next one");
	is_str(text.data, "0123456789", "is whole");
	strbuf_free(&text);
	client_end(&c);
}

static void test_redirect(void)
{
	static const struct answer answer = {
		"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://"
		"127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &answer, &defaults);
	succeeds(client_perform(&c, &err), &err, "a redirect is an answer");
	is_u64((uint64_t)c.response.status, 307, "and is not followed");
	client_end(&c);
}

/* Each answer is the path's number; who takes part is counted. */
struct crowd {
	atomic_uint inside, most;
	struct http *http;
	unsigned short port;
	atomic_uint next, wrong;
};

#define CROWD_THREADS  24
#define CROWD_REQUESTS 192
#define CROWD_BYTES    3000
#define CROWD_MOST     5

static void serve_crowd(struct script_connection *c)
{
	static const struct timespec pause = { 0, 2000000 };
	struct crowd *crowd = c->arg;

	while (script_hear(c)) {
		char answer[128 + CROWD_BYTES];
		unsigned int inside = atomic_fetch_add(&crowd->inside, 1) + 1;
		unsigned int most = atomic_load(&crowd->most);
		unsigned int number = 0;

		while (inside > most &&
		       !atomic_compare_exchange_weak(&crowd->most, &most,
						     inside))
			;
		nanosleep(&pause, NULL);
		sscanf(c->request, "GET /%u", &number);
		snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n"
			 "Content-Length: %d\r\n\r\n%0*u", CROWD_BYTES,
			 CROWD_BYTES, number);
		atomic_fetch_sub(&crowd->inside, 1);
		script_say(c, answer);
	}
}

static void *ask(void *arg)
{
	struct crowd *crowd = arg;
	unsigned int number;

	while ((number = atomic_fetch_add(&crowd->next, 1)) < CROWD_REQUESTS) {
		char data[CROWD_BYTES + 1] = "", want[CROWD_BYTES + 1];
		struct iovec iov = { data, CROWD_BYTES };
		struct http_request request = { .method = "GET", .iov = &iov,
						.iovcnt = 1 };
		struct http_response response;
		char url[64];

		snprintf(url, sizeof(url), "http://127.0.0.1:%d/%u",
			 crowd->port, number);
		snprintf(want, sizeof(want), "%0*u", CROWD_BYTES, number);
		request.url = url;
		if (http_perform(crowd->http, &request, &response, NULL) ||
		    strcmp(data, want) != 0)
			atomic_fetch_add(&crowd->wrong, 1);
		http_response_free(&response);
	}
	return NULL;
}

static void test_crowd(void)
{
	static const struct http_options options = { .connections_max =
							     CROWD_MOST };
	struct crowd crowd = { 0 };
	pthread_t threads[CROWD_THREADS];
	struct client c;

	client_begin(&c, serve_crowd, &crowd, &options);
	crowd.http = http_ref(c.http);
	crowd.port = script_server_port(c.server);
	for (int i = 0; i < CROWD_THREADS; i++)
		pthread_create(&threads[i], NULL, ask, &crowd);
	for (int i = 0; i < CROWD_THREADS; i++)
		pthread_join(threads[i], NULL);
	is_u64(crowd.wrong, 0, "each has its own answer");
	is_u64(http_stats(c.http).requests, CROWD_REQUESTS, "all requests");
	ok(crowd.most > 1 && crowd.most <= CROWD_MOST,
	   "%u at one time, at most %d", crowd.most, CROWD_MOST);
	ok(script_server_connections(c.server) <= CROWD_MOST,
	   "on %u connections", script_server_connections(c.server));
	http_unref(crowd.http);
	client_end(&c);
}

static void test_proxy(void)
{
	static const struct answer answer = { OK_10 };
	struct heard *heard = heard_new(OK_10);
	struct script_server *proxy =
		script_server_start(serve_heard, heard, NULL);
	unsigned short port = script_server_port(proxy);
	struct client c;
	char text[300];
	struct error err;

	snprintf(text, sizeof(text), "http://127.0.0.1:%d", port);
	setenv("http_proxy", text, 1);
	setenv("https_proxy", text, 1);
	client_begin(&c, serve_answer, &answer, &defaults);
	for (int i = 0; i < 3; i++) {
		c.request.no_proxy = i == 1;
		succeeds(client_perform(&c, &err), &err, "GET");
		is_u64(script_server_connections(c.server), i >= 1,
		       i == 1 ? "past the proxy" : "by the environment");
	}
	snprintf(text, sizeof(text), "GET %s HTTP/1.1\n", c.url);
	ok(!strncmp(heard_request(heard), text, strlen(text)),
	   "the proxy is asked for the whole URL");
	heard_answer(heard, "HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n");
	client_url(&c, "https", "/");
	fails_with(client_perform(&c, &err), &err, ERR_DENIED,
		   "the proxy refuses to connect, with status 407",
		   "the proxy wants a password");
	heard_answer(heard, "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n");
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "the proxy refuses to connect, with status 502",
		   "the proxy cannot connect");
	script_server_stop(proxy);
	snprintf(text, sizeof(text), ": cannot connect to its proxy 127.0.0.1:"
		 "%d: Connection refused", port);
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK, text,
		   "the proxy is away");
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	client_end(&c);
	heard_free(heard);
}

/* Headers are parsed without a server. */
static struct http_response made_response(const char *headers)
{
	struct http_response response = { .headers.max = 1000 };

	strbuf_puts(&response.headers, headers);
	return response;
}

static void test_header(void)
{
	struct http_response r = made_response(
		"HTTP/1.1 200 OK\r\nETag-Extra: no\r\nEtag:\"x\"\r\n"
		"X-Empty:\r\nEsc: a\33[1m\r\nLong:\t 0123456789 \r\n"
		"ETag: second\r\nEnd: last");
	struct http_response none = { 0 };
	char value[6];

	is_str(http_header(&r, "etag", value, sizeof(value)), "\"x\"",
	       "the first one of that name, in any case");
	is_str(http_header(&r, "x-empty", value, sizeof(value)), "", "empty");
	is_str(http_header(&r, "LONG", value, sizeof(value)), "01234", "cut");
	is_str(http_header(&r, "end", value, sizeof(value)), "last",
	       "without a line's end");
	is_str(http_header(&r, "esc", value, sizeof(value)), "a?[1m",
	       "for a terminal");
	is_str(http_header(&r, "nothing", value, sizeof(value)), "", "absent");
	is_str(http_header(&none, "etag", value, sizeof(value)), "",
	       "no headers at all");
	http_response_free(&r);
}

static void test_dates(void)
{
	static const struct {
		const char *headers;
		unsigned int retry_after_ms;
		int64_t date;
	} rows[] = {
		{ "Retry-After: 7\r\n", 7000, 0 },
		{ "Retry-After: 0\r\n", 0, 0 },
		{ "Retry-After: 301\r\n", 300000, 0 },
		{ "Retry-After: 99999999999999999999999\r\n", 300000, 0 },
		{ "Retry-After: -5\r\n", 0, 0 },
		{ "Retry-After: soon\r\n", 0, 0 },
		{ "Retry-After: 5 minutes\r\n", 0, 0 },
		{ "Retry-After:\r\n", 0, 0 },
		{ "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 0, 784111777 },
		{ "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
		  "Retry-After: Sun, 06 Nov 1994 08:50:00 GMT\r\n", 23000,
		  784111777 },
		{ "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
		  "Retry-After: Sun, 06 Nov 1994 08:49:00 GMT\r\n", 0,
		  784111777 },
		{ "Retry-After: Sun, 06 Nov 1994 08:49:00 GMT\r\n", 0, 0 },
		{ "Date: yesterday\r\n", 0, 0 },
		{ "", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_response r = made_response(rows[i].headers);

		is_u64(http_retry_after_ms(&r), rows[i].retry_after_ms,
		       "retry after");
		is_u64((uint64_t)http_date(&r), (uint64_t)rows[i].date,
		       "date");
		http_response_free(&r);
	}
}

/* What surrounds requests. */
static void test_life(void)
{
	struct http_request request = { .method = "GET",
					.url = "http://127.0.0.1:1/" };
	struct http_options options = { .ca_bundle = "/nonexistent/ca.pem" };
	struct http_response response;
	struct http *http;
	struct error err;

	fails_with(http_new(&http, &options, &err), &err, ERR_NOT_FOUND,
		   "ca-bundle /nonexistent/ca.pem: ", "no such ca-bundle");
	ok(!http, "no client");
	http_unref(http);
	succeeds(http_new(&http, &defaults, &err), &err, "a client");
	fails_with(http_perform(http, &request, &response, &err), &err,
		   ERR_BUG, "not started", "too early");
	http_response_free(&response);
	http_unref(http_ref(http));
	http_unref(http);
}

int main(void)
{
	static const char *const variables[] = {
		"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
		"ALL_PROXY", "no_proxy", "NO_PROXY" };

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	test_life();
	test_scatter();
	test_request();
	test_upload();
	test_text();
	test_on_headers();
	test_redirect();
	test_crowd();
	test_proxy();
	test_header();
	test_dates();
	return tap_done();
}
