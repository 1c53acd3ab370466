/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the files of the engine share. Nobody outside disk/ includes this.
 *
 * Locks: engine->lock guards the block table, all reads, cursors and queues.
 * Below it come the pool's, the budget's and the buffer pool's own locks; it
 * is never held while memory is reserved (a reclaimer takes it), while a
 * source or map is asked, or while done() is called. */
#ifndef VMIEFS_DISK_INTERNAL_H
#define VMIEFS_DISK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/budget.h"
#include "common/pool.h"
#include "disk/blocks.h"
#include "disk/bufpool.h"
#include "disk/engine.h"

#define BLOCK_BYTES_MIN (64u << 10)
#define READ_BLOCKS_MAX (DISK_READ_MAX / BLOCK_BYTES_MIN + 1)
#define LOAD_BLOCKS_MAX 64 /* blocks filled by one job */
#define CURSORS         4  /* sequential readers followed per disk */

/* Counters for control/stats, in the order of engine_stats()'s table. */
enum counter {
	COUNT_READS,            /* asynchronous reads begun */
	COUNT_READ_BYTES,
	COUNT_READ_ERRORS,
	COUNT_DIRECT_READS,     /* served without the block cache */
	COUNT_BLOCK_HITS,
	COUNT_BLOCK_MISSES,
	COUNT_UNITS_UNPACKED,
	COUNT_BYTES_UNPACKED,
	COUNT_SOURCE_READS,
	COUNT_SOURCE_BYTES,
	COUNT_AHEAD_BLOCKS,     /* begun by read-ahead */
	COUNT_AHEAD_WASTED,     /* dropped unread */
	COUNT_STARVED,          /* reads that had to wait for memory */
	COUNT_TIMEOUTS,
	COUNT_CANCELLED,
	COUNTERS,
};

/* A sequential reader. Protected by the engine's lock. */
struct cursor {
	uint64_t next;      /* where it would go on */
	uint64_t ahead_end; /* read-ahead was begun up to here */
	uint64_t run;       /* bytes read in sequence so far */
	uint64_t window;    /* bytes to keep ahead; 0 = not sequential yet */
	uint64_t last_use;  /* engine->tick */
};

struct disk {
	struct engine *engine;
	struct map *map;
	char *name;
	uint32_t block_bytes;
	uint32_t batch_bytes;   /* read-ahead in one job, at the most */
	uint64_t window_max;    /* bytes */
	struct cursor cursors[CURSORS];
	unsigned int busy;      /* reads and jobs; under lock */
	uint64_t stream_second; /* when it last counted as a stream */
};

enum read_state { READ_WAITING, READ_STARVED, READ_DONE };

struct disk_read {
	struct disk *disk;
	uint64_t offset;
	uint32_t length;
	disk_read_fn *done;
	void *arg;
	atomic_uint refs;           /* caller and engine */
	enum read_state state;      /* under lock, as all below */
	bool cancelled;
	bool sequential;
	unsigned int pending;       /* blocks that are loading */
	unsigned int count;         /* blocks held */
	struct block *blocks[READ_BLOCKS_MAX];
	struct waiter waiters[READ_BLOCKS_MAX];
	int64_t deadline_ms;
	struct disk_read *next, **link; /* engine->reads */
	struct disk_read *next_starved;
};

struct engine {
	struct budget *budget;
	struct bufpool *buffers;
	struct page_cache *pages;
	struct pool *pool;
	struct blocks *blocks;
	unsigned int timeout_ms;
	unsigned int cores;

	pthread_mutex_t lock;
	pthread_cond_t idle;           /* some disk->busy became 0 */
	struct disk_read *reads;       /* all that wait */
	struct disk_read *starved_head, **starved_tail;
	unsigned int active;           /* reads that hold blocks, blocks that
					* load, attempts to hold */
	uint64_t attempts;             /* begun so far */
	bool retrying, retry_again;    /* retry_starved() runs once at a time */
	uint64_t tick;
	uint64_t second;               /* for counting streams */
	unsigned int streams_now, streams_before;

	pthread_t reaper;              /* reaper.c */
	pthread_cond_t reap;
	bool reaper_started, reaper_asleep, closing;
	bool have_failed;              /* blocks with expires_ms set */

	/* load.c, in the order in which one load may take them: a group's
	 * packed bytes, a unit fetched again, an unpacked unit. */
	struct spare spare_group, spare_fetch, spare_unit;
	atomic_ullong counters[COUNTERS];
};

static inline void count(struct engine *engine, enum counter which,
			 uint64_t n)
{
	atomic_fetch_add_explicit(&engine->counters[which], n,
				  memory_order_relaxed);
}

int64_t now_ms(void); /* monotonic */

/* Zeroes that many iovecs may point at: BLOCK_BYTES_MIN bytes. */
extern const char zero_block[BLOCK_BYTES_MIN];

/* load.c */

/* One job that fills `count` new blocks with consecutive indices, which are
 * in the table and loading. */
struct load {
	struct job job;
	struct disk *disk;
	unsigned int count;
	struct block *blocks[LOAD_BLOCKS_MAX];
};

/* Fill the blocks from their map's sources; what fails becomes bad ranges.
 * Fails only with flags SOURCE_NOWAIT: ERR_AGAIN, and nothing has happened,
 * when it would wait. */
int load_fill(struct load *load, unsigned int flags, struct error *err);

/* answer.c */

/* Run by the pool: load_now(), and free the load. */
void load_run(struct job *job);

/* Fill, publish, wake whoever waits. Blocks. */
void load_now(struct load *load);

/* The blocks are filled: publish them and end the reads that now have all
 * they wanted. No lock. */
void load_end(struct load *load);

/* Call done() and count. No lock. */
void call_done(struct disk_read *read, const struct iovec *iov, int iovcnt,
	       const struct error *err);

/* The read is READ_DONE and off all lists: answer from its blocks (or with
 * failure), let go of everything. No lock. */
void read_finish(struct disk_read *read, const struct error *failure);
void read_unref(struct disk_read *read);

/* One use of the disk less; disk_close() waits for the last. Lock held. */
void drop_busy(struct disk *disk, unsigned int n);

/* reader.c */

/* Memory may have become free: try the reads that wait for it. No lock. */
void retry_starved(struct engine *engine);

/* reaper.c; all but reaper_stop() with the lock held. */

/* Take a read off the list of all that wait, of those that wait for memory. */
void read_unlist(struct disk_read *read);
void read_unlist_starved(struct disk_read *read);

/* Make sure that the reaper runs and looks. */
void reaper_wake(struct engine *engine);

/* A block has failed for a passing reason. */
void reaper_watch_failed(struct engine *engine);
void reaper_stop(struct engine *engine);

/* ahead.c */

/* Note a read and learn whether it continues a sequence. Lock held. NULL if
 * not. */
struct cursor *cursor_note(struct disk *disk, uint64_t offset,
			   uint32_t length);

/* Begin read-ahead for a cursor as returned by cursor_note(). No lock. */
void ahead_start(struct disk *disk, struct cursor *cursor);

/* Make loads of contiguous runs in blocks[0..n) (sorted, new, inserted) and
 * queue them. per_load: blocks in one job at the most. */
void queue_loads(struct disk *disk, struct block **blocks, unsigned int n,
		 unsigned int per_load, enum job_priority priority);

#endif
