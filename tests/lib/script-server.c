/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The scripted TCP server.
 *
 * Threads: one accepts, one a connection. The lock guards the table of
 * connections; a descriptor is closed under it, so that stopping never shuts
 * down a number that was given to somebody else. */
#include "config.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/script-server.h"

#define CONNECTIONS_MAX 1024

struct script_server {
	script_fn *fn;
	void *arg;
	struct script_transport transport;
	int listener;
	unsigned short port;
	pthread_t acceptor;
	pthread_mutex_t lock;
	unsigned int count, open;
	bool stopping;
	int fds[CONNECTIONS_MAX]; /* -1 = closed */
	pthread_t threads[CONNECTIONS_MAX];
};

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	abort();
}

static long plain_read(struct script_connection *c, void *data, size_t size)
{
	return read(c->fd, data, size);
}

static long plain_write(struct script_connection *c, const void *data,
			size_t size)
{
	return send(c->fd, data, size, MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
	struct script_connection *c = arg;
	struct script_server *server = c->server;
	const struct script_transport *transport = &server->transport;

	if (!transport->begin || transport->begin(c, transport->arg)) {
		server->fn(c);
		if (transport->end)
			transport->end(c);
	}
	pthread_mutex_lock(&server->lock);
	server->fds[c->number] = -1;
	server->open--;
	close(c->fd);
	pthread_mutex_unlock(&server->lock);
	free(c);
	return NULL;
}

static void add_connection(struct script_server *server, int fd)
{
	struct script_connection *c = calloc(1, sizeof(*c));
	int on = 1;

	must(c != NULL, "calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	pthread_mutex_lock(&server->lock);
	assert(server->count < CONNECTIONS_MAX);
	c->server = server;
	c->fd = fd;
	c->number = server->count++;
	c->arg = server->arg;
	server->open++;
	server->fds[c->number] = fd;
	must(!pthread_create(&server->threads[c->number], NULL, serve, c),
	     "thread");
	if (server->stopping)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&server->lock);
}

static void *accept_all(void *arg)
{
	struct script_server *server = arg;
	int fd;

	while ((fd = accept(server->listener, NULL, NULL)) >= 0)
		add_connection(server, fd);
	return NULL;
}

struct script_server *
script_server_start(script_fn *fn, void *arg,
		    const struct script_transport *transport)
{
	struct script_server *server = calloc(1, sizeof(*server));
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	sigset_t pipe_signal, before;

	must(server != NULL, "calloc");
	server->fn = fn;
	server->arg = arg;
	if (transport)
		server->transport = *transport;
	else
		server->transport = (struct script_transport){
			.read = plain_read, .write = plain_write };
	pthread_mutex_init(&server->lock, NULL);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(server->listener >= 0, "socket");
	must(!bind(server->listener, (struct sockaddr *)&address, len), "bind");
	must(!listen(server->listener, 256), "listen");
	must(!getsockname(server->listener, (struct sockaddr *)&address, &len),
	     "getsockname");
	server->port = ntohs(address.sin_port);
	/* The code under test has to care for SIGPIPE itself. */
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
	must(!pthread_create(&server->acceptor, NULL, accept_all, server),
	     "thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return server;
}

unsigned short script_server_port(const struct script_server *server)
{
	return server->port;
}

unsigned int script_server_connections(struct script_server *server)
{
	unsigned int count;

	pthread_mutex_lock(&server->lock);
	count = server->count;
	pthread_mutex_unlock(&server->lock);
	return count;
}

unsigned int script_server_open(struct script_server *server)
{
	unsigned int count;

	pthread_mutex_lock(&server->lock);
	count = server->open;
	pthread_mutex_unlock(&server->lock);
	return count;
}

void script_server_stop(struct script_server *server)
{
	if (!server)
		return;
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	for (unsigned int i = 0; i < server->count; i++)
		if (server->fds[i] >= 0)
			shutdown(server->fds[i], SHUT_RDWR);
	pthread_mutex_unlock(&server->lock);
	shutdown(server->listener, SHUT_RDWR);
	pthread_join(server->acceptor, NULL);
	for (unsigned int i = 0; i < server->count; i++)
		pthread_join(server->threads[i], NULL);
	close(server->listener);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

static size_t announced_body(const char *headers)
{
	static const char name[] = "content-length:";

	for (const char *line = headers; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncasecmp(line, name, strlen(name)))
			return strtoul(line + strlen(name), NULL, 10);
	}
	return 0;
}

static void keep_body(struct script_connection *c, const void *data, size_t n)
{
	if (c->body && c->body_len + n <= c->body_max)
		memcpy(c->body + c->body_len, data, n);
}

bool script_hear_body(struct script_connection *c)
{
	size_t left = announced_body(c->request);
	unsigned char data[16384];

	while (left) {
		long n = c->server->transport.read(
			c, data, left < sizeof(data) ? left : sizeof(data));

		if (n <= 0)
			return false;
		for (long i = 0; i < n; i++)
			c->body_sum = c->body_sum * 31 + data[i];
		keep_body(c, data, (size_t)n);
		c->body_len += (size_t)n;
		left -= (size_t)n;
	}
	return true;
}

bool script_hear_headers(struct script_connection *c)
{
	size_t len = 0;

	c->body_len = 0;
	c->body_sum = 0;
	/* Byte by byte, so that nothing behind the headers is swallowed. */
	while (len < sizeof(c->request) - 1) {
		if (c->server->transport.read(c, c->request + len, 1) != 1)
			return false;
		c->request[++len] = '\0';
		if (len >= 4 && !strcmp(c->request + len - 4, "\r\n\r\n"))
			return true;
	}
	return false;
}

bool script_hear(struct script_connection *c)
{
	return script_hear_headers(c) && script_hear_body(c);
}

void script_be_deaf(struct script_connection *c)
{
	struct pollfd hung_up = { c->fd, POLLRDHUP, 0 };

	poll(&hung_up, 1, -1);
}

bool script_peek(struct script_connection *c, char *byte)
{
	return c->server->transport.read(c, byte, 1) == 1;
}

bool script_send(struct script_connection *c, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		long n = c->server->transport.write(c, at, len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool script_say(struct script_connection *c, const char *text)
{
	return script_send(c, text, strlen(text));
}

void script_reset(struct script_connection *c)
{
	struct linger linger = { .l_onoff = 1 };

	/* With it, the close() that follows sends RST. */
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void script_hang(struct script_connection *c)
{
	char data[4096];

	while (c->server->transport.read(c, data, sizeof(data)) > 0)
		;
}
