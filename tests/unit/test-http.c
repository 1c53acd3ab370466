/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The HTTP client: what goes out, and where the parts of an answer go. */
#include "config.h"

#include "common/checked.h"
#include "tests/tap.h"
#include "tests/unit/http-client.h"

static void serve_hello(struct script_connection *c)
{
	while (script_hear(c))
		script_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"
			      "ETag: \"x\"\r\nX-Odd:  a b \r\n\r\n0123456789");
}

static void test_get(void)
{
	struct client c = client_new(serve_hello, NULL);
	char data[16] = "................";
	struct iovec iov[] = { { data, 3 }, { NULL, 0 }, { data + 4, 7 } };
	struct http_response response;
	char value[8];
	struct error err;

	for (int i = 0; i < 3; i++) {
		client_url(&c, "/a");
		c.request.iov = iov;
		c.request.iovcnt = 3;
		memset(data, '.', sizeof(data));
		succeeds(http_perform(c.http, &c.request, &response, &err),
			 &err, "a GET");
		is_u64((uint64_t)response.status, 200, "status");
		is_u64(response.filled, 10, "filled");
		is_mem(data, "012.3456789.....", 16, "the body in its places");
		is_str(http_header(&response, "etag", value, sizeof(value)),
		       "\"x\"", "a header");
		http_response_free(&response);
	}
	is_u64(http_stats(c.http).connections, 1, "one connection for all");
	is_u64(http_stats(c.http).requests, 3, "three requests");
	client_free(&c);
}

int main(void)
{
	test_get();
	return tap_done();
}
