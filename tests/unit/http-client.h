/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A client, a scripted server, and a request for it. Every URL has a secret
 * in its query, which no error may quote. */
#ifndef VMIEFS_TESTS_HTTP_CLIENT_H
#define VMIEFS_TESTS_HTTP_CLIENT_H

#include "store/http.h"
#include "tests/lib/script-server.h"
#include "tests/tap.h"

struct client {
	struct script_server *server;
	struct http *http;
	struct http_request request;
	struct http_response response; /* of the last request */
	char url[256];
};

/* One answer to each request, and what happens to the connection then. */
struct answer {
	const char *text;
	enum { KEEP, CLOSE, RESET, HANG } then;
};

__attribute__((unused))
static void serve_answer(struct script_connection *c)
{
	const struct answer *answer = c->arg;

	while (script_hear(c)) {
		script_say(c, answer->text);
		if (answer->then == HANG)
			script_hang(c);
		if (answer->then == RESET)
			script_reset(c);
		if (answer->then != KEEP)
			return;
	}
}

/* The URL of path on the client's server, in the client. */
__attribute__((unused))
static void client_url(struct client *c, const char *scheme, const char *path)
{
	snprintf(c->url, sizeof(c->url), "%s://127.0.0.1:%d%s?sig=secret",
		 scheme, script_server_port(c->server), path);
	c->request.url = c->url;
}

/* GET / is the request that it has then. */
__attribute__((unused))
static void client_begin(struct client *c, script_fn *fn, const void *arg,
			 const struct http_options *options)
{
	struct error err;

	*c = (struct client){ .request = { .method = "GET" } };
	c->server = script_server_start(fn, (void *)arg, NULL);
	succeeds(http_new(&c->http, options, &err), &err, "a client");
	succeeds(http_start(c->http, &err), &err, "starts");
	client_url(c, "http", "/");
}

/* The URL's secrets are the query and what stands before '@'. */
__attribute__((unused))
static int client_perform(struct client *c, struct error *err)
{
	int ret;

	http_response_free(&c->response);
	ret = http_perform(c->http, &c->request, &c->response, err);
	if (ret)
		ok(!strstr(err->text, "secret"), "no secret in: %s", err->text);
	return ret;
}

__attribute__((unused))
static void client_end(struct client *c)
{
	http_response_free(&c->response);
	http_unref(c->http);
	script_server_stop(c->server);
}

#endif
