/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Where bytes of a file wait that came out of order or may change again: a
 * sparse file, in memory while it is small and in scratch space from then on.
 * It knows which bytes were written.
 *
 * Threads: one at a time. Calls may block on the disk. */
#ifndef VMIEFS_SPOOL_H
#define VMIEFS_SPOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/ranges.h"

#define SPOOL_MEMORY_BYTES (8u << 20) /* then it moves to scratch space */

struct scratch;
struct spool;

/* Nothing is opened before the first write. scratch and budget are
 * borrowed. */
int spool_new(struct spool **out, struct scratch *scratch,
	      struct budget *budget, struct error *err);
void spool_free(struct spool *spool); /* NULL is legal */

int spool_write(struct spool *spool, uint64_t offset, const void *data,
		size_t length, struct error *err);

/* Write zeroes, for which no space is needed. */
int spool_write_zeroes(struct spool *spool, uint64_t offset, uint64_t length,
		       struct error *err);

/* Forget what was written to a range, and give its space back. */
int spool_forget(struct spool *spool, uint64_t offset, uint64_t length,
		 struct error *err);

/* Read; what was not written reads as zeroes. */
int spool_read(struct spool *spool, uint64_t offset, void *buf, size_t length,
	       struct error *err);

/* The first stored bytes in [begin, end), which was written; zeroes that need
 * no space are left out. False where there are none. */
bool spool_next_stored(const struct spool *spool, uint64_t begin, uint64_t end,
		       struct range *found);

/* What was written and not forgotten; borrowed, changes with each call. */
const struct ranges *spool_ranges(const struct spool *spool);

/* The space it takes, and whether that is memory. */
uint64_t spool_bytes(const struct spool *spool);
bool spool_is_in_memory(const struct spool *spool);

#endif
