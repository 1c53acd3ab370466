/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Checked arithmetic for numbers that come from a file or the network. Each
 * returns true and stores the result, or returns false on overflow. */
#ifndef VMIEFS_CHECKED_H
#define VMIEFS_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

/* True if [off, off + len) lies within [0, size). */
static inline bool in_range(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline bool is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static inline uint64_t div_round_up(uint64_t n, uint64_t d)
{
	return n / d + (n % d != 0);
}

static inline uint64_t round_down(uint64_t n, uint64_t multiple)
{
	return n - n % multiple;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
