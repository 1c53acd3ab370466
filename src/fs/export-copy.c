/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Copying from a disk of the mount to a file being written, without the bytes
 * going through the kernel; holes stay holes.
 *
 * What copies a disk from its start on, each byte to its own place, into a new
 * file that is to be the same kind of container, is only recorded: if it was
 * the whole disk in the end, the store copies the object, and no byte comes
 * here. Anything else that is done with the file before ends the record: what
 * it has is copied then, and all goes its usual way. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/zeroes.h"
#include "fs/export-internal.h"
#include "store/compose.h"
#include "store/sink.h"

#define CHUNK_BYTES (1u << 20)
#define DATA_MAX    (64u << 20) /* at one time, so that a copy shows progress */

/* Where the run of data or of holes at the source's `at` ends, at most `end`;
 * *is_data says which. */
static int find_run(const struct export_op *op, uint64_t at, uint64_t end,
		    bool *is_data, uint64_t *until, struct error *err)
{
	if (disk_seek(op->source, at, true, until, err))
		return -1;
	*is_data = *until == at;
	if (*is_data && disk_seek(op->source, at, false, until, err))
		return -1;
	*until = min_u64(*until, end);
	return 0;
}

/* One piece, by way of op's own fields, which are free between pieces. */
static int copy_piece(struct export *export, struct export_op *op,
		      uint64_t from, uint64_t length, bool is_data,
		      struct error *err)
{
	op->length = length;
	op->taken = 0;
	if (is_data)
		return disk_read(op->source, from, op->data, length, err) ||
		       export_take(export, op, err) ? -1 : 0;
	op->grows = true;
	if (export_zero(export, op, err))
		return -1;
	op->taken = length;
	return 0;
}

static int copy_all(struct export *export, struct export_op *op,
		    uint64_t *total, struct error *err)
{
	uint64_t begin = op->source_offset, end = begin + op->length;
	uint64_t target = op->offset, data = 0;

	while (begin + *total < end && data < DATA_MAX &&
	       !atomic_load(&op->is_cancelled)) {
		uint64_t at = begin + *total, until;
		bool is_data;
		int ret;

		if (find_run(op, at, end, &is_data, &until, err))
			return -1;
		if (is_data)
			until = min_u64(until, at + CHUNK_BYTES);
		op->offset = target + *total;
		ret = copy_piece(export, op, at, until - at, is_data, err);
		*total += op->taken;
		data += is_data ? op->taken : 0;
		if (ret)
			return -1;
	}
	return 0;
}

int export_copy(struct export *export, struct export_op *op,
		struct error *err)
{
	AUTO_FREE char *buf = malloc(CHUNK_BYTES);
	uint64_t total = 0;
	int ret;

	if (!buf)
		return error_nomem(err);
	op->data = buf;
	ret = copy_all(export, op, &total, err);
	op->data = NULL;
	op->taken = total;
	return ret;
}

/* Recording. */

struct recorded {
	struct export_origin origin; /* opened: a reference of ours */
	struct disk *disk;           /* in it */
	uint64_t begin; /* the stream has what is before it: zeroes */
	uint64_t end;   /* what is before it is recorded */
	bool is_ending; /* it is being converted; begin counts up */
	uint64_t in;    /* bytes of it that the caller's count has */
};

/* What a container written here would be. */
static const char *subformat_of(const struct export *export)
{
	const struct exports_options *options = &export->exports->options;
	const char *format = export->format->name, *chosen = NULL;

	if (!strcmp(format, "raw"))
		return "raw";
	if (!strcmp(format, "vmdk"))
		return "streamOptimized";
	if (!strcmp(format, "vhd"))
		chosen = options->vhd;
	if (!strcmp(format, "vhdx"))
		chosen = options->vhdx;
	return chosen ? chosen : "dynamic";
}

static bool is_same_kind(const struct export *export,
			 const struct export_origin *origin)
{
	return origin->bucket == export->bucket &&
	       !strcmp(origin->format, export->format->name) &&
	       !strcmp(origin->subformat, subformat_of(export));
}

/* Nothing but zeroes has come, and those are in the stream. */
static bool is_pristine(const struct export *export)
{
	return export->pack && !export->has_data && !export->is_spooled &&
	       !export->was_read && !spool_ranges(export->spool)->count;
}

/* Has the disk no data there? */
static bool is_hole(const struct recorded *self, uint64_t begin, uint64_t end)
{
	uint64_t data;

	return begin >= end ||
	       (end <= disk_size(self->disk) &&
		!disk_seek(self->disk, begin, true, &data, NULL) &&
		data >= end);
}

/* Only to save work: without memory there is none. */
static void begin_record(struct export *export, struct export_op *op)
{
	struct recorded *self;

	if (!op->origin || !is_pristine(export))
		return;
	self = calloc(1, sizeof(*self));
	if (!self || !op->origin(op, &self->origin) ||
	    !is_same_kind(export, &self->origin)) {
		free(self);
		return;
	}
	self->disk = op->source;
	self->begin = self->end = export->streamed;
	if (!is_hole(self, 0, self->begin)) {
		free(self);
		return;
	}
	opened_ref(self->origin.opened);
	export->recorded = self;
}

void export_drop_record(struct export *export)
{
	struct recorded *self = take_ptr(export->recorded);

	if (!self)
		return;
	if (opened_unref(self->origin.opened))
		opened_close(self->origin.opened);
	free(self);
}

/* Does it belong to the record as if the range of the disk was copied? */
static bool goes_with(const struct recorded *self, const struct export_op *op)
{
	if (self->is_ending || !is_hole(self, self->end, op->offset))
		return false;
	if (op->kind == EXPORT_COPY)
		return op->source == self->disk &&
		       op->offset == op->source_offset;
	/* cp --sparse=never writes the source's holes. */
	return op->offset >= self->end &&
	       is_hole(self, op->offset, op->offset + op->length) &&
	       is_all_zero(op->data, op->length);
}

static void extend(struct export *export, struct export_op *op)
{
	struct recorded *self = export->recorded;
	uint64_t end = op->offset + op->length;

	self->end = max_u64(self->end, end);
	self->in += op->length - op->taken;
	export_note_change(export, end, op->length - op->taken);
	export->last_end = end;
	export->has_data = true;
	op->taken = op->length;
}

/* Copy what is recorded, by way of op, which has not begun. What was done
 * stays done when that fails. */
static int convert_record(struct export *export, struct export_op *op,
			  struct error *err)
{
	struct recorded *self = export->recorded;
	enum export_op_kind kind = op->kind;
	uint64_t offset = op->offset, length = op->length;
	uint64_t source_offset = op->source_offset, taken = op->taken;
	struct disk *source = op->source;
	char *data = op->data;
	bool grows = op->grows;
	int ret = 0;

	pthread_mutex_lock(&export->lock);
	export->in -= self->in; /* it is counted now */
	pthread_mutex_unlock(&export->lock);
	self->in = 0;
	self->is_ending = true;
	op->kind = EXPORT_COPY;
	op->source = self->disk;
	while (!ret && self->begin < self->end) {
		op->offset = op->source_offset = self->begin;
		op->length = self->end - self->begin;
		ret = export_copy(export, op, err);
		self->begin += op->taken;
		if (!ret && atomic_load(&op->is_cancelled))
			ret = error_set(err, ERR_CANCELLED, "was interrupted");
	}
	op->kind = kind;
	op->offset = offset;
	op->length = length;
	op->source_offset = source_offset;
	op->taken = taken;
	op->source = source;
	op->data = data;
	op->grows = grows;
	if (!ret)
		export_drop_record(export);
	return ret;
}

static uint64_t new_size(const struct export *export,
			 const struct export_op *op)
{
	return op->grows ? max_u64(op->offset, export->size) : op->offset;
}

/* Is the file as large as the disk, and what is not recorded a hole? */
static bool is_whole(const struct export *export)
{
	const struct recorded *self = export->recorded;

	return !self->is_ending && export->size == disk_size(self->disk) &&
	       is_hole(self, self->end, export->size);
}

int export_record(struct export *export, struct export_op *op,
		  struct error *err)
{
	if (!export->recorded && op->kind == EXPORT_COPY)
		begin_record(export, op);
	if (!export->recorded)
		return 0;
	switch (op->kind) {
	case EXPORT_WRITE:
	case EXPORT_COPY:
		if (!goes_with(export->recorded, op))
			break;
		extend(export, op);
		return 1;
	case EXPORT_RESIZE:
		if (!new_size(export, op))
			export_drop_record(export);
		else if (new_size(export, op) < export->recorded->end)
			break;
		return 0;
	case EXPORT_PUBLISH:
		if (is_whole(export))
			return 0;
		break;
	case EXPORT_CHECK:
		return 0;
	default:
		break;
	}
	return convert_record(export, op, err);
}

struct copying {
	struct export *export;
	const struct export_op *op;
};

static bool goes_on(void *arg, uint64_t done, uint64_t total)
{
	const struct copying *copying = arg;
	struct export *export = copying->export;

	(void)total;
	pthread_mutex_lock(&export->lock);
	export->out = done;
	pthread_mutex_unlock(&export->lock);
	return !atomic_load(&copying->op->is_cancelled);
}

static void count_copy(struct exports *exports, uint64_t bytes)
{
	pthread_mutex_lock(&exports->lock);
	exports->copied++;
	exports->bytes_copied += bytes;
	pthread_mutex_unlock(&exports->lock);
}

int export_copy_whole(struct export *export, const struct export_op *op,
		      struct object_info *info, struct error *err)
{
	struct recorded *self = export->recorded;
	struct exports *exports = export->exports;
	struct copying copying = { export, op };
	struct store_piece piece;
	struct sink_args args = {
		.replace = export->replaces,
		.budget = engine_budget(exports->options.engine),
		.scratch = exports_scratch(exports),
		.patience.wait_ms = SINK_WAIT_MS,
	};

	if (!self)
		return 0;
	piece = (struct store_piece){ .key = self->origin.key,
				      .info = &self->origin.info,
				      .offset = self->origin.offset,
				      .length = self->origin.stored };
	if (export->replaces)
		args.if_match = export->base.etag;
	export_drop_stream(export);
	if (store_compose(export->bucket->store, export->key, &args, &piece, 1,
			  goes_on, &copying, info, err))
		return -1;
	count_copy(exports, info->size);
	export_drop_record(export);
	return 1;
}
