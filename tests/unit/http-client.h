/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A client, a scripted server, and a request for it. Every URL has a secret
 * in its query. */
#ifndef VMIEFS_TESTS_HTTP_CLIENT_H
#define VMIEFS_TESTS_HTTP_CLIENT_H

#include "store/http.h"
#include "tests/lib/script-server.h"
#include "tests/tap.h"

struct client {
	struct script_server *server;
	struct http *http;
	struct http_request request;
	char url[256];
};

__attribute__((unused))
static struct client client_with(script_fn *fn, void *arg,
				 const struct http_options *options)
{
	struct client c = { .server = script_server_start(fn, arg, NULL) };
	struct error err;

	succeeds(http_new(&c.http, options, &err), &err, "a client");
	succeeds(http_start(c.http, &err), &err, "starts");
	c.request.method = "GET";
	return c;
}

__attribute__((unused))
static struct client client_new(script_fn *fn, void *arg)
{
	struct http_options options = { 0 };

	return client_with(fn, arg, &options);
}

/* The URL of path on the client's server, in the client. */
__attribute__((unused))
static const char *client_url(struct client *c, const char *path)
{
	snprintf(c->url, sizeof(c->url), "http://127.0.0.1:%d%s?sig=secret",
		 script_server_port(c->server), path);
	return c->request.url = c->url;
}

__attribute__((unused))
static void client_free(struct client *c)
{
	http_unref(c->http);
	script_server_stop(c->server);
}

#endif
