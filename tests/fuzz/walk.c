/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Opening and walking a disk made of hostile bytes, in bounded time. What a
 * map answers is held against the contract of extents.h: a target finds wrong
 * answers, not only crashes. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "tests/fuzz/walk.h"
#include "tests/tools/mapread.h"

#define ANSWERS_MAX  64
#define UNPACK_MAX   8
#define BUDGET_BYTES (32u << 20)

static void insist(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "contract broken: %s\n", what);
	abort();
}

static void check_piece(const struct map *map, const struct extents *ex,
			const struct extent *piece, uint64_t next)
{
	insist(piece->length > 0, "an empty piece");
	insist(piece->offset <= next, "a gap before a piece");
	insist(in_range(piece->offset, piece->length, map->size),
	       "a piece past the disk's end");
	insist(piece->offset + piece->length > next, "a piece that repeats");
	insist(piece->kind != EXTENT_PARENT, "a PARENT piece");
	if (piece->kind == EXTENT_DATA)
		insist(in_range(piece->at, piece->length, piece->source->size),
		       "data past the source's end");
	if (piece->kind != EXTENT_PACKED)
		return;
	insist(in_range(piece->at, piece->bound, piece->source->size),
	       "a unit past the source's end");
	insist(piece->unpacked <= FORMAT_UNIT_MAX &&
	       piece->unpacked <= map->unit_bytes, "too large a unit");
	insist(piece->skip + piece->length <= piece->unpacked,
	       "a unit longer than itself");
}

static void unpack_piece(const struct extent *piece)
{
	AUTO_FREE uint8_t *unit = malloc(piece->unpacked);
	struct error err = { 0 };

	if (unit && mapread_unpack(piece, unit, &err))
		insist(err.kind != ERR_NONE, "a failure without an error");
}

/* One question; returns where the next one starts, 0 on an error. */
static uint64_t ask(struct map *map, struct extents *ex, uint64_t at,
		    int *units)
{
	struct error err = { 0 };
	uint64_t next = at;

	extents_init(ex, at, map->size - at, 0);
	if (map_extents(map, ex, &err)) {
		insist(err.kind != ERR_NONE, "a failure without an error");
		return 0;
	}
	insist(ex->count > 0, "an empty answer");
	for (size_t i = 0; i < ex->count; i++) {
		const struct extent *piece = &ex->items[i];

		check_piece(map, ex, piece, next);
		next = piece->offset + piece->length;
		if (piece->kind == EXTENT_PACKED && (*units)++ < UNPACK_MAX)
			unpack_piece(piece);
	}
	insist(next >= extents_next(ex), "filled says more than the pieces");
	return extents_next(ex);
}

static void ignore_problem(void *arg, const char *text)
{
}

static void walk_map(struct map *map)
{
	AUTO_FREE struct extents *ex = malloc(sizeof(*ex));
	json_t *object = json_object();
	struct error err = { 0 };
	uint64_t at = 0;
	int units = 0;

	for (int i = 0; ex && i < ANSWERS_MAX && at < map->size; i++) {
		at = ask(map, ex, at, &units);
		if (!at)
			break;
	}
	if (ex && map->size)
		ask(map, ex, map->size - 1, &units);
	if (object && map->ops->describe)
		(void)!map->ops->describe(map, object, &err);
	json_decref(object);
	if (map->ops->check)
		(void)!map->ops->check(map, ignore_problem, NULL, &err);
}

void fuzz_walk_source(const char *format, struct source *source,
		      struct siblings *siblings)
{
	struct open_args args = { .format = format, .file_name = "fuzz",
				  .siblings = siblings };
	struct budget *budget = NULL;
	struct map *map = NULL;
	struct error err = { 0 };

	if (budget_new(&budget, BUDGET_BYTES, &err))
		return;
	args.budget = budget;
	if (!format_open(&map, source, NULL, &args, &err))
		walk_map(map);
	else
		insist(err.kind != ERR_NONE && !map,
		       "a failed open leaves a map or no error");
	map_close(map);
	insist(budget_stats(budget).used == 0, "memory budget not given back");
	budget_free(budget);
}

void fuzz_walk(const char *format, const uint8_t *data, size_t size,
	       struct siblings *siblings)
{
	struct source *source;
	struct error err;

	if (source_memory(&source, "fuzz", data, size, &err))
		return;
	fuzz_walk_source(format, source, siblings);
	source_unref(source);
}
