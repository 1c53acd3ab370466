/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Joining the answers to many questions into one list of pieces, and getting
 * past places whose tables do not read. */
#include "config.h"

#include <stdlib.h>

#include "command/walk.h"
#include "common/checked.h"

#define STEP_BYTES   (1u << 20) /* what is given up where a table is bad */
#define FAILURES_MAX 65536      /* such places in one disk */

struct walk {
	struct map *map;
	walk_fn *fn;
	void *arg;
	struct extent last; /* length 0: none */
	struct extents *ex;
	unsigned int failures;
};

static bool continues(const struct extent *last, const struct extent *next)
{
	if (last->kind != next->kind || last->kind == EXTENT_PACKED)
		return false;
	if (last->kind == EXTENT_DATA)
		return last->source == next->source &&
		       last->at + last->length == next->at;
	return last->kind != EXTENT_BAD || last->why == next->why;
}

static int flush(struct walk *walk, struct error *err)
{
	struct extent piece = walk->last;

	walk->last.length = 0;
	return piece.length ? walk->fn(walk->arg, &piece, err) : 0;
}

static int add(struct walk *walk, const struct extent *piece,
	       struct error *err)
{
	if (walk->last.length && continues(&walk->last, piece)) {
		walk->last.length += piece->length;
		return 0;
	}
	if (flush(walk, err))
		return -1;
	walk->last = *piece;
	return 0;
}

/* The table for `at` does not read: a bad piece up to the next step. */
static int add_failure(struct walk *walk, uint64_t at, uint64_t end,
		       uint64_t *next, const struct error *why,
		       struct error *err)
{
	struct extent piece = {
		.kind = EXTENT_BAD, .offset = at, .why = why->text,
	};

	if ((why->kind != ERR_CORRUPT && why->kind != ERR_IO) ||
	    ++walk->failures > FAILURES_MAX) {
		*err = *why;
		return -1;
	}
	*next = min_u64(end, round_down(at, STEP_BYTES) + STEP_BYTES);
	piece.length = *next - at;
	if (flush(walk, err))
		return -1;
	return walk->fn(walk->arg, &piece, err);
}

/* Ask for [at, end); *next is where the answer stops. */
static int step(struct walk *walk, uint64_t at, uint64_t end, uint64_t *next,
		struct error *err)
{
	struct error why = { 0 };

	extents_init(walk->ex, at, end - at, 0);
	if (map_extents(walk->map, walk->ex, &why)) {
		uint64_t near = min_u64(end, round_down(at, STEP_BYTES) +
					STEP_BYTES);

		/* The trouble may lie further on. */
		extents_init(walk->ex, at, near - at, 0);
		if (map_extents(walk->map, walk->ex, &why))
			return add_failure(walk, at, end, next, &why, err);
	}
	for (size_t i = 0; i < walk->ex->count; i++)
		if (add(walk, &walk->ex->items[i], err))
			return -1;
	*next = extents_next(walk->ex);
	return 0;
}

int walk_range(struct map *map, uint64_t offset, uint64_t length, walk_fn *fn,
	       void *arg, struct error *err)
{
	AUTO_FREE struct extents *ex = malloc(sizeof(*ex));
	struct walk walk = { .map = map, .fn = fn, .arg = arg, .ex = ex };
	uint64_t end = offset + length;

	if (!ex)
		return error_nomem(err);
	for (uint64_t at = offset; at < end;)
		if (step(&walk, at, end, &at, err))
			return -1;
	return flush(&walk, err);
}

int walk_map(struct map *map, walk_fn *fn, void *arg, struct error *err)
{
	return walk_range(map, 0, map->size, fn, arg, err);
}
