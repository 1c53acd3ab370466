/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A TCP server on the loopback interface for tests of network code: what each
 * connection hears and says is a function of the test, which runs in a thread
 * of its own and may cut, stall or reset wherever it likes. */
#ifndef VMIEFS_TESTS_SCRIPT_SERVER_H
#define VMIEFS_TESTS_SCRIPT_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct script_server;

#define SCRIPT_REQUEST_MAX (1u << 16)

struct script_connection {
	struct script_server *server;
	int fd;
	unsigned int number; /* 0 = the first one */
	void *arg;           /* of script_server_start() */
	void *own;           /* for the functions below: TLS */
	/* The last request: headers as they came, NUL-ended; the body is
	 * counted and summed, and kept as far as there is room for it. */
	char request[SCRIPT_REQUEST_MAX];
	unsigned char *body; /* the test's; NULL: nothing is kept */
	size_t body_max;
	size_t body_len;
	unsigned int body_sum;
};

/* One connection from begin to end; it is closed on return. */
typedef void script_fn(struct script_connection *c);

/* Replace reading and writing (TLS); begin returns false to hang up. */
struct script_transport {
	bool (*begin)(struct script_connection *c, void *arg);
	long (*read)(struct script_connection *c, void *data, size_t size);
	long (*write)(struct script_connection *c, const void *data,
		      size_t size);
	void (*end)(struct script_connection *c);
	void *arg;
};

/* transport may be NULL: plain TCP. Aborts the test where the machine has no
 * loopback or threads. */
struct script_server *
script_server_start(script_fn *fn, void *arg,
		    const struct script_transport *transport);
unsigned short script_server_port(const struct script_server *server);
unsigned int script_server_connections(struct script_server *server);
unsigned int script_server_open(struct script_server *server); /* now */
/* Ends all connections and waits for their threads. NULL is legal. */
void script_server_stop(struct script_server *server);

/* Read one request with its body; false at the connection's end. */
bool script_hear(struct script_connection *c);
/* The same in two steps. */
bool script_hear_headers(struct script_connection *c);
bool script_hear_body(struct script_connection *c);
/* Read nothing until the other side hangs up. */
void script_be_deaf(struct script_connection *c);
/* Wait for the first byte of a request, and read no more of it. */
bool script_peek(struct script_connection *c, char *byte);
/* Send text or bytes; false when the other side is gone. */
bool script_say(struct script_connection *c, const char *text);
bool script_send(struct script_connection *c, const void *data, size_t len);
/* Hang up with RST instead of FIN. */
void script_reset(struct script_connection *c);
/* Say nothing until the other side hangs up. */
void script_hang(struct script_connection *c);

#endif
