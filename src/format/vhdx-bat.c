/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The VHDX block allocation table, which has an entry for each payload block
 * and after each chunk of them one for the chunk's sector bitmap:
 *
 *     | 0 1 2 ... ratio-1 | bitmap 0 | ratio ... 2*ratio-1 | bitmap 1 | ...
 *
 * The bitmap entries are there in all disks, but used in differencing ones
 * only. */
#include "config.h"

#include "format/block.h"
#include "format/vhdx.h"

#define BATCH_BLOCKS    480 /* blocks looked up at once, on the stack */
#define BATCH_ENTRIES   512 /* their entries, bitmaps' between: ratio >= 16 */
#define QUESTION_BLOCKS (64u << 10) /* looked at in one question */
#define ENTRY_BYTES     8

static const char bad_place[] =
	"the block lies inside the container's own structures";
static const char bad_state[] = "the block's state has no meaning";
static const char bad_bitmap[] = "the sector bitmap is missing or misplaced";

/* Can a block of the file lie here? */
static bool is_misplaced(const struct vhdx_map *map, uint64_t at, uint64_t len)
{
	const struct vhdx_range block = { at, len };
	const struct vhdx_range log = { map->header.log_offset,
					map->header.log_length };

	return at < VHDX_MIB || vhdx_overlap(&block, &map->bat) ||
	       vhdx_overlap(&block, &map->metadata) ||
	       (map->header.log_offset >= VHDX_MIB &&
		vhdx_overlap(&block, &log));
}

/* A partially present block: sectors of its own and of the parent. */
static int add_partial(struct vhdx_map *map, struct extents *ex,
		       const struct block *block, struct error *err)
{
	uint64_t n = block->offset / map->block_bytes;
	uint64_t index = vhdx_bitmap_index(map, n / map->chunk_ratio);
	uint64_t bits = map->block_bytes / map->sector_bytes / 8;
	struct sector_bitmap bitmap = { .tables = map->tables,
					.sector_bytes = map->sector_bytes,
					.order = BITS_LSB_FIRST };
	uint8_t entry[ENTRY_BYTES];

	if (source_read(map->tables, map->bat.offset + index * ENTRY_BYTES,
			entry, sizeof(entry), ex->flags, err))
		return extents_stop_early(ex, err);
	bitmap.at = vhdx_entry_offset(le64_get(entry));
	if (vhdx_entry_state(le64_get(entry)) != VHDX_FULLY_PRESENT ||
	    is_misplaced(map, bitmap.at, VHDX_BITMAP_BYTES) ||
	    !in_range(bitmap.at, VHDX_BITMAP_BYTES, map->content->size)) {
		extents_bad(ex, block->offset, block->length, bad_bitmap);
		return 0;
	}
	bitmap.at += n % map->chunk_ratio * bits;
	return block_add_sectors(ex, block, &bitmap, err);
}

/* A block with bytes in the file. A block that the file's end cuts: writers
 * that do not pad the last block leave files whose size is no multiple of
 * 1 MiB; then its tail is zeroes (and opening has warned). Otherwise it is a
 * file that lost its end, and the tail is damage. */
static int add_stored(struct vhdx_map *map, struct extents *ex, uint64_t n,
		      uint64_t entry, struct error *err)
{
	struct block block = { .offset = n * map->block_bytes,
			       .source = map->content,
			       .at = vhdx_entry_offset(entry),
			       .end = map->content->size };

	block.length = min_u64(map->block_bytes,
			       map->map.size - block.offset);
	block.cut_is_zero = map->is_cut && block.at < block.end;
	if (is_misplaced(map, block.at, map->block_bytes))
		extents_bad(ex, block.offset, block.length, bad_place);
	else if (vhdx_entry_state(entry) == VHDX_FULLY_PRESENT)
		block_add_data(ex, &block);
	else if (map->has_parent)
		return add_partial(map, ex, &block, err);
	else
		extents_bad(ex, block.offset, block.length, bad_state);
	return 0;
}

static int add_block(struct vhdx_map *map, struct extents *ex, uint64_t n,
		     uint64_t entry, struct error *err)
{
	uint64_t offset = n * map->block_bytes;
	uint64_t length = min_u64(map->block_bytes, map->map.size - offset);

	switch (vhdx_entry_state(entry)) {
	case VHDX_FULLY_PRESENT:
	case VHDX_PARTIALLY_PRESENT:
		return add_stored(map, ex, n, entry, err);
	case VHDX_NOT_PRESENT:
		if (map->has_parent)
			extents_parent(ex, offset, length);
		else
			extents_zero(ex, offset, length);
		return 0;
	case VHDX_UNDEFINED:
	case VHDX_ZERO:
	case VHDX_UNMAPPED:
	case VHDX_UNMAPPED_DRAFT:
		extents_zero(ex, offset, length);
		return 0;
	}
	extents_bad(ex, offset, length, bad_state);
	return 0;
}

/* Blocks [first, first + n), whose entries lie together. *more is false when
 * the answer is complete or cannot go on. */
static int add_batch(struct vhdx_map *map, struct extents *ex, uint64_t first,
		     uint64_t n, bool *more, struct error *err)
{
	uint8_t entries[BATCH_ENTRIES * ENTRY_BYTES];
	uint64_t from = vhdx_block_index(map, first);
	uint64_t to = vhdx_block_index(map, first + n - 1) + 1;

	*more = false;
	if (source_read(map->tables, map->bat.offset + from * ENTRY_BYTES,
			entries, (to - from) * ENTRY_BYTES, ex->flags, err))
		return extents_stop_early(ex, err);
	for (uint64_t i = first; i < first + n; i++) {
		uint64_t end = min_u64((i + 1) * map->block_bytes,
				       ex->offset + ex->length);
		uint64_t at = (vhdx_block_index(map, i) - from) * ENTRY_BYTES;

		if (add_block(map, ex, i, le64_get(entries + at), err))
			return -1;
		if (extents_next(ex) < end)
			return 0;
	}
	*more = true;
	return 0;
}

int vhdx_extents(struct map *base, struct extents *ex, struct error *err)
{
	struct vhdx_map *map = (struct vhdx_map *)base;
	uint64_t first = ex->offset / map->block_bytes;
	uint64_t last = (ex->offset + ex->length - 1) / map->block_bytes;
	bool more = true;

	last = min_u64(last, first + QUESTION_BLOCKS - 1);
	while (more && first <= last) {
		uint64_t n = min_u64(last - first + 1, BATCH_BLOCKS);

		if (add_batch(map, ex, first, n, &more, err))
			return -1;
		first += n;
	}
	return 0;
}
