/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The collector that every driver answers through: it keeps pieces ascending
 * and contiguous, so that no driver has to. */
#include "config.h"

#include <assert.h>

#include "common/checked.h"
#include "format/extents.h"
#include "format/source.h"

void extents_init(struct extents *ex, uint64_t offset, uint64_t length,
		  unsigned int flags)
{
	assert(length > 0);
	ex->offset = offset;
	ex->length = length;
	ex->filled = 0;
	ex->flags = flags;
	ex->count = 0;
}

uint64_t extents_next(const struct extents *ex)
{
	return ex->offset + ex->filled;
}

bool extents_done(const struct extents *ex)
{
	return ex->filled >= ex->length;
}

/* Does `next` merely continue `last`? */
static bool continues(const struct extent *last, const struct extent *next)
{
	if (last->kind != next->kind)
		return false;
	switch (next->kind) {
	case EXTENT_ZERO:
	case EXTENT_PARENT:
		return true;
	case EXTENT_DATA:
		return last->source == next->source &&
		       last->at + last->length == next->at;
	case EXTENT_BAD:
		return last->why == next->why;
	case EXTENT_PACKED:
		break;
	}
	return false;
}

/* Cut what lies before the place where the next piece starts and behind the
 * asked range. */
static void clip(const struct extents *ex, struct extent *piece)
{
	uint64_t skip = extents_next(ex) - piece->offset;
	uint64_t end = ex->offset + ex->length;

	piece->offset += skip;
	piece->length -= skip;
	if (piece->kind == EXTENT_DATA)
		piece->at += skip;
	piece->length = min_u64(piece->length, end - piece->offset);
}

bool extents_add(struct extents *ex, const struct extent *piece)
{
	struct extent add = *piece;
	struct extent *last;

	if (extents_done(ex))
		return false;
	assert(add.offset <= extents_next(ex) &&
	       add.length > extents_next(ex) - add.offset);
	if (add.kind != EXTENT_PACKED)
		clip(ex, &add);
	last = ex->count ? &ex->items[ex->count - 1] : NULL;
	if (last && continues(last, &add)) {
		last->length += add.length;
	} else {
		if (ex->count == EXTENTS_MAX)
			return false;
		ex->items[ex->count++] = add;
	}
	ex->filled = min_u64(add.offset + add.length - ex->offset, ex->length);
	return !extents_done(ex);
}

bool extents_zero(struct extents *ex, uint64_t offset, uint64_t length)
{
	return extents_add(ex, &(struct extent){
		.kind = EXTENT_ZERO, .offset = offset, .length = length });
}

bool extents_parent(struct extents *ex, uint64_t offset, uint64_t length)
{
	return extents_add(ex, &(struct extent){
		.kind = EXTENT_PARENT, .offset = offset, .length = length });
}

bool extents_bad(struct extents *ex, uint64_t offset, uint64_t length,
		 const char *why)
{
	return extents_add(ex, &(struct extent){
		.kind = EXTENT_BAD, .offset = offset, .length = length,
		.why = why });
}

bool extents_data(struct extents *ex, uint64_t offset, uint64_t length,
		  struct source *source, uint64_t at)
{
	uint64_t there = at < source->size ? source->size - at : 0;
	uint64_t good = min_u64(length, there);

	if (good && offset + good > extents_next(ex) &&
	    !extents_add(ex, &(struct extent){
		.kind = EXTENT_DATA, .offset = offset, .length = good,
		.source = source, .at = at }))
		return false;
	if (good == length)
		return true;
	return extents_bad(ex, offset + good, length - good,
			   "the container ends before this data");
}
