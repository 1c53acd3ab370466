/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Time that only moves forward. */
#ifndef VMIEFS_CLOCK_H
#define VMIEFS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS 1000000ll
#define NS_PER_S  1000000000ll

static inline int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static inline struct timespec timespec_of_ns(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / NS_PER_S,
				  .tv_nsec = ns % NS_PER_S };
}

#endif
