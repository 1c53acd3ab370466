/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The checked entry point of store_compose(), and the way that any store can
 * go: through a sink. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "store/compose.h"
#include "store/sink.h"
#include "store/store.h"

#define CHUNK_BYTES (1u << 20)

int compose_step(struct compose *compose, uint64_t bytes, struct error *err)
{
	compose->done += bytes;
	if (!compose->goes_on ||
	    compose->goes_on(compose->arg, compose->done, compose->total))
		return 0;
	return error_set(err, ERR_CANCELLED, "was cancelled");
}

static int read_chunks(struct object *object, struct compose *compose,
		       const struct store_piece *piece, struct sink *sink,
		       void *buf, struct error *err)
{
	uint64_t done = 0;

	while (done < piece->length) {
		struct iovec iov = {
			buf, (size_t)min_u64(piece->length - done, CHUNK_BYTES)
		};

		if (object_readv(object, piece->offset + done, &iov, 1, 0,
				 err))
			return error_prefix(err, "%s", piece->key);
		if (sink_writev(sink, &iov, 1, err) ||
		    compose_step(compose, iov.iov_len, err))
			return -1;
		done += iov.iov_len;
	}
	return 0;
}

int compose_read_range(struct store *store, struct compose *compose,
		       const struct store_piece *piece, struct sink *sink,
		       struct error *err)
{
	AUTO_FREE void *buf = malloc(CHUNK_BYTES);
	struct object *object;
	int ret;

	if (!buf)
		return error_nomem(err);
	if (object_open(&object, store, piece->key, piece->info, err))
		return error_prefix(err, "%s", piece->key);
	ret = read_chunks(object, compose, piece, sink, buf, err);
	object_close(object);
	return ret;
}

static int write_bytes(struct compose *compose,
		       const struct store_piece *piece, struct sink *sink,
		       struct error *err)
{
	const char *data = piece->data;
	uint64_t left = piece->length;

	while (left) {
		size_t n = (size_t)min_u64(left, CHUNK_BYTES);

		if (sink_write(sink, data, n, err) ||
		    compose_step(compose, n, err))
			return -1;
		data += n;
		left -= n;
	}
	return 0;
}

static int put_pieces(struct store *store, struct compose *compose,
		      compose_range_fn *range, struct sink *sink,
		      struct error *err)
{
	for (size_t i = 0; i < compose->count; i++) {
		const struct store_piece *piece = &compose->pieces[i];
		int ret = 0;

		if (!piece->length)
			continue;
		if (piece->data)
			ret = write_bytes(compose, piece, sink, err);
		else
			ret = range(store, compose, piece, sink, err);
		if (ret)
			return -1;
	}
	return 0;
}

int compose_by_sink(struct store *store, const char *key,
		    const struct sink_args *args, struct compose *compose,
		    compose_range_fn *range, struct object_info *info,
		    struct error *err)
{
	struct sink *sink;
	int ret;

	if (store_create(&sink, store, key, args, err))
		return -1;
	ret = put_pieces(store, compose, range, sink, err);
	if (!ret)
		ret = sink_finish(sink, info, err);
	sink_discard(sink);
	return ret;
}

static int check_range(const struct store_piece *piece, struct error *err)
{
	if (!piece->key || !piece->info)
		return error_set(err, ERR_BUG, "a piece with neither bytes "
				 "nor an object");
	if (store_check_key(piece->key, err))
		return -1;
	if (!in_range(piece->offset, piece->length, piece->info->size))
		return error_set(err, ERR_ARG, "%s: %llu bytes from %llu on "
				 "are not in its %llu bytes", piece->key,
				 (unsigned long long)piece->length,
				 (unsigned long long)piece->offset,
				 (unsigned long long)piece->info->size);
	return 0;
}

static int check_pieces(const struct store_piece *pieces, size_t count,
			uint64_t *total, struct error *err)
{
	*total = 0;
	for (size_t i = 0; i < count; i++) {
		if (!pieces[i].data && pieces[i].length &&
		    check_range(&pieces[i], err))
			return -1;
		if (!add_u64(*total, pieces[i].length, total) ||
		    *total > INT64_MAX)
			return error_set(err, ERR_LIMIT, "no object has more "
					 "than %lld bytes",
					 (long long)INT64_MAX);
	}
	return 0;
}

int store_compose(struct store *store, const char *key,
		  const struct sink_args *args,
		  const struct store_piece *pieces, size_t count,
		  bool (*goes_on)(void *arg, uint64_t done, uint64_t total),
		  void *arg, struct object_info *info, struct error *err)
{
	struct compose compose = { pieces, count, .goes_on = goes_on,
				   .arg = arg };
	struct sink_args own = *args;
	struct object_info ignored;

	if (store_check_key(key, err) ||
	    check_pieces(pieces, count, &compose.total, err))
		return -1;
	own.size = compose.total;
	own.head_bytes = 0;
	log_debug("compose %s/%s of %zu pieces, %llu bytes", store->url, key,
		  count, (unsigned long long)compose.total);
	if (!store->ops->compose)
		return compose_by_sink(store, key, &own, &compose,
				       compose_read_range, info, err);
	return store->ops->compose(store, key, &own, &compose,
				   info ? info : &ignored, err);
}
