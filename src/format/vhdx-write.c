/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing VHDX, dynamic and fixed. Layout and numbers are those of vhdx.c:
 *
 *       0       identifier, two headers, two region tables
 *       1 MiB   log, empty
 *       2 MiB   metadata: table, items
 *       3 MiB   blocks, in the order of the disk
 *     the end   BAT, padded to a MiB
 *
 * Everything in the first 3 MiB is filled in at the end, when the size and the
 * BAT's place are known. A fixed disk stores all its blocks. Identities depend
 * on name, size and content only. In memory: 4 bytes a block stored. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "format/block-write.h"
#include "format/vhdx.h"
#include "format/writer.h"

#define LOG_AT          (1u << 20)
#define METADATA_AT     (2u << 20)
#define BLOCKS_AT       (3u << 20)
#define ITEMS_AT        (64u << 10) /* within the metadata */
#define METADATA_BYTES  (128u << 10) /* that are used */
#define BLOCK_DEFAULT   (32u << 20)
#define BLOCK_MIN       (1u << 20)
#define BLOCK_MAX       (256u << 20)
#define UNIT_BYTES      (64u << 10)
#define PART_ENTRIES    8192u       /* of the BAT, written at once */
#define ITEM_VIRTUAL    2u          /* flags of metadata items */
#define ITEM_REQUIRED   4u
#define KEEPS_BLOCKS    1u

struct vhdx_writer {
	struct writer writer;
	char *name;
	bool is_fixed;
	struct block_writer blocks;
};

static uint64_t chunk_ratio(const struct vhdx_writer *self)
{
	return VHDX_CHUNK_SECTORS * self->writer.sector_bytes /
	       self->blocks.block_bytes;
}

/* Entries of the BAT for so many blocks; their bytes, padded. */
static uint64_t table_entries(const struct vhdx_writer *self, uint64_t blocks)
{
	return blocks + (blocks - 1) / chunk_ratio(self);
}

static uint64_t table_bytes(const struct vhdx_writer *self, uint64_t size)
{
	uint64_t blocks = div_round_up(size, self->blocks.block_bytes);

	return div_round_up(table_entries(self, blocks) * 8, VHDX_MIB) *
	       VHDX_MIB;
}

static int vhdx_start(struct writer *writer, struct error *err)
{
	return sink_zeroes(writer->sink, BLOCKS_AT, err);
}

static int vhdx_pieces(struct writer *writer, const struct piece *pieces,
		       size_t count, struct error *err)
{
	struct vhdx_writer *self = (struct vhdx_writer *)writer;

	return block_write(&self->blocks, writer->sink, pieces, count, err);
}

/* Entries [first, first + n) of the BAT; *next walks over the stored blocks. */
static void fill_table(const struct vhdx_writer *self, uint8_t *part,
		       uint64_t first, uint64_t n, size_t *next)
{
	const struct numbers *list = &self->blocks.blocks;
	uint64_t ratio = chunk_ratio(self);

	memset(part, 0, n * 8);
	for (; *next < list->count; ++*next) {
		uint64_t index = list->items[*next] +
				 list->items[*next] / ratio;

		if (index >= first + n)
			break;
		le64_put(part + 8 * (index - first),
			 block_place(&self->blocks, *next) |
			 VHDX_FULLY_PRESENT);
	}
}

static int emit_table(struct vhdx_writer *self, uint64_t blocks,
		      struct error *err)
{
	uint64_t entries = table_entries(self, blocks);
	AUTO_FREE uint8_t *part = calloc(PART_ENTRIES, 8);
	struct sink *sink = self->writer.sink;
	size_t next = 0;

	if (!part)
		return error_nomem(err);
	for (uint64_t at = 0; at < entries; at += PART_ENTRIES) {
		uint64_t n = min_u64(PART_ENTRIES, entries - at);

		fill_table(self, part, at, n, &next);
		if (sink_write(sink, part, n * 8, err))
			return -1;
	}
	return sink_zeroes(sink, (VHDX_MIB - entries * 8 % VHDX_MIB) %
				 VHDX_MIB, err);
}

/* What is at 0: the identifier, with who made it in UTF-16. */
static int patch_identifier(struct sink *sink, struct error *err)
{
	static const char creator[] = PACKAGE_STRING;
	uint8_t data[8 + 2 * sizeof(creator)] = "vhdxfile";

	for (size_t i = 0; i < sizeof(creator); i++)
		le16_put(data + 8 + 2 * i, (uint16_t)creator[i]);
	return sink_patch(sink, 0, data, sizeof(data), err);
}

static int patch_headers(const struct vhdx_writer *self, uint64_t size,
			 struct error *err)
{
	uint8_t data[VHDX_HEADER_BYTES] = { 0 };
	struct vhdx_header_disk *header = (struct vhdx_header_disk *)data;
	struct sink *sink = self->writer.sink;
	uint32_t content = self->blocks.content;

	memcpy(header->signature, "head", sizeof(header->signature));
	le16_put(header->version, 1);
	le32_put(header->log_length, 1 << 20);
	le64_put(header->log_offset, LOG_AT);
	if (writer_identity(header->file_write_guid, "vhdx file", self->name,
			    size, content, err) ||
	    writer_identity(header->data_write_guid, "vhdx data", self->name,
			    size, content, err))
		return -1;
	for (unsigned int i = 0; i < 2; i++) {
		le64_put(header->sequence, i + 1);
		memset(header->checksum, 0, sizeof(header->checksum));
		le32_put(header->checksum, crc32c(0, data, sizeof(data)));
		if (sink_patch(sink, i ? VHDX_HEADER2_AT : VHDX_HEADER1_AT,
			       data, sizeof(data), err))
			return -1;
	}
	return 0;
}

static void put_region(uint8_t *entry, const uint8_t guid[16],
		       uint64_t offset, uint64_t length)
{
	memcpy(entry, guid, 16);
	le64_put(entry + 16, offset);
	le32_put(entry + 24, (uint32_t)length);
	le32_put(entry + 28, 1); /* required */
}

static int patch_regions(const struct vhdx_writer *self, uint64_t table_at,
			 uint64_t table_len, struct error *err)
{
	AUTO_FREE uint8_t *data = calloc(1, VHDX_REGION_BYTES);
	struct sink *sink = self->writer.sink;

	if (!data)
		return error_nomem(err);
	memcpy(data, "regi", 4);
	le32_put(data + 8, 2);
	put_region(data + 16, vhdx_bat_guid, table_at, table_len);
	put_region(data + 48, vhdx_metadata_guid, METADATA_AT, VHDX_MIB);
	le32_put(data + 4, crc32c(0, data, VHDX_REGION_BYTES));
	if (sink_patch(sink, VHDX_REGION1_AT, data, VHDX_REGION_BYTES, err))
		return -1;
	return sink_patch(sink, VHDX_REGION2_AT, data, VHDX_REGION_BYTES, err);
}

struct metadata {
	uint8_t data[METADATA_BYTES];
	uint32_t count, used; /* items; their bytes */
};

static void put_item(struct metadata *meta, enum vhdx_item item,
		     const void *content, uint32_t length, uint32_t flags)
{
	uint8_t *entry = meta->data + 32 + 32 * meta->count++;

	memcpy(entry, vhdx_item_guid(item), 16);
	le32_put(entry + 16, ITEMS_AT + meta->used);
	le32_put(entry + 20, length);
	le32_put(entry + 24, flags | ITEM_REQUIRED);
	memcpy(meta->data + ITEMS_AT + meta->used, content, length);
	meta->used += length;
}

static int patch_metadata(const struct vhdx_writer *self, uint64_t size,
			  struct error *err)
{
	AUTO_FREE struct metadata *meta = calloc(1, sizeof(*meta));
	uint8_t bytes[16];

	if (!meta)
		return error_nomem(err);
	memcpy(meta->data, "metadata", 8);
	le32_put(bytes, self->blocks.block_bytes);
	le32_put(bytes + 4, self->is_fixed ? KEEPS_BLOCKS : 0);
	put_item(meta, VHDX_FILE_PARAMETERS, bytes, 8, 0);
	le64_put(bytes, size);
	put_item(meta, VHDX_DISK_SIZE, bytes, 8, ITEM_VIRTUAL);
	le32_put(bytes, self->writer.sector_bytes);
	put_item(meta, VHDX_LOGICAL_SECTOR, bytes, 4, ITEM_VIRTUAL);
	le32_put(bytes, 4096);
	put_item(meta, VHDX_PHYSICAL_SECTOR, bytes, 4, ITEM_VIRTUAL);
	if (writer_identity(bytes, "vhdx disk", self->name, size,
			    self->blocks.content, err))
		return -1;
	put_item(meta, VHDX_DISK_ID, bytes, 16, ITEM_VIRTUAL);
	le16_put(meta->data + 10, (uint16_t)meta->count);
	return sink_patch(self->writer.sink, METADATA_AT, meta->data,
			  METADATA_BYTES, err);
}

static int vhdx_finish(struct writer *writer, uint64_t size,
		       struct error *err)
{
	struct vhdx_writer *self = (struct vhdx_writer *)writer;
	uint64_t blocks = div_round_up(size, self->blocks.block_bytes);
	struct sink *sink = writer->sink;
	uint64_t table_at;

	if (block_write_end(&self->blocks, sink,
			    self->is_fixed ? blocks : 0, err))
		return -1;
	table_at = sink->position;
	if (emit_table(self, blocks, err) || patch_identifier(sink, err) ||
	    patch_headers(self, size, err) ||
	    patch_regions(self, table_at, sink->position - table_at, err))
		return -1;
	return patch_metadata(self, size, err);
}

static void vhdx_free(struct writer *writer)
{
	struct vhdx_writer *self = (struct vhdx_writer *)writer;

	numbers_free(&self->blocks.blocks);
	free(self->name);
	free(self);
}

static const struct writer_ops vhdx_writer_ops = {
	.start = vhdx_start,
	.pieces = vhdx_pieces,
	.finish = vhdx_finish,
	.free = vhdx_free,
};

static int set_geometry(struct vhdx_writer *self,
			const struct write_args *args, struct error *err)
{
	uint32_t block = args->block_bytes ? args->block_bytes : BLOCK_DEFAULT;
	uint32_t sector = args->sector_bytes ? args->sector_bytes : 512;

	if (!is_power_of_two(block) || block < BLOCK_MIN || block > BLOCK_MAX)
		return error_set(err, ERR_ARG, "a block size of %u is not a "
				 "power of two from 1 to 256 MiB", block);
	if (sector != 512 && sector != 4096)
		return error_set(err, ERR_ARG, "a sector size of %u is "
				 "neither 512 nor 4096", sector);
	self->blocks.block_bytes = block;
	self->writer.sector_bytes = sector;
	return 0;
}

/* The file of a fixed disk, where its size is known and within the limit. */
static uint64_t object_bytes(const struct vhdx_writer *self, uint64_t size)
{
	uint64_t block = self->blocks.block_bytes;

	if (!self->is_fixed || !size || size > FORMAT_DISK_MAX)
		return SINK_SIZE_UNKNOWN;
	return BLOCKS_AT + div_round_up(size, block) * block +
	       table_bytes(self, size);
}

int vhdx_create(struct writer **out, const struct write_args *args,
		struct error *err)
{
	static const char *const words[] = { "dynamic", "fixed", NULL };
	struct vhdx_writer *self;
	unsigned int choice;

	if (writer_choose(args, words, &choice, err))
		return -1;
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_nomem(err);
	self->writer.ops = &vhdx_writer_ops;
	self->is_fixed = choice == 1;
	self->blocks.stores_all = self->is_fixed;
	self->blocks.blocks.budget = args->budget;
	self->name = strdup(args->name);
	if (!self->name || set_geometry(self, args, err)) {
		bool is_nomem = !self->name;

		vhdx_free(&self->writer);
		return is_nomem ? error_nomem(err) : -1;
	}
	self->writer.unit_bytes = UNIT_BYTES;
	self->writer.head_bytes = BLOCKS_AT;
	self->writer.object_bytes_max = object_bytes(self, args->size);
	self->writer.size_max = FORMAT_DISK_MAX;
	*out = &self->writer;
	return 0;
}
