/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Made-up disks. The object is built in memory: pieces in disk order or
 * shuffled, PACKED ones as in a stream-optimised VMDK (12-byte marker and
 * zlib stream). */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "tests/lib/fake-disk.h"
#include "tests/lib/memory-store.h"

#define MARKER_BYTES 12 /* le64 sector, le32 packed length */
#define SECTOR       512

struct fake_map {
	struct map map;
	struct fake_disk *fake; /* borrowed */
};

static const struct format fake_format = { .name = "fake", .title = "fake" };

uint64_t fake_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1d;
}

const struct fake_piece *fake_disk_piece(const struct fake_disk *fake,
					 uint64_t offset)
{
	size_t low = 0, high = fake->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (fake->pieces[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return &fake->pieces[low];
}

bool fake_disk_is_good(const struct fake_disk *fake, uint64_t offset,
		       uint64_t length)
{
	const struct fake_piece *piece = fake_disk_piece(fake, offset);
	const struct fake_piece *end = fake->pieces + fake->count;

	for (; piece < end && piece->offset < offset + length; piece++)
		if (piece->kind == EXTENT_BAD || piece->damaged)
			return false;
	return true;
}

static bool add_piece(struct extents *ex, const struct map *map,
		      const struct fake_piece *piece, uint32_t unit_bytes)
{
	struct extent unit = { .kind = EXTENT_PACKED,
			       .offset = piece->offset,
			       .length = piece->length,
			       .source = map->source,
			       .at = piece->at,
			       .bound = piece->bound,
			       .unpacked = unit_bytes,
			       .mark = piece->offset / SECTOR };

	switch (piece->kind) {
	case EXTENT_ZERO:
		return extents_zero(ex, piece->offset, piece->length);
	case EXTENT_DATA:
		return extents_data(ex, piece->offset, piece->length,
				    map->source, piece->at);
	case EXTENT_PACKED:
		return extents_add(ex, &unit);
	default:
		return extents_bad(ex, piece->offset, piece->length,
				   "bad on purpose");
	}
}

static int fake_extents(struct map *map, struct extents *ex, struct error *err)
{
	const struct fake_disk *fake = ((struct fake_map *)map)->fake;
	const struct fake_piece *piece = fake_disk_piece(fake, ex->offset);
	unsigned int left = fake->spec.answer_max ? fake->spec.answer_max :
						    EXTENTS_MAX;

	if (fake->spec.slow_tables && ex->flags & SOURCE_NOWAIT)
		return error_set(err, ERR_AGAIN, "the table is slow");
	while (left-- && add_piece(ex, map, piece, fake->spec.unit_bytes))
		piece++;
	return 0;
}

static void fake_close(struct map *map)
{
	free(map);
}

static const struct map_ops fake_map_ops = {
	.extents = fake_extents,
	.close = fake_close,
};

static enum extent_kind random_kind(const struct fake_spec *spec,
				    uint64_t *state)
{
	uint64_t n = fake_random(state) >> 20;

	n %= spec->zero + spec->data + spec->packed + spec->bad;
	if (n < spec->zero)
		return EXTENT_ZERO;
	if (n < spec->zero + spec->data)
		return EXTENT_DATA;
	return n < spec->zero + spec->data + spec->packed ? EXTENT_PACKED :
							    EXTENT_BAD;
}

/* Cut the disk into pieces. */
static void choose_pieces(struct fake_disk *fake, uint64_t *state)
{
	const struct fake_spec *spec = &fake->spec;
	uint64_t offset = 0, align = spec->align ? spec->align : 1;

	while (offset < spec->size) {
		struct fake_piece *piece = &fake->pieces[fake->count++];
		uint64_t length = spec->unit_bytes;

		piece->kind = random_kind(spec, state);
		if (piece->kind != EXTENT_PACKED) {
			length = fake_random(state) % spec->piece_max;
			length = round_down(length, align) + align;
		}
		if (fake->count == FAKE_PIECES_MAX)
			length = spec->size;
		piece->offset = offset;
		piece->length = min_u64(length, spec->size - offset);
		offset += piece->length;
	}
}

/* Bytes that pack to about a third: a third of them are random. */
static void fill_bytes(unsigned char *bytes, uint64_t n, uint64_t *state)
{
	for (uint64_t i = 0; i < n; i++)
		bytes[i] = i % 3 ? (unsigned char)(i >> 8 | 1) :
				   (unsigned char)(fake_random(state) >> 32);
}

/* Where piece i goes: forwards, or in a fixed shuffle. */
static size_t storing_order(const struct fake_disk *fake, size_t i)
{
	size_t step = fake->count / 2 + 1;

	if (fake->spec.in_order)
		return i;
	while (step % 2 == 0 || fake->count % step == 0)
		step++;
	/* A step without a common divisor visits each piece once; where it
	 * has one, stored[] below catches the rest. */
	return i * step % fake->count;
}

static int pack(unsigned char *object, struct fake_piece *piece,
		const struct fake_disk *fake, struct error *err)
{
	uLongf packed = compressBound(fake->spec.unit_bytes);
	AUTO_FREE unsigned char *unit = calloc(1, fake->spec.unit_bytes);

	if (!unit)
		return error_nomem(err);
	/* The last unit of a disk unpacks to a whole one. */
	memcpy(unit, fake->bytes + piece->offset, piece->length);
	if (compress2(object + MARKER_BYTES, &packed, unit,
		      fake->spec.unit_bytes, 1) != Z_OK)
		return error_set(err, ERR_BUG, "compress2() fails");
	le64_put(object, piece->offset / SECTOR);
	le32_put(object + 8, (uint32_t)packed);
	piece->bound = MARKER_BYTES + (uint32_t)packed;
	return 0;
}

static void damage(struct fake_piece *piece, unsigned char *marker,
		   unsigned int way)
{
	piece->damaged = true;
	switch (way % 4) {
	case 0:
		marker[0] ^= 0x5a;
		break;
	case 1: /* a reserved block type at the start of the stream */
		marker[MARKER_BYTES + 2] |= 0x06;
		break;
	case 2:
		marker[piece->bound - 1] ^= 0x5a;
		break;
	case 3: /* the marker's length cuts the stream off */
		le32_put(marker + 8, (piece->bound - MARKER_BYTES) / 2);
		break;
	}
}

/* Append one piece to the object of *size bytes so far. */
static int store_piece(struct fake_disk *fake, unsigned char *object,
		       struct fake_piece *piece, uint64_t *state,
		       struct error *err)
{
	unsigned char *bytes = fake->bytes + piece->offset;

	if (piece->kind != EXTENT_DATA && piece->kind != EXTENT_PACKED)
		return 0;
	if (!fake->spec.in_order)
		fake->stored += fake_random(state) % 5000;
	fill_bytes(bytes, piece->length, state);
	piece->at = fake->stored;
	if (piece->kind == EXTENT_PACKED) {
		if (pack(object + fake->stored, piece, fake, err))
			return -1;
		if (fake->spec.damage_every &&
		    ++fake->packed % fake->spec.damage_every == 0)
			damage(piece, object + fake->stored,
			       fake->packed / fake->spec.damage_every);
		fake->stored += piece->bound;
		return 0;
	}
	memcpy(object + fake->stored, bytes, piece->length);
	fake->stored += piece->length;
	return 0;
}

static int build_object(struct fake_disk *fake, unsigned char *object,
			uint64_t *state, struct error *err)
{
	AUTO_FREE bool *stored = calloc(fake->count, sizeof(*stored));

	if (!stored)
		return error_nomem(err);
	for (size_t i = 0; i < 2 * fake->count; i++) {
		size_t n = i < fake->count ? storing_order(fake, i) :
					     i - fake->count;

		if (stored[n])
			continue;
		stored[n] = true;
		if (store_piece(fake, object, &fake->pieces[n], state, err))
			return -1;
	}
	return 0;
}

static int open_map(struct fake_disk *fake, struct error *err)
{
	AUTO_FREE struct fake_map *map = calloc(1, sizeof(*map));
	struct object *object;
	struct source *source;

	if (!map)
		return error_nomem(err);
	if (object_open(&object, fake->store, "disk", NULL, err))
		return -1;
	if (source_from_object(&source, "disk", object, fake->store, err)) {
		object_close(object);
		return -1;
	}
	map_init(&map->map, &fake_map_ops, &fake_format, source);
	source_unref(source);
	map->map.subformat = "fake";
	map->map.size = fake->spec.size;
	map->map.unit_bytes = fake->spec.packed ? fake->spec.unit_bytes : 0;
	map->map.can_have_holes = true;
	map->fake = fake;
	fake->map = &take_ptr(map)->map;
	return 0;
}

static int put_object(struct fake_disk *fake, const unsigned char *object,
		      struct error *err)
{
	struct store *memory;

	if (memory_store_new(&memory, err))
		return -1;
	if (memory_store_put(memory, "disk", object, fake->stored, err) ||
	    faulty_store_new(&fake->store, memory, NULL, err)) {
		store_close(memory);
		return -1;
	}
	return open_map(fake, err);
}

/* Room for the object at its largest: everything packed badly, gaps. */
static uint64_t object_max(const struct fake_disk *fake)
{
	return fake->spec.size * 2 + fake->count * 6000 +
	       2ull * compressBound(fake->spec.unit_bytes) + 4096;
}

static int build(struct fake_disk *fake, struct error *err)
{
	uint64_t state = fake->spec.seed + 1;
	AUTO_FREE unsigned char *object = NULL;

	fake->bytes = calloc(1, fake->spec.size);
	fake->pieces = calloc(FAKE_PIECES_MAX, sizeof(*fake->pieces));
	if (!fake->bytes || !fake->pieces)
		return error_nomem(err);
	choose_pieces(fake, &state);
	object = calloc(1, object_max(fake));
	if (!object)
		return error_nomem(err);
	if (build_object(fake, object, &state, err))
		return -1;
	return put_object(fake, object, err);
}

int fake_disk_new(struct fake_disk **out, const struct fake_spec *spec,
		  struct error *err)
{
	struct fake_disk *fake = calloc(1, sizeof(*fake));

	*out = NULL;
	if (!fake)
		return error_nomem(err);
	fake->spec = *spec;
	if (build(fake, err)) {
		fake_disk_free(fake);
		return -1;
	}
	*out = fake;
	return 0;
}

void fake_disk_free(struct fake_disk *fake)
{
	if (!fake)
		return;
	map_close(fake->map);
	store_close(fake->store);
	free(fake->bytes);
	free(fake->pieces);
	free(fake);
}
