/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The thread pool: as many compute as there are cores, those that wait do not
 * count, urgent comes first, and nothing queued is lost. */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/pool.h"
#include "tests/tap.h"

#define JOBS 64

/* What the jobs of one test share. */
struct shared {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int inside, most, ended; /* under lock */
	unsigned int wanted; /* jobs wait until so many are inside */
	bool missed;         /* a job waited in vain */
	char order[JOBS + 1];
};

struct test_job {
	struct job job;
	struct shared *shared;
	char name;
};

static struct shared fresh(unsigned int wanted)
{
	return (struct shared){ .lock = PTHREAD_MUTEX_INITIALIZER,
				.changed = PTHREAD_COND_INITIALIZER,
				.wanted = wanted };
}

/* Wait until `wanted` jobs have come here, at most 10 seconds. */
static void meet(struct shared *s)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 10;
	pthread_mutex_lock(&s->lock);
	s->inside++;
	if (s->inside > s->most)
		s->most = s->inside;
	pthread_cond_broadcast(&s->changed);
	while (s->most < s->wanted && !s->missed)
		if (pthread_cond_timedwait(&s->changed, &s->lock, &end))
			s->missed = true;
	pthread_mutex_unlock(&s->lock);
}

static void leave(struct test_job *job)
{
	struct shared *s = job->shared;

	pthread_mutex_lock(&s->lock);
	s->inside--;
	s->order[s->ended++] = job->name;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void run_computing(struct job *job)
{
	struct test_job *self = (struct test_job *)job;

	meet(self->shared);
	leave(self);
}

static void run_waiting(struct job *job)
{
	struct test_job *self = (struct test_job *)job;

	pool_blocking_begin();
	meet(self->shared);
	pool_blocking_end();
	leave(self);
}

static struct pool *make_pool(unsigned int cores, unsigned int max_threads)
{
	struct pool *pool;
	struct error err;

	succeeds(pool_new(&pool, "test", cores, max_threads, &err), &err,
		 "pool");
	return pool;
}

static void add(struct pool *pool, struct test_job *jobs, unsigned int n,
		struct shared *shared, void (*run)(struct job *))
{
	for (unsigned int i = 0; i < n; i++) {
		jobs[i] = (struct test_job){ { run, NULL }, shared,
					     (char)('a' + i % 26) };
		pool_add(pool, &jobs[i].job, JOB_URGENT);
	}
}

static void wait_ended(struct shared *s, unsigned int n)
{
	pthread_mutex_lock(&s->lock);
	while (s->ended < n)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void test_computing(void)
{
	struct shared s = fresh(3);
	struct pool *pool = make_pool(3, 32);
	struct test_job jobs[JOBS];

	add(pool, jobs, JOBS, &s, run_computing);
	pool_free(pool);
	is_u64(s.ended, JOBS, "all ran");
	ok(!s.missed, "three at once");
	is_u64(s.most, 3, "and never more");
}

/* Jobs that come while a sleeping worker has been called, but is not awake
 * yet, get workers of their own. */
static void test_wakeups(void)
{
	struct pool *pool = make_pool(2, 8);
	unsigned int missed = 0;

	for (int i = 0; i < 200 && !missed; i++) {
		struct shared first = fresh(1), s = fresh(2);
		struct test_job jobs[2];

		add(pool, jobs, 1, &first, run_computing);
		wait_ended(&first, 1); /* one worker goes to sleep */
		add(pool, jobs, 2, &s, run_computing);
		wait_ended(&s, 2);
		missed += s.missed;
	}
	is_u64(missed, 0, "two jobs at once always find two workers");
	pool_free(pool);
}

static void test_waiting(void)
{
	struct shared s = fresh(16), more = fresh(1);
	struct pool *pool = make_pool(1, 16);
	struct test_job jobs[16], last[4];

	add(pool, jobs, 16, &s, run_waiting);
	add(pool, last, 4, &more, run_computing);
	wait_ended(&s, 16);
	ok(!s.missed, "sixteen wait at once on one core");
	pool_free(pool);
	is_u64(more.ended, 4, "those behind them ran, too");
	is_u64(more.most, 1, "one at a time");
}

static void test_thread_limit(void)
{
	struct shared s = fresh(4);
	struct pool *pool = make_pool(1, 4);
	struct test_job jobs[JOBS];

	add(pool, jobs, JOBS, &s, run_waiting);
	pool_free(pool);
	is_u64(s.ended, JOBS, "all ran");
	is_u64(s.most, 4, "no more threads than allowed");
}

static void test_priority(void)
{
	struct shared gate = fresh(2), s = fresh(1);
	struct pool *pool = make_pool(1, 1);
	struct test_job first, jobs[6];

	/* The only worker is held at the gate while the others queue up. */
	add(pool, &first, 1, &gate, run_computing);
	for (unsigned int i = 0; i < 6; i++) {
		jobs[i] = (struct test_job){ { run_computing, NULL }, &s,
					     "axbycz"[i] };
		pool_add(pool, &jobs[i].job,
			 i % 2 ? JOB_BACKGROUND : JOB_URGENT);
	}
	meet(&gate);
	pool_free(pool);
	is_str(s.order, "abcxyz", "urgent first, each in its order");
}

int main(void)
{
	test_computing();
	test_wakeups();
	test_waiting();
	test_thread_limit();
	test_priority();
	pool_free(make_pool(0, 0));
	pool_free(NULL);
	pool_blocking_begin();
	pool_blocking_end();
	ok(true, "blocking outside a pool does nothing");
	return tap_done();
}
