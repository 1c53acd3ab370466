/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A new object from pieces: bytes of ours, and ranges of objects that lie in
 * the same store. What the store can copy itself does not come here: a
 * directory uses copy_file_range(2), S3 UploadPartCopy; a store that can do
 * neither reads and writes. */
#ifndef VMIEFS_COMPOSE_H
#define VMIEFS_COMPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct object_info;
struct sink;
struct sink_args;
struct store;

struct store_piece {
	const void *data;               /* `length` bytes of ours; NULL: */
	const char *key;                /* a range of this object, */
	const struct object_info *info; /* pinned to its ETag, */
	uint64_t offset;                /* from here on */
	uint64_t length;
};

/* Make the object `key` of pieces[0..count) put one behind the other. It
 * appears under its key when it is whole, or not at all; args as for
 * store_create(), with a size and head that do not matter. All else is
 * borrowed until this returns.
 *
 * A source that has not its info's ETag any more is ERR_STALE. Pieces of
 * length 0 are left out, and nothing is asked about their objects, unless one
 * is all there is: a copy of one whole object keeps what the store knows of it
 * besides its bytes. A range that its object does not have is ERR_ARG.
 *
 * goes_on (NULL: nobody asks) hears from time to time that `done` of `total`
 * bytes are there; false stops all with ERR_CANCELLED. It is called by one
 * thread at a time, not always the caller's; `done` never shrinks.
 *
 * info (may be NULL) gets what the store says of the new object. Blocks. */
int store_compose(struct store *store, const char *key,
		  const struct sink_args *args,
		  const struct store_piece *pieces, size_t count,
		  bool (*goes_on)(void *arg, uint64_t done, uint64_t total),
		  void *arg, struct object_info *info, struct error *err);

/* For stores: one call of store_compose(), its pieces checked. */
struct compose {
	const struct store_piece *pieces;
	size_t count;
	uint64_t done, total;
	bool (*goes_on)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/* So many bytes more are done. ERR_CANCELLED when that was enough. */
int compose_step(struct compose *compose, uint64_t bytes, struct error *err);

/* Append one range of an object to the sink, with a step now and then. */
typedef int compose_range_fn(struct store *store, struct compose *compose,
			     const struct store_piece *piece,
			     struct sink *sink, struct error *err);

/* All pieces into a sink of the store; ranges as `range` does it. */
int compose_by_sink(struct store *store, const char *key,
		    const struct sink_args *args, struct compose *compose,
		    compose_range_fn *range, struct object_info *info,
		    struct error *err);

/* A range by reading and writing: what any store can. */
compose_range_fn compose_read_range;

#endif
