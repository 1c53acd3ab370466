/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The retry decorator with time and chance in other hands: for its test. */
#ifndef VMIEFS_RETRY_INTERNAL_H
#define VMIEFS_RETRY_INTERNAL_H

#include <stdint.h>

#include "store/retry.h"

struct retry_clock {
	uint64_t (*now_ms)(void *arg);
	/* NULL: a real sleep, which store_cancel() ends. */
	void (*sleep_ms)(void *arg, uint64_t ms);
	/* A number from 0 to max, both included. */
	uint64_t (*random)(void *arg, uint64_t max);
	void *arg;
};

/* As retry_store_new(); clock is copied. */
int retry_store_new_with_clock(struct store **out, struct store *inner,
			       const struct retry_options *options,
			       const struct retry_clock *clock,
			       struct error *err);

#endif
