/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * How pieces become the parts of a multipart upload: which ranges the store
 * copies itself, and which bytes have to come here and go back, because they
 * are too few for a part of their own or their object is too small to be
 * copied from. A pure function of its arguments. */
#ifndef VMIEFS_COPY_PLAN_H
#define VMIEFS_COPY_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct store_piece;

#define COPY_PIECES_MAX 65536

struct copy_limits {
	/* The store's. */
	uint64_t part_min;      /* bytes of each part but the last */
	uint64_t part_max;
	uint64_t parts_max;
	uint64_t source_min;    /* ranges come from larger objects only */
	uint64_t whole_max;     /* an object that one request copies */
	const char *odd;        /* no range comes from a key with one of
				 * these characters; NULL: any may */
	/* Ours. A part is about so large, and larger only where there would
	 * be too many; at least twice part_min. */
	uint64_t copy_bytes;    /* of the store's bytes: up to part_max */
	uint64_t put_bytes;     /* of bytes that go through memory: */
	uint64_t put_max;       /* up to this */
};

/* S3's, with sizes that let some requests run at once. */
extern const struct copy_limits s3_copy_limits;

/* A range of the new object. */
struct copy_part {
	uint64_t offset, length;
	bool is_copy; /* the store copies it; otherwise it is sent */
};

enum copy_way {
	COPY_WHOLE, /* one object, all of it: no parts */
	COPY_PUT,   /* one part that is sent; it may be empty */
	COPY_PARTS,
};

struct copy_plan {
	enum copy_way way;
	struct copy_part *parts; /* in order, without gaps */
	size_t count;
	const struct store_piece *pieces;
	size_t piece_count;
	uint64_t *starts;  /* of each piece in the object; and its size */
	uint64_t fetched;  /* bytes of objects that are read */
	uint64_t sent;     /* these and the pieces' own */
};

/* Plan an object of these pieces, which are borrowed while the plan lives and
 * were checked (store_compose()). As few bytes as possible are fetched.
 * ERR_LIMIT: too large, or too many pieces for the number of parts. */
int copy_plan_make(struct copy_plan *plan, const struct store_piece *pieces,
		   size_t count, const struct copy_limits *limits,
		   struct error *err);
void copy_plan_free(struct copy_plan *plan); /* zero is legal */

/* The piece that has the byte at offset, and where in the piece it is. A
 * range that is copied may go on in pieces that follow, which then have the
 * bytes behind those of this one in the same object. */
size_t copy_plan_find(const struct copy_plan *plan, uint64_t offset,
		      uint64_t *within);

#endif
