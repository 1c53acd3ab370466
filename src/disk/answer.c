/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Ending a read: the answer is gathered from its blocks, given to done(), and
 * everything that the read held is let go. And the way there: a load that has
 * filled its blocks publishes them and ends the reads that waited for them. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "common/checked.h"
#include "disk/internal.h"

const char zero_block[BLOCK_BYTES_MIN];

void read_unref(struct disk_read *read)
{
	if (atomic_fetch_sub(&read->refs, 1) == 1)
		free(read);
}

/* Building the answer. */

struct answer {
	struct iovec iov[DISK_READ_MAX / BLOCK_BYTES_MIN * 2 + 4];
	int count;
	struct error err;
};

static void answer_zeroes(struct answer *answer, uint64_t n)
{
	while (n) {
		uint64_t some = min_u64(n, sizeof(zero_block));

		answer->iov[answer->count].iov_base = (void *)zero_block;
		answer->iov[answer->count++].iov_len = some;
		n -= some;
	}
}

/* The first bad byte of [within, within + n) in a block; n if all is good. */
static uint32_t good_bytes(const struct block *block, uint32_t within,
			   uint32_t n, struct error *err)
{
	uint32_t good = n;

	for (const struct bad_range *bad = block->bad; bad; bad = bad->next) {
		if (bad->offset >= within + good ||
		    bad->offset + bad->length <= within)
			continue;
		good = bad->offset > within ? bad->offset - within : 0;
		error_set(err, bad->kind, "%s", bad->text);
		err->errnum = bad->errnum;
		err->remote = bad->remote;
	}
	return good;
}

/* Gather what the read's blocks hold, up to the first damage. */
static void gather(const struct disk_read *read, struct answer *answer)
{
	const struct disk *disk = read->disk;
	uint64_t at = read->offset, end = read->offset + read->length;

	for (unsigned int i = 0; i < read->count && at < end; i++) {
		const struct block *block = read->blocks[i];
		uint32_t within = (uint32_t)(at % disk->block_bytes);
		uint32_t n = (uint32_t)min_u64(end - at,
					       disk->block_bytes - within);
		uint32_t good = good_bytes(block, within, n, &answer->err);

		if (good && block->data) {
			answer->iov[answer->count].iov_base =
				(char *)block->data + within;
			answer->iov[answer->count++].iov_len = good;
		} else if (good) {
			answer_zeroes(answer, good);
		}
		at += n;
		if (good == n)
			continue;
		error_prefix(&answer->err, "%s: at byte %llu", disk->name,
			     (unsigned long long)(at - n + good));
		break;
	}
}

void call_done(struct disk_read *read, const struct iovec *iov,
		      int iovcnt, const struct error *err)
{
	struct engine *engine = read->disk->engine;

	count(engine, COUNT_READS, 1);
	if (err)
		count(engine, COUNT_READ_ERRORS, 1);
	else
		count(engine, COUNT_READ_BYTES, read->length);
	read->done(read->arg, iov, iovcnt, err);
}

void drop_busy(struct disk *disk, unsigned int n)
{
	assert(disk->busy >= n);
	disk->busy -= n;
	if (!disk->busy)
		pthread_cond_broadcast(&disk->engine->idle);
}

/* Release the blocks; one that a sequential reader has passed is dropped at
 * once, so that its memory is used again while it is still in the CPU's
 * cache. Lock held; returns the dropped ones, chained. */
static struct block *release_blocks(struct disk_read *read)
{
	struct disk *disk = read->disk;
	uint64_t end = read->offset + read->length;
	struct block *gone = NULL;

	for (unsigned int i = 0; i < read->count; i++) {
		struct block *block = read->blocks[i];
		/* A read that is late lets go of what still loads; whoever
		 * loads it owns the rest of it. */
		bool passed = read->sequential && !block->loading &&
			      !block->bad &&
			      block->index * disk->block_bytes +
				      block->length <= end;
		struct block *dropped = block_release(disk->engine->blocks,
						      block, passed);

		if (!dropped)
			continue;
		dropped->chain = gone;
		gone = dropped;
	}
	if (read->count)
		disk->engine->active--;
	read->count = 0;
	return gone;
}

/* The read is READ_DONE and off all lists: answer from its blocks (or with
 * failure), let go of everything. No lock. */
void read_finish(struct disk_read *read, const struct error *failure)
{
	struct disk *disk = read->disk;
	struct engine *engine = disk->engine;
	struct answer answer = { .count = 0 };
	struct block *gone;

	if (failure) {
		answer.err = *failure;
		error_prefix(&answer.err, "%s: at byte %llu", disk->name,
			     (unsigned long long)read->offset);
	} else {
		gather(read, &answer);
	}
	call_done(read, answer.iov, answer.count,
		  answer.err.kind ? &answer.err : NULL);
	pthread_mutex_lock(&engine->lock);
	gone = release_blocks(read);
	pthread_mutex_unlock(&engine->lock);
	blocks_free_chain(gone);
	retry_starved(engine);
	pthread_mutex_lock(&engine->lock);
	drop_busy(disk, 1);
	pthread_mutex_unlock(&engine->lock);
	read_unref(read);
}

/* Filled blocks. */

/* Publish the blocks of a load; the reads that now have all they wanted are
 * returned, chained by `next`. Lock held. */
static struct disk_read *publish(struct load *load)
{
	struct engine *engine = load->disk->engine;
	struct disk_read *complete = NULL;

	for (unsigned int i = 0; i < load->count; i++) {
		struct waiter *waiter = block_ready(engine->blocks,
						    load->blocks[i]);

		if (load->blocks[i]->expires_ms)
			reaper_watch_failed(engine);
		for (; waiter; waiter = waiter->next) {
			struct disk_read *read = waiter->read;

			if (--read->pending)
				continue;
			read_unlist(read);
			read->state = READ_DONE;
			read->next = complete;
			complete = read;
		}
	}
	engine->active -= load->count;
	return complete;
}

void load_end(struct load *load)
{
	struct engine *engine = load->disk->engine;
	struct disk *disk = load->disk;
	struct disk_read *complete;

	pthread_mutex_lock(&engine->lock);
	complete = publish(load);
	pthread_mutex_unlock(&engine->lock);
	while (complete) {
		struct disk_read *next = complete->next;

		read_finish(complete, NULL);
		complete = next;
	}
	retry_starved(engine);
	pthread_mutex_lock(&engine->lock);
	drop_busy(disk, load->count);
	pthread_mutex_unlock(&engine->lock);
}

void load_now(struct load *load)
{
	struct error err;
	int ret = load_fill(load, 0, &err);

	assert(ret == 0); /* only a fill that must not wait can fail */
	(void)ret;
	load_end(load);
}

void load_run(struct job *job)
{
	struct load *load = (struct load *)job;

	load_now(load);
	free(load);
}
