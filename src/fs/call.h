/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A request that is answered later, from another thread, and that its caller
 * may give up meanwhile (Ctrl-C): then it is answered EINTR soon, whatever the
 * store does, and the work behind it comes to nothing.
 *
 * Threads: who takes up a call first, by call_claim(), answers it. Everything
 * may be called from any thread. */
#ifndef VMIEFS_CALL_H
#define VMIEFS_CALL_H

#include "fs/server.h"

struct call {
	/* What operations keep here between their steps. */
	struct job job;
	struct want want;
	struct node *node;            /* a reference, or NULL */
	struct handle *handle;        /* a reference, or NULL */
	char *name;                   /* owned */
	struct listing_entry entry;   /* its texts are in entry_text */
	char *entry_text;             /* owned */
	struct fuse_file_info fi;
	size_t size;
	uint64_t offset;
	int whence;
	unsigned int attempts;
	struct export_op op;          /* ops-write.c */
	uint64_t done;                /* bytes that were written before op */
	pid_t process;
	bool is_setattr, is_late;
	struct handle *source;        /* ops-write.c: a reference, or NULL */
	struct to *to;                /* ops-change.c */
	/* Asked to end the work soon, which then answers; NULL: the call is
	 * answered without it. */
	void (*_Atomic interrupt)(struct call *call);

	/* The module's own. */
	struct server *server;
	fuse_req_t req;
	pid_t caller; /* the thread */
	atomic_uint refs;
	atomic_bool is_answered;
	_Atomic(int64_t) interrupted_ns; /* when; 0 = not */
	bool was_asked; /* the interrupter's: by interrupt() */
	_Atomic(struct disk_read *) read;
	struct ring active;
};

/* Start and end the thread that answers interrupted calls. Stopping is legal
 * where starting has failed or was not tried. */
int calls_start(struct server *server, struct error *err);
void calls_stop(struct server *server);

/* With one reference for the caller. NULL when it has been answered already
 * (out of memory). */
struct call *call_new(fuse_req_t req);
struct call *call_ref(struct call *call);
void call_unref(struct call *call);

/* True: the caller must now answer call->req, once. False: it was answered;
 * call->req is gone. */
MUST_CHECK bool call_claim(struct call *call);

/* Does the caller still wait? arg is the call. */
bool call_goes_on(void *arg);

/* Answer with an error, unless it was answered. */
void call_fail(struct call *call, int errnum);
void call_fail_with(struct call *call, const struct error *err);

/* The engine works for this call: interrupt it too. Takes the handle over. */
void call_set_read(struct call *call, struct disk_read *read);

/* Run in a pool. The caller's reference goes to the job. */
void call_queue(struct call *call, struct pool *pool,
		void (*run)(struct job *job));
struct call *call_of_job(struct job *job);
struct call *call_of_want(struct want *want);

/* Before unmounting: answer all that are open, then wait until their work has
 * ended or the time is over. False if it was. */
bool calls_abort(struct server *server, unsigned int wait_ms);

#endif
