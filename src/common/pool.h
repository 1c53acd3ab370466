/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A pool of threads for work that may both wait and compute. About as many
 * jobs run at once as there are cores; a job that waits for I/O says so with
 * pool_blocking_begin(), and another thread takes its place meanwhile, up to
 * max_threads. So CPU work never oversubscribes the machine and a store that
 * hangs costs threads, not cores. */
#ifndef VMIEFS_POOL_H
#define VMIEFS_POOL_H

#include "common/cleanup.h"

struct pool;
struct error;

/* Embedded in the caller's own struct; the pool never frees it. */
struct job {
	void (*run)(struct job *job);
	struct job *next; /* the pool's */
};

enum job_priority {
	JOB_URGENT,     /* somebody waits for it */
	JOB_BACKGROUND, /* read-ahead: runs when nothing urgent is queued */
};

/* Threads start with the first job, so a pool may be made before
 * daemonising. cores == 0: as many as the machine has. */
int pool_new(struct pool **out, const char *name, unsigned int cores,
	     unsigned int max_threads, struct error *err);

/* How many jobs compute at once. */
unsigned int pool_cores(const struct pool *pool);

/* Refuses new jobs, runs those queued, waits for all and frees. */
void pool_free(struct pool *pool);

/* Queue a job. Never blocks. Fails only when not one thread can be made. */
void pool_add(struct pool *pool, struct job *job, enum job_priority priority);

/* Around a wait for I/O inside a job. Legal (and no-op) on other threads. */
void pool_blocking_begin(void);
void pool_blocking_end(void);

#endif
