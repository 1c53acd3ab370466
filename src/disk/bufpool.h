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

#include <pthread.h>
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

/* One buffer set aside, so that a step that needs memory can always be taken,
 * however full the budget is: those who get no other take turns with it. */
struct spare {
	pthread_mutex_t lock; /* held by who uses the buffer */
	void *buffer;
	size_t size;
};

int spare_init(struct spare *spare, struct bufpool *pool, size_t size,
	       struct error *err);
void spare_destroy(struct spare *spare, struct bufpool *pool);

/* buffer_get(), else the spare (at least size bytes), for which it may wait.
 * Who holds one spare may wait only for a later one of the same engine. */
void *spare_get(struct spare *spare, struct bufpool *pool, size_t size);
void spare_put(struct spare *spare, struct bufpool *pool, void *buffer,
	       size_t size);

#endif
