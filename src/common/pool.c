/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The thread pool.
 *
 * Threads: each worker takes a job when fewer than `cores` workers compute;
 * one that announces a wait (pool_blocking_begin) does not count meanwhile, so
 * another is woken or made. A worker that comes back from its wait goes on at
 * once, so slightly more than `cores` may compute for a moment. The lock is
 * never held while a job runs. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "common/pool.h"

#define STACK_BYTES (512 << 10)
#define PRIORITIES  2

struct queue {
	struct job *head, **tail;
};

struct pool {
	char name[12];
	unsigned int cores, max_threads;
	pthread_mutex_t lock;
	pthread_cond_t work; /* a job may be taken, or the pool is closing */
	struct queue queues[PRIORITIES];
	pthread_t *ids; /* room for max_threads */
	unsigned int threads, idle, computing;
	bool closing;
};

/* The pool whose worker this thread is. */
static __thread struct pool *own_pool;

int pool_new(struct pool **out, const char *name, unsigned int cores,
	     unsigned int max_threads, struct error *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	*out = pool;
	if (!pool)
		return error_nomem(err);
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	pool->cores = cores ? cores : online > 0 ? (unsigned int)online : 1;
	pool->max_threads = max_threads > pool->cores ? max_threads :
							pool->cores;
	pool->ids = calloc(pool->max_threads, sizeof(*pool->ids));
	if (!pool->ids) {
		free(pool);
		*out = NULL;
		return error_nomem(err);
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	for (int i = 0; i < PRIORITIES; i++)
		pool->queues[i].tail = &pool->queues[i].head;
	return 0;
}

unsigned int pool_cores(const struct pool *pool)
{
	return pool->cores;
}

static bool has_work(const struct pool *pool)
{
	return pool->queues[JOB_URGENT].head ||
	       pool->queues[JOB_BACKGROUND].head;
}

static struct job *take_job(struct pool *pool)
{
	for (int i = 0; i < PRIORITIES; i++) {
		struct queue *queue = &pool->queues[i];
		struct job *job = queue->head;

		if (!job)
			continue;
		queue->head = job->next;
		if (!queue->head)
			queue->tail = &queue->head;
		return job;
	}
	return NULL;
}

static void call_worker(struct pool *pool);

static void *work(void *arg)
{
	struct pool *pool = arg;
	struct job *job;

	own_pool = pool;
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!(has_work(pool) && pool->computing < pool->cores)) {
			if (pool->closing && !has_work(pool))
				goto out;
			pool->idle++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->idle--;
		}
		job = take_job(pool);
		assert(job);
		pool->computing++;
		/* Several jobs may have called one sleeper: who wakes passes
		 * the call on. */
		call_worker(pool);
		pthread_mutex_unlock(&pool->lock);
		job->run(job);
		pthread_mutex_lock(&pool->lock);
		pool->computing--;
	}
out:
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static int add_thread(struct pool *pool)
{
	pthread_t *id = &pool->ids[pool->threads];
	pthread_attr_t attr;
	int ret;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	ret = pthread_create(id, &attr, work, pool);
	pthread_attr_destroy(&attr);
	if (ret)
		return -1;
	pthread_setname_np(*id, pool->name);
	pool->threads++;
	return 0;
}

/* Somebody should look at the queue: wake or make a worker if one may
 * compute. Lock held. */
static void call_worker(struct pool *pool)
{
	if (!has_work(pool) || pool->computing >= pool->cores)
		return;
	if (pool->idle)
		pthread_cond_signal(&pool->work);
	else if (pool->threads < pool->max_threads && add_thread(pool) &&
		 pool->threads == 0)
		log_error("cannot start a thread; reads will wait");
}

void pool_add(struct pool *pool, struct job *job, enum job_priority priority)
{
	struct queue *queue = &pool->queues[priority];
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&pool->lock);

	(void)held;
	assert(!pool->closing);
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
	call_worker(pool);
}

void pool_blocking_begin(void)
{
	struct pool *pool = own_pool;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->computing--;
	call_worker(pool);
	pthread_mutex_unlock(&pool->lock);
}

void pool_blocking_end(void)
{
	struct pool *pool = own_pool;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->computing++;
	pthread_mutex_unlock(&pool->lock);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->work);
	/* What libraries keep for a thread is freed at its very end, which has
	 * to come before their own clean-up at the end of the process. A
	 * worker may still call another one, until the last has ended. */
	for (unsigned int i = 0; i < pool->threads; i++) {
		pthread_mutex_unlock(&pool->lock);
		pthread_join(pool->ids[i], NULL);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->work);
	free(pool->ids);
	free(pool);
}
