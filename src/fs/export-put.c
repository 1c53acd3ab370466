/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Where the bytes of a file being written go, and where they are read again.
 *
 * A stream cannot know whether a gap is a hole or will be filled. So what lies
 * behind a gap waits in the spool. A writer who has only ever gone forward
 * when that is full leaves holes (cp --sparse, dd conv=sparse), and the stream
 * goes on; one who has gone back jumps, and all waits until the end. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/scratch.h"
#include "common/zeroes.h"
#include "fs/clock.h"
#include "fs/caller.h"
#include "fs/export-internal.h"
#include "format/writer.h"
#include "store/sink.h"

#define COPY_BYTES (256u << 10)

/* What is kept to be seen again of a file that is open for reading, too, where
 * the store cannot give it back. */
#define KEEP_BYTES (1ull << 30)

/* The spool is as good as full when not even one more write fits. */
#define WINDOW_BYTES (SPOOL_MEMORY_BYTES - (1u << 20) - 8192)

static const char *subformat_of(const struct export *export)
{
	const struct exports_options *options = &export->exports->options;

	if (!strcmp(export->format->name, "vhd"))
		return options->vhd;
	if (!strcmp(export->format->name, "vhdx"))
		return options->vhdx;
	return NULL;
}

static int new_writer(struct writer **out, const struct export *export,
		      uint64_t size, struct error *err)
{
	const char *slash = strrchr(export->key, '/');
	struct write_args args = {
		.name = slash ? slash + 1 : export->key,
		.subformat = subformat_of(export),
		.size = size,
		.size_hint = size == WRITE_SIZE_UNKNOWN ? export->announced :
							  0,
		.level = export->exports->options.level,
		.budget = engine_budget(export->exports->options.engine),
	};

	return writer_new(out, export->format, &args, err);
}

/* Of a size that nobody has told: what is there already, or what the writer is
 * copying. In the thread that emits. */
static bool guess_head(void *arg, void *head)
{
	struct export *export = arg;
	uint64_t size = max_u64(export_size(export),
				caller_source_bytes(export->opener));

	return writer_guess_head(export->writer, size, head);
}

static bool is_cancelled(const struct export_op *op)
{
	return op && atomic_load(&op->is_cancelled);
}

static bool op_goes_on(void *arg)
{
	return !is_cancelled(arg);
}

struct patience export_patience(const struct export_op *op)
{
	return (struct patience){ SINK_WAIT_MS, op_goes_on, (void *)op };
}

void export_spend(struct patience *patience, int64_t since_ns)
{
	uint64_t spent = (uint64_t)(clock_ns() - since_ns) / NS_PER_MS;

	patience->wait_ms -= (unsigned int)min_u64(spent, patience->wait_ms);
}

/* What is known of a container before it has a byte. */
struct known_content {
	char format[32], packer[64], disk_bytes[40];
	const char *list[4];
};

static const char *const *describe(struct known_content *known,
				   const struct export *export,
				   const struct writer *writer, uint64_t size)
{
	enum packer_level level = export->exports->options.level;
	size_t n = 0;

	if (export->is_plain)
		return NULL;
	snprintf(known->format, sizeof(known->format), "format=%s",
		 export->format->name);
	known->list[n++] = known->format;
	snprintf(known->packer, sizeof(known->packer), "packer=%s",
		 packer_name(level));
	if (writer->packed_max)
		known->list[n++] = known->packer;
	snprintf(known->disk_bytes, sizeof(known->disk_bytes),
		 "disk-bytes=%llu", (unsigned long long)size);
	if (size != WRITE_SIZE_UNKNOWN)
		known->list[n++] = known->disk_bytes;
	known->list[n] = NULL;
	return known->list;
}

int export_begin_stream(struct export *export, uint64_t size,
			struct patience patience, struct error *err)
{
	struct engine *engine = export->exports->options.engine;
	struct sink_args args = {
		.replace = export->replaces,
		.budget = engine_budget(engine),
		.scratch = exports_scratch(export->exports),
		.patience = patience,
		.guess_head = guess_head,
		.guess_arg = export,
	};
	int64_t since = clock_ns();
	struct known_content known;
	struct writer *writer;
	struct sink *sink;

	if (new_writer(&writer, export, size, err))
		return -1;
	export->writer = writer;
	export->stream_max = writer->size_max;
	args.besides = pack_least(engine_pool(engine), args.budget, writer);
	args.head_bytes = writer->head_bytes;
	args.size = writer->object_bytes_max;
	args.metadata = describe(&known, export, writer, size);
	if (export->replaces)
		args.if_match = export->base.etag;
	if (store_create(&sink, export->bucket->store, export->key, &args,
			 err)) {
		writer_free(writer);
		return -1;
	}
	export->can_turn_back = sink->can_seal;
	export_spend(&patience, since);
	if (pack_new(&export->pack, engine_pool(engine),
		     engine_budget(engine), writer, sink, &patience, err)) {
		sink_discard(sink);
		writer_free(writer);
		return -1;
	}
	export->streamed = 0;
	pthread_mutex_lock(&export->lock);
	export->live = export->pack;
	export->can_hang = sink->can_hang;
	pthread_mutex_unlock(&export->lock);
	return 0;
}

static void on_room(void *arg)
{
	struct export *export = arg;

	pthread_mutex_lock(&export->room_lock);
	export->awaits_room = false;
	export->has_room = true;
	pthread_cond_broadcast(&export->room);
	pthread_mutex_unlock(&export->room_lock);
}

static int wait_room(struct export *export, const struct export_op *op,
		     struct error *err)
{
	bool asks;
	int ret;

	pthread_mutex_lock(&export->room_lock);
	asks = !export->awaits_room;
	export->awaits_room = true;
	export->has_room = false;
	pthread_mutex_unlock(&export->room_lock);
	if (asks)
		pack_when_room(export->pack, on_room, export);
	pthread_mutex_lock(&export->room_lock);
	while (!export->has_room && !is_cancelled(op))
		pthread_cond_wait(&export->room, &export->room_lock);
	ret = export->has_room ? 0 : -1;
	pthread_mutex_unlock(&export->room_lock);
	return ret ? error_set(err, ERR_CANCELLED, "was interrupted") : 0;
}

/* For stats. */
static void note_progress(struct export *export)
{
	struct pack_progress progress = pack_progress(export->pack);

	pthread_mutex_lock(&export->lock);
	export->out = progress.out;
	pthread_mutex_unlock(&export->lock);
}

int export_stream(struct export *export, const struct export_op *op,
		  const void *data, uint64_t length, uint64_t *taken,
		  struct error *err)
{
	const char *from = data;

	while (length) {
		size_t n;

		if (pack_try_write(export->pack, from, length, &n, err))
			return -1;
		from += n;
		length -= n;
		export->streamed += n;
		if (taken)
			*taken += n;
		note_progress(export);
		if (length && wait_room(export, op, err))
			return -1;
	}
	return 0;
}

int export_stream_hole(struct export *export, uint64_t end, struct error *err)
{
	if (end <= export->streamed)
		return 0;
	if (pack_hole(export->pack, end - export->streamed, err))
		return -1;
	export->streamed = end;
	return 0;
}

/* The next bytes of the spool, at most COPY_BYTES, which then go. */
static int stream_stored(struct export *export, const struct export_op *op,
			 const struct range *stored, char *buf,
			 struct error *err)
{
	uint64_t at = stored->begin;

	while (at < stored->end) {
		size_t n = (size_t)min_u64(COPY_BYTES, stored->end - at);
		uint64_t taken = 0;
		int ret = spool_read(export->spool, at, buf, n, err) ||
			  export_stream(export, op, buf, n, &taken, err);

		if (taken && spool_forget(export->spool, at, taken, err))
			return -1;
		if (ret)
			return -1;
		at += n;
	}
	return 0;
}

/* The first range of the spool, with the hole in front of it. */
static int drain_first(struct export *export, const struct export_op *op,
		       char *buf, struct error *err)
{
	struct range all, stored;

	ranges_find(spool_ranges(export->spool), 0, &all);
	if (export_stream_hole(export, all.begin, err))
		return -1;
	while (spool_next_stored(export->spool, export->streamed, all.end,
				 &stored)) {
		if (export_stream_hole(export, stored.begin, err) ||
		    stream_stored(export, op, &stored, buf, err))
			return -1;
	}
	if (export_stream_hole(export, all.end, err))
		return -1;
	return spool_forget(export->spool, all.begin, all.end - all.begin,
			    err);
}

/* Up to the first gap, or all. */
static int drain(struct export *export, const struct export_op *op, bool all,
		 struct error *err)
{
	AUTO_FREE char *buf = NULL;
	struct range first;

	while (ranges_find(spool_ranges(export->spool), 0, &first) &&
	       (all || first.begin == export->streamed)) {
		if (!buf)
			buf = malloc(COPY_BYTES);
		if (!buf)
			return error_nomem(err);
		if (drain_first(export, op, buf, err))
			return -1;
	}
	return 0;
}

int export_drain(struct export *export, const struct export_op *op,
		 struct error *err)
{
	return drain(export, op, true, err);
}

static uint64_t keep_bytes(const struct export *export)
{
	struct scratch_stats stats = scratch_stats(export->exports->scratch);

	return min_u64(KEEP_BYTES, stats.limit / 2);
}

/* After something went to the spool: what can go on? */
static int settle(struct export *export, const struct export_op *op,
		  struct error *err)
{
	uint64_t bytes = spool_bytes(export->spool);
	struct error own = { 0 };
	bool all = false;

	if (export->is_spooled)
		return 0;
	if (export->is_readable &&
	    (export->was_read || !export->can_turn_back)) {
		if (export->goes_back || export->was_read ||
		    bytes < keep_bytes(export))
			return 0;
		all = true;
	} else if (!export->goes_back &&
		   (export->is_sparse || bytes > WINDOW_BYTES)) {
		all = export->is_sparse = true;
	}
	if (drain(export, op, all, &own)) {
		/* The bytes themselves are safe in the spool. */
		if (own.kind == ERR_CANCELLED && is_cancelled(op))
			return 0;
		*err = own;
		return -1;
	}
	return 0;
}

/* The file has changed, and is at least so large. */
void export_note_change(struct export *export, uint64_t end, uint64_t bytes)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&export->lock);
	export->size = max_u64(export->size, end);
	export->mtime_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
	export->is_dirty = true;
	export->in += bytes;
	export->spooled = spool_bytes(export->spool);
	pthread_mutex_unlock(&export->lock);
}

static int check_end(const struct export *export, uint64_t end,
		     struct error *err)
{
	if (end <= export->size_max)
		return 0;
	return error_set(err, ERR_LIMIT, "a %s disk has at most %llu bytes",
			 export->format->name,
			 (unsigned long long)export->size_max);
}

static int cannot_turn_back(const struct export *export, struct error *err)
{
	return error_set(err, ERR_UNSUPPORTED, "the first %llu bytes have been "
			 "packed while they came, and this store cannot give "
			 "them back to be changed or read; write in ascending "
			 "order, or mount with -o spool=always",
			 (unsigned long long)export->streamed);
}

int export_turn_back(struct export *export, const struct export_op *op,
		     struct error *err)
{
	struct error own = { 0 };

	if (!export->can_turn_back)
		return cannot_turn_back(export, err);
	if (!export_seal(export, op, &own))
		return 0;
	/* The stream is gone, whatever the operation was. */
	export_fail(export, &own);
	*err = own;
	return -1;
}

static int start_over(struct export *export, const struct export_op *op,
		      uint64_t announced, struct error *err)
{
	struct error own = { 0 };

	export_drop_stream(export);
	export->announced = announced;
	if (!export_begin_stream(export, WRITE_SIZE_UNKNOWN,
				 export_patience(op), &own))
		return 0;
	export_fail(export, &own);
	*err = own;
	return -1;
}

/* A disk of so many bytes: may there be one, and does the stream have room for
 * it? Where it was begun for a smaller one, it begins again or ends here. */
static int make_room(struct export *export, const struct export_op *op,
		     uint64_t end, struct error *err)
{
	if (check_end(export, end, err))
		return -1;
	if (!export->pack || end <= export->stream_max)
		return 0;
	if (!export->streamed)
		return start_over(export, op, 0, err);
	if (export->can_turn_back)
		return export_turn_back(export, op, err);
	return error_set(err, ERR_LIMIT, "the disk was given a size of %llu "
			 "bytes before it was written, and its table has no "
			 "room for more; give it the right size, or none",
			 (unsigned long long)export->announced);
}

/* Does a write at this place go past the spool? */
static bool is_next(const struct export *export, uint64_t at)
{
	if (!export->pack || export->recorded ||
	    spool_ranges(export->spool)->count)
		return false;
	if (export->is_readable && !export->streamed &&
	    (export->was_read || !export->can_turn_back))
		return false;
	return at == export->streamed ||
	       (at > export->streamed && export->is_sparse);
}

/* A disk of zeroes is blank, however those came. */
static void note_data(struct export *export, const void *data, size_t length)
{
	if (!export->has_data)
		export->has_data = !is_all_zero(data, length);
}

int export_take(struct export *export, struct export_op *op,
		struct error *err)
{
	uint64_t at = op->offset + op->taken, left = op->length - op->taken;
	uint64_t before = op->taken;
	int ret;

	if (make_room(export, op, op->offset + op->length, err))
		return -1;
	note_data(export, op->data + op->taken, left);
	if (is_next(export, at)) {
		ret = export_stream_hole(export, at, err) ||
		      export_stream(export, op, op->data + op->taken, left,
				    &op->taken, err) ? -1 : 0;
		export->last_end = op->offset + op->taken;
		export_note_change(export, export->last_end,
				   op->taken - before);
		return ret;
	}
	if (at < export->streamed && export_turn_back(export, op, err))
		return -1;
	if (!spool_ranges(export->spool)->count)
		export->goes_back = false;
	if (at < export->last_end)
		export->goes_back = true;
	if (spool_write(export->spool, at, op->data + op->taken, left, err))
		return -1;
	op->taken = op->length;
	export->last_end = at + left;
	export_note_change(export, at + left, left);
	return settle(export, op, err);
}

/* Without waiting. */
static size_t try_stream(struct export *export, const void *data,
			 size_t length, void **buffer)
{
	struct error err = { 0 };
	size_t n = 0;

	note_data(export, data, length);
	if (buffer && pack_try_give(export->pack, buffer, length))
		return length;
	return pack_try_write(export->pack, data, length, &n, &err) ? 0 : n;
}

size_t export_try_write(struct export *export, uint64_t offset,
			const void *data, size_t length, void **buffer)
{
	uint64_t end;
	size_t n = 0;

	pthread_mutex_lock(&export->lock);
	if (export->is_running || export->failure.kind != ERR_NONE) {
		pthread_mutex_unlock(&export->lock);
		return 0;
	}
	export->is_running = true;
	pthread_mutex_unlock(&export->lock);
	if (is_next(export, offset) && offset == export->streamed &&
	    add_u64(offset, length, &end) && end <= export->stream_max)
		n = try_stream(export, data, length, buffer);
	if (n) {
		export->streamed += n;
		export->last_end = export->streamed;
		note_progress(export);
		export_note_change(export, export->streamed, n);
	}
	export_stop_running(export);
	return n;
}

/* Reading. */

int export_open_base(struct export *export, struct error *err)
{
	struct engine *engine = export->exports->options.engine;
	struct store *store = export->bucket->store;
	struct container_options options = { 0 };
	struct container *container;

	if (export->disk || !export->base_bytes)
		return 0;
	if (export->is_plain || !strcmp(export->format->name, "raw")) {
		if (opened_from_object(&export->opened, engine, store,
				       export->key, &export->base, err))
			return -1;
	} else if (container_open(&container, engine, store, export->key,
				  &export->base, &options, err) ||
		   opened_from_container(&export->opened, engine, container,
					 err)) {
		return -1;
	}
	if (opened_disk(&export->disk, export->opened, 0, err)) {
		export_close_base(export);
		return -1;
	}
	export->base_bytes = min_u64(export->base_bytes,
				     disk_size(export->disk));
	return 0;
}

void export_close_base(struct export *export)
{
	export->disk = NULL;
	if (export->opened && opened_unref(export->opened))
		opened_close(export->opened);
	export->opened = NULL;
}

static int give_base(struct export *export, uint64_t offset, char *buf,
		     uint64_t length, struct error *err)
{
	if (offset >= export->base_bytes)
		return 0;
	if (export_open_base(export, err))
		return -1;
	if (offset >= export->base_bytes)
		return 0;
	return disk_read(export->disk, offset, buf,
			 min_u64(length, export->base_bytes - offset), err);
}

int export_give(struct export *export, struct export_op *op,
		struct error *err)
{
	uint64_t at = op->offset, end;
	struct range range;

	op->taken = 0;
	if (at >= export->size)
		return 0;
	end = at + min_u64(op->length, export->size - at);
	if (at < export->streamed && export_turn_back(export, op, err))
		return -1;
	export->was_read = true;
	memset(op->data, 0, end - at);
	if (give_base(export, at, op->data, end - at, err))
		return -1;
	while (at < end &&
	       ranges_find(spool_ranges(export->spool), at, &range) &&
	       range.begin < end) {
		uint64_t from = max_u64(range.begin, at);
		uint64_t to = min_u64(range.end, end);

		if (spool_read(export->spool, from,
			       op->data + (from - op->offset), to - from, err))
			return -1;
		at = to;
	}
	op->taken = end - op->offset;
	return 0;
}

/* Sizes and holes. */

static int shrink(struct export *export, const struct export_op *op,
		  uint64_t size, struct error *err)
{
	uint64_t end = ranges_end(spool_ranges(export->spool));

	if (size && size < export->streamed &&
	    export_turn_back(export, op, err))
		return -1;
	if (size < export->streamed && start_over(export, op, 0, err))
		return -1;
	export->base_bytes = min_u64(export->base_bytes, size);
	if (!size)
		export->has_data = false;
	export->last_end = min_u64(export->last_end, size);
	if (end > size &&
	    spool_forget(export->spool, size, end - size, err))
		return -1;
	pthread_mutex_lock(&export->lock);
	export->size = size;
	pthread_mutex_unlock(&export->lock);
	return 0;
}

/* Is this the size that a stream is to have, which has not begun? */
static bool is_announcement(const struct export *export, uint64_t size)
{
	return export->pack && !export->streamed && size &&
	       size != export->announced;
}

int export_resize(struct export *export, const struct export_op *op,
		  uint64_t size, struct error *err)
{
	if (check_end(export, size, err))
		return -1;
	if (is_announcement(export, size)) {
		if (start_over(export, op, size, err))
			return -1;
	} else if (make_room(export, op, size, err)) {
		return -1;
	}
	if (size < export->size && shrink(export, op, size, err))
		return -1;
	export->sized = size;
	export_note_change(export, size, 0);
	return 0;
}

int export_zero(struct export *export, const struct export_op *op,
		struct error *err)
{
	uint64_t end = op->offset + op->length;

	if (op->offset < export->streamed && export_turn_back(export, op, err))
		return -1;
	if (op->grows && end > export->size &&
	    export_resize(export, op, end, err))
		return -1;
	end = min_u64(end, export->size);
	if (op->offset >= end)
		return 0;
	export_note_change(export, end, 0);
	/* A copy knows that this is a hole, and goes on behind it. */
	if (op->kind == EXPORT_COPY && op->offset == export->streamed &&
	    is_next(export, op->offset))
		return export_stream_hole(export, end, err);
	if (export->is_spooled)
		return spool_write_zeroes(export->spool, op->offset,
					  end - op->offset, err);
	return spool_forget(export->spool, op->offset, end - op->offset, err);
}
