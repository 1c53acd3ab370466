/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Blocks and sector bitmaps, common to VHD and VHDX. */
#include "config.h"

#include "common/checked.h"
#include "common/error.h"
#include "format/block.h"
#include "format/source.h"

#define BITMAP_READ 512 /* bytes of a bitmap read at once, on the stack */

int extents_stop_early(const struct extents *ex, struct error *err)
{
	if (ex->count == 0)
		return -1;
	if (err)
		error_clear(err);
	return 0;
}

static bool bit_at(const uint8_t *bits, size_t i, enum bit_order order)
{
	unsigned int shift = i % 8;

	return bits[i / 8] >> (order == BITS_MSB_FIRST ? 7 - shift : shift) & 1;
}

size_t bit_run(const uint8_t *bits, size_t from, size_t to,
	       enum bit_order order, bool *set)
{
	size_t i = from + 1;

	*set = bit_at(bits, from, order);
	while (i < to) {
		if (i % 8 == 0 && to - i >= 8 &&
		    bits[i / 8] == (*set ? 0xff : 0))
			i += 8;
		else if (bit_at(bits, i, order) == *set)
			i++;
		else
			break;
	}
	return i - from;
}

/* Add bytes [from, to) of the disk, which lie in the block. */
static bool add_stored(struct extents *ex, const struct block *block,
		       uint64_t from, uint64_t to)
{
	uint64_t here = block->end > block->at ? block->end - block->at : 0;
	uint64_t cut = block->offset + min_u64(block->length, here);

	if (from < cut && cut > extents_next(ex) &&
	    !extents_data(ex, from, min_u64(to, cut) - from, block->source,
			  block->at + (from - block->offset)))
		return false;
	if (to <= cut)
		return true;
	from = max_u64(from, cut);
	if (block->cut_is_zero)
		return extents_zero(ex, from, to - from);
	return extents_bad(ex, from, to - from,
			   "the container ends before this data");
}

bool block_add_data(struct extents *ex, const struct block *block)
{
	return add_stored(ex, block, block->offset,
			  block->offset + block->length);
}

/* Add the sectors [first, last) of the block; bits starts with the bit of
 * `first`. False when the answer is complete or full. */
static bool add_runs(struct extents *ex, const struct block *block,
		     const struct sector_bitmap *bitmap, const uint8_t *bits,
		     uint64_t first, uint64_t last)
{
	uint64_t block_end = block->offset + block->length;

	for (size_t i = 0; i < last - first;) {
		uint64_t from, to;
		bool set;
		size_t n = bit_run(bits, i, last - first, bitmap->order, &set);

		from = block->offset + (first + i) * bitmap->sector_bytes;
		to = min_u64(from + n * bitmap->sector_bytes, block_end);
		i += n;
		if (to <= extents_next(ex))
			continue;
		if (!(set ? add_stored(ex, block, from, to) :
			    extents_parent(ex, from, to - from)))
			return false;
	}
	return true;
}

int block_add_sectors(struct extents *ex, const struct block *block,
		      const struct sector_bitmap *bitmap, struct error *err)
{
	uint64_t end = min_u64(block->offset + block->length,
			       ex->offset + ex->length);
	uint64_t sector_bytes = bitmap->sector_bytes;
	uint64_t first = (extents_next(ex) - block->offset) / sector_bytes;
	uint64_t last = div_round_up(end - block->offset, sector_bytes);
	uint8_t bits[BITMAP_READ];

	first = round_down(first, 8);
	while (first < last) {
		uint64_t stop = min_u64(last, first + BITMAP_READ * 8);

		if (source_read(bitmap->tables, bitmap->at + first / 8, bits,
				div_round_up(stop - first, 8), ex->flags, err))
			return extents_stop_early(ex, err);
		if (!add_runs(ex, block, bitmap, bits, first, stop))
			return 0;
		first = stop;
	}
	return 0;
}
