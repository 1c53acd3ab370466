/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The pipeline in front of a writer:
 *
 *     write() -> batch being filled -> queue, in order -> emitted -> free
 *                                      '- packed by jobs, in any order
 *
 * Threads: the caller fills one batch at a time and queues it; a job of the
 * pool packs it. The job that finds the first of the queue packed becomes the
 * emitter: it emits that one and what follows, as far as it is packed. So one
 * thread at a time uses the writer, and none waits for another, but for the
 * caller, who waits for a free batch. When the end was asked for, the job that
 * leaves nothing behind it completes the container.
 *
 * The lock is not held while packing, emitting or calling back. */
#include "config.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/packer.h"
#include "common/pool.h"
#include "common/zeroes.h"
#include "disk/batch.h"
#include "disk/pack.h"
#include "format/writer.h"
#include "store/store.h"

struct pack {
	struct pool *pool;
	struct budget *budget;
	struct writer *writer;
	uint32_t units_max;        /* of a batch */
	unsigned int batches_max;
	uint64_t batch_bytes;      /* what a batch takes from the budget */
	uint64_t packer_bytes;     /* what all packers take */
	struct packers packers;

	/* The caller's. */
	struct batch *current;     /* being filled, or NULL */
	uint64_t position;         /* in the disk */
	unsigned int batches;      /* allocated */

	pthread_mutex_t lock;      /* for what follows */
	struct sink *sink;         /* NULL: it is all over. Else who emits or
				    * ends uses it without the lock */
	pthread_cond_t changed;    /* a batch is free, or an error came */
	struct batch *free;
	struct batch *head, **tail; /* the queue */
	unsigned int jobs;         /* that have not ended */
	bool is_emitting;
	struct error error;        /* the first */
	bool is_ending;            /* the last job ends it */
	void (*room)(void *arg);   /* to be called when there is room */
	void *room_arg;
	pack_done_fn *done;
	void *done_arg;
	struct sink **kept;        /* by pack_seal(); NULL: it publishes */
	struct job end_job;
	_Atomic uint64_t in, out;
};

/* Batches. */

static void free_batch(struct pack *pack, struct batch *batch)
{
	if (!batch)
		return;
	batch_free(batch);
	budget_release(pack->budget, pack->batch_bytes);
}

/* Its memory is reserved already. */
static int new_batch(struct batch **out, struct pack *pack, struct error *err)
{
	if (batch_new(out, pack->writer, pack->units_max, err)) {
		budget_release(pack->budget, pack->batch_bytes);
		return -1;
	}
	(*out)->pack = pack;
	pack->batches++;
	return 0;
}

static struct batch *take_free(struct pack *pack)
{
	struct batch *batch = pack->free;

	if (batch) {
		pack->free = batch->next;
		batch->units = 0;
		batch->last_bytes = pack->writer->unit_bytes;
		batch->is_packed = false;
	}
	return batch;
}

/* A batch to fill, or NULL where all are in use. */
static struct batch *get_batch(struct pack *pack)
{
	struct batch *batch;

	pthread_mutex_lock(&pack->lock);
	batch = take_free(pack);
	pthread_mutex_unlock(&pack->lock);
	if (!batch && pack->batches < pack->batches_max &&
	    budget_try(pack->budget, pack->batch_bytes))
		new_batch(&batch, pack, NULL);
	return batch;
}

/* Packing: a job. */

static int pack_batch(struct batch *batch, struct error *err)
{
	struct pack *pack = batch->pack;
	struct packer *packer = NULL;
	int ret;

	if (pack->writer->packed_max &&
	    packers_take(&packer, &pack->packers, err))
		return -1;
	ret = batch_pack(batch, pack->writer, packer, err);
	packers_give(&pack->packers, packer);
	return ret;
}

static void set_error(struct pack *pack, const struct error *err)
{
	if (pack->error.kind == ERR_NONE)
		pack->error = *err;
	pthread_cond_signal(&pack->changed);
}

/* The caller may go on: wake it, or call it back. Lock held; gives it up. */
static void tell_room(struct pack *pack)
{
	void (*room)(void *arg) = pack->room;
	void *arg = pack->room_arg;

	pack->room = NULL;
	pthread_cond_signal(&pack->changed);
	pthread_mutex_unlock(&pack->lock);
	if (room)
		room(arg);
	pthread_mutex_lock(&pack->lock);
}

/* Emit from the head of the queue on what is packed. Lock held; given up in
 * between. */
static void emit_packed(struct pack *pack)
{
	struct batch *batch;

	pack->is_emitting = true;
	while ((batch = pack->head) && batch->is_packed) {
		bool is_good = pack->error.kind == ERR_NONE;
		struct error err = { 0 };
		int ret = 0;

		pack->head = batch->next;
		if (!pack->head)
			pack->tail = &pack->head;
		pthread_mutex_unlock(&pack->lock);
		if (is_good)
			ret = writer_pieces(pack->writer, batch->pieces,
					    batch->piece_count, &err);
		atomic_store(&pack->out, pack->sink->position);
		pthread_mutex_lock(&pack->lock);
		if (ret)
			set_error(pack, &err);
		batch->next = pack->free;
		pack->free = batch;
		tell_room(pack);
	}
	pack->is_emitting = false;
}

static void end_pack(struct pack *pack);

static void run_batch(struct job *job)
{
	struct batch *batch = (struct batch *)job;
	struct pack *pack = batch->pack;
	struct error err = { 0 };
	bool is_end;
	int ret = 0;

	pthread_mutex_lock(&pack->lock);
	if (pack->error.kind != ERR_NONE)
		ret = 1;
	pthread_mutex_unlock(&pack->lock);
	batch->piece_count = 0;
	if (!ret)
		ret = pack_batch(batch, &err);
	pthread_mutex_lock(&pack->lock);
	if (ret < 0)
		set_error(pack, &err);
	batch->is_packed = true;
	if (!pack->is_emitting)
		emit_packed(pack);
	is_end = --pack->jobs == 0 && pack->is_ending;
	pthread_mutex_unlock(&pack->lock);
	if (is_end)
		end_pack(pack);
}

/* The end. */

static void free_memory(struct pack *pack)
{
	struct batch *batch;

	free_batch(pack, take_ptr(pack->current));
	while ((batch = pack->free)) {
		pack->free = batch->next;
		free_batch(pack, batch);
	}
	packers_clear(&pack->packers);
	budget_release(pack->budget, pack->packer_bytes);
	pack->packer_bytes = 0;
}

/* What is left then. */
static void free_pack(struct pack *pack)
{
	packers_destroy(&pack->packers);
	pthread_cond_destroy(&pack->changed);
	pthread_mutex_destroy(&pack->lock);
	free(pack);
}

static int complete(struct pack *pack, struct object_info *info,
		    struct error *err)
{
	pthread_mutex_lock(&pack->lock);
	*err = pack->error;
	pthread_mutex_unlock(&pack->lock);
	if (err->kind != ERR_NONE)
		return -1;
	if (writer_finish(pack->writer, pack->position, err))
		return -1;
	return pack->kept ? sink_seal(pack->sink, err) :
			    sink_finish(pack->sink, info, err);
}

/* In a thread of the pool, when no other uses the pack any more. */
static void end_pack(struct pack *pack)
{
	struct object_info info = { 0 };
	struct error err = { 0 };
	int ret = complete(pack, &info, &err);
	struct sink *sink;

	pthread_mutex_lock(&pack->lock);
	sink = take_ptr(pack->sink);
	pthread_mutex_unlock(&pack->lock);
	if (pack->kept && !ret)
		*pack->kept = sink;
	else
		sink_discard(sink);
	writer_free(pack->writer);
	free_memory(pack);
	/* What is left is for pack_cancel(), which may come until done() has
	 * told that it must not. */
	pack->done(pack->done_arg, ret ? NULL : &info, ret ? &err : NULL);
	free_pack(pack);
}

static void run_end(struct job *job)
{
	end_pack((struct pack *)((char *)job -
				 offsetof(struct pack, end_job)));
}

static void queue_current(struct pack *pack)
{
	struct batch *batch = take_ptr(pack->current);

	batch->job.run = run_batch;
	batch->next = NULL;
	pthread_mutex_lock(&pack->lock);
	*pack->tail = batch;
	pack->tail = &batch->next;
	pack->jobs++;
	pthread_mutex_unlock(&pack->lock);
	pool_add(pack->pool, &batch->job, JOB_URGENT);
}

static void end(struct pack *pack, pack_done_fn *done, void *arg)
{
	bool is_idle;

	pthread_mutex_lock(&pack->lock);
	pack->done = done;
	pack->done_arg = arg;
	pack->is_ending = true;
	is_idle = pack->jobs == 0;
	pthread_mutex_unlock(&pack->lock);
	if (!is_idle)
		return;
	pack->end_job.run = run_end;
	pool_add(pack->pool, &pack->end_job, JOB_URGENT);
}

/* Fill what was begun with zeroes: to a whole unit where units are packed,
 * else to a sector. */
static void pad_current(struct pack *pack)
{
	const struct writer *writer = pack->writer;
	struct batch *batch = pack->current;
	uint32_t step = writer->packed_max ? writer->unit_bytes :
					     writer->sector_bytes;
	uint32_t want = (uint32_t)div_round_up(batch->last_bytes, step) * step;
	uint8_t *unit = batch->plain +
			(size_t)(batch->units - 1) * writer->unit_bytes;

	memset(unit + batch->last_bytes, 0, want - batch->last_bytes);
	batch->last_bytes = want;
}

void pack_finish(struct pack *pack, pack_done_fn *done, void *arg)
{
	if (pack->current && pack->current->units) {
		pad_current(pack);
		queue_current(pack);
	}
	end(pack, done, arg);
}

void pack_seal(struct pack *pack, struct sink **kept, pack_done_fn *done,
	       void *arg)
{
	pack->kept = kept;
	pack_finish(pack, done, arg);
}

void pack_discard(struct pack *pack, pack_done_fn *done, void *arg)
{
	struct error err = { 0 };

	error_set(&err, ERR_CANCELLED, "was discarded");
	pthread_mutex_lock(&pack->lock);
	set_error(pack, &err);
	pthread_mutex_unlock(&pack->lock);
	end(pack, done, arg);
}

void pack_cancel(struct pack *pack)
{
	struct error err = { 0 };

	error_set(&err, ERR_CANCELLED, "was cancelled");
	pthread_mutex_lock(&pack->lock);
	set_error(pack, &err);
	if (pack->sink)
		sink_cancel(pack->sink);
	tell_room(pack);
	pthread_mutex_unlock(&pack->lock);
}

/* Writing. */

static int check_going(struct pack *pack, uint64_t length, struct error *err)
{
	uint64_t end;
	int ret = 0;

	if (!add_u64(pack->position, length, &end))
		return error_set(err, ERR_LIMIT, "no disk is so large");
	if (writer_check_size(pack->writer, end, err))
		return -1;
	pthread_mutex_lock(&pack->lock);
	if (pack->error.kind != ERR_NONE) {
		if (err)
			*err = pack->error;
		ret = -1;
	}
	pthread_mutex_unlock(&pack->lock);
	return ret;
}

/* Room for the next bytes in the current batch: *n of them at *to; false when
 * there is none. */
static bool next_room(struct pack *pack, uint8_t **to, size_t *n)
{
	uint32_t unit = pack->writer->unit_bytes;
	struct batch *batch = pack->current;

	if (!batch)
		batch = pack->current = get_batch(pack);
	if (!batch)
		return false;
	if (batch->last_bytes == unit) {
		uint32_t begun = (uint32_t)(pack->position % unit);

		/* Behind a hole a unit begins with its zeroes. */
		batch->offsets[batch->units++] = pack->position - begun;
		memset(batch->plain + (size_t)(batch->units - 1) * unit, 0,
		       begun);
		batch->last_bytes = begun;
	}
	*to = batch->plain + (size_t)(batch->units - 1) * unit +
	      batch->last_bytes;
	*n = unit - batch->last_bytes;
	return true;
}

/* n bytes were put to where next_room() said. */
static void fill_room(struct pack *pack, size_t n)
{
	struct batch *batch = pack->current;

	batch->last_bytes += (uint32_t)n;
	pack->position += n;
	atomic_store_explicit(&pack->in, pack->position, memory_order_relaxed);
	if (batch->last_bytes == pack->writer->unit_bytes &&
	    batch->units == pack->units_max)
		queue_current(pack);
}

static void skip(struct pack *pack, uint64_t length)
{
	pack->position += length;
	atomic_store_explicit(&pack->in, pack->position, memory_order_relaxed);
}

/* How many of the next bytes are whole units of zeroes. Those need no room,
 * and the packing threads need not look at them. */
static size_t zero_units(const struct pack *pack, const uint8_t *from,
			 size_t length)
{
	uint32_t unit = pack->writer->unit_bytes;
	size_t n = 0;

	if (pack->position % unit)
		return 0; /* one is begun, or will be with a hole's zeroes */
	while (length - n >= unit && is_all_zero(from + n, unit))
		n += unit;
	return n;
}

int pack_try_write(struct pack *pack, const void *data, size_t length,
		   size_t *taken, struct error *err)
{
	const uint8_t *from = data;
	uint8_t *to;
	size_t n;

	*taken = 0;
	if (check_going(pack, length, err))
		return -1;
	while (*taken < length) {
		n = zero_units(pack, from + *taken, length - *taken);
		if (n) {
			skip(pack, n);
		} else if (next_room(pack, &to, &n)) {
			n = (size_t)min_u64(n, length - *taken);
			memcpy(to, from + *taken, n);
			fill_room(pack, n);
		} else {
			break;
		}
		*taken += n;
	}
	return 0;
}

bool pack_try_give(struct pack *pack, void **buffer, size_t length)
{
	uint32_t unit = pack->writer->unit_bytes;
	struct batch *batch;

	if (length != BATCH_BYTES || pack->units_max != BATCH_BYTES / unit ||
	    pack->position % unit || check_going(pack, length, NULL))
		return false;
	if (zero_units(pack, *buffer, length) == length) {
		skip(pack, length);
		return true;
	}
	if (pack->current && pack->current->units)
		queue_current(pack);
	if (!pack->current)
		pack->current = get_batch(pack);
	batch = pack->current;
	if (!batch)
		return false;
	for (; batch->units < pack->units_max; batch->units++)
		batch->offsets[batch->units] = pack->position +
					       (uint64_t)batch->units * unit;
	batch_swap(batch, buffer);
	skip(pack, length);
	queue_current(pack);
	return true;
}

/* Wait for a free batch or an error. */
static void wait_room(struct pack *pack)
{
	pool_blocking_begin();
	pthread_mutex_lock(&pack->lock);
	while (!pack->free && pack->jobs && pack->error.kind == ERR_NONE)
		pthread_cond_wait(&pack->changed, &pack->lock);
	pthread_mutex_unlock(&pack->lock);
	pool_blocking_end();
}

int pack_write(struct pack *pack, const void *data, size_t length,
	       struct error *err)
{
	const uint8_t *from = data;

	while (length) {
		size_t n;

		if (pack_try_write(pack, from, length, &n, err))
			return -1;
		from += n;
		length -= n;
		if (length)
			wait_room(pack);
	}
	return 0;
}

void pack_when_room(struct pack *pack, void (*fn)(void *arg), void *arg)
{
	bool is_room;

	pthread_mutex_lock(&pack->lock);
	is_room = pack->current || pack->free || !pack->jobs ||
		  pack->error.kind != ERR_NONE;
	if (!is_room) {
		assert(!pack->room);
		pack->room = fn;
		pack->room_arg = arg;
	}
	pthread_mutex_unlock(&pack->lock);
	if (is_room)
		fn(arg);
}

int pack_hole(struct pack *pack, uint64_t length, struct error *err)
{
	uint32_t unit = pack->writer->unit_bytes;
	struct batch *batch = pack->current;

	if (check_going(pack, length, err))
		return -1;
	if (batch && batch->last_bytes < unit) {
		uint8_t *at = batch->plain +
			      (size_t)(batch->units - 1) * unit +
			      batch->last_bytes;
		size_t n = (size_t)min_u64(unit - batch->last_bytes, length);

		memset(at, 0, n);
		length -= n;
		fill_room(pack, n);
	}
	skip(pack, length);
	return 0;
}

struct pack_progress pack_progress(struct pack *pack)
{
	return (struct pack_progress){ .in = atomic_load(&pack->in),
				       .out = atomic_load(&pack->out) };
}

uint64_t pack_life(struct pack *pack)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&pack->lock);

	(void)held;
	return atomic_load(&pack->in) + atomic_load(&pack->out) +
	       (pack->sink ? sink_stored(pack->sink) : 0);
}

/* The beginning. */

/* Batches to keep all cores busy, with the packers at most a quarter of the
 * budget, and one of each. Small budgets get small ones, for many writers. */
static void choose_sizes(struct pack *pack)
{
	const struct writer *writer = pack->writer;
	uint64_t quarter = budget_stats(pack->budget).limit / 4;
	unsigned int cores = pool_cores(pack->pool);
	uint64_t packer = writer->packed_max ? packer_bytes(writer->level) : 0;
	uint64_t room;

	pack->units_max = batch_units(writer, quarter / 32);
	pack->batch_bytes = batch_memory(writer, pack->units_max);
	pack->packer_bytes = packer * cores;
	room = quarter - min_u64(quarter, pack->packer_bytes);
	pack->batches_max = (unsigned int)max_u64(1,
			min_u64(2ull * cores + 4, room / pack->batch_bytes));
	if (pack->batches_max < cores)
		pack->packer_bytes = packer * pack->batches_max;
}

uint64_t pack_least(struct pool *pool, struct budget *budget,
		    struct writer *writer)
{
	struct pack pack = { .pool = pool, .budget = budget, .writer = writer };

	choose_sizes(&pack);
	return pack.batch_bytes + pack.packer_bytes;
}

static int reserve_least(struct pack *pack, const struct patience *patience,
			 struct error *err)
{
	if (!budget_reserve_wait(pack->budget, pack->batch_bytes +
				 pack->packer_bytes, "packing a new disk",
				 patience, err))
		return 0;
	pack->packer_bytes = 0; /* is not ours to release */
	return -1;
}

int pack_new(struct pack **out, struct pool *pool, struct budget *budget,
	     struct writer *writer, struct sink *sink,
	     const struct patience *patience, struct error *err)
{
	struct pack *pack = calloc(1, sizeof(*pack));

	*out = NULL;
	if (!pack)
		return error_nomem(err);
	pack->pool = pool;
	pack->budget = budget;
	pack->writer = writer;
	pack->sink = sink;
	pack->tail = &pack->head;
	pthread_mutex_init(&pack->lock, NULL);
	pthread_cond_init(&pack->changed, NULL);
	packers_init(&pack->packers, writer->level);
	choose_sizes(pack);
	if (reserve_least(pack, patience, err) ||
	    new_batch(&pack->free, pack, err) ||
	    writer_start(writer, sink, err)) {
		free_memory(pack);
		free_pack(pack);
		return -1;
	}
	pack->out = sink->position;
	*out = pack;
	return 0;
}
