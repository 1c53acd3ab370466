/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * When to try again: retrier_run() is the one loop around all that does. */
#include "config.h"

#include <assert.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/pool.h"
#include "store/retry-internal.h"

#define DEFAULT_TIMEOUT_MS   60000
#define DEFAULT_ATTEMPTS     10
#define DEFAULT_BASE_MS      200
#define DEFAULT_PAUSE_MAX_MS 20000
#define KINDS_MAX            12

/* For control/stats. */
struct counters {
	atomic_ullong calls;
	atomic_ullong retries; /* tries behind the first */
	atomic_ullong failed;
};

struct retrier {
	atomic_uint refs;
	struct retry_options options; /* without zeroes */
	struct retry_clock clock;
	const char *const *kinds;
	struct counters counters[KINDS_MAX];

	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;  /* to those who pause */
	bool is_cancelled;
};

/* The call in which this thread makes a try. */
static __thread const struct retry_call *current;

static uint64_t real_now_ms(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t real_random(void *arg, uint64_t max)
{
	uint64_t number;

	/* Without entropy, the longest pause. */
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) !=
	    sizeof(number))
		return max;
	return number % (max + 1);
}

static const struct retry_clock real_clock = {
	.now_ms = real_now_ms,
	.random = real_random,
};

static unsigned int or_default(unsigned int value, unsigned int fallback)
{
	return value ? value : fallback;
}

int retrier_new(struct retrier **out, const struct retry_options *options,
		const char *const *kinds, const struct retry_clock *clock,
		struct error *err)
{
	struct retrier *retrier = calloc(1, sizeof(*retrier));
	size_t count = 0;

	*out = retrier;
	if (!retrier)
		return error_nomem(err);
	while (kinds[count])
		count++;
	assert(count <= KINDS_MAX);
	atomic_init(&retrier->refs, 1);
	pthread_mutex_init(&retrier->lock, NULL);
	pthread_cond_init(&retrier->wake, NULL);
	retrier->clock = clock ? *clock : real_clock;
	retrier->kinds = kinds;
	retrier->options = (struct retry_options){
		.timeout_ms = or_default(options->timeout_ms,
					 DEFAULT_TIMEOUT_MS),
		.attempts = or_default(options->attempts, DEFAULT_ATTEMPTS),
		.base_ms = or_default(options->base_ms, DEFAULT_BASE_MS),
		.pause_max_ms = or_default(options->pause_max_ms,
					   DEFAULT_PAUSE_MAX_MS),
	};
	return 0;
}

struct retrier *retrier_ref(struct retrier *retrier)
{
	atomic_fetch_add(&retrier->refs, 1);
	return retrier;
}

void retrier_unref(struct retrier *retrier)
{
	if (!retrier || atomic_fetch_sub(&retrier->refs, 1) > 1)
		return;
	pthread_mutex_destroy(&retrier->lock);
	pthread_cond_destroy(&retrier->wake);
	free(retrier);
}

const struct retry_options *retrier_options(const struct retrier *retrier)
{
	return &retrier->options;
}

static uint64_t now_ms(const struct retry_call *call)
{
	const struct retry_clock *clock = &call->retrier->clock;

	return clock->now_ms(clock->arg);
}

static uint64_t left_ms(const struct retry_call *call)
{
	uint64_t now = now_ms(call);

	return now < call->deadline_ms ? call->deadline_ms - now : 0;
}

unsigned int retry_time_left_ms(void)
{
	return current ? (unsigned int)min_u64(left_ms(current), UINT_MAX) :
			 UINT_MAX;
}

/* How long the pause after the last try may be: base, 2 base, 4 base, ..., and
 * at most half of the time that is left, so that the next try has some. */
static uint64_t longest_pause(const struct retry_call *call, uint64_t left)
{
	const struct retry_options *options = &call->retrier->options;
	uint64_t pause = options->base_ms;

	for (unsigned int i = 1; i < call->tries; i++)
		pause = min_u64(pause * 2, options->pause_max_ms);
	return min_u64(min_u64(pause, options->pause_max_ms), left / 2);
}

static bool is_passing(const struct error *err)
{
	return err->kind == ERR_NETWORK || err->kind == ERR_TIMEOUT;
}

__attribute__((format(printf, 3, 4)))
static bool give_up(const struct retry_call *call, struct error *err,
		    const char *fmt, ...)
{
	size_t len = strlen(err->text);
	uint64_t took = now_ms(call) - call->begun_ms;
	char suffix[160];
	va_list args;
	int used;

	used = snprintf(suffix, sizeof(suffix),
			" (gave up after %u %s in %llu.%llu s",
			call->tries, call->tries == 1 ? "try" : "tries",
			(unsigned long long)(took / 1000),
			(unsigned long long)(took % 1000 / 100));
	va_start(args, fmt);
	vsnprintf(suffix + used, sizeof(suffix) - (size_t)used, fmt, args);
	va_end(args);
	/* A long cause is cut, not the count. */
	len = min_u64(len, sizeof(err->text) - 1 - strlen(suffix));
	memcpy(err->text + len, suffix, strlen(suffix) + 1);
	return false;
}

/* Lock held. */
static bool is_ended(const struct retrier *retrier,
		     const atomic_bool *cancelled)
{
	return retrier->is_cancelled || (cancelled && atomic_load(cancelled));
}

bool retrier_pause(struct retrier *retrier, uint64_t ms,
		   const atomic_bool *cancelled)
{
	const struct retry_clock *clock = &retrier->clock;
	uint64_t until = real_now_ms(NULL) + ms;
	struct timespec ts = { (time_t)(until / 1000),
			       (long)(until % 1000 * 1000000) };
	bool has_ended;
	int ret = 0;

	pool_blocking_begin();
	if (clock->sleep_ms)
		clock->sleep_ms(clock->arg, ms);
	pthread_mutex_lock(&retrier->lock);
	while (!clock->sleep_ms && !is_ended(retrier, cancelled) && !ret)
		ret = pthread_cond_clockwait(&retrier->wake, &retrier->lock,
					     CLOCK_MONOTONIC, &ts);
	has_ended = is_ended(retrier, cancelled);
	pthread_mutex_unlock(&retrier->lock);
	pool_blocking_end();
	return !has_ended;
}

void retrier_wake(struct retrier *retrier)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&retrier->lock);

	(void)held;
	pthread_cond_broadcast(&retrier->wake);
}

void retrier_cancel(struct retrier *retrier)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&retrier->lock);

	(void)held;
	retrier->is_cancelled = true;
	pthread_cond_broadcast(&retrier->wake);
}

/* After a failed try: wait for the next one. False = that was the last. */
static bool wait_for_next(struct retry_call *call, struct error *err)
{
	struct retrier *retrier = call->retrier;
	const struct retry_clock *clock = &retrier->clock;
	uint64_t left = left_ms(call), asked = err->remote.retry_after_ms;
	uint64_t pause;

	err->remote.attempts = call->tries;
	if (call->is_final || !is_passing(err))
		return false;
	if (left <= retrier->options.base_ms) {
		err->kind = ERR_TIMEOUT;
		return give_up(call, err, ")");
	}
	if (call->tries >= call->attempts)
		return give_up(call, err, ")");
	if (asked >= left)
		return give_up(call, err, "; the server asks to wait %llu s)",
			       (unsigned long long)asked / 1000);
	pause = clock->random(clock->arg, longest_pause(call, left));
	pause = max_u64(pause, asked);
	log_debug("%s %s/%s: try %u: %s; again in %llu ms",
		  retrier->kinds[call->kind], call->url, call->key,
		  call->tries, err->text, (unsigned long long)pause);
	if (retrier_pause(retrier, pause, call->cancelled))
		return true;
	error_set(err, ERR_CANCELLED, "stopped");
	return false;
}

static void count(const struct retry_call *call, int ret)
{
	struct counters *counters = &call->retrier->counters[call->kind];

	atomic_fetch_add(&counters->calls, 1);
	atomic_fetch_add(&counters->retries, call->tries - 1);
	if (ret)
		atomic_fetch_add(&counters->failed, 1);
}

static void begin(struct retrier *retrier, struct retry_call *call)
{
	const struct retry_options *options = &retrier->options;
	uint64_t most_ms;

	call->retrier = retrier;
	call->outer = current;
	call->tries = 0;
	call->is_final = false;
	call->attempts = or_default(call->attempts, options->attempts);
	most_ms = or_default(call->timeout_ms, options->timeout_ms);
	if (call->outer)
		most_ms = min_u64(most_ms, left_ms(call->outer));
	call->begun_ms = now_ms(call);
	call->deadline_ms = call->begun_ms + most_ms;
}

int retrier_run(struct retrier *retrier, struct retry_call *call,
		struct error *err)
{
	struct error own = { 0 };
	int ret;

	begin(retrier, call);
	do {
		call->tries++;
		error_clear(&own);
		current = call;
		ret = call->make_try(call, &own);
		current = call->outer;
	} while (ret && wait_for_next(call, &own));
	count(call, ret);
	if (ret && err)
		*err = own;
	return ret;
}

int retrier_stats(struct retrier *retrier, struct json_t *object,
		  struct error *err)
{
	for (size_t i = 0; retrier->kinds[i]; i++) {
		const struct counters *counters = &retrier->counters[i];
		json_t *kind = json_pack(
			"{s:I, s:I, s:I}",
			"calls", (json_int_t)counters->calls,
			"retries", (json_int_t)counters->retries,
			"failed", (json_int_t)counters->failed);

		if (json_object_set_new(object, retrier->kinds[i], kind))
			return error_nomem(err);
	}
	return 0;
}
