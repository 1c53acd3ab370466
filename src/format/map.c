/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The part of a map that all drivers share, and the walk up the chain of
 * parents that turns PARENT pieces into bytes somewhere. */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/checked.h"
#include "format/format.h"

void open_warn(const struct open_args *args, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!args->warn)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	args->warn(args->warn_arg, text);
}

int open_goes_on(const struct open_args *args, struct error *err)
{
	if (!args || !args->keep_going ||
	    args->keep_going(args->keep_going_arg))
		return 0;
	return error_set(err, ERR_CANCELLED, "stopped while opening");
}

void map_init(struct map *map, const struct map_ops *ops,
	      const struct format *format, struct source *source)
{
	map->ops = ops;
	map->format = format;
	map->source = source_ref(source);
}

void map_close(struct map *map)
{
	struct map *parent;
	struct source *source;

	if (!map)
		return;
	parent = map->parent;
	source = map->source;
	map->ops->close(map);
	source_unref(source);
	map_close(parent);
}

/* A parent's unit shows only where the child has nothing of its own. */
static void clip_unit(struct extent *piece, uint64_t start, uint64_t end)
{
	uint64_t stop = min_u64(piece->offset + piece->length, end);

	if (piece->offset < start) {
		piece->skip += (uint32_t)(start - piece->offset);
		piece->offset = start;
	}
	piece->length = stop - piece->offset;
}

/* Answer one PARENT piece of `ex` by the parent's map, adding to `all`. */
static int resolve_parent(struct map *parent, struct extents *all,
			  const struct extent *piece, struct error *err)
{
	AUTO_FREE struct extents *above = NULL;
	uint64_t end = piece->offset + piece->length;
	uint64_t inside = min_u64(end, max_u64(parent->size, piece->offset));

	above = malloc(sizeof(*above));
	if (!above)
		return error_nomem(err);
	while (extents_next(all) < inside) {
		uint64_t next = extents_next(all);

		extents_init(above, next, inside - next, all->flags);
		if (map_extents(parent, above, err))
			return error_prefix(err, "parent %s",
					    parent->source->name);
		for (size_t i = 0; i < above->count; i++) {
			uint64_t before = all->filled;

			if (above->items[i].kind == EXTENT_PACKED)
				clip_unit(&above->items[i], extents_next(all),
					  inside);
			extents_add(all, &above->items[i]);
			if (all->filled == before)
				return 0;
		}
	}
	if (inside < end)
		extents_zero(all, inside, end - inside);
	return 0;
}

int map_extents(struct map *map, struct extents *ex, struct error *err)
{
	AUTO_FREE struct extents *own = NULL;

	assert(in_range(ex->offset, ex->length, map->size));
	assert(!map->is_glance);
	if (!map->parent) {
		if (map->ops->extents(map, ex, err))
			return -1;
		assert(ex->count > 0);
		return 0;
	}
	own = malloc(sizeof(*own));
	if (!own)
		return error_nomem(err);
	extents_init(own, ex->offset, ex->length, ex->flags);
	if (map->ops->extents(map, own, err))
		return -1;
	for (size_t i = 0; i < own->count; i++) {
		const struct extent *piece = &own->items[i];
		uint64_t end = piece->offset + piece->length;

		if (piece->kind != EXTENT_PARENT)
			extents_add(ex, piece);
		else if (resolve_parent(map->parent, ex, piece, err))
			return ex->count ? 0 : -1;
		if (extents_next(ex) < min_u64(end, ex->offset + ex->length))
			break; /* full: the caller asks again from there */
	}
	return 0;
}
