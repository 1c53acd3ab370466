/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The one engine: extents in, bytes out. It owns what all open disks share:
 * the memory budget, the thread pool, the cache of blocks and of table pages.
 * Reads are asynchronous; the blocking forms are for command line and tests. */
#ifndef VMIEFS_ENGINE_H
#define VMIEFS_ENGINE_H

#include <jansson.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/error.h"
#include "format/format.h"

struct engine;
struct disk;
struct disk_read;
struct budget;
struct pool;

struct engine_options {
	uint64_t memory_bytes;    /* -o memory=; 0 = 256 MiB */
	unsigned int threads;     /* cores to use; 0 = all */
	unsigned int timeout_ms;  /* deadline of one read; 0 = 120 s */
};

/* No thread is started before the first read. */
int engine_new(struct engine **out, const struct engine_options *options,
	       struct error *err);
void engine_free(struct engine *engine); /* all disks must be closed */

struct budget *engine_budget(struct engine *engine);
struct page_cache *engine_page_cache(struct engine *engine);
struct pool *engine_pool(struct engine *engine);

/* Counters for control/stats: bytes and requests read from sources, blocks
 * unpacked, cache hits, read-ahead used and wasted, memory. */
int engine_stats(struct engine *engine, json_t *object, struct error *err);

/* A map as a disk one can read. The map is borrowed and must outlive it.
 * name is for messages. */
int disk_open(struct disk **out, struct engine *engine, struct map *map,
	      const char *name, struct error *err);
/* Waits for the disk's reads in flight. NULL is legal. */
void disk_close(struct disk *disk);
uint64_t disk_size(const struct disk *disk); /* bytes */

/* Result of a read: iov holds exactly the asked bytes when err is NULL, and
 * belongs to the engine after the call. With err: iov holds the bytes before
 * the damage (perhaps none). Must not block. */
typedef void disk_read_fn(void *arg, const struct iovec *iov, int iovcnt,
			  const struct error *err);

#define DISK_READ_MAX (1u << 20) /* bytes in one asynchronous read */

/* Read [offset, offset + length), within the disk, length 1..DISK_READ_MAX.
 * done() is called exactly once: in this thread before this returns when all
 * is at hand, else in an engine thread, perhaps also before this returns (what
 * arg points at must live until both have happened). *handle is NULL when the
 * read is over already; otherwise the caller releases it with
 * disk_read_release(). Never blocks on I/O. */
void disk_read_async(struct disk *disk, uint64_t offset, uint32_t length,
		     disk_read_fn *done, void *arg,
		     struct disk_read **handle);

/* Ask for an early end: done() soon gets ERR_CANCELLED from another thread,
 * never from this call. No-op when it has been called already. */
void disk_read_cancel(struct disk_read *read);
void disk_read_release(struct disk_read *read); /* NULL is legal */

/* Blocking read of any length within the disk: all bytes or an error. */
int disk_read(struct disk *disk, uint64_t offset, void *buf, uint64_t length,
	      struct error *err);

/* SEEK_DATA (data true) or SEEK_HOLE: the first offset >= offset that lies in
 * stored bytes / in a hole (the disk's end counts as one), by the container's
 * own allocation. For data past the last stored byte *found = UINT64_MAX.
 * May block on table reads. ERR_ARG at or past the end. */
int disk_seek(struct disk *disk, uint64_t offset, bool data, uint64_t *found,
	      struct error *err);

#endif
