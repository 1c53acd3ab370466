/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A stored block of a block-mapped disk (VHD, VHDX) as pieces of an answer:
 * cut off where the container ends, and split into own and parent's sectors
 * where a sector bitmap says so. */
#ifndef VMIEFS_BLOCK_H
#define VMIEFS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/extents.h"

struct error;
struct source;

enum bit_order {
	BITS_MSB_FIRST, /* VHD */
	BITS_LSB_FIRST, /* VHDX */
};

struct block {
	uint64_t offset, length; /* in the disk, bytes */
	struct source *source;   /* where its bytes are stored */
	uint64_t at;             /* the first one's place in source */
	uint64_t end;            /* no stored byte lies at or behind it */
	bool cut_is_zero;        /* a tail behind end is ZERO, not BAD */
};

/* The bits of one block: 1 = the sector is in the block, 0 = the parent has
 * it. The first sector's bit starts a byte. */
struct sector_bitmap {
	struct source *tables; /* what to read it through */
	uint64_t at;           /* its first byte there, within the source */
	uint32_t sector_bytes;
	enum bit_order order;
};

/* Add the whole block as stored data. False when the answer is complete or
 * full. */
bool block_add_data(struct extents *ex, const struct block *block);

/* Add the block's sectors that the question asks for. Returns 0 also when the
 * answer is full or a later read of the bitmap failed: look at ex. */
int block_add_sectors(struct extents *ex, const struct block *block,
		      const struct sector_bitmap *bitmap, struct error *err);

/* How many bits from `from` on (from < to) are equal; *set is their value. */
size_t bit_run(const uint8_t *bits, size_t from, size_t to,
	       enum bit_order order, bool *set);

/* After a failed read in the middle of a question: 0 if pieces are there
 * already (the caller asks again from behind them and meets the error then),
 * else -1. */
int extents_stop_early(const struct extents *ex, struct error *err);

#endif
