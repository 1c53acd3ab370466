/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The engine's life, disks, the blocking forms of reading, and counters. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/codec.h"
#include "disk/internal.h"

#define MEMORY_DEFAULT  (256ull << 20)
#define MEMORY_MIN      (16ull << 20)
#define TIMEOUT_DEFAULT 120000
#define THREADS_MAX     128 /* pool threads, nearly all of them waiting */

int engine_new(struct engine **out, const struct engine_options *options,
	       struct error *err)
{
	uint64_t memory = options->memory_bytes ? options->memory_bytes :
						  MEMORY_DEFAULT;
	struct engine *engine;
	pthread_condattr_t attr;

	*out = NULL;
	if (memory < MEMORY_MIN)
		return error_set(err, ERR_ARG, "memory=%llu is below the "
				 "minimum of %llu bytes",
				 (unsigned long long)memory,
				 (unsigned long long)MEMORY_MIN);
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return error_nomem(err);
	engine->timeout_ms = options->timeout_ms ? options->timeout_ms :
						   TIMEOUT_DEFAULT;
	engine->starved_tail = &engine->starved_head;
	pthread_mutex_init(&engine->lock, NULL);
	pthread_cond_init(&engine->idle, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->reap, &attr);
	pthread_condattr_destroy(&attr);
	/* The order is that of reclaiming: blocks, their buffers, tables. */
	if (budget_new(&engine->budget, memory, err) ||
	    bufpool_new(&engine->buffers, engine->budget, err) ||
	    blocks_new(&engine->blocks, engine, err) ||
	    page_cache_new(&engine->pages, engine->budget, err) ||
	    pool_new(&engine->pool, "vmiefs-read", options->threads,
		     THREADS_MAX, err) ||
	    spare_init(&engine->spare_group, engine->buffers,
		       BUFFER_BYTES_MAX, err) ||
	    spare_init(&engine->spare_fetch, engine->buffers,
		       2 * FORMAT_UNIT_MAX, err) ||
	    spare_init(&engine->spare_unit, engine->buffers,
		       FORMAT_UNIT_MAX, err)) {
		engine_free(engine);
		return -1;
	}
	engine->cores = pool_cores(engine->pool);
	*out = engine;
	return 0;
}

void engine_free(struct engine *engine)
{
	if (!engine)
		return;
	pool_free(engine->pool);
	reaper_stop(engine);
	spare_destroy(&engine->spare_unit, engine->buffers);
	spare_destroy(&engine->spare_fetch, engine->buffers);
	spare_destroy(&engine->spare_group, engine->buffers);
	blocks_free(engine->blocks);
	page_cache_free(engine->pages);
	bufpool_free(engine->buffers);
	budget_free(engine->budget);
	pthread_cond_destroy(&engine->reap);
	pthread_cond_destroy(&engine->idle);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
}

struct budget *engine_budget(struct engine *engine)
{
	return engine->budget;
}

struct page_cache *engine_page_cache(struct engine *engine)
{
	return engine->pages;
}

struct pool *engine_pool(struct engine *engine)
{
	return engine->pool;
}

static const char *const counter_names[COUNTERS] = {
	[COUNT_READS] = "reads",
	[COUNT_READ_BYTES] = "read_bytes",
	[COUNT_READ_ERRORS] = "read_errors",
	[COUNT_DIRECT_READS] = "direct_reads",
	[COUNT_BLOCK_HITS] = "block_hits",
	[COUNT_BLOCK_MISSES] = "block_misses",
	[COUNT_UNITS_UNPACKED] = "units_unpacked",
	[COUNT_BYTES_UNPACKED] = "bytes_unpacked",
	[COUNT_SOURCE_READS] = "source_reads",
	[COUNT_SOURCE_BYTES] = "source_bytes",
	[COUNT_AHEAD_BLOCKS] = "ahead_blocks",
	[COUNT_AHEAD_WASTED] = "ahead_wasted",
	[COUNT_STARVED] = "starved_reads",
	[COUNT_TIMEOUTS] = "timeouts",
	[COUNT_CANCELLED] = "cancelled",
};

int engine_stats(struct engine *engine, json_t *object, struct error *err)
{
	struct budget_stats memory = budget_stats(engine->budget);
	int ret = 0;

	for (int i = 0; i < COUNTERS; i++)
		ret |= json_object_set_new(
			object, counter_names[i],
			json_integer((json_int_t)atomic_load_explicit(
				&engine->counters[i], memory_order_relaxed)));
	ret |= json_object_set_new(object, "memory_limit",
				   json_integer((json_int_t)memory.limit));
	ret |= json_object_set_new(object, "memory_used",
				   json_integer((json_int_t)memory.used));
	ret |= json_object_set_new(object, "memory_peak",
				   json_integer((json_int_t)memory.peak));
	ret |= json_object_set_new(object, "unpacker",
				   json_string(codec_unpacker_name()));
	return ret ? error_nomem(err) : 0;
}

/* The smallest block that holds the largest unit. */
static uint32_t choose_block_bytes(const struct map *map)
{
	uint32_t bytes = BLOCK_BYTES_MIN;

	while (bytes < map->unit_bytes)
		bytes *= 2;
	return bytes;
}

int disk_open(struct disk **out, struct engine *engine, struct map *map,
	      const char *name, struct error *err)
{
	AUTO_FREE struct disk *disk = calloc(1, sizeof(*disk));
	uint32_t request = map->source->request_bytes;

	*out = NULL;
	if (!disk)
		return error_nomem(err);
	if (map->unit_bytes > FORMAT_UNIT_MAX)
		return error_set(err, ERR_LIMIT, "%s: units of %u bytes are "
				 "above the limit of %u", name,
				 map->unit_bytes, FORMAT_UNIT_MAX);
	disk->name = strdup(name);
	if (!disk->name)
		return error_nomem(err);
	disk->engine = engine;
	disk->map = map;
	disk->block_bytes = choose_block_bytes(map);
	disk->batch_bytes = (uint32_t)min_u64(request, BUFFER_BYTES_MAX);
	disk->batch_bytes = (uint32_t)max_u64(disk->batch_bytes,
					      disk->block_bytes);
	disk->window_max = 8ull * disk->batch_bytes;
	*out = take_ptr(disk);
	return 0;
}

void disk_close(struct disk *disk)
{
	struct engine *engine;
	struct block *gone;

	if (!disk)
		return;
	engine = disk->engine;
	pthread_mutex_lock(&engine->lock);
	while (disk->busy)
		pthread_cond_wait(&engine->idle, &engine->lock);
	gone = blocks_remove_disk(engine->blocks, disk);
	pthread_mutex_unlock(&engine->lock);
	blocks_free_chain(gone);
	retry_starved(engine);
	free(disk->name);
	free(disk);
}

uint64_t disk_size(const struct disk *disk)
{
	return disk->map->size;
}

/* A blocking read waits for its own answer only. */
struct sync_read {
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
	int ret;
	char *buf;
	struct error *err;
};

static void sync_done(void *arg, const struct iovec *iov, int iovcnt,
		      const struct error *err)
{
	struct sync_read *sync = arg;
	char *to = sync->buf;

	for (int i = 0; i < iovcnt && !err; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	pthread_mutex_lock(&sync->lock);
	if (err && sync->err)
		*sync->err = *err;
	sync->ret = err ? -1 : 0;
	sync->is_done = true;
	pthread_cond_signal(&sync->done);
	pthread_mutex_unlock(&sync->lock);
}

static int read_once(struct disk *disk, struct sync_read *sync,
		     uint64_t offset, uint32_t length)
{
	struct disk_read *handle;

	sync->is_done = false;
	disk_read_async(disk, offset, length, sync_done, sync, &handle);
	pthread_mutex_lock(&sync->lock);
	while (!sync->is_done)
		pthread_cond_wait(&sync->done, &sync->lock);
	pthread_mutex_unlock(&sync->lock);
	disk_read_release(handle);
	return sync->ret;
}

int disk_read(struct disk *disk, uint64_t offset, void *buf, uint64_t length,
	      struct error *err)
{
	struct sync_read sync = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.done = PTHREAD_COND_INITIALIZER,
		.buf = buf,
		.err = err,
	};

	if (!in_range(offset, length, disk->map->size))
		return error_set(err, ERR_ARG, "%s: bytes %llu to %llu lie "
				 "past the disk's end at %llu", disk->name,
				 (unsigned long long)offset,
				 (unsigned long long)(offset + length),
				 (unsigned long long)disk->map->size);
	while (length) {
		uint32_t n = (uint32_t)min_u64(length, DISK_READ_MAX);

		if (read_once(disk, &sync, offset, n))
			return -1;
		offset += n;
		length -= n;
		sync.buf += n;
	}
	return 0;
}

static bool is_hole(const struct extent *piece)
{
	return piece->kind == EXTENT_ZERO;
}

int disk_seek(struct disk *disk, uint64_t offset, bool data, uint64_t *found,
	      struct error *err)
{
	uint64_t size = disk->map->size;
	AUTO_FREE struct extents *ex = malloc(sizeof(*ex));

	if (!ex)
		return error_nomem(err);
	if (offset >= size)
		return error_set(err, ERR_ARG, "%s: nothing past the end",
				 disk->name);
	while (offset < size) {
		extents_init(ex, offset, size - offset, 0);
		if (map_extents(disk->map, ex, err))
			return error_prefix(err, "%s", disk->name);
		for (size_t i = 0; i < ex->count; i++) {
			const struct extent *piece = &ex->items[i];

			if (is_hole(piece) == data)
				continue;
			*found = max_u64(piece->offset, offset);
			return 0;
		}
		offset = extents_next(ex);
	}
	*found = data ? UINT64_MAX : size;
	return 0;
}
