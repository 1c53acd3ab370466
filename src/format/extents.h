/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The answer to "where do bytes [offset, offset + length) of this disk lie?":
 * ascending, contiguous pieces. A driver adds pieces from the start of the
 * asked range on; the collector merges equal neighbours, clips to the range
 * and stops taking more when it is full (a shorter answer is legal as long as
 * it holds the piece at `offset`). */
#ifndef VMIEFS_EXTENTS_H
#define VMIEFS_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source;

enum extent_kind {
	EXTENT_ZERO,   /* reads as zeroes */
	EXTENT_DATA,   /* stored as it is at source offset `at` */
	EXTENT_PACKED, /* one packed unit; never clipped, never merged */
	EXTENT_PARENT, /* the parent's map knows (map_extents() asks it) */
	EXTENT_BAD,    /* the table is damaged here: reading gives EIO */
};

struct extent {
	enum extent_kind kind;
	uint64_t offset;       /* in the disk, bytes */
	uint64_t length;       /* in the disk, bytes, > 0 */
	struct source *source; /* DATA, PACKED: borrowed from the map */
	uint64_t at;           /* DATA: first byte; PACKED: the marker */
	uint32_t bound;        /* PACKED: marker and data lie in at..at+bound */
	uint32_t unpacked;     /* PACKED: the most that it unpacks to, bytes;
				* at least skip + length */
	uint32_t skip;         /* PACKED: unpacked bytes in front of `offset`;
				* 0 unless a parent's unit is seen around its
				* child's own data */
	uint64_t mark;         /* PACKED: the LBA that its marker must hold */
	const char *why;       /* BAD: static sentence, or NULL */
};

#define EXTENTS_MAX 1024 /* pieces in one answer */

struct extents {
	uint64_t offset, length; /* what was asked for */
	uint64_t filled;         /* bytes answered so far, from offset on */
	unsigned int flags;      /* SOURCE_NOWAIT or 0: for table reads */
	size_t count;
	struct extent items[EXTENTS_MAX];
};

/* Start a collection. length > 0. */
void extents_init(struct extents *ex, uint64_t offset, uint64_t length,
		  unsigned int flags);

/* Add the next piece, which must start at or before offset + filled and reach
 * past it (what lies before is clipped, except for PACKED). False when the
 * answer is complete or full: the driver stops then. */
bool extents_add(struct extents *ex, const struct extent *piece);

/* Short forms of extents_add(). */
bool extents_zero(struct extents *ex, uint64_t offset, uint64_t length);
bool extents_parent(struct extents *ex, uint64_t offset, uint64_t length);
bool extents_bad(struct extents *ex, uint64_t offset, uint64_t length,
		 const char *why);
/* What of [at, at + length) lies past the source's end becomes BAD. */
bool extents_data(struct extents *ex, uint64_t offset, uint64_t length,
		  struct source *source, uint64_t at);

/* Where the next piece has to start; offset + length when complete. */
uint64_t extents_next(const struct extents *ex);
bool extents_done(const struct extents *ex);

#endif
