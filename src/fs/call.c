/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests that are answered later.
 *
 * References: one for who holds the call, one for the interrupt handler, which
 * who answers takes back first. Taking it back waits for a handler that runs,
 * since libfuse holds the request's lock meanwhile; so no handler ever sees a
 * call that is gone.
 *
 * Threads: the interrupter waits for calls that were interrupted, gives each
 * GRACE_MS to end by itself, and answers it then if the caller has a signal
 * that waits. The kernel interrupts for more than Ctrl-C, but only once: for
 * Ctrl-Z, handlers of SIGCHLD or SIGALRM, a debugger, and io_uring's task work
 * without any signal. So whoever was interrupted is looked at until it is
 * answered. Few programs expect EINTR from a regular file, and from close()
 * none does: what is not stuck must not see it, and what is written is given
 * up only for a signal that means that. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "fs/call.h"
#include "fs/caller.h"
#include "fs/clock.h"

#define GRACE_MS 200
#define ASKED_MS 500 /* for what was asked to end: together below a second */

static void free_call(struct call *call)
{
	struct server *server = call->server;

	pthread_mutex_lock(&server->lock);
	ring_remove(&call->active);
	if (ring_is_empty(&server->active))
		pthread_cond_broadcast(&server->idle);
	pthread_mutex_unlock(&server->lock);
	free(call->name);
	free(call->entry_text);
	free(call);
}

/* What the call holds of others goes before it counts as ended. */
static void release_parts(struct call *call)
{
	struct disk_read *read = atomic_load(&call->read);

	disk_read_release(read);
	if (call->handle)
		handle_unref(call->server, call->handle);
	if (call->source)
		handle_unref(call->server, call->source);
	node_unref(call->server->fs->tree, call->node);
}

struct call *call_ref(struct call *call)
{
	atomic_fetch_add(&call->refs, 1);
	return call;
}

void call_unref(struct call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) != 1)
		return;
	release_parts(call);
	free_call(call);
}

/* libfuse holds the request's lock and keeps the request until this returns. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct call *call = data;
	struct server *server = call->server;

	(void)req;
	atomic_store(&call->interrupted_ns, clock_ns());
	pthread_mutex_lock(&server->lock);
	server->has_interrupted = true;
	pthread_cond_signal(&server->interrupted);
	pthread_mutex_unlock(&server->lock);
}

struct call *call_new(fuse_req_t req)
{
	struct server *server = server_of(req);
	struct call *call = calloc(1, sizeof(*call));

	if (!call) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	call->server = server;
	call->req = req;
	call->caller = fuse_req_ctx(req)->pid;
	atomic_init(&call->refs, 2);
	pthread_mutex_lock(&server->lock);
	ring_append(&server->active, &call->active);
	pthread_mutex_unlock(&server->lock);
	fuse_req_interrupt_func(req, on_interrupt, call);
	return call;
}

bool call_claim(struct call *call)
{
	if (atomic_exchange(&call->is_answered, true))
		return false;
	fuse_req_interrupt_func(call->req, NULL, NULL);
	call_unref(call); /* the handler's; the caller has another */
	return true;
}

bool call_goes_on(void *arg)
{
	return !atomic_load(&((struct call *)arg)->is_answered);
}

void call_fail(struct call *call, int errnum)
{
	if (call_claim(call))
		fuse_reply_err(call->req, errnum);
}

void call_fail_with(struct call *call, const struct error *err)
{
	call_fail(call, error_to_errno(err));
}

/* Either this sees the answer, or who gave it sees the read. */
void call_set_read(struct call *call, struct disk_read *read)
{
	if (!read)
		return;
	atomic_store(&call->read, read);
	if (atomic_load(&call->is_answered))
		disk_read_cancel(read);
}

void call_queue(struct call *call, struct pool *pool,
		void (*run)(struct job *job))
{
	call->job.run = run;
	pool_add(pool, &call->job, JOB_URGENT);
}

struct call *call_of_job(struct job *job)
{
	return ring_item(job, struct call, job);
}

struct call *call_of_want(struct want *want)
{
	return ring_item(want, struct call, want);
}

/* A reference unless the last one is gone. */
static bool try_ref(struct call *call)
{
	unsigned int refs = atomic_load(&call->refs);

	while (refs && !atomic_compare_exchange_weak(&call->refs, &refs,
						     refs + 1)) {
	}
	return refs;
}

/* A reference to some call that is not answered, or NULL. */
static struct call *find_open(struct server *server)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&server->lock);

	(void)held;
	for (struct ring *at = server->active.next; at != &server->active;
	     at = at->next) {
		struct call *call = ring_item(at, struct call, active);

		if (!atomic_load(&call->is_answered) && try_ref(call))
			return call;
	}
	return NULL;
}

/* The same of those whose time is over; *next becomes when the first of the
 * others is due, if that is sooner. */
static struct call *find_due(struct server *server, int64_t now, int64_t *next)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&server->lock);

	(void)held;
	for (struct ring *at = server->active.next; at != &server->active;
	     at = at->next) {
		struct call *call = ring_item(at, struct call, active);
		int64_t due = atomic_load(&call->interrupted_ns);

		if (!due || atomic_load(&call->is_answered))
			continue;
		due += GRACE_MS * NS_PER_MS;
		if (due <= now && try_ref(call))
			return call;
		if (due > now && due < *next)
			*next = due;
	}
	return NULL;
}

/* End a call for which this has a reference, and its work. */
static void abort_call(struct call *call, int errnum)
{
	void (*interrupt)(struct call *) = atomic_load(&call->interrupt);
	struct disk_read *read;

	if (interrupt)
		interrupt(call);
	call_fail(call, errnum);
	read = atomic_load(&call->read);
	if (read)
		disk_read_cancel(read);
	call_unref(call);
}

/* What can end by itself gets the time to tell how far it came. */
static bool ask_to_end(struct call *call)
{
	void (*interrupt)(struct call *) = atomic_load(&call->interrupt);

	if (!interrupt || call->was_asked)
		return false;
	call->was_asked = true;
	atomic_store(&call->interrupted_ns,
		     clock_ns() + (ASKED_MS - GRACE_MS) * NS_PER_MS);
	interrupt(call);
	call_unref(call);
	return true;
}

/* Does the caller want an end of it? */
static bool is_given_up(const struct call *call)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGQUIT, SIGKILL,
				      SIGTERM };
	uint64_t signals = caller_signals(call->caller), wanted = 0;

	if (!atomic_load(&call->interrupt))
		return signals;
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		wanted |= 1ull << (ending[i] - 1);
	return signals & wanted;
}

/* Answer all that are due; when to look again, INT64_MAX for never. */
static int64_t answer_due(struct server *server)
{
	int64_t next = INT64_MAX;
	struct call *call;

	while ((call = find_due(server, clock_ns(), &next))) {
		if (!call->was_asked && !is_given_up(call)) {
			atomic_store(&call->interrupted_ns, clock_ns());
			call_unref(call);
			continue;
		}
		if (ask_to_end(call))
			continue;
		fs_count(server->fs, FS_INTERRUPTED, 1);
		abort_call(call, EINTR);
	}
	return next;
}

static void *answer_interrupted(void *arg)
{
	struct server *server = arg;
	int64_t next = INT64_MAX;

	pthread_mutex_lock(&server->lock);
	while (!server->is_ending) {
		struct timespec until = timespec_of_ns(next);

		if (!server->has_interrupted && next == INT64_MAX)
			pthread_cond_wait(&server->interrupted, &server->lock);
		else if (!server->has_interrupted)
			pthread_cond_clockwait(&server->interrupted,
					       &server->lock, CLOCK_MONOTONIC,
					       &until);
		server->has_interrupted = false;
		pthread_mutex_unlock(&server->lock);
		next = answer_due(server);
		pthread_mutex_lock(&server->lock);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

int calls_start(struct server *server, struct error *err)
{
	int errnum = pthread_create(&server->interrupter, NULL,
				    answer_interrupted, server);

	if (errnum)
		return error_errno(err, errnum, "cannot start a thread");
	server->has_interrupter = true;
	return 0;
}

void calls_stop(struct server *server)
{
	if (!server->has_interrupter)
		return;
	pthread_mutex_lock(&server->lock);
	server->is_ending = true;
	pthread_cond_signal(&server->interrupted);
	pthread_mutex_unlock(&server->lock);
	pthread_join(server->interrupter, NULL);
	server->has_interrupter = false;
}

bool calls_abort(struct server *server, unsigned int wait_ms)
{
	struct timespec until = timespec_of_ns(clock_ns() +
					       wait_ms * NS_PER_MS);
	struct call *call;
	int ret = 0;

	while ((call = find_open(server)))
		abort_call(call, ENOTCONN);
	pthread_mutex_lock(&server->lock);
	while (!ret && !ring_is_empty(&server->active))
		ret = pthread_cond_clockwait(&server->idle, &server->lock,
					     CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&server->lock);
	return ret == 0;
}
