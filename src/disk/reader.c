/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reads: from the request to where they wait.
 *
 * A read that finds everything at hand (cached blocks, holes, bytes that the
 * source can give without waiting) is answered in the caller's thread. Any
 * other holds its blocks, waits until the last one is filled, and is answered
 * by the thread that filled it. A read that gets no memory for its blocks
 * holds nothing and queues until something is released; so reads never wait
 * for each other in a circle.
 *
 * Threads: callers, pool workers (load_run), and the reaper, which ends reads
 * whose deadline has passed or that were cancelled. Exactly one of them moves
 * a read to READ_DONE, under the lock, and then calls done() without it. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "common/checked.h"
#include "disk/internal.h"

/* Lock held. */
static void list_read(struct disk_read *read)
{
	struct engine *engine = read->disk->engine;

	read->next = engine->reads;
	if (read->next)
		read->next->link = &read->next;
	read->link = &engine->reads;
	engine->reads = read;
}

/* Starting a read. */

/* Blocks made for a read before it could hold all it needs. */
struct fresh {
	struct block *blocks[READ_BLOCKS_MAX];
	unsigned int count;
};

static unsigned int covered_blocks(const struct disk_read *read)
{
	uint64_t bytes = read->disk->block_bytes;
	uint64_t last = (read->offset + read->length - 1) / bytes;

	return (unsigned int)(last - read->offset / bytes + 1);
}

/* The fresh block with this index, or NULL. */
static struct block **find_fresh(struct fresh *fresh, uint64_t index)
{
	for (unsigned int i = 0; i < fresh->count; i++)
		if (fresh->blocks[i] && fresh->blocks[i]->index == index)
			return &fresh->blocks[i];
	return NULL;
}

/* Make memory for the blocks that are missing. False when the budget does not
 * allow it now. No lock. */
static bool make_missing(struct disk_read *read, struct fresh *fresh)
{
	struct disk *disk = read->disk;
	uint64_t first = read->offset / disk->block_bytes;
	unsigned int n = covered_blocks(read);

	for (unsigned int i = 0; i < n; i++) {
		struct block *block;
		bool there;

		pthread_mutex_lock(&disk->engine->lock);
		there = block_find(disk->engine->blocks, disk, first + i);
		pthread_mutex_unlock(&disk->engine->lock);
		if (there || find_fresh(fresh, first + i))
			continue;
		block = block_new(disk, first + i);
		if (!block)
			return false;
		fresh->blocks[fresh->count++] = block;
	}
	return true;
}

static void free_fresh(struct fresh *fresh)
{
	for (unsigned int i = 0; i < fresh->count; i++)
		if (fresh->blocks[i])
			block_free(fresh->blocks[i]);
	fresh->count = 0;
}

/* Is every block there or made? Lock held. */
static bool can_hold(struct disk_read *read, struct fresh *fresh)
{
	struct disk *disk = read->disk;
	uint64_t first = read->offset / disk->block_bytes;
	unsigned int n = covered_blocks(read);

	for (unsigned int i = 0; i < n; i++)
		if (!block_find(disk->engine->blocks, disk, first + i) &&
		    !find_fresh(fresh, first + i))
			return false;
	return true;
}

/* Hold all blocks of the read. Those put into the table come out in loads[];
 * returns how many. Lock held, can_hold() true. */
static unsigned int hold_blocks(struct disk_read *read, struct fresh *fresh,
				struct block **loads)
{
	struct disk *disk = read->disk;
	struct engine *engine = disk->engine;
	uint64_t first = read->offset / disk->block_bytes;
	unsigned int n = covered_blocks(read), load_count = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct block *block = block_find(engine->blocks, disk,
						 first + i);

		if (!block) {
			struct block **made = find_fresh(fresh, first + i);

			assert(made); /* can_hold() has seen it */
			block = take_ptr(*made);
			block_insert(engine->blocks, block);
			engine->active++;
			disk->busy++;
			loads[load_count++] = block;
		}
		block_use(engine->blocks, block);
		if (block->loading) {
			struct waiter *waiter = &read->waiters[read->count];

			waiter->read = read;
			waiter->next = block->waiters;
			block->waiters = waiter;
			read->pending++;
		}
		read->blocks[read->count++] = block;
	}
	engine->active++;
	count(engine, COUNT_BLOCK_HITS, n - load_count);
	count(engine, COUNT_BLOCK_MISSES, load_count);
	return load_count;
}

/* Queue the read until something is released. Lock held. */
static void starve(struct disk_read *read, bool at_head)
{
	struct engine *engine = read->disk->engine;

	read->state = READ_STARVED;
	if (at_head) {
		read->next_starved = engine->starved_head;
		engine->starved_head = read;
		if (!read->next_starved)
			engine->starved_tail = &read->next_starved;
	} else {
		read->next_starved = NULL;
		*engine->starved_tail = read;
		engine->starved_tail = &read->next_starved;
		count(engine, COUNT_STARVED, 1);
	}
}

/* An attempt to hold blocks. It counts as active, so that of two attempts
 * that take each other's memory one waits and the other tries again. */
struct attempt {
	struct fresh fresh;
	uint64_t number;
	bool alone;
};

static void attempt_start(struct engine *engine, struct attempt *attempt)
{
	pthread_mutex_lock(&engine->lock);
	attempt->alone = engine->active++ == 0;
	attempt->number = ++engine->attempts;
	pthread_mutex_unlock(&engine->lock);
}

enum outcome { HOLDS, WAITS, FAILS, AGAIN };

/* The attempt is over; lock held. */
static enum outcome attempt_end(struct disk_read *read,
				struct attempt *attempt, bool enough,
				bool retry)
{
	struct engine *engine = read->disk->engine;

	engine->active--;
	if (read->state == READ_DONE)
		return WAITS; /* cancelled meanwhile; the reaper ends it */
	if (enough)
		return can_hold(read, &attempt->fresh) ? HOLDS : AGAIN;
	if (engine->active > 0) {
		starve(read, retry);
		return WAITS;
	}
	if (attempt->alone && attempt->number == engine->attempts)
		return FAILS;
	return AGAIN;
}

/* Fill one block in this thread if that needs no waiting: quicker than a
 * hand-over for small random reads. */
static bool load_inline(struct disk *disk, struct block *block)
{
	struct load load = { .disk = disk, .count = 1, .blocks = { block } };
	struct error err;

	if (load_fill(&load, SOURCE_NOWAIT, &err))
		return false;
	load_end(&load);
	return true;
}

static void start_loads(struct disk_read *read, struct block **loads,
			unsigned int n)
{
	struct disk *disk = read->disk;
	unsigned int per_load = n;

	if (n == 1 && !read->sequential && load_inline(disk, loads[0]))
		return;
	/* Unpacking is worth all cores; stored bytes are one request. */
	if (disk->map->unit_bytes)
		per_load = (n + disk->engine->cores - 1) / disk->engine->cores;
	queue_loads(disk, loads, n, per_load, JOB_URGENT);
}

/* Hold the read's blocks, or queue it; load what is missing. WAITS: done()
 * will be or has been called by whoever ends the wait. HOLDS: all is there
 * and the caller has to finish(). */
static enum outcome begin(struct disk_read *read, bool retry)
{
	struct engine *engine = read->disk->engine;
	struct attempt attempt = { .fresh = { .count = 0 } };
	struct block *loads[READ_BLOCKS_MAX];
	unsigned int load_count = 0;
	enum outcome outcome;

	do {
		bool enough;

		attempt_start(engine, &attempt);
		enough = make_missing(read, &attempt.fresh);
		pthread_mutex_lock(&engine->lock);
		outcome = attempt_end(read, &attempt, enough, retry);
		if (outcome == HOLDS) {
			load_count = hold_blocks(read, &attempt.fresh, loads);
			read->state = READ_WAITING;
			if (read->pending)
				outcome = WAITS;
		}
		if (outcome == HOLDS || outcome == FAILS) {
			read_unlist(read);
			read->state = READ_DONE;
		}
		pthread_mutex_unlock(&engine->lock);
		if (!enough || outcome != AGAIN)
			free_fresh(&attempt.fresh);
	} while (outcome == AGAIN);
	if (load_count)
		start_loads(read, loads, load_count);
	return outcome;
}

static void begin_and_finish(struct disk_read *read, bool retry)
{
	struct error err = { 0 };

	switch (begin(read, retry)) {
	case HOLDS:
		read_finish(read, NULL);
		break;
	case FAILS:
		error_set(&err, ERR_NOMEM, "no memory for a read of %u bytes; "
			  "raise -o memory=", read->length);
		read_finish(read, &err);
		break;
	case WAITS:
	case AGAIN:
		break;
	}
}

void retry_starved(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	if (engine->retrying) {
		engine->retry_again = true;
		pthread_mutex_unlock(&engine->lock);
		return;
	}
	engine->retrying = true;
	for (struct disk_read *read; (read = engine->starved_head);) {
		bool starved;

		engine->retry_again = false;
		read_unlist_starved(read);
		read->state = READ_WAITING;
		atomic_fetch_add(&read->refs, 1);
		pthread_mutex_unlock(&engine->lock);
		begin_and_finish(read, true);
		pthread_mutex_lock(&engine->lock);
		starved = read->state == READ_STARVED;
		pthread_mutex_unlock(&engine->lock);
		read_unref(read);
		pthread_mutex_lock(&engine->lock);
		if (starved && !engine->retry_again)
			break;
	}
	engine->retrying = false;
	pthread_mutex_unlock(&engine->lock);
}

/* The direct way: bytes that are stored as they are, in a source that can
 * give them at once, need no block. */

#define DIRECT_IOV_MAX 64

struct direct {
	struct extents ex;
	struct iovec iov[DIRECT_IOV_MAX];
	int count;
	char *buffer;
};

/* Add the pieces of one answer. False when the direct way ends here. */
static bool direct_pieces(struct direct *direct, const struct disk_read *read,
			  struct error *err)
{
	for (size_t i = 0; i < direct->ex.count; i++) {
		const struct extent *piece = &direct->ex.items[i];
		uint64_t n = piece->length;
		char *target = direct->buffer + (piece->offset - read->offset);
		bool is_zero = piece->kind == EXTENT_ZERO;

		if (!is_zero && piece->kind != EXTENT_DATA)
			return false;
		for (uint64_t at = 0; at < n;) {
			uint64_t some = is_zero ? min_u64(n - at,
							  BLOCK_BYTES_MIN) : n;

			if (direct->count == DIRECT_IOV_MAX)
				return false;
			direct->iov[direct->count].iov_base =
				is_zero ? (void *)zero_block : target;
			direct->iov[direct->count++].iov_len = some;
			at += some;
		}
		if (!is_zero && source_read(piece->source, piece->at, target,
					    n, SOURCE_NOWAIT, err))
			return false;
		if (!is_zero)
			count(read->disk->engine, COUNT_SOURCE_BYTES, n);
	}
	return true;
}

static bool direct_fill(struct direct *direct, const struct disk_read *read)
{
	uint64_t at = read->offset, end = read->offset + read->length;
	struct error err; /* whatever it is, the blocks' way tells better */

	while (at < end) {
		extents_init(&direct->ex, at, end - at, SOURCE_NOWAIT);
		if (map_extents(read->disk->map, &direct->ex, &err) ||
		    !direct_pieces(direct, read, &err))
			return false;
		at = extents_next(&direct->ex);
	}
	return true;
}

/* True if the read was answered. */
static bool read_direct(struct disk_read *read)
{
	struct engine *engine = read->disk->engine;
	struct direct direct;
	bool done;

	if (read->disk->map->unit_bytes)
		return false;
	direct.count = 0;
	direct.buffer = buffer_get(engine->buffers, read->length);
	if (!direct.buffer)
		return false;
	done = direct_fill(&direct, read);
	if (done) {
		count(engine, COUNT_DIRECT_READS, 1);
		call_done(read, direct.iov, direct.count, NULL);
	}
	buffer_put(engine->buffers, direct.buffer, read->length);
	return done;
}

/* Entry points. */

static struct disk_read *new_read(struct disk *disk, uint64_t offset,
				  uint32_t length, disk_read_fn *done,
				  void *arg)
{
	struct disk_read *read = calloc(1, sizeof(*read));

	if (!read)
		return NULL;
	read->disk = disk;
	read->offset = offset;
	read->length = length;
	read->done = done;
	read->arg = arg;
	read->deadline_ms = now_ms() + disk->engine->timeout_ms;
	atomic_init(&read->refs, 2);
	return read;
}

void disk_read_async(struct disk *disk, uint64_t offset, uint32_t length,
		     disk_read_fn *done, void *arg, struct disk_read **handle)
{
	struct engine *engine = disk->engine;
	struct disk_read *read = new_read(disk, offset, length, done, arg);
	struct cursor *cursor;

	assert(length > 0 && length <= DISK_READ_MAX);
	assert(in_range(offset, length, disk->map->size));
	*handle = NULL;
	if (!read) {
		struct error err;

		error_nomem(&err);
		done(arg, NULL, 0, &err);
		return;
	}
	pthread_mutex_lock(&engine->lock);
	cursor = cursor_note(disk, offset, length);
	read->sequential = cursor != NULL;
	disk->busy += 2; /* the read, and this call */
	pthread_mutex_unlock(&engine->lock);
	if (read_direct(read)) {
		pthread_mutex_lock(&engine->lock);
		drop_busy(disk, 2);
		pthread_mutex_unlock(&engine->lock);
		read_unref(read);
		read_unref(read);
		return;
	}
	pthread_mutex_lock(&engine->lock);
	list_read(read);
	reaper_wake(engine);
	pthread_mutex_unlock(&engine->lock);
	begin_and_finish(read, false);
	if (cursor)
		ahead_start(disk, cursor);
	pthread_mutex_lock(&engine->lock);
	if (read->state != READ_DONE)
		*handle = read;
	drop_busy(disk, 1);
	pthread_mutex_unlock(&engine->lock);
	if (!*handle)
		read_unref(read);
}

void disk_read_release(struct disk_read *read)
{
	if (read)
		read_unref(read);
}
