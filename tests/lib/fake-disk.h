/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A made-up disk for tests of the engine: a map with pieces of every kind and
 * of odd sizes at odd places, over an object in a faulty store, and the bytes
 * that it must read as. Everything follows from the seed. */
#ifndef VMIEFS_TESTS_FAKE_DISK_H
#define VMIEFS_TESTS_FAKE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"
#include "tests/lib/faulty-store.h"

#define FAKE_PIECES_MAX 65536

struct fake_spec {
	uint64_t size;       /* of the disk, bytes */
	unsigned int seed;
	uint32_t unit_bytes; /* PACKED pieces have this length, the last one
			      * at the disk's end perhaps less */
	uint32_t piece_max;  /* ZERO, DATA and BAD: 1..piece_max bytes */
	uint32_t align;      /* all lengths are multiples; 0 = 1 */
	unsigned int zero, data, packed, bad; /* how often, relatively */
	unsigned int damage_every; /* each Nth PACKED piece is damaged: wrong
				    * mark, broken stream, wrong checksum or
				    * cut off, in turn; 0 = none */
	bool in_order;       /* the object holds pieces in disk order; else
			      * they lie shuffled with gaps between */
	unsigned int answer_max; /* pieces in one answer; 0 = no limit */
	bool slow_tables;    /* extents() with SOURCE_NOWAIT is ERR_AGAIN */
};

struct fake_piece {
	enum extent_kind kind;
	uint64_t offset, length; /* in the disk */
	uint64_t at;             /* in the object; PACKED: the marker */
	uint32_t bound;          /* PACKED */
	bool damaged;            /* PACKED */
};

struct fake_disk {
	struct fake_spec spec;
	struct map *map;
	struct store *store;     /* a faulty store; owned */
	unsigned char *bytes;    /* what the disk reads as */
	struct fake_piece *pieces;
	size_t count;
	uint64_t stored;         /* size of the object */
	unsigned int packed;     /* PACKED pieces in it */
};

int fake_disk_new(struct fake_disk **out, const struct fake_spec *spec,
		  struct error *err);
void fake_disk_free(struct fake_disk *fake); /* the map must be unused */

/* The piece that holds byte offset of the disk. */
const struct fake_piece *fake_disk_piece(const struct fake_disk *fake,
					 uint64_t offset);

/* No byte of [offset, offset + length) is BAD or in a damaged unit. */
bool fake_disk_is_good(const struct fake_disk *fake, uint64_t offset,
		       uint64_t length);

/* The next number of a sequence: xorshift64*, state must not be 0. */
uint64_t fake_random(uint64_t *state);

#endif
