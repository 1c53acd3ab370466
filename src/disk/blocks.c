/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The block cache: a hash table, and a list of droppable blocks in order of
 * use. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "disk/internal.h"

#define BUCKETS 4096

struct blocks {
	struct engine *engine;
	struct block *newest, *oldest;
	struct block *buckets[BUCKETS];
};

static struct block **bucket_of(struct blocks *blocks, const struct disk *disk,
				uint64_t index)
{
	uint64_t h = ((uint64_t)(uintptr_t)disk >> 5) + index;

	h *= 0x9e3779b97f4a7c15ull;
	return &blocks->buckets[(h >> 32) % BUCKETS];
}

static void list_add(struct blocks *blocks, struct block *block)
{
	block->newer = NULL;
	block->older = blocks->newest;
	if (blocks->newest)
		blocks->newest->newer = block;
	else
		blocks->oldest = block;
	blocks->newest = block;
}

static void list_remove(struct blocks *blocks, struct block *block)
{
	if (block->newer)
		block->newer->older = block->older;
	else
		blocks->newest = block->older;
	if (block->older)
		block->older->newer = block->newer;
	else
		blocks->oldest = block->newer;
}

static bool is_listed(const struct block *block)
{
	return !block->loading && !block->users;
}

/* Take a block out of table and list. */
static void take_out(struct blocks *blocks, struct block *block)
{
	struct block **link = bucket_of(blocks, block->disk, block->index);

	while (*link != block)
		link = &(*link)->chain;
	*link = block->chain;
	if (is_listed(block))
		list_remove(blocks, block);
	if (block->ahead) {
		block->ahead = false;
		count(blocks->engine, COUNT_AHEAD_WASTED, 1);
	}
}

static uint64_t block_cost(const struct block *block)
{
	return sizeof(*block) + (block->data ? block->disk->block_bytes : 0);
}

/* The budget's reclaimer. Data goes to the buffer pool, which is asked next. */
static uint64_t evict(void *arg, uint64_t bytes)
{
	struct blocks *blocks = arg;
	struct block *gone = NULL;
	uint64_t freed = 0;

	pthread_mutex_lock(&blocks->engine->lock);
	while (freed < bytes && blocks->oldest) {
		struct block *block = blocks->oldest;

		freed += block_cost(block);
		take_out(blocks, block);
		block->chain = gone;
		gone = block;
	}
	pthread_mutex_unlock(&blocks->engine->lock);
	blocks_free_chain(gone);
	return freed;
}

int blocks_new(struct blocks **out, struct engine *engine, struct error *err)
{
	struct blocks *blocks = calloc(1, sizeof(*blocks));

	*out = blocks;
	if (!blocks)
		return error_nomem(err);
	blocks->engine = engine;
	budget_add_reclaimer(engine->budget, evict, blocks);
	bufpool_set_recycler(engine->buffers, evict, blocks);
	return 0;
}

void blocks_free(struct blocks *blocks)
{
	assert(!blocks || !blocks->oldest);
	free(blocks);
}

struct block *block_new(struct disk *disk, uint64_t index)
{
	struct engine *engine = disk->engine;
	struct block *block;

	if (!budget_try(engine->budget, sizeof(*block)))
		return NULL;
	block = calloc(1, sizeof(*block));
	if (block) {
		block->data = buffer_get(engine->buffers, disk->block_bytes);
		if (block->data) {
			block->disk = disk;
			block->index = index;
			block->length = (uint32_t)min_u64(
				disk->block_bytes,
				disk->map->size - index * disk->block_bytes);
			return block;
		}
		free(block);
	}
	budget_release(engine->budget, sizeof(*block));
	return NULL;
}

void block_forget_bad(struct block *block)
{
	while (block->bad) {
		struct bad_range *next = block->bad->next;

		free(block->bad);
		block->bad = next;
	}
	block->expires_ms = 0;
}

void block_free(struct block *block)
{
	struct engine *engine = block->disk->engine;

	buffer_put(engine->buffers, block->data, block->disk->block_bytes);
	block_forget_bad(block);
	free(block);
	budget_release(engine->budget, sizeof(*block));
}

void blocks_free_chain(struct block *block)
{
	while (block) {
		struct block *next = block->chain;

		block_free(block);
		block = next;
	}
}

struct block *block_find(struct blocks *blocks, const struct disk *disk,
			 uint64_t index)
{
	struct block *block = *bucket_of(blocks, disk, index);

	while (block && (block->disk != disk || block->index != index))
		block = block->chain;
	return block;
}

void block_insert(struct blocks *blocks, struct block *block)
{
	struct block **bucket = bucket_of(blocks, block->disk, block->index);

	block->loading = true;
	block->chain = *bucket;
	*bucket = block;
}

void block_use(struct blocks *blocks, struct block *block)
{
	if (is_listed(block))
		list_remove(blocks, block);
	block->users++;
	block->ahead = false;
}

struct block *block_release(struct blocks *blocks, struct block *block,
			    bool drop)
{
	assert(block->users > 0);
	block->users--;
	if (!is_listed(block))
		return NULL;
	list_add(blocks, block);
	if (!drop)
		return NULL;
	take_out(blocks, block);
	return block;
}

struct waiter *block_ready(struct blocks *blocks, struct block *block)
{
	struct waiter *waiters = block->waiters;

	block->loading = false;
	block->waiters = NULL;
	if (is_listed(block))
		list_add(blocks, block);
	return waiters;
}

/* Remove what `matches`, chained. */
static struct block *remove_if(struct blocks *blocks, const void *arg,
			       bool (*matches)(const struct block *block,
					       const void *arg))
{
	struct block *gone = NULL, *block, *next;

	for (block = blocks->oldest; block; block = next) {
		next = block->newer;
		if (!matches(block, arg))
			continue;
		take_out(blocks, block);
		block->chain = gone;
		gone = block;
	}
	return gone;
}

static bool is_of_disk(const struct block *block, const void *disk)
{
	return block->disk == disk;
}

struct block *blocks_remove_disk(struct blocks *blocks,
				 const struct disk *disk)
{
	return remove_if(blocks, disk, is_of_disk);
}

static bool is_expired(const struct block *block, const void *now)
{
	return block->expires_ms && block->expires_ms <= *(const int64_t *)now;
}

struct block *blocks_remove_expired(struct blocks *blocks, bool *left)
{
	int64_t now = now_ms();
	struct block *gone = remove_if(blocks, &now, is_expired);

	*left = false;
	for (struct block *block = blocks->oldest; block; block = block->newer)
		*left |= block->expires_ms != 0;
	return gone;
}

void block_add_bad(struct block *block, uint32_t offset, uint32_t length,
		   const struct error *why)
{
	size_t len = strlen(why->text);
	struct bad_range *bad = malloc(sizeof(*bad) + len + 1);

	if (!bad) {
		/* The range must not read as good: give up the block's rest. */
		block->length = (uint32_t)min_u64(block->length, offset);
		return;
	}
	bad->offset = offset;
	bad->length = length;
	bad->kind = why->kind;
	bad->errnum = why->errnum;
	bad->remote = why->remote;
	memcpy(bad->text, why->text, len + 1);
	bad->next = block->bad;
	block->bad = bad;
}
