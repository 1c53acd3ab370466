/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Some requests at a time.
 *
 * Threads: jobs of the client's pool take the work; the caller only waits, so
 * that it hears soon when it is to give up, whatever a request takes. A job
 * never waits for another one. */
#include "config.h"

#include <string.h>
#include <time.h>

#include "common/checked.h"
#include "common/pool.h"
#include "store/s3-client.h"
#include "store/s3-parallel.h"

#define THREADS_MAX 16
#define LOOK_NS     200000000

struct worker {
	struct job job; /* first: a job is cast to it */
	struct s3_parallel *parallel;
};

void s3_parallel_init(struct s3_parallel *parallel, struct s3_client *client,
		      bool (*goes_on)(void *arg), void *arg)
{
	memset(parallel, 0, sizeof(*parallel));
	parallel->client = client;
	parallel->goes_on = goes_on;
	parallel->arg = arg;
	pthread_mutex_init(&parallel->lock, NULL);
	pthread_cond_init(&parallel->changed, NULL);
}

void s3_parallel_destroy(struct s3_parallel *parallel)
{
	pthread_cond_destroy(&parallel->changed);
	pthread_mutex_destroy(&parallel->lock);
}

/* Lock held. */
static void fail(struct s3_parallel *parallel, const struct error *error)
{
	if (parallel->error.kind)
		return; /* what others end with then is only a consequence */
	parallel->error = *error;
	atomic_store(&parallel->stop, true);
	s3_client_wake(parallel->client);
}

static void run_worker(struct job *job)
{
	struct s3_parallel *parallel = ((struct worker *)job)->parallel;

	pthread_mutex_lock(&parallel->lock);
	while (!parallel->error.kind && parallel->next < parallel->count) {
		size_t i = parallel->next++;
		struct error err = { 0 };
		int ret;

		pthread_mutex_unlock(&parallel->lock);
		ret = parallel->work(parallel->arg, i, &err);
		pthread_mutex_lock(&parallel->lock);
		if (ret)
			fail(parallel, &err);
	}
	parallel->running--;
	/* All may be gone when the lock is. */
	pthread_cond_broadcast(&parallel->changed);
	pthread_mutex_unlock(&parallel->lock);
}

/* Lock held; it is let go meanwhile. */
static void look(struct s3_parallel *parallel)
{
	struct error error = { 0 };
	bool goes_on;

	pthread_mutex_unlock(&parallel->lock);
	goes_on = parallel->goes_on(parallel->arg);
	pthread_mutex_lock(&parallel->lock);
	if (goes_on)
		return;
	error_set(&error, ERR_CANCELLED, "was cancelled");
	fail(parallel, &error);
}

static void wait_all(struct s3_parallel *parallel)
{
	struct timespec until;

	pool_blocking_begin();
	pthread_mutex_lock(&parallel->lock);
	while (parallel->running) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_clockwait(&parallel->changed, &parallel->lock,
				       CLOCK_MONOTONIC, &until);
		if (parallel->running && !parallel->error.kind)
			look(parallel);
	}
	pthread_mutex_unlock(&parallel->lock);
	pool_blocking_end();
}

int s3_parallel_run(struct s3_parallel *parallel, unsigned int threads,
		    size_t count,
		    int (*work)(void *arg, size_t i, struct error *err),
		    struct error *err)
{
	struct worker workers[THREADS_MAX];

	threads = (unsigned int)min_u64(min_u64(threads, THREADS_MAX), count);
	parallel->work = work;
	parallel->next = 0;
	parallel->count = count;
	parallel->running = threads;
	for (unsigned int i = 0; i < threads; i++) {
		workers[i] = (struct worker){ { .run = run_worker },
					      parallel };
		pool_add(s3_client_pool(parallel->client), &workers[i].job,
			 JOB_URGENT);
	}
	wait_all(parallel);
	if (!parallel->error.kind)
		return 0;
	if (err)
		*err = parallel->error;
	return -1;
}
