/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Making the object of a file being written. A stream only lacks its end; what
 * starts from an existing object is written anew as a whole, from that and
 * from what has changed since. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "fs/export-internal.h"
#include "format/writer.h"

#define COPY_BYTES (1u << 20)

static int check_cancelled(const struct export_op *op, struct error *err)
{
	return atomic_load(&op->is_cancelled) ?
	       error_set(err, ERR_CANCELLED, "was interrupted") : 0;
}

/* Up to `end`, from the spool. */
static int copy_spool(struct export *export, const struct export_op *op,
		      uint64_t end, char *buf, struct error *err)
{
	struct range stored;

	while (spool_next_stored(export->spool, export->streamed, end,
				 &stored)) {
		size_t n = (size_t)min_u64(COPY_BYTES,
					   stored.end - stored.begin);

		if (check_cancelled(op, err) ||
		    export_stream_hole(export, stored.begin, err) ||
		    spool_read(export->spool, stored.begin, buf, n, err) ||
		    export_stream(export, op, buf, n, NULL, err))
			return -1;
	}
	return export_stream_hole(export, end, err);
}

/* Up to `end`, from the base. */
static int copy_base(struct export *export, const struct export_op *op,
		     uint64_t end, char *buf, struct error *err)
{
	uint64_t stop = min_u64(end, export->base_bytes);

	while (export->streamed < stop) {
		uint64_t at = export->streamed, begin, until;
		size_t n;

		if (check_cancelled(op, err) ||
		    disk_seek(export->disk, at, true, &begin, err))
			return -1;
		if (begin >= stop)
			break;
		if (disk_seek(export->disk, begin, false, &until, err) ||
		    export_stream_hole(export, begin, err))
			return -1;
		n = (size_t)min_u64(COPY_BYTES, min_u64(until, stop) - begin);
		if (disk_read(export->disk, begin, buf, n, err) ||
		    export_stream(export, op, buf, n, NULL, err))
			return -1;
	}
	return export_stream_hole(export, end, err);
}

static int convert(struct export *export, const struct export_op *op,
		   struct error *err)
{
	AUTO_FREE char *buf = malloc(COPY_BYTES);
	uint64_t size = export->size;
	struct range range;

	if (!buf)
		return error_nomem(err);
	if (export_open_base(export, err))
		return -1;
	if (export_begin_stream(export, size ? size : WRITE_SIZE_UNKNOWN,
				export_patience(op), err))
		return -1;
	while (export->streamed < size) {
		if (!ranges_find(spool_ranges(export->spool),
				 export->streamed, &range))
			range.begin = range.end = size;
		if (copy_base(export, op, min_u64(range.begin, size), buf,
			      err) ||
		    copy_spool(export, op, min_u64(range.end, size), buf,
			       err))
			return -1;
	}
	return 0;
}

/* Finishing the pipeline, which can be interrupted. */

struct finishing {
	struct export *export;
	bool has_ended; /* under the export's lock */
	struct object_info info;
	struct error error;
};

static void finish_done(void *arg, const struct object_info *info,
			const struct error *err)
{
	struct finishing *finishing = arg;
	struct export *export = finishing->export;

	pthread_mutex_lock(&export->lock);
	if (info)
		finishing->info = *info;
	if (err)
		finishing->error = *err;
	export->cancellable = export->live = NULL;
	finishing->has_ended = true;
	pthread_cond_broadcast(&export->changed);
	pthread_mutex_unlock(&export->lock);
}

/* Publish, or keep it as *sealed. The stream ends in any case. */
static int finish(struct export *export, const struct export_op *op,
		  struct object_info *info, struct sink **sealed,
		  struct error *err)
{
	struct finishing finishing = { .export = export };
	struct pack *pack = take_ptr(export->pack);

	pthread_mutex_lock(&export->lock);
	export->cancellable = pack;
	if (atomic_load(&op->is_cancelled))
		pack_cancel(pack);
	pthread_mutex_unlock(&export->lock);
	if (sealed)
		pack_seal(pack, sealed, finish_done, &finishing);
	else
		pack_finish(pack, finish_done, &finishing);
	pthread_mutex_lock(&export->lock);
	while (!finishing.has_ended)
		pthread_cond_wait(&export->changed, &export->lock);
	pthread_mutex_unlock(&export->lock);
	if (finishing.error.kind != ERR_NONE) {
		*err = finishing.error;
		return -1;
	}
	*info = finishing.info;
	return 0;
}

int export_seal(struct export *export, const struct export_op *op,
		struct error *err)
{
	struct engine *engine = export->exports->options.engine;
	uint64_t streamed = export->streamed;
	struct object *object = NULL;
	struct sink *sink = NULL;
	struct object_info info;

	if (finish(export, op, &info, &sink, err) ||
	    sink_object(&object, sink, err)) {
		sink_discard(sink);
		return -1;
	}
	if (opened_from_sealed(&export->opened, engine, export->bucket->store,
			       export->key, export->format->name, object,
			       err)) {
		object_close(object);
		return -1;
	}
	if (opened_disk(&export->disk, export->opened, 0, err)) {
		export_close_base(export);
		return -1;
	}
	export->base_bytes = streamed;
	export->streamed = 0;
	export->is_spooled = true;
	return 0;
}

void export_drop_stream(struct export *export)
{
	struct pack *pack = take_ptr(export->pack);

	export->streamed = 0;
	if (!pack)
		return;
	pthread_mutex_lock(&export->lock);
	export->live = NULL;
	pthread_mutex_unlock(&export->lock);
	pack_cancel(pack);
	pack_discard_wait(pack);
}

static int check_sized(const struct export *export, struct error *err)
{
	if (!export->exports->options.require_size ||
	    export->sized == export->size)
		return 0;
	return error_set(err, ERR_ARG, "was not sized by ftruncate or "
			 "fallocate to the %llu bytes that it has "
			 "(-o require-size)", (unsigned long long)export->size);
}

/* From now on it is an existing object. */
static void become_base(struct export *export, const struct object_info *info)
{
	const struct exports_options *options = &export->exports->options;
	uint64_t end = ranges_end(spool_ranges(export->spool));

	export_close_base(export);
	export->base = *info;
	export->base_bytes = export->size;
	export->has_base = export->replaces = export->is_spooled = true;
	export->streamed = 0;
	export->goes_back = false;
	spool_forget(export->spool, 0, end, NULL);
	pthread_mutex_lock(&export->lock);
	export->is_published = true;
	export->is_dirty = false;
	export->out = info->size;
	export->spooled = 0;
	pthread_mutex_unlock(&export->lock);
	if (!export->has_data)
		exports_note_blank(export->exports, export, info->etag);
	options->published(options->arg, export->bucket, export->key);
}

int export_publish(struct export *export, const struct export_op *op,
		   struct error *err)
{
	struct object_info info;
	int ret;

	if (!export_is_dirty(export) &&
	    (export->is_published || export->has_base))
		return 0;
	if (check_sized(export, err))
		return -1;
	ret = export_copy_whole(export, op, &info, err);
	if (ret) {
		if (ret > 0)
			become_base(export, &info);
		return ret < 0 ? -1 : 0;
	}
	if (export->is_spooled ? convert(export, op, err) :
				 export_drain(export, op, err) ||
				 export_stream_hole(export, export->size, err))
		return -1;
	if (finish(export, op, &info, NULL, err))
		return -1;
	become_base(export, &info);
	return 0;
}
