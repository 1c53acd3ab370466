/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A whole disk's extents in one go. */
#ifndef VMIEFS_WALK_H
#define VMIEFS_WALK_H

#include "common/cleanup.h"
#include "format/format.h"

/* Gets each piece in order; neighbours that continue each other come as one
 * (packed units never do). Where a table cannot be read the piece is BAD and
 * its `why` is valid during the call only. -1 with err ends the walk. */
typedef int walk_fn(void *arg, const struct extent *piece, struct error *err);

MUST_CHECK int walk_map(struct map *map, walk_fn *fn, void *arg,
			struct error *err);

/* As walk_map(), for [offset, offset + length) of the disk. */
MUST_CHECK int walk_range(struct map *map, uint64_t offset, uint64_t length,
			  walk_fn *fn, void *arg, struct error *err);

#endif
