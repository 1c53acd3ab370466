/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Raw disks: every byte is stored where it reads. Never recognised by
 * content, since a guest may write any magic number into its own disk. */
#include "config.h"

#include <stdlib.h>

#include "format/raw.h"

static int raw_extents(struct map *map, struct extents *ex, struct error *err)
{
	extents_data(ex, ex->offset, ex->length, map->source, ex->offset);
	return 0;
}

static void raw_close(struct map *map)
{
	free(map);
}

static const struct map_ops raw_map_ops = {
	.extents = raw_extents,
	.close = raw_close,
};

static int raw_open(struct map **out, struct source *source,
		    const struct open_args *args, struct error *err)
{
	struct map *map = calloc(1, sizeof(*map));

	*out = map;
	if (!map)
		return error_nomem(err);
	map_init(map, &raw_map_ops, &raw_format, source);
	map->subformat = "raw";
	map->size = source->size;
	return 0;
}

const struct format raw_format = {
	.name = "raw",
	.title = "raw disk",
	.open = raw_open,
	.create = raw_create,
};
