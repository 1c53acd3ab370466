/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Blocks, appended in the order of the disk. */
#include "config.h"

#include "common/checked.h"
#include "common/crc32c.h"
#include "format/block-write.h"

#define SAMPLE_BYTES 512u          /* of every */
#define SAMPLE_STEP  (64u << 10)

/* Parts start at multiples of the step, whatever pieces they came in, so the
 * same disk always gives the same checksum. */
static void take_samples(struct block_writer *blocks, const uint8_t *data,
			 uint32_t length)
{
	for (uint32_t at = 0; at < length; at += SAMPLE_STEP)
		blocks->content = crc32c(blocks->content, data + at,
					 (size_t)min_u64(SAMPLE_BYTES,
							 length - at));
}

static int end_block(struct block_writer *blocks, struct sink *sink,
		     struct error *err)
{
	uint32_t rest = blocks->block_bytes - blocks->filled;

	if (!blocks->blocks.count)
		return 0;
	blocks->filled = blocks->block_bytes;
	return sink_zeroes(sink, rest, err);
}

static int begin_block(struct block_writer *blocks, struct sink *sink,
		       uint64_t number, struct error *err)
{
	if (end_block(blocks, sink, err))
		return -1;
	if (number > UINT32_MAX)
		return error_set(err, ERR_LIMIT, "no disk has so many blocks");
	if (!blocks->blocks.count)
		blocks->first = sink->position;
	blocks->filled = 0;
	if (numbers_add(&blocks->blocks, (uint32_t)number, err))
		return -1;
	return sink_write(sink, blocks->prefix, blocks->prefix_bytes, err);
}

/* All blocks before `number`, where they are stored even if they are zeroes. */
static int fill_before(struct block_writer *blocks, struct sink *sink,
		       uint64_t number, struct error *err)
{
	while (blocks->stores_all && blocks->blocks.count < number)
		if (begin_block(blocks, sink, blocks->blocks.count, err))
			return -1;
	return 0;
}

/* length bytes that lie in one block. */
static int write_part(struct block_writer *blocks, struct sink *sink,
		      uint64_t offset, const void *data, uint32_t length,
		      struct error *err)
{
	const struct numbers *list = &blocks->blocks;
	uint64_t number = offset / blocks->block_bytes;
	uint32_t at = (uint32_t)(offset % blocks->block_bytes);
	uint32_t gap;

	if (!list->count || list->items[list->count - 1] != number)
		if (fill_before(blocks, sink, number, err) ||
		    begin_block(blocks, sink, number, err))
			return -1;
	gap = at - blocks->filled;
	blocks->filled = at + length;
	take_samples(blocks, data, length);
	if (sink_zeroes(sink, gap, err))
		return -1;
	return sink_write(sink, data, length, err);
}

int block_write(struct block_writer *blocks, struct sink *sink,
		const struct piece *pieces, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		const uint8_t *data = pieces[i].data;
		uint64_t at = pieces[i].offset;
		uint64_t end = at + pieces[i].length;

		while (at < end) {
			uint64_t rest = blocks->block_bytes -
					at % blocks->block_bytes;
			uint64_t n = min_u64(end - at, rest);

			if (write_part(blocks, sink, at, data, (uint32_t)n,
				       err))
				return -1;
			data += n;
			at += n;
		}
	}
	return 0;
}

int block_write_end(struct block_writer *blocks, struct sink *sink,
		    uint64_t count, struct error *err)
{
	if (fill_before(blocks, sink, count, err) ||
	    end_block(blocks, sink, err))
		return -1;
	if (!blocks->blocks.count)
		blocks->first = sink->position;
	return 0;
}
