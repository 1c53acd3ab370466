/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The memory budget. The lock guards the counters only; reclaimers run
 * without it, since they release what they evict through budget_release(). */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "common/budget.h"
#include "common/error.h"
#include "common/pool.h"

#define RECLAIMERS_MAX 4
#define ASK_MS         100 /* who waits asks whether to go on */

struct budget {
	pthread_mutex_t lock;
	pthread_cond_t released;
	unsigned int waiters;       /* for that; under lock, as the rest */
	uint64_t limit, used, peak; /* bytes */
	unsigned int reclaimer_count;
	struct {
		budget_reclaim_fn *fn;
		void *arg;
	} reclaimers[RECLAIMERS_MAX];
};

int budget_new(struct budget **out, uint64_t limit_bytes, struct error *err)
{
	struct budget *budget = calloc(1, sizeof(*budget));

	*out = budget;
	if (!budget)
		return error_nomem(err);
	pthread_mutex_init(&budget->lock, NULL);
	pthread_cond_init(&budget->released, NULL);
	budget->limit = limit_bytes;
	return 0;
}

void budget_free(struct budget *budget)
{
	if (!budget)
		return;
	assert(budget->used == 0);
	pthread_mutex_destroy(&budget->lock);
	pthread_cond_destroy(&budget->released);
	free(budget);
}

void budget_add_reclaimer(struct budget *budget, budget_reclaim_fn *fn,
			  void *arg)
{
	assert(budget->reclaimer_count < RECLAIMERS_MAX);
	budget->reclaimers[budget->reclaimer_count].fn = fn;
	budget->reclaimers[budget->reclaimer_count].arg = arg;
	budget->reclaimer_count++;
}

/* How much is missing; 0 when the bytes were taken. */
static uint64_t take(struct budget *budget, uint64_t bytes)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&budget->lock);
	uint64_t left = budget->limit - budget->used;

	(void)held;
	if (bytes > left)
		return bytes - left;
	budget->used += bytes;
	if (budget->used > budget->peak)
		budget->peak = budget->used;
	return 0;
}

bool budget_try_free(struct budget *budget, uint64_t bytes)
{
	return take(budget, bytes) == 0;
}

bool budget_try(struct budget *budget, uint64_t bytes)
{
	uint64_t missing = take(budget, bytes);

	if (bytes > budget->limit)
		return false;
	for (unsigned int i = 0; missing && i < budget->reclaimer_count; i++) {
		budget->reclaimers[i].fn(budget->reclaimers[i].arg, missing);
		missing = take(budget, bytes);
	}
	return missing == 0;
}

int budget_reserve(struct budget *budget, uint64_t bytes, const char *what,
		   struct error *err)
{
	if (budget_try(budget, bytes))
		return 0;
	return error_set(err, ERR_NOMEM,
			 "%s needs %llu bytes of the %llu byte memory budget; "
			 "raise -o memory=", what, (unsigned long long)bytes,
			 (unsigned long long)budget->limit);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until so many bytes may be there, or a while has passed. */
static void wait_released(struct budget *budget, uint64_t bytes)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&budget->lock);
	struct timespec until;

	(void)held;
	if (bytes <= budget->limit - budget->used)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ASK_MS * 1000000l;
	if (until.tv_nsec >= 1000000000l) {
		until.tv_nsec -= 1000000000l;
		until.tv_sec++;
	}
	budget->waiters++;
	pthread_cond_clockwait(&budget->released, &budget->lock,
			       CLOCK_MONOTONIC, &until);
	budget->waiters--;
}

int budget_reserve_wait(struct budget *budget, uint64_t bytes,
			const char *what, const struct patience *patience,
			struct error *err)
{
	int64_t end = now_ms() + (patience ? patience->wait_ms : 0);

	while (!budget_try(budget, bytes)) {
		if (bytes > budget->limit || now_ms() >= end)
			return budget_reserve(budget, bytes, what, err);
		if (patience->goes_on && !patience->goes_on(patience->arg))
			return error_set(err, ERR_CANCELLED,
					 "was interrupted");
		pool_blocking_begin();
		wait_released(budget, bytes);
		pool_blocking_end();
	}
	return 0;
}

void budget_release(struct budget *budget, uint64_t bytes)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&budget->lock);

	(void)held;
	assert(bytes <= budget->used);
	budget->used -= bytes;
	if (budget->waiters)
		pthread_cond_broadcast(&budget->released);
}

struct budget_stats budget_stats(struct budget *budget)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&budget->lock);

	(void)held;
	return (struct budget_stats){ budget->limit, budget->used,
				      budget->peak };
}
