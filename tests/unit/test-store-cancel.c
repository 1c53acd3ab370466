/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Letting go of what waits: transfers that a server does not answer, those
 * in the queue behind them, and pauses between tries. */
#include "config.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "store/retry.h"
#include "tests/lib/faulty-store.h"
#include "tests/tap.h"
#include "tests/unit/http-client.h"

#define WAITERS 3 /* for two connections */
#define SOON_MS 5000

static struct error err;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void sleep_ms(long ms)
{
	struct timespec ts = { 0, ms * 1000000 };

	nanosleep(&ts, NULL);
}

/* One request or call in a thread of its own, and what became of it. */
struct waiter {
	pthread_t thread;
	struct http *http;
	struct http_request request;
	struct store *store;
	struct error err;
	int ret;
};

static void *ask_server(void *arg)
{
	struct waiter *w = arg;
	struct http_response response;

	w->ret = http_perform(w->http, &w->request, &response, &w->err);
	http_response_free(&response);
	return NULL;
}

static void *ask_store(void *arg)
{
	struct waiter *w = arg;
	struct object_info info;

	w->ret = store_stat(w->store, "k", &info, &w->err);
	return NULL;
}

static void check_cancelled(struct waiter *w, uint64_t begin, const char *what)
{
	pthread_join(w->thread, NULL);
	ok(now_ms() - begin < SOON_MS, "%s ends soon", what);
	fails_with((err = w->err, w->ret), &err, ERR_CANCELLED, "stopped",
		   what);
}

static void test_transfers(void)
{
	static const struct http_options few = { .connections_max = 2 };
	static const struct answer silence = { "", HANG };
	struct waiter waiters[WAITERS] = { 0 };
	uint64_t begin;
	struct client c;

	client_begin(&c, serve_answer, &silence, &few);
	for (int i = 0; i < WAITERS; i++) {
		waiters[i].http = c.http;
		waiters[i].request = c.request;
		pthread_create(&waiters[i].thread, NULL, ask_server,
			       &waiters[i]);
	}
	for (begin = now_ms(); script_server_connections(c.server) < 2 &&
	     now_ms() - begin < SOON_MS;)
		sleep_ms(5);
	is_u64(script_server_connections(c.server), 2, "two are sent");
	begin = now_ms();
	http_cancel(c.http);
	for (int i = 0; i < WAITERS; i++)
		check_cancelled(&waiters[i], begin, "a transfer");
	begin = now_ms();
	fails_with(client_perform(&c, &err), &err, ERR_CANCELLED, "stopped",
		   "a later one");
	ok(now_ms() - begin < SOON_MS, "fails soon");
	client_end(&c);
}

/* Tries that are minutes apart. */
static void test_pauses(void)
{
	static const struct retry_options slow = {
		.base_ms = 600000, .pause_max_ms = 600000, .attempts = 1000,
		.timeout_ms = 2000000,
	};
	struct faults faults = {
		.calls = 1 << FAULTY_STAT,
		.fail_every = 1,
		.fail_kind = ERR_NETWORK,
	};
	char dir[] = "/tmp/vmiefs-test.XXXXXX";
	struct store *file, *faulty;
	struct waiter waiter = { 0 };
	uint64_t begin;

	ok(mkdtemp(dir), "a directory");
	succeeds(file_store_open(&file, dir, &err), &err, "a store");
	succeeds(faulty_store_new(&faulty, file, &faults, &err), &err,
		 "that fails");
	succeeds(retry_store_new(&waiter.store, faulty, &slow, &err), &err,
		 "and is tried again");
	pthread_create(&waiter.thread, NULL, ask_store, &waiter);
	sleep_ms(200);
	begin = now_ms();
	store_cancel(waiter.store);
	check_cancelled(&waiter, begin, "a pause");
	store_close(waiter.store);
	rmdir(dir);
}

int main(void)
{
	test_transfers();
	test_pauses();
	return tap_done();
}
