/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests that are answered later.
 *
 * References: one for who holds the call, one for the interrupt handler. The
 * handler's goes with the answer: either the handler answers and drops it, or
 * who answers has taken the handler back first. Taking it back waits for a
 * handler that runs, since libfuse holds the request's lock meanwhile; so no
 * handler ever sees a call that is gone. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/call.h"
#include "fs/clock.h"

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

/* The caller was interrupted. libfuse holds the request's lock and keeps the
 * request until this returns, except while it is being registered: answering
 * then would free the request under libfuse's hands, so call_new() does. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct call *call = data;
	struct disk_read *read;

	atomic_store(&call->is_interrupted, true);
	if (atomic_load(&call->is_registering) ||
	    atomic_exchange(&call->is_answered, true))
		return;
	fs_count(call->server->fs, FS_INTERRUPTED, 1);
	fuse_reply_err(req, EINTR);
	read = atomic_load(&call->read);
	if (read)
		disk_read_cancel(read);
	call_unref(call);
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
	atomic_init(&call->refs, 2);
	atomic_init(&call->is_registering, true);
	pthread_mutex_lock(&server->lock);
	ring_append(&server->active, &call->active);
	pthread_mutex_unlock(&server->lock);
	fuse_req_interrupt_func(req, on_interrupt, call);
	atomic_store(&call->is_registering, false);
	if (atomic_load(&call->is_interrupted)) {
		call_fail(call, EINTR);
		call_unref(call);
		return NULL;
	}
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

void call_fail(struct call *call, int errnum)
{
	if (call_claim(call))
		fuse_reply_err(call->req, errnum);
}

void call_fail_with(struct call *call, const struct error *err)
{
	call_fail(call, error_to_errno(err));
}

/* Either this sees the interrupt, or the handler sees the read. */
void call_set_read(struct call *call, struct disk_read *read)
{
	if (!read)
		return;
	atomic_store(&call->read, read);
	if (atomic_load(&call->is_interrupted))
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

/* A reference to some call that is not answered, or NULL. */
static struct call *find_open(struct server *server)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&server->lock);

	(void)held;
	for (struct ring *at = server->active.next; at != &server->active;
	     at = at->next) {
		struct call *call = ring_item(at, struct call, active);
		unsigned int refs = atomic_load(&call->refs);

		if (atomic_load(&call->is_answered))
			continue;
		while (refs && !atomic_compare_exchange_weak(&call->refs, &refs,
							     refs + 1)) {
		}
		if (refs)
			return call;
	}
	return NULL;
}

bool calls_abort(struct server *server, unsigned int wait_ms)
{
	struct timespec until = timespec_of_ns(clock_ns() +
					       wait_ms * NS_PER_MS);
	struct call *call;
	int ret = 0;

	while ((call = find_open(server))) {
		struct disk_read *read = atomic_load(&call->read);

		atomic_store(&call->is_interrupted, true);
		call_fail(call, ENOTCONN);
		if (read)
			disk_read_cancel(read);
		call_unref(call);
	}
	pthread_mutex_lock(&server->lock);
	while (!ret && !ring_is_empty(&server->active))
		ret = pthread_cond_timedwait(&server->idle, &server->lock,
					     &until);
	pthread_mutex_unlock(&server->lock);
	return ret == 0;
}
