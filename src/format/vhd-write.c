/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing VHD, dynamic and fixed. Layout and numbers are those of vhd.c:
 *
 *     dynamic  footer's copy | header | BAT | bitmap, block | ... | footer
 *     fixed    the disk's bytes | footer
 *
 * BAT, header and footer's copy lie in the head and are filled in at the end.
 * Where the size is not known at the start, the BAT has room for the disk that
 * is expected, or for the largest. Blocks have 2 MiB and a bitmap of all ones,
 * as Hyper-V makes them.
 *
 * The creator is one of those whose disks have the size that the footer tells,
 * not that of the geometry, in every reader; the time of creation is 0, so
 * that the same disk always gives the same file. In memory: 4 bytes a block
 * stored. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "format/block-write.h"
#include "format/vhd.h"
#include "format/writer.h"

#define SIZE_MAX_BYTES (2040ull << 30)
#define BLOCK_BYTES    (2u << 20)
#define BITMAP_BYTES   512u
#define TABLE_AT       (VHD_FOOTER_BYTES + VHD_HEADER_BYTES)
#define PART_BYTES     (64u << 10) /* of the BAT, patched at once */
#define UNIT_BYTES     (64u << 10)

_Static_assert(TABLE_AT + SIZE_MAX_BYTES / BLOCK_BYTES * 4 <= SINK_HEAD_MAX,
	       "the largest BAT lies in the head");

struct vhd_writer {
	struct writer writer;
	char *name;
	bool is_fixed;
	uint8_t bitmap[BITMAP_BYTES];
	struct block_writer blocks; /* of a dynamic disk */
};

/* Bytes of the BAT with its padding. */
static uint64_t table_bytes(uint64_t size)
{
	uint64_t entries = div_round_up(size, BLOCK_BYTES);

	return div_round_up(entries * 4, VHD_SECTOR) * VHD_SECTOR;
}

/* Microsoft's procedure, from the specification's appendix. */
static void put_geometry(struct vhd_footer_disk *footer, uint64_t sectors)
{
	uint64_t per_track = 17, heads, tracks;

	sectors = min_u64(sectors, 65535ull * 16 * 255);
	if (sectors >= 65535ull * 16 * 63) {
		per_track = 255;
		heads = 16;
		tracks = sectors / per_track;
	} else {
		tracks = sectors / per_track;
		heads = max_u64(div_round_up(tracks, 1024), 4);
		if (tracks >= heads * 1024 || heads > 16) {
			per_track = 31;
			heads = 16;
			tracks = sectors / per_track;
		}
		if (tracks >= heads * 1024) {
			per_track = 63;
			heads = 16;
			tracks = sectors / per_track;
		}
	}
	be16_put(footer->cylinders, (uint16_t)(tracks / heads));
	footer->heads = (uint8_t)heads;
	footer->sectors = (uint8_t)per_track;
}

static int make_footer(const struct vhd_writer *self,
		       struct vhd_footer_disk *footer, uint64_t size,
		       struct error *err)
{
	memset(footer, 0, sizeof(*footer));
	memcpy(footer->cookie, "conectix", sizeof(footer->cookie));
	be32_put(footer->features, 2); /* reserved, always set */
	be32_put(footer->version, 0x10000);
	be64_put(footer->data_offset, self->is_fixed ? UINT64_MAX :
						       VHD_FOOTER_BYTES);
	memcpy(footer->creator, "win ", sizeof(footer->creator));
	be32_put(footer->creator_version, 0xa0000);
	memcpy(footer->creator_host, "Wi2k", sizeof(footer->creator_host));
	be64_put(footer->original_size, size);
	be64_put(footer->current_size, size);
	put_geometry(footer, size / VHD_SECTOR);
	be32_put(footer->type, self->is_fixed ? VHD_FIXED : VHD_DYNAMIC);
	if (writer_identity(footer->uuid, "vhd", self->name, size,
			    self->blocks.content, err))
		return -1;
	be32_put(footer->checksum,
		 vhd_checksum(footer, sizeof(*footer),
			      offsetof(struct vhd_footer_disk, checksum)));
	return 0;
}

static void make_header(struct vhd_header_disk *header, uint64_t size)
{
	memset(header, 0, sizeof(*header));
	memcpy(header->cookie, "cxsparse", sizeof(header->cookie));
	be64_put(header->data_offset, UINT64_MAX);
	be64_put(header->table_offset, TABLE_AT);
	be32_put(header->version, 0x10000);
	be32_put(header->entries, (uint32_t)div_round_up(size, BLOCK_BYTES));
	be32_put(header->block_bytes, BLOCK_BYTES);
	be32_put(header->checksum,
		 vhd_checksum(header, sizeof(*header),
			      offsetof(struct vhd_header_disk, checksum)));
}

/* Space for everything that is filled in at the end. */
static int vhd_start(struct writer *writer, struct error *err)
{
	return sink_zeroes(writer->sink, writer->head_bytes, err);
}

static int vhd_dynamic_pieces(struct writer *writer,
			      const struct piece *pieces, size_t count,
			      struct error *err)
{
	struct vhd_writer *self = (struct vhd_writer *)writer;

	return block_write(&self->blocks, writer->sink, pieces, count, err);
}

static int vhd_fixed_pieces(struct writer *writer, const struct piece *pieces,
			    size_t count, struct error *err)
{
	struct sink *sink = writer->sink;

	for (size_t i = 0; i < count; i++)
		if (sink_zeroes(sink, pieces[i].offset - sink->position, err) ||
		    sink_write(sink, pieces[i].data, pieces[i].stored, err))
			return -1;
	return 0;
}

/* The BAT, and all ones in the rest of the space for it. */
static int patch_table(struct vhd_writer *self, struct error *err)
{
	const struct numbers *list = &self->blocks.blocks;
	AUTO_FREE uint8_t *part = malloc(PART_BYTES);
	size_t next = 0;

	if (!part)
		return error_nomem(err);
	for (uint64_t at = TABLE_AT; at < self->writer.head_bytes;
	     at += PART_BYTES) {
		uint64_t first = (at - TABLE_AT) / 4;
		size_t n = (size_t)min_u64(PART_BYTES,
					   self->writer.head_bytes - at);

		memset(part, 0xff, n);
		for (; next < list->count && list->items[next] < first + n / 4;
		     next++)
			be32_put(part + 4 * (list->items[next] - first),
				 (uint32_t)(block_place(&self->blocks, next) /
					    VHD_SECTOR));
		if (sink_patch(self->writer.sink, at, part, n, err))
			return -1;
	}
	return 0;
}

static int vhd_dynamic_finish(struct writer *writer, uint64_t size,
			      struct error *err)
{
	struct vhd_writer *self = (struct vhd_writer *)writer;
	struct sink *sink = writer->sink;
	struct vhd_footer_disk footer;
	struct vhd_header_disk header;

	if (block_write_end(&self->blocks, sink, 0, err) ||
	    make_footer(self, &footer, size, err) ||
	    sink_write(sink, &footer, sizeof(footer), err) ||
	    sink_patch(sink, 0, &footer, sizeof(footer), err))
		return -1;
	make_header(&header, size);
	if (sink_patch(sink, VHD_FOOTER_BYTES, &header, sizeof(header), err))
		return -1;
	return patch_table(self, err);
}

static int vhd_fixed_finish(struct writer *writer, uint64_t size,
			    struct error *err)
{
	struct vhd_writer *self = (struct vhd_writer *)writer;
	struct sink *sink = writer->sink;
	struct vhd_footer_disk footer;

	if (sink_zeroes(sink, size - sink->position, err) ||
	    make_footer(self, &footer, size, err))
		return -1;
	return sink_write(sink, &footer, sizeof(footer), err);
}

static void vhd_free(struct writer *writer)
{
	struct vhd_writer *self = (struct vhd_writer *)writer;

	numbers_free(&self->blocks.blocks);
	free(self->name);
	free(self);
}

static const struct writer_ops vhd_dynamic_ops = {
	.start = vhd_start,
	.pieces = vhd_dynamic_pieces,
	.finish = vhd_dynamic_finish,
	.free = vhd_free,
};

static const struct writer_ops vhd_fixed_ops = {
	.pieces = vhd_fixed_pieces,
	.finish = vhd_fixed_finish,
	.free = vhd_free,
};

/* Sizes are checked against the limit afterwards, so they are cut here. */
static void set_dynamic(struct vhd_writer *self, uint64_t size)
{
	struct block_writer *blocks = &self->blocks;

	self->writer.ops = &vhd_dynamic_ops;
	self->writer.head_bytes = (uint32_t)(TABLE_AT +
		table_bytes(min_u64(size, SIZE_MAX_BYTES)));
	self->writer.object_bytes_max = SINK_SIZE_UNKNOWN;
	memset(self->bitmap, 0xff, sizeof(self->bitmap));
	blocks->block_bytes = BLOCK_BYTES;
	blocks->prefix = self->bitmap;
	blocks->prefix_bytes = BITMAP_BYTES;
}

/* Room for a disk of that size, though it may become another one. */
static void set_hint(struct vhd_writer *self, uint64_t size)
{
	uint64_t table = table_bytes(min_u64(size, SIZE_MAX_BYTES));

	self->writer.head_bytes = (uint32_t)(TABLE_AT + table);
	self->writer.size_max = min_u64(table / 4 * BLOCK_BYTES,
					SIZE_MAX_BYTES);
}

static void set_fixed(struct vhd_writer *self, uint64_t size)
{
	self->writer.ops = &vhd_fixed_ops;
	self->writer.object_bytes_max = size == WRITE_SIZE_UNKNOWN ?
		SINK_SIZE_UNKNOWN :
		div_round_up(size, VHD_SECTOR) * VHD_SECTOR + VHD_FOOTER_BYTES;
}

int vhd_create(struct writer **out, const struct write_args *args,
	       struct error *err)
{
	static const char *const words[] = { "dynamic", "fixed", NULL };
	struct vhd_writer *self;
	unsigned int choice;

	if (writer_choose(args, words, &choice, err))
		return -1;
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_nomem(err);
	self->name = strdup(args->name);
	if (!self->name) {
		free(self);
		return error_nomem(err);
	}
	self->is_fixed = choice == 1;
	self->blocks.blocks.budget = args->budget;
	self->writer.unit_bytes = UNIT_BYTES;
	self->writer.sector_bytes = VHD_SECTOR;
	self->writer.size_max = SIZE_MAX_BYTES;
	if (self->is_fixed)
		set_fixed(self, writer_likely_size(args));
	else
		set_dynamic(self, args->size);
	if (!self->is_fixed && args->size == WRITE_SIZE_UNKNOWN &&
	    args->size_hint)
		set_hint(self, args->size_hint);
	*out = &self->writer;
	return 0;
}
