/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Places in a gzip stream where inflating can start. */
#ifndef VMIEFS_GZIP_INDEX_H
#define VMIEFS_GZIP_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GZIP_WINDOW 32768 /* bytes of history that deflate refers to */

struct budget;
struct error;
struct source;

struct gzip_point {
	uint64_t out, in;    /* offsets unpacked and packed */
	uint8_t *window;     /* history, NULL where none is needed */
	uint16_t window_len; /* unpacked length - 1 */
	uint16_t stored_len; /* length in memory - 1; shorter: a zlib stream */
	uint8_t bits;        /* 0-7 bits of the byte before `in` come first */
	uint8_t prime;       /* these bits */
	bool is_member;      /* a member's header starts here */
};

struct gzip_index {
	struct gzip_point *points; /* ascending; the first is 0, 0 */
	size_t count, allocated;
	uint64_t size;             /* unpacked bytes */
	uint64_t spacing;          /* unpacked bytes between points, at least */
	uint64_t bytes, cap;       /* memory of the points, its limit */
	struct budget *budget;     /* NULL: only the cap counts */
};

/* Scan all of below; see gzip_open(). The index is empty on failure. */
int gzip_index_build(struct gzip_index *index, struct source *below,
		     struct budget *budget, bool (*keep_going)(void *arg),
		     void *arg, struct error *err);
void gzip_index_free(struct gzip_index *index);

/* The last point at or before an unpacked offset. */
const struct gzip_point *gzip_index_find(const struct gzip_index *index,
					 uint64_t out);

/* Unpack a point's history to window; *len gets its length. */
int gzip_point_window(const struct gzip_point *point,
		      uint8_t window[GZIP_WINDOW], size_t *len,
		      struct error *err);

#endif
