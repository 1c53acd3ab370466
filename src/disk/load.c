/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Filling blocks: ask the map where the bytes lie, fetch neighbouring pieces
 * with one read, unpack units, and confine damage to its own range.
 *
 * Threads: a load is owned by the thread that runs it; nobody else looks into
 * its blocks before they are published. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/codec.h"
#include "disk/internal.h"

#define GROUP_IOV_MAX  128
#define GAP_SINK_BYTES 4096
#define MARKER_BYTES   12 /* LBA u64, size u32: FORMATS 1.3 */

/* Neighbouring pieces of one source, fetched together. */
struct group {
	const struct extent *items;
	size_t count;
	struct source *source;
	uint64_t start, end; /* in the source, bytes */
};

struct fill {
	struct load *load;
	struct disk *disk;
	struct engine *engine;
	unsigned int flags;
	uint64_t start, end; /* of all blocks, in the disk */
	/* ZERO bytes seen per block: one that is all zero needs no memory. */
	uint32_t zero_bytes[LOAD_BLOCKS_MAX];
};

/* The block that holds disk offset `at`, and the place in it. */
static struct block *block_at(const struct fill *fill, uint64_t at,
			      uint32_t *within)
{
	uint64_t index = at / fill->disk->block_bytes;

	*within = (uint32_t)(at % fill->disk->block_bytes);
	return fill->load->blocks[index - fill->load->blocks[0]->index];
}

/* Call fn for each part of disk range [at, at + length) that lies in one of
 * our blocks. */
static void each_part(struct fill *fill, uint64_t at, uint64_t length,
		      void (*fn)(struct fill *, struct block *, uint32_t within,
				 uint32_t n, void *arg),
		      void *arg)
{
	uint64_t end = min_u64(at + length, fill->end);

	for (at = max_u64(at, fill->start); at < end;) {
		uint32_t within;
		struct block *block = block_at(fill, at, &within);
		uint32_t n = (uint32_t)min_u64(end - at,
					       block->length - within);

		fn(fill, block, within, n, arg);
		at += n;
	}
}

static void mark_part(struct fill *fill, struct block *block, uint32_t within,
		      uint32_t n, void *arg)
{
	const struct error *why = arg;
	bool passing = why->kind == ERR_NETWORK || why->kind == ERR_TIMEOUT ||
		       why->kind == ERR_NOMEM || why->kind == ERR_CANCELLED;

	block_add_bad(block, within, n, why);
	if (passing)
		block->expires_ms = now_ms() + 1000;
}

static void mark_bad(struct fill *fill, const struct extent *piece,
		     struct error *why)
{
	each_part(fill, piece->offset, piece->length, mark_part, why);
}

static void zero_part(struct fill *fill, struct block *block, uint32_t within,
		      uint32_t n, void *arg)
{
	fill->zero_bytes[block->index - fill->load->blocks[0]->index] += n;
	if (n < block->length)
		memset((char *)block->data + within, 0, n);
}

/* The one failure that ends a fill instead of becoming a bad range. */
static bool must_not_wait(const struct fill *fill, const struct error *why)
{
	return fill->flags & SOURCE_NOWAIT && why->kind == ERR_AGAIN;
}

/* Reading of groups. */

static int group_read(struct fill *fill, const struct group *group,
		      const struct iovec *iov, int iovcnt, struct error *err)
{
	count(fill->engine, COUNT_SOURCE_READS, 1);
	count(fill->engine, COUNT_SOURCE_BYTES, group->end - group->start);
	return source_readv(group->source, group->start, iov, iovcnt,
			    fill->flags, err);
}

struct iov_list {
	struct iovec iov[GROUP_IOV_MAX];
	int count;
};

static void add_iov(struct fill *fill, struct block *block, uint32_t within,
		    uint32_t n, void *arg)
{
	struct iov_list *list = arg;

	assert(list->count < GROUP_IOV_MAX);
	list->iov[list->count].iov_base = (char *)block->data + within;
	list->iov[list->count++].iov_len = n;
}

/* Stored bytes go straight into the blocks; gaps into a sink. */
static int read_data(struct fill *fill, const struct group *group,
		     struct error *err)
{
	char sink[GAP_SINK_BYTES];
	struct iov_list list = { .count = 0 };
	uint64_t at = group->start;

	for (size_t i = 0; i < group->count; i++) {
		const struct extent *piece = &group->items[i];

		if (piece->at > at) {
			list.iov[list.count].iov_base = sink;
			list.iov[list.count++].iov_len = piece->at - at;
		}
		each_part(fill, piece->offset, piece->length, add_iov, &list);
		at = piece->at + piece->length;
	}
	return group_read(fill, group, list.iov, list.count, err);
}

struct copy {
	const char *data;
	uint64_t offset; /* disk offset of data[0] */
};

static void copy_part(struct fill *fill, struct block *block, uint32_t within,
		      uint32_t n, void *arg)
{
	const struct copy *copy = arg;
	uint64_t at = block->index * fill->disk->block_bytes + within;

	memcpy((char *)block->data + within, copy->data + (at - copy->offset),
	       n);
}

/* Where a unit may unpack to without a detour: a block that has room for all
 * that it can hold, where nothing else would be overwritten. */
static void *direct_target(const struct fill *fill, const struct extent *unit)
{
	uint32_t within;
	struct block *block;

	if (unit->skip || unit->offset < fill->start ||
	    unit->offset + unit->length > fill->end)
		return NULL;
	block = block_at(fill, unit->offset, &within);
	if (within + (uint64_t)unit->unpacked > fill->disk->block_bytes)
		return NULL;
	if (unit->length != unit->unpacked &&
	    unit->offset + unit->length != fill->disk->map->size)
		return NULL;
	return (char *)block->data + within;
}

static int unpack_to(struct fill *fill, const struct extent *unit,
		     const char *packed, uint32_t size, void *target,
		     struct error *err)
{
	size_t length;

	if (codec_unzlib(packed, size, target, unit->unpacked, &length, err))
		return -1;
	if (length < unit->skip + unit->length)
		return error_set(err, ERR_CORRUPT, "packed data unpacks to "
				 "%zu bytes instead of %llu", length,
				 (unsigned long long)(unit->skip +
						      unit->length));
	count(fill->engine, COUNT_UNITS_UNPACKED, 1);
	count(fill->engine, COUNT_BYTES_UNPACKED, length);
	return 0;
}

static int unpack_size(struct fill *fill, const struct extent *unit,
		       const char *packed, uint32_t size, struct error *err)
{
	void *target = direct_target(fill, unit);
	struct copy copy = { .offset = unit->offset - unit->skip };
	void *temporary;
	int ret;

	if (target)
		return unpack_to(fill, unit, packed, size, target, err);
	temporary = spare_get(&fill->engine->spare_unit,
			      fill->engine->buffers, unit->unpacked);
	ret = unpack_to(fill, unit, packed, size, temporary, err);
	copy.data = temporary;
	if (!ret)
		each_part(fill, unit->offset, unit->length, copy_part, &copy);
	spare_put(&fill->engine->spare_unit, fill->engine->buffers, temporary,
		  unit->unpacked);
	return ret;
}

/* Check the marker in front of a unit and unpack what follows it. `have`
 * bytes of it were fetched; if the driver's bound was too small for what the
 * marker says, the unit is fetched again by itself. */
static int unpack(struct fill *fill, const struct extent *unit,
		  const char *marker, uint64_t have, struct error *err)
{
	uint64_t most = 2ull * unit->unpacked;
	uint32_t size;
	void *all;
	int ret;

	if (have < MARKER_BYTES)
		return error_set(err, ERR_CORRUPT, "the container ends in the "
				 "grain marker at byte %llu",
				 (unsigned long long)unit->at);
	size = le32_get(marker + 8);
	if (le64_get(marker) != unit->mark)
		return error_set(err, ERR_CORRUPT, "the grain marker at byte "
				 "%llu is for sector %llu instead of %llu",
				 (unsigned long long)unit->at,
				 (unsigned long long)le64_get(marker),
				 (unsigned long long)unit->mark);
	if (size == 0 || size > most)
		return error_set(err, ERR_CORRUPT, "the grain marker at byte "
				 "%llu gives a packed size of %u, above the "
				 "limit of %llu", (unsigned long long)unit->at,
				 size, (unsigned long long)most);
	if (MARKER_BYTES + (uint64_t)size <= have)
		return unpack_size(fill, unit, marker + MARKER_BYTES, size,
				   err);
	all = spare_get(&fill->engine->spare_fetch, fill->engine->buffers,
			size);
	ret = source_read(unit->source, unit->at + MARKER_BYTES, all, size,
			  fill->flags, err);
	if (!ret)
		ret = unpack_size(fill, unit, all, size, err);
	spare_put(&fill->engine->spare_fetch, fill->engine->buffers, all,
		  size);
	return ret;
}

static int read_packed(struct fill *fill, const struct group *group,
		       struct error *err)
{
	uint64_t size = group->end - group->start;
	struct error why = { 0 };
	struct engine *engine = fill->engine;
	char *packed = spare_get(&engine->spare_group, engine->buffers, size);
	struct iovec iov = { packed, size };
	int ret = group_read(fill, group, &iov, 1, err);

	for (size_t i = 0; i < group->count && !ret; i++) {
		const struct extent *unit = &group->items[i];
		uint64_t have = min_u64(unit->bound, group->end - unit->at);

		if (!unpack(fill, unit, packed + (unit->at - group->start),
			    have, &why))
			continue;
		if (must_not_wait(fill, &why)) {
			*err = why;
			ret = -1;
		} else {
			mark_bad(fill, unit, &why);
		}
	}
	spare_put(&engine->spare_group, engine->buffers, packed, size);
	return ret;
}

/* Where a piece ends in its source. A unit never needs more than twice its
 * unpacked size, whatever the driver's bound. */
static uint64_t piece_end(const struct extent *piece)
{
	if (piece->kind == EXTENT_PACKED)
		return piece->at + min_u64(piece->bound, MARKER_BYTES +
					   2ull * piece->unpacked);
	return piece->at + piece->length;
}

/* Read a group; where that fails for good, its pieces one by one, so that
 * only the damaged one is lost. -1 with ERR_AGAIN only. */
static int read_group(struct fill *fill, const struct group *group,
		      struct error *err)
{
	struct error why = { 0 };
	bool packed = group->items[0].kind == EXTENT_PACKED;
	int ret = packed ? read_packed(fill, group, &why) :
			   read_data(fill, group, &why);

	if (!ret)
		return 0;
	if (must_not_wait(fill, &why)) {
		*err = why;
		return -1;
	}
	if (group->count == 1 ||
	    (why.kind != ERR_IO && why.kind != ERR_CORRUPT)) {
		for (size_t i = 0; i < group->count; i++)
			mark_bad(fill, &group->items[i], &why);
		return 0;
	}
	for (size_t i = 0; i < group->count; i++) {
		const struct extent *piece = &group->items[i];
		struct group alone = { piece, 1, group->source, piece->at,
				       piece_end(piece) };

		if (read_group(fill, &alone, err))
			return -1;
	}
	return 0;
}

/* May `piece` join the group? */
static bool joins(const struct group *group, const struct extent *piece,
		  uint32_t most)
{
	const struct extent *last = &group->items[group->count - 1];
	uint64_t gap;

	if (piece->kind != last->kind || piece->source != group->source ||
	    piece->at < last->at)
		return false;
	if (piece->kind == EXTENT_DATA && piece->at < group->end)
		return false;
	/* A DATA piece may touch two more blocks than it has whole ones. */
	if (group->count >= GROUP_IOV_MAX / 4)
		return false;
	gap = piece->at > group->end ? piece->at - group->end : 0;
	return gap <= (piece->kind == EXTENT_DATA ?
			       GAP_SINK_BYTES :
			       max_u64(GAP_SINK_BYTES,
				       group->source->fetch_bytes)) &&
	       piece_end(piece) - group->start <= most;
}

/* Cut a piece of stored bytes to our blocks (PACKED ones stay whole). */
static void clip_piece(const struct fill *fill, struct extent *piece)
{
	uint64_t end = min_u64(piece->offset + piece->length, fill->end);
	uint64_t skip;

	if (piece->kind == EXTENT_PACKED)
		return;
	skip = fill->start > piece->offset ? fill->start - piece->offset : 0;
	piece->offset += skip;
	piece->at += skip;
	piece->length = end - piece->offset;
}

/* Do what needs no reading, and move the pieces that do to the front; returns
 * how many those are. */
static size_t fill_without_reading(struct fill *fill, struct extents *ex)
{
	size_t n = 0;

	for (size_t i = 0; i < ex->count; i++) {
		struct extent *piece = &ex->items[i];
		struct error why = { 0 };

		switch (piece->kind) {
		case EXTENT_ZERO:
			each_part(fill, piece->offset, piece->length,
				  zero_part, NULL);
			break;
		case EXTENT_BAD:
		case EXTENT_PARENT:
			error_set(&why, ERR_CORRUPT, "%s", piece->why ?
				  piece->why : "the container is damaged here");
			mark_bad(fill, piece, &why);
			break;
		case EXTENT_DATA:
		case EXTENT_PACKED:
			clip_piece(fill, piece);
			ex->items[n++] = *piece;
			break;
		}
	}
	return n;
}

static int fill_pieces(struct fill *fill, struct extents *ex,
		       struct error *err)
{
	const struct source *source = fill->disk->map->source;
	uint32_t most = (uint32_t)min_u64(source->request_bytes,
					  BUFFER_BYTES_MAX);
	size_t n = fill_without_reading(fill, ex);

	for (size_t i = 0; i < n;) {
		const struct extent *piece = &ex->items[i++];
		struct group group = { piece, 1, piece->source, piece->at,
				       piece_end(piece) };

		while (i < n && joins(&group, &ex->items[i], most)) {
			group.end = max_u64(group.end,
					    piece_end(&ex->items[i++]));
			group.count++;
		}
		if (read_group(fill, &group, err))
			return -1;
	}
	return 0;
}

/* The map failed to answer at `at`: the rest of that block is lost. */
static uint64_t skip_failed(struct fill *fill, uint64_t at,
			    struct error *why)
{
	uint64_t next = round_down(at, fill->disk->block_bytes) +
			fill->disk->block_bytes;
	struct extent piece = { .offset = at,
				.length = min_u64(next, fill->end) - at };

	mark_bad(fill, &piece, why);
	return at + piece.length;
}

static void drop_zero_blocks(struct fill *fill)
{
	for (unsigned int i = 0; i < fill->load->count; i++) {
		struct block *block = fill->load->blocks[i];

		if (fill->zero_bytes[i] != block->length)
			continue;
		buffer_put(fill->engine->buffers, block->data,
			   fill->disk->block_bytes);
		block->data = NULL;
	}
}

/* As load_fill() with memory for the answers at hand. */
static int fill_all(struct fill *fill, struct extents *ex, struct error *err)
{
	uint64_t at = fill->start;

	while (at < fill->end) {
		struct error why = { 0 };

		extents_init(ex, at, fill->end - at, fill->flags);
		if (map_extents(fill->disk->map, ex, &why)) {
			if (must_not_wait(fill, &why)) {
				*err = why;
				return -1;
			}
			at = skip_failed(fill, at, &why);
			continue;
		}
		if (fill_pieces(fill, ex, err))
			return -1;
		at = extents_next(ex);
	}
	drop_zero_blocks(fill);
	return 0;
}

int load_fill(struct load *load, unsigned int flags, struct error *err)
{
	const struct block *last = load->blocks[load->count - 1];
	struct disk *disk = load->disk;
	struct extents ex;
	struct fill fill = {
		.load = load,
		.disk = disk,
		.engine = disk->engine,
		.flags = flags,
		.start = load->blocks[0]->index * disk->block_bytes,
		.end = last->index * disk->block_bytes + last->length,
	};
	int ret = fill_all(&fill, &ex, err);

	for (unsigned int i = 0; ret && i < load->count; i++)
		block_forget_bad(load->blocks[i]);
	return ret;
}
