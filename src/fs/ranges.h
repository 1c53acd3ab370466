/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A set of bytes as ascending ranges, none of which touch. Its memory is held
 * against a budget.
 *
 * Threads: one at a time. */
#ifndef VMIEFS_RANGES_H
#define VMIEFS_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define RANGES_MAX (1u << 20) /* in one set: 16 MiB */

struct budget;

struct range {
	uint64_t begin, end; /* [begin, end), not empty */
};

/* Zero-initialise but for budget (NULL: unbounded); ranges_free() at the
 * end. */
struct ranges {
	struct budget *budget;
	struct range *at;
	size_t count, room;
	uint64_t bytes; /* in all of them */
};

/* Add or take out [begin, end). ERR_LIMIT above RANGES_MAX, ERR_NOMEM; the
 * set is as before then. */
int ranges_add(struct ranges *ranges, uint64_t begin, uint64_t end,
	       struct error *err);
int ranges_remove(struct ranges *ranges, uint64_t begin, uint64_t end,
		  struct error *err);

/* How many bytes of [begin, end) are in no range. */
uint64_t ranges_missing(const struct ranges *ranges, uint64_t begin,
			uint64_t end);

/* The first range that ends behind `from`; false where there is none. */
bool ranges_find(const struct ranges *ranges, uint64_t from,
		 struct range *found);

/* Where the last one ends; 0 for an empty set. */
uint64_t ranges_end(const struct ranges *ranges);

void ranges_free(struct ranges *ranges);

#endif
