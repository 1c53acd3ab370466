/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Read-ahead. Each disk follows a few sequential readers by cursors. A window
 * of blocks is kept loading in front of each: twice what the reader has read
 * in sequence so far, nothing for readers that jump, and for all together at
 * most half of the memory budget. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "disk/internal.h"

#define SKIP_BYTES  (1u << 20)   /* a jump this small continues a sequence */
#define START_SLACK (128u << 10) /* as above before the sequence is one */

/* Does a read at offset continue what this cursor follows? A reader that
 * skips within its window keeps what is in flight. */
static bool follows(const struct cursor *cursor, uint64_t offset)
{
	uint64_t slack = cursor->window ? SKIP_BYTES : START_SLACK;
	uint64_t end = cursor->next + slack;

	if (!cursor->last_use)
		return false;
	if (cursor->window && cursor->ahead_end > end)
		end = cursor->ahead_end;
	if (!cursor->window)
		return offset >= cursor->next && offset <= end;
	return offset + slack >= cursor->next && offset <= end;
}

struct cursor *cursor_note(struct disk *disk, uint64_t offset, uint32_t length)
{
	struct cursor *oldest = &disk->cursors[0];
	uint64_t tick = ++disk->engine->tick;

	for (int i = 0; i < CURSORS; i++) {
		struct cursor *cursor = &disk->cursors[i];

		if (cursor->last_use < oldest->last_use)
			oldest = cursor;
		if (!follows(cursor, offset))
			continue;
		cursor->last_use = tick;
		if (offset + length <= cursor->next)
			return cursor; /* a second look at the same place */
		cursor->run += offset + length - cursor->next;
		cursor->next = offset + length;
		cursor->window = min_u64(2 * cursor->run, disk->window_max);
		return cursor;
	}
	*oldest = (struct cursor){ .next = offset + length, .run = length,
				   .last_use = tick };
	/* A large read at the front is the start of a copy. */
	if (offset == 0 && length >= BLOCK_BYTES_MIN)
		oldest->window = min_u64(2 * length, disk->window_max);
	return oldest->window ? oldest : NULL;
}

/* How many disks have read sequentially during the last second or two. Lock
 * held. */
static unsigned int count_streams(struct disk *disk)
{
	struct engine *engine = disk->engine;
	uint64_t second = (uint64_t)now_ms() / 1000 + 1;

	if (engine->second != second) {
		engine->streams_before = engine->second + 1 == second ?
						 engine->streams_now : 0;
		engine->streams_now = 0;
		engine->second = second;
	}
	if (disk->stream_second != second) {
		disk->stream_second = second;
		engine->streams_now++;
	}
	if (engine->streams_now > engine->streams_before)
		return engine->streams_now;
	return engine->streams_before;
}

void queue_loads(struct disk *disk, struct block **blocks, unsigned int n,
		 unsigned int per_load, enum job_priority priority)
{
	struct engine *engine = disk->engine;

	if (per_load > LOAD_BLOCKS_MAX)
		per_load = LOAD_BLOCKS_MAX;
	for (unsigned int i = 0; i < n;) {
		struct load *load = calloc(1, sizeof(*load));
		struct load last_resort;
		struct load *fill = load ? load : &last_resort;

		fill->disk = disk;
		fill->count = 0;
		fill->job.run = load_run;
		do {
			fill->blocks[fill->count++] = blocks[i++];
		} while (i < n && fill->count < per_load &&
			 blocks[i]->index == blocks[i - 1]->index + 1);
		if (load)
			pool_add(engine->pool, &load->job, priority);
		else
			load_now(&last_resort);
	}
}

/* What to load next for a cursor: [*from, *to) in bytes; false if it is not
 * worth a job yet. Lock held. */
static bool plan(struct disk *disk, struct cursor *cursor, uint64_t *from,
		 uint64_t *to)
{
	struct engine *engine = disk->engine;
	uint64_t share = budget_stats(engine->budget).limit / 2 /
			 count_streams(disk);
	uint64_t window = min_u64(cursor->window, share);
	uint64_t start = cursor->next + disk->block_bytes - 1;

	start = max_u64(start, cursor->ahead_end);
	*from = round_down(start, disk->block_bytes);
	*to = round_down(min_u64(cursor->next + window, disk->map->size) +
			 disk->block_bytes - 1, disk->block_bytes);
	if (*from >= *to || *from >= disk->map->size)
		return false;
	/* Wait until a whole batch fits, except at the disk's end. */
	if (*to - *from < min_u64(disk->batch_bytes, window / 2) &&
	    *to < disk->map->size)
		return false;
	*to = min_u64(*to, *from + disk->batch_bytes);
	cursor->ahead_end = *to;
	return true;
}

/* Insert the blocks of [from, to) that are not there; returns how many. */
static unsigned int insert_missing(struct disk *disk, uint64_t from,
				   uint64_t to, struct block **fresh)
{
	struct engine *engine = disk->engine;
	unsigned int n = 0;

	for (uint64_t at = from; at < to && n < LOAD_BLOCKS_MAX;
	     at += disk->block_bytes) {
		struct block *block = block_new(disk, at / disk->block_bytes);
		bool there;

		if (!block)
			break;
		pthread_mutex_lock(&engine->lock);
		there = block_find(engine->blocks, disk, block->index);
		if (!there) {
			block->ahead = true;
			block_insert(engine->blocks, block);
			engine->active++;
			disk->busy++;
			fresh[n++] = block;
		}
		pthread_mutex_unlock(&engine->lock);
		if (there)
			block_free(block);
	}
	return n;
}

void ahead_start(struct disk *disk, struct cursor *cursor)
{
	struct engine *engine = disk->engine;
	uint64_t from, to;
	bool go;

	for (;;) {
		struct block *fresh[LOAD_BLOCKS_MAX];
		unsigned int n;

		pthread_mutex_lock(&engine->lock);
		go = plan(disk, cursor, &from, &to);
		pthread_mutex_unlock(&engine->lock);
		if (!go)
			return;
		n = insert_missing(disk, from, to, fresh);
		count(engine, COUNT_AHEAD_BLOCKS, n);
		queue_loads(disk, fresh, n, LOAD_BLOCKS_MAX, JOB_BACKGROUND);
	}
}
