/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Buffers of power-of-two sizes, counted against the memory budget. Returned
 * ones are kept for reuse (a fresh mapping costs page faults that are slower
 * than unpacking into it) until the budget asks for them back.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_BUFPOOL_H
#define VMIEFS_BUFPOOL_H

#include <stddef.h>
#include <stdint.h>

struct bufpool;
struct budget;
struct error;

#define BUFFER_BYTES_MAX (4u << 20)

/* Registers itself as a reclaimer of the budget. */
int bufpool_new(struct bufpool **out, struct budget *budget,
		struct error *err);
void bufpool_free(struct bufpool *pool); /* all buffers must be back */

/* Where buffers may come from before the budget's reclaimers unmap free ones:
 * fn drops what it keeps in buffers, at least `bytes` if it can, by
 * buffer_put(). Set before threads use the pool. */
void bufpool_set_recycler(struct bufpool *pool,
			  uint64_t (*fn)(void *arg, uint64_t bytes),
			  void *arg);

/* A buffer of at least `size` bytes (1..BUFFER_BYTES_MAX), page-aligned from
 * 4 KiB on; NULL when the budget does not allow it now. */
void *buffer_get(struct bufpool *pool, size_t size);

/* size as given to buffer_get(). NULL is legal. */
void buffer_put(struct bufpool *pool, void *buffer, size_t size);

#endif
