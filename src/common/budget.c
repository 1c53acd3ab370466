/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The memory budget. The lock guards the counters only; reclaimers run
 * without it, since they release what they evict through budget_release(). */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "common/budget.h"
#include "common/error.h"

#define RECLAIMERS_MAX 4

struct budget {
	pthread_mutex_t lock;
	uint64_t limit, used, peak; /* bytes; under lock */
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
	budget->limit = limit_bytes;
	return 0;
}

void budget_free(struct budget *budget)
{
	if (!budget)
		return;
	assert(budget->used == 0);
	pthread_mutex_destroy(&budget->lock);
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

void budget_release(struct budget *budget, uint64_t bytes)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&budget->lock);

	(void)held;
	assert(bytes <= budget->used);
	budget->used -= bytes;
}

struct budget_stats budget_stats(struct budget *budget)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&budget->lock);

	(void)held;
	return (struct budget_stats){ budget->limit, budget->used,
				      budget->peak };
}
