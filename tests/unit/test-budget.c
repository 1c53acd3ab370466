/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The memory budget: it is a bound, reclaimers are asked in order and only
 * when needed, and that holds with many threads. */
#include "config.h"

#include <pthread.h>
#include <unistd.h>

#include "common/budget.h"
#include "tests/tap.h"

#define THREADS 8
#define ROUNDS  20000

/* A cache that holds bytes and gives them back when asked. */
struct cache {
	struct budget *budget;
	pthread_mutex_t lock;
	uint64_t held;
	unsigned int asked;
};

static uint64_t evict(void *arg, uint64_t bytes)
{
	struct cache *cache = arg;
	uint64_t freed;

	pthread_mutex_lock(&cache->lock);
	cache->asked++;
	freed = bytes < cache->held ? bytes : cache->held;
	cache->held -= freed;
	pthread_mutex_unlock(&cache->lock);
	budget_release(cache->budget, freed);
	return freed;
}

static void test_bound(struct budget *budget)
{
	struct error err;

	ok(budget_try(budget, 1000), "all of it");
	ok(!budget_try(budget, 1), "not a byte more");
	fails_with(budget_reserve(budget, 24, "a table", &err), &err,
		   ERR_NOMEM, "a table needs 24 bytes", "who and how much");
	ok(strstr(err.text, "-o memory="), "names the option");
	budget_release(budget, 400);
	ok(!budget_try(budget, 401), "too much");
	ok(budget_try(budget, 400), "what was released");
	ok(!budget_try(budget, UINT64_MAX), "no overflow");
	budget_release(budget, 1000);
	is_u64(budget_stats(budget).used, 0, "all back");
	is_u64(budget_stats(budget).peak, 1000, "the peak is kept");
	is_u64(budget_stats(budget).limit, 1000, "limit");
}

static void test_reclaim(struct budget *budget, struct cache *first,
			 struct cache *second)
{
	ok(budget_try(budget, 900), "two caches fill");
	first->held = 600;
	second->held = 300;
	ok(budget_try(budget, 100), "fits without asking");
	is_u64(first->asked, 0, "nobody was asked");
	ok(budget_try(budget, 200), "fits when the first gives");
	is_u64(first->held, 400, "it gave what was missing");
	is_u64(second->asked, 0, "the second was not asked");
	ok(budget_try(budget, 500), "fits when both give");
	is_u64(first->held + second->held, 200, "both gave");
	ok(!budget_try(budget, 1001), "more than the limit");
	is_u64(first->held + second->held, 200, "asks nobody in vain");
	ok(!budget_try(budget, 201), "more than all can give");
	budget_release(budget, 800);
	evict(first, 1000);
	evict(second, 1000);
	is_u64(budget_stats(budget).used, 0, "all back");
}

/* Reserve, sometimes leave it in the cache, else give it back. */
static void *hammer(void *arg)
{
	struct cache *cache = arg;
	uint64_t bad = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t bytes = 1 + i % 97;

		if (!budget_try(cache->budget, bytes))
			continue;
		if (budget_stats(cache->budget).used > 1000)
			bad++;
		if (i % 3) {
			budget_release(cache->budget, bytes);
			continue;
		}
		pthread_mutex_lock(&cache->lock);
		cache->held += bytes;
		pthread_mutex_unlock(&cache->lock);
	}
	return (void *)(uintptr_t)bad;
}

static void test_threads(struct budget *budget, struct cache *cache)
{
	pthread_t threads[THREADS];
	uintptr_t bad = 0;

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, hammer, cache))
			abort();
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(threads[i], &result);
		bad += (uintptr_t)result;
	}
	is_u64(bad, 0, "never above the limit");
	ok(budget_stats(budget).peak <= 1000, "nor was the peak");
	is_u64(budget_stats(budget).used, cache->held, "nothing was lost");
	evict(cache, 1000);
}

/* Waiting for what others hold. */

#define HELD 900

static void *release_later(void *arg)
{
	usleep(50000);
	budget_release(arg, HELD);
	return NULL;
}

static bool never(void *arg)
{
	++*(unsigned int *)arg;
	return false;
}

static void test_waiting(struct budget *budget)
{
	struct patience patience = { .wait_ms = 150 };
	struct error err = { 0 };
	unsigned int asked = 0;
	pthread_t thread;

	ok(budget_try(budget, HELD), "others hold most");
	fails_with(budget_reserve_wait(budget, 200, "it", NULL, &err), &err,
		   ERR_NOMEM, "-o memory=", "without patience");
	fails_with(budget_reserve_wait(budget, 200, "it", &patience, &err),
		   &err, ERR_NOMEM, "-o memory=", "the time is over");
	patience.wait_ms = 60000;
	fails_with(budget_reserve_wait(budget, 2000, "it", &patience, &err),
		   &err, ERR_NOMEM, "-o memory=", "what never fits");
	patience.goes_on = never;
	patience.arg = &asked;
	fails_with(budget_reserve_wait(budget, 200, "it", &patience, &err),
		   &err, ERR_CANCELLED, "interrupted", "nobody wants it");
	is_u64(asked, 1, "which was asked");
	patience.goes_on = NULL;
	if (pthread_create(&thread, NULL, release_later, budget))
		abort();
	succeeds(budget_reserve_wait(budget, 200, "it", &patience, &err),
		 &err, "others give it back");
	pthread_join(thread, NULL);
	is_u64(budget_stats(budget).used, 200, "it is taken");
	budget_release(budget, 200);
}

int main(void)
{
	struct cache first = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct cache second = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct budget *budget;
	struct error err;

	succeeds(budget_new(&budget, 1000, &err), &err, "budget");
	first.budget = second.budget = budget;
	test_bound(budget);
	test_waiting(budget);
	budget_add_reclaimer(budget, evict, &first);
	budget_add_reclaimer(budget, evict, &second);
	test_reclaim(budget, &first, &second);
	test_threads(budget, &first);
	budget_free(budget);
	budget_free(NULL);
	return tap_done();
}
