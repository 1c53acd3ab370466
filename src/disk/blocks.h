/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The cache of blocks: aligned pieces of virtual disks, unpacked and ready to
 * be copied out. A block is LOADING while a job fills it, then ready; it can
 * be dropped when nobody uses it. Everything here needs the engine's lock
 * unless it says otherwise. */
#ifndef VMIEFS_BLOCKS_H
#define VMIEFS_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct blocks;
struct disk;
struct disk_read;
struct engine;

/* Bytes of a block that cannot be read, and why. */
struct bad_range {
	struct bad_range *next;
	uint32_t offset, length; /* within the block */
	enum error_kind kind;
	int errnum;
	struct error_remote remote;
	char text[];
};

/* A read that waits for a block. Lives in the read. */
struct waiter {
	struct waiter *next;
	struct disk_read *read;
};

struct block {
	struct block *chain;         /* the table's */
	struct block *newer, *older; /* the list of droppable blocks */
	struct disk *disk;
	uint64_t index;              /* offset / disk->block_bytes */
	uint32_t length;             /* valid bytes; short at the disk's end */
	unsigned int users;          /* reads that hold it */
	bool loading;
	bool ahead;                  /* read-ahead that nobody has used yet */
	void *data;                  /* NULL: all zeroes; disk->block_bytes */
	struct bad_range *bad;
	int64_t expires_ms;          /* failed for a passing reason: removed
				      * after this; 0 = never */
	struct waiter *waiters;      /* while loading */
};

int blocks_new(struct blocks **out, struct engine *engine, struct error *err);
void blocks_free(struct blocks *blocks); /* must be empty */

/* A block in no table yet, with memory for its data; NULL when the budget
 * does not allow it now. Without the lock. */
struct block *block_new(struct disk *disk, uint64_t index);

/* Free a block that is in no table. Without the lock. */
void block_free(struct block *block);

/* The same for blocks chained as they came out of the table. */
void blocks_free_chain(struct block *block);

/* The block if it is in the table, else NULL. */
struct block *block_find(struct blocks *blocks, const struct disk *disk,
			 uint64_t index);

/* Put a new block, loading, into the table. */
void block_insert(struct blocks *blocks, struct block *block);

/* Take and release a use. The last release makes it droppable; with drop it
 * is removed at once and returned for block_free(), else NULL. */
void block_use(struct blocks *blocks, struct block *block);
struct block *block_release(struct blocks *blocks, struct block *block,
			    bool drop);

/* The block is filled. Its waiters are the caller's to wake. */
struct waiter *block_ready(struct blocks *blocks, struct block *block);

/* Remove every block of a disk (none is in use); returns them chained. */
struct block *blocks_remove_disk(struct blocks *blocks,
				 const struct disk *disk);

/* Remove blocks that failed for a passing reason some time ago, so that the
 * next read tries again; chained as above. *left = whether others are still
 * waiting for their time. */
struct block *blocks_remove_expired(struct blocks *blocks, bool *left);

/* Record that a range of a loading block is bad. No lock: the job owns it. */
void block_add_bad(struct block *block, uint32_t offset, uint32_t length,
		   const struct error *why);

/* Forget all that block_add_bad() has recorded, before another fill. */
void block_forget_bad(struct block *block);

#endif
