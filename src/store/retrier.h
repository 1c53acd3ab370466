/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Trying again what failed for a passing reason (ERR_NETWORK, and ERR_TIMEOUT
 * of a single try): at most so many times and until a deadline for the whole
 * call, with full jitter and never sooner than the server asked for. The last
 * cause is the text of the final error, with the number of tries.
 *
 * Threads: everything may be called from any thread, in parallel. */
#ifndef VMIEFS_RETRIER_H
#define VMIEFS_RETRIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct json_t; /* of jansson */
struct retrier;
struct retry_clock;

struct retry_options {
	unsigned int timeout_ms; /* of a call with all its tries; 0 = 60 s */
	unsigned int attempts;   /* 0 = 10 */
	unsigned int base_ms;    /* the first pause is 0..base; 0 = 200 */
	unsigned int pause_max_ms; /* 0 = 20 s */
};

/* One call with all its tries: the caller's struct begins with it. Lives until
 * retrier_run() returns. */
struct retry_call {
	int (*make_try)(struct retry_call *call, struct error *err);
	unsigned int kind;    /* index of the retrier's kinds */
	const char *url, *key; /* for the log */
	unsigned int timeout_ms, attempts; /* 0 = the retrier's */
	const atomic_bool *cancelled; /* ends the tries; NULL: nothing does
				       * but retrier_cancel() */
	bool is_final;        /* set by a try: no more, whatever the error */

	/* The retrier's own. */
	struct retrier *retrier;
	uint64_t begun_ms, deadline_ms;
	unsigned int tries;
	const struct retry_call *outer; /* in whose try this call is made */
};

/* kinds: what calls are counted by, in logs and stats; NULL-ended, borrowed
 * for ever. clock is copied; NULL: the real one. */
int retrier_new(struct retrier **out, const struct retry_options *options,
		const char *const *kinds, const struct retry_clock *clock,
		struct error *err);
struct retrier *retrier_ref(struct retrier *retrier);
void retrier_unref(struct retrier *retrier); /* NULL is legal */

/* The options without zeroes. */
const struct retry_options *retrier_options(const struct retrier *retrier);

/* Make tries until one succeeds or there is no point in another. A call made
 * within the try of another one ends by that one's deadline, too. */
int retrier_run(struct retrier *retrier, struct retry_call *call,
		struct error *err);

/* Wait; false if it was ended by retrier_cancel(), or by retrier_wake() with
 * *cancelled (NULL: none) set. */
bool retrier_pause(struct retrier *retrier, uint64_t ms,
		   const atomic_bool *cancelled);

/* Somebody's `cancelled` has been set. */
void retrier_wake(struct retrier *retrier);

/* End all pauses, now and later: calls fail with ERR_CANCELLED. */
void retrier_cancel(struct retrier *retrier);

/* Add to object: {"read": {"calls": 7, "retries": 1, "failed": 0}, ...}. */
int retrier_stats(struct retrier *retrier, struct json_t *object,
		  struct error *err);

/* Milliseconds that the calling thread's current try may take: what is left
 * of its deadline. A large number outside of one. */
unsigned int retry_time_left_ms(void);

#endif
