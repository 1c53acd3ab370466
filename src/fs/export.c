/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A file being written: its life and its operations.
 *
 * Threads: operations wait in a queue; who finds nobody running them starts a
 * job that runs all there are. export_try_write() runs in the caller's thread,
 * as if it were such a job. What the two use is theirs alone meanwhile. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "fs/clock.h"
#include "fs/export-internal.h"
#include "format/writer.h"

static void run_all(struct job *job);

struct export *export_ref(struct export *export)
{
	atomic_fetch_add(&export->refs, 1);
	return export;
}

void export_unref(struct export *export)
{
	if (!export || atomic_fetch_sub(&export->refs, 1) != 1)
		return;
	spool_free(export->spool);
	pthread_mutex_destroy(&export->lock);
	pthread_cond_destroy(&export->changed);
	pthread_mutex_destroy(&export->room_lock);
	pthread_cond_destroy(&export->room);
	free(export->key);
	free(export->path);
	free(export);
}

void export_fail(struct export *export, const struct error *err)
{
	pthread_mutex_lock(&export->lock);
	if (export->failure.kind == ERR_NONE)
		export->failure = *err;
	pthread_mutex_unlock(&export->lock);
}

static int check_failure(struct export *export, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);

	if (export->failure.kind == ERR_NONE)
		return 0;
	*err = export->failure;
	return -1;
}

/* Does what happened to the operation leave the file in doubt? Then nothing
 * can come of it any more. */
static bool is_fatal(const struct export_op *op, const struct error *err)
{
	switch (op->kind) {
	case EXPORT_WRITE: /* the caller hears how much was taken */
	case EXPORT_COPY:
		return err->kind != ERR_CANCELLED ||
		       !atomic_load(&op->is_cancelled);
	case EXPORT_ZERO:
		return err->kind != ERR_UNSUPPORTED;
	case EXPORT_RESIZE:
	case EXPORT_PUBLISH:
	case EXPORT_CHECK:
		return true;
	default:
		return false;
	}
}

static int run_op(struct export *export, struct export_op *op,
		  struct error *err)
{
	int ret;

	if (op->kind == EXPORT_ABORT) {
		error_set(err, ERR_CANCELLED, "was given up by its writer");
		return -1;
	}
	if (check_failure(export, err))
		return -1;
	if (atomic_load(&op->is_cancelled))
		return error_set(err, ERR_CANCELLED, "was interrupted");
	ret = export_record(export, op, err);
	if (ret)
		return ret < 0 ? -1 : 0;
	switch (op->kind) {
	case EXPORT_WRITE:
		return export_take(export, op, err);
	case EXPORT_READ:
		return export_give(export, op, err);
	case EXPORT_COPY:
		return export_copy(export, op, err);
	case EXPORT_RESIZE:
		if (op->grows && op->offset <= export->size)
			return export_resize(export, op, export->size, err);
		return export_resize(export, op, op->offset, err);
	case EXPORT_ZERO:
		return export_zero(export, op, err);
	case EXPORT_PUBLISH:
		return export_publish(export, op, err);
	default: /* what the pipeline has met comes with the next call */
		return export->pack ? pack_hole(export->pack, 0, err) : 0;
	}
}

static void run_one(struct export *export, struct export_op *op)
{
	struct error err = { 0 };
	int ret = run_op(export, op, &err);
	bool is_end = ret && (op->kind == EXPORT_ABORT || is_fatal(op, &err));

	if (is_end)
		export_fail(export, &err);
	/* The rest of a write whose beginning was taken: the caller comes
	 * again with it. */
	if (ret && (op->kind == EXPORT_WRITE || op->kind == EXPORT_COPY) &&
	    err.kind == ERR_CANCELLED && op->taken)
		ret = 0;
	pthread_mutex_lock(&export->lock);
	export->current = NULL;
	pthread_mutex_unlock(&export->lock);
	op->done(op, ret ? &err : NULL);
	/* That may have to wait for the store; the caller need not. */
	if (is_end)
		export_drop_stream(export);
}

static void run_all(struct job *job)
{
	struct export *export = ring_item(job, struct export, job);

	pthread_mutex_lock(&export->lock);
	while (!ring_is_empty(&export->queue)) {
		struct export_op *op = ring_item(export->queue.next,
						 struct export_op, queued);

		ring_remove(&op->queued);
		export->current = op;
		pthread_mutex_unlock(&export->lock);
		run_one(export, op);
		pthread_mutex_lock(&export->lock);
	}
	export->is_running = false;
	pthread_mutex_unlock(&export->lock);
	export_unref(export);
}

/* Lock held, is_running set by the caller. */
static void start_job(struct export *export)
{
	export_ref(export);
	export->job.run = run_all;
	pool_add(export->exports->pool, &export->job, JOB_URGENT);
}

void export_stop_running(struct export *export)
{
	pthread_mutex_lock(&export->lock);
	if (ring_is_empty(&export->queue))
		export->is_running = false;
	else
		start_job(export);
	pthread_mutex_unlock(&export->lock);
}

void export_submit(struct export *export, struct export_op *op)
{
	struct error err = { 0 };

	pthread_mutex_lock(&export->lock);
	if (export->is_hung && op != &export->last) {
		err = export->failure;
	} else {
		ring_append(&export->queue, &op->queued);
		if (!export->is_running) {
			export->is_running = true;
			start_job(export);
		}
	}
	pthread_mutex_unlock(&export->lock);
	if (err.kind != ERR_NONE)
		op->done(op, &err);
}

/* Wake whoever waits for room. */
static void wake(struct export *export)
{
	pthread_mutex_lock(&export->room_lock);
	pthread_cond_broadcast(&export->room);
	pthread_mutex_unlock(&export->room_lock);
}

void export_cancel(struct export *export, struct export_op *op)
{
	atomic_store(&op->is_cancelled, true);
	pthread_mutex_lock(&export->lock);
	if (export->current == op && export->cancellable)
		pack_cancel(export->cancellable);
	pthread_mutex_unlock(&export->lock);
	wake(export);
}

/* Take the first operation out of the queue, but the last of all. */
static struct export_op *take_waiting(struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);
	struct export_op *op;

	(void)held;
	if (ring_is_empty(&export->queue))
		return NULL;
	op = ring_item(export->queue.next, struct export_op, queued);
	if (op == &export->last)
		return NULL;
	ring_remove(&op->queued);
	return op;
}

void export_give_up(struct export *export, const struct error *err)
{
	struct export_op *op;

	pthread_mutex_lock(&export->lock);
	export->is_hung = true;
	if (export->failure.kind == ERR_NONE)
		export->failure = *err;
	op = export->current;
	if (op) {
		atomic_store(&op->is_cancelled, true);
		if (op->late)
			op->late(op, err);
	}
	if (export->cancellable)
		pack_cancel(export->cancellable);
	pthread_mutex_unlock(&export->lock);
	wake(export);
	while ((op = take_waiting(export)))
		op->done(op, err);
}

void export_disown(struct export *export)
{
	struct error err = { 0 };

	error_set(&err, ERR_CANCELLED, "was interrupted");
	export_fail(export, &err);
}

void export_abort(struct export *export, const char *why)
{
	struct error err = { 0 };

	error_set(&err, ERR_STALE, "%s", why);
	export_fail(export, &err);
	pthread_mutex_lock(&export->lock);
	if (export->current && export->current != &export->last)
		atomic_store(&export->current->is_cancelled, true);
	if (export->cancellable)
		pack_cancel(export->cancellable);
	pthread_mutex_unlock(&export->lock);
	wake(export);
}

/* The end. */

static void close_done(struct export_op *op, const struct error *err)
{
	struct export *export = ring_item(op, struct export, last);

	const struct exports_options *options = &export->exports->options;

	if (err && op->kind == EXPORT_PUBLISH)
		options->failed(options->arg, export->path, err);
	export_drop_stream(export);
	export_close_base(export);
	export_drop_record(export);
	spool_free(take_ptr(export->spool));
	budget_release(engine_budget(options->engine), EXPORT_WAIT_BYTES);
	exports_remove(export->exports, export);
	export_unref(export);
}

void export_close(struct export *export, bool publish)
{
	struct export_op *last = &export->last;

	pthread_mutex_lock(&export->lock);
	if (export->failure.kind != ERR_NONE)
		publish = false; /* the writer was told */
	export->is_closing = publish;
	pthread_mutex_unlock(&export->lock);
	last->kind = publish ? EXPORT_PUBLISH : EXPORT_ABORT;
	last->done = close_done;
	export_submit(export, last);
}

/* The beginning. */

static void init_export(struct export *export, struct exports *exports,
			const struct export_args *args)
{
	atomic_init(&export->refs, 1);
	export->exports = exports;
	export->bucket = args->bucket;
	export->format = args->format;
	export->is_plain = args->is_plain;
	export->is_readable = args->is_readable;
	export->is_new = !args->keeps_bytes;
	export->is_replacing = args->replaces;
	export->opener = args->opener;
	export->started_ns = clock_ns();
	pthread_mutex_init(&export->lock, NULL);
	pthread_cond_init(&export->changed, NULL);
	pthread_mutex_init(&export->room_lock, NULL);
	pthread_cond_init(&export->room, NULL);
	ring_init(&export->queue);
	ring_init(&export->in_all);
	export->samples[0].at_ns = export->life_ns = export->started_ns;
	export->next_sample = 1;
	export->sized = UINT64_MAX;
	export->replaces = args->replaces;
	export->base = args->base;
	export->mtime_ns = args->base.mtime_ns;
	export->is_spooled = exports->options.spools_all;
	if (!args->keeps_bytes)
		return;
	export->has_base = true;
	export->size = export->sized = args->base_bytes;
	if (args->is_blank) {
		export->announced = args->base_bytes;
		return;
	}
	export->is_spooled = export->has_data = true;
	export->base_bytes = args->base_bytes;
}

/* What is only packed in the end has its limit from the beginning, too. */
static int learn_limit(struct export *export, struct error *err)
{
	struct write_args args = {
		.name = export->key,
		.size = WRITE_SIZE_UNKNOWN,
	};
	struct writer *writer;

	if (writer_new(&writer, export->format, &args, err))
		return -1;
	export->size_max = writer->size_max;
	writer_free(writer);
	return 0;
}

static int begin(struct export *export, struct patience patience,
		 struct error *err)
{
	struct budget *budget = engine_budget(export->exports->options.engine);
	int64_t since = clock_ns();

	if (budget_reserve_wait(budget, EXPORT_WAIT_BYTES, "a new file",
				&patience, err))
		return -1;
	export_spend(&patience, since);
	if (!learn_limit(export, err) &&
	    (export->is_spooled ||
	     !export_begin_stream(export, WRITE_SIZE_UNKNOWN, patience, err)))
		return 0;
	budget_release(budget, EXPORT_WAIT_BYTES);
	return -1;
}

int export_new(struct export **out, struct exports *exports,
	       const struct export_args *args, struct error *err)
{
	struct budget *budget = engine_budget(exports->options.engine);
	struct export *export = calloc(1, sizeof(*export));
	struct timespec now;

	*out = NULL;
	if (!export)
		return error_nomem(err);
	init_export(export, exports, args);
	clock_gettime(CLOCK_REALTIME, &now);
	if (!export->mtime_ns || export->is_new)
		export->mtime_ns = now.tv_sec * NS_PER_S + now.tv_nsec;
	export->key = strdup(args->key);
	export->path = strdup(args->path);
	if (!export->key || !export->path ||
	    spool_new(&export->spool, exports->scratch, budget, err)) {
		export_unref(export);
		return error_nomem(err);
	}
	if (exports_add(exports, export, err)) {
		export_unref(export);
		return -1;
	}
	if (begin(export, args->patience, err)) {
		exports_remove(exports, export);
		export_unref(export);
		return -1;
	}
	*out = export;
	return 0;
}

/* What others see. */

uint64_t export_size(struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);

	return export->size;
}

int64_t export_mtime_ns(struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);

	return export->mtime_ns;
}

bool export_is_dirty(struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);

	return export->is_dirty;
}

bool export_is_visible(struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);

	return export->failure.kind == ERR_NONE && !export->is_gone &&
	       (export->is_dirty ||
		(export->is_new && !export->is_published));
}

bool export_is_busy(struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);

	return export->failure.kind == ERR_NONE && !export->is_gone &&
	       (export->is_dirty || !export->is_published);
}

int export_opener(const struct export *export)
{
	return export->opener;
}

const char *export_key(const struct export *export)
{
	return export->key;
}

const char *export_path(const struct export *export)
{
	return export->path;
}

const struct bucket *export_bucket(const struct export *export)
{
	return export->bucket;
}

bool export_is_plain(const struct export *export)
{
	return export->is_plain;
}

bool export_is_replacing(const struct export *export)
{
	return export->is_replacing;
}

const char *export_identity(const struct export *export)
{
	return export->identity;
}
