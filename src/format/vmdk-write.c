/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing a stream-optimised VMDK in the layout of VMware's own exporter. All
 * in sectors, little-endian:
 *
 *       0  header; its directory is "at the end"
 *       1  descriptor, text
 *     128  grains, each a marker and a zlib stream; after the last grain of
 *          each 32 MiB of the disk that has any: marker, grain table
 *          marker, directory
 *          marker, footer: the header with the directory's place
 *          end-of-stream marker
 *
 * Grains and tables of zeroes are left out. Header and descriptor tell the
 * disk's size: where it is not known at the start they are patched in.
 * Sectors are numbered by 32 bits, so that the file ends at 2 TiB. In memory:
 * one table, and 8 bytes for each table written. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/strbuf.h"
#include "format/numbers.h"
#include "format/vmdk.h"
#include "format/writer.h"

#define STREAM_VERSION     3
#define GRAIN_SECTORS      128u
#define GRAIN_BYTES        (GRAIN_SECTORS * VMDK_SECTOR)
#define TABLE_GRAINS       VMDK_TABLE_MAX
#define TABLE_BYTES        (TABLE_GRAINS * 4)
#define DESCRIPTOR_SECTORS 20u
#define HEAD_SECTORS       128u
#define HEAD_BYTES         (HEAD_SECTORS * VMDK_SECTOR)
#define NO_TABLE           UINT32_MAX
#define HEADS              255u
#define TRACK_SECTORS      63u
#define EMIT_MAX           64     /* grains in one call of the sink */

struct vmdk_writer {
	struct writer writer;
	char *name;
	uint32_t table;           /* the one being filled, or NO_TABLE */
	uint8_t entries[TABLE_BYTES];
	/* Pairs: number of a table that has grains, and its sector. */
	struct numbers directory;
};

static void put_header(uint8_t sector[VMDK_SECTOR], uint64_t capacity,
		       uint64_t directory)
{
	memset(sector, 0, VMDK_SECTOR);
	memcpy(sector, "KDMV", 4);
	le32_put(sector + 4, STREAM_VERSION);
	le32_put(sector + 8, VMDK_FLAG_NEWLINES | VMDK_FLAG_PACKED |
			     VMDK_FLAG_MARKERS);
	le64_put(sector + 12, capacity);
	le64_put(sector + 20, GRAIN_SECTORS);
	le64_put(sector + 28, 1);
	le64_put(sector + 36, DESCRIPTOR_SECTORS);
	le32_put(sector + 44, TABLE_GRAINS);
	le64_put(sector + 56, directory);
	le64_put(sector + 64, HEAD_SECTORS);
	memcpy(sector + 73, "\n \r\n", 4);
	le16_put(sector + 77, 1); /* deflate */
}

/* Readers ignore the extent's name or look for the file by it, so it is the
 * container's own where the descriptor can express that. */
static const char *extent_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f ||
		    (unsigned char)name[i] > 0x7f || name[i] == '"')
			len = 0;
	return len && len < 256 ? name : "disk.vmdk";
}

static int put_descriptor(uint8_t *text, const char *name, uint64_t capacity,
			  struct error *err)
{
	struct strbuf buf = { .max = DESCRIPTOR_SECTORS * VMDK_SECTOR };
	AUTO_FREE char *made = NULL;
	uint8_t id[16];
	uint32_t cid;

	if (writer_identity(id, "vmdk", name, capacity, 0, err))
		return -1;
	cid = le32_get(id) & 0x7fffffff; /* all ones would mean "none" */
	strbuf_printf(&buf, "# Disk DescriptorFile\n"
		      "version=1\n"
		      "CID=%08x\n"
		      "parentCID=ffffffff\n"
		      "createType=\"streamOptimized\"\n\n"
		      "# Extent description\n"
		      "RW %llu SPARSE \"%s\"\n\n", cid,
		      (unsigned long long)capacity, extent_name(name));
	strbuf_printf(&buf, "# The Disk Data Base\n"
		      "#DDB\n\n"
		      "ddb.adapterType = \"lsilogic\"\n"
		      "ddb.geometry.cylinders = \"%llu\"\n"
		      "ddb.geometry.heads = \"%u\"\n"
		      "ddb.geometry.sectors = \"%u\"\n"
		      "ddb.virtualHWVersion = \"7\"\n",
		      (unsigned long long)div_round_up(capacity,
						       HEADS * TRACK_SECTORS),
		      HEADS, TRACK_SECTORS);
	made = strbuf_take(&buf);
	if (!made)
		return error_nomem(err);
	memcpy(text, made, strlen(made));
	return 0;
}

/* Header and descriptor, zeroes behind. */
static int vmdk_head(const struct writer *writer, uint64_t size, void *out,
		     struct error *err)
{
	const struct vmdk_writer *self = (const struct vmdk_writer *)writer;
	uint8_t *head = out;
	uint64_t capacity = div_round_up(size, VMDK_SECTOR);

	memset(head, 0, HEAD_BYTES);
	put_header(head, capacity, VMDK_GD_AT_END);
	return put_descriptor(head + VMDK_SECTOR, self->name, capacity, err);
}

static int vmdk_start(struct writer *writer, struct error *err)
{
	AUTO_FREE uint8_t *head = NULL;

	if (writer->size == WRITE_SIZE_UNKNOWN)
		return sink_zeroes(writer->sink, HEAD_BYTES, err);
	head = malloc(HEAD_BYTES);
	if (!head)
		return error_nomem(err);
	if (vmdk_head(writer, writer->size, head, err))
		return -1;
	return sink_write(writer->sink, head, HEAD_BYTES, err);
}

static int vmdk_pack(const struct writer *writer, struct packer *packer,
		     struct piece *piece, void *out, struct error *err)
{
	uint8_t *marker = out;
	size_t packed, stored;

	if (packer_zlib(packer, piece->data, piece->length,
			marker + VMDK_MARKER_BYTES,
			writer->packed_max - VMDK_MARKER_BYTES, &packed, err))
		return -1;
	le64_put(marker, piece->offset / VMDK_SECTOR);
	le32_put(marker + 8, (uint32_t)packed);
	packed += VMDK_MARKER_BYTES;
	stored = div_round_up(packed, VMDK_SECTOR) * VMDK_SECTOR;
	memset(marker + packed, 0, stored - packed);
	piece->stored = (uint32_t)stored;
	return 0;
}

/* The sector that the byte `at` of the file starts. */
static int sector_at(uint64_t at, uint32_t *sector, struct error *err)
{
	if (at / VMDK_SECTOR > UINT32_MAX)
		return error_set(err, ERR_LIMIT, "one VMDK file ends at 2 TiB; "
				 "use VHDX for what does not pack to that");
	*sector = (uint32_t)(at / VMDK_SECTOR);
	return 0;
}

static int emit_marker(struct sink *sink, enum vmdk_marker type,
		       uint64_t sectors, struct error *err)
{
	uint8_t marker[VMDK_SECTOR] = { 0 };

	le64_put(marker, sectors);
	le32_put(marker + 12, type);
	return sink_write(sink, marker, sizeof(marker), err);
}

/* Emit the table that was filled, if there is one. */
static int end_table(struct vmdk_writer *self, struct error *err)
{
	struct sink *sink = self->writer.sink;
	uint32_t sector = 0;

	if (self->table == NO_TABLE)
		return 0;
	if (emit_marker(sink, VMDK_MARKER_TABLE, TABLE_BYTES / VMDK_SECTOR,
			err) ||
	    sector_at(sink->position, &sector, err) ||
	    numbers_add(&self->directory, self->table, err) ||
	    numbers_add(&self->directory, sector, err) ||
	    sink_write(sink, self->entries, TABLE_BYTES, err))
		return -1;
	memset(self->entries, 0, TABLE_BYTES);
	self->table = NO_TABLE;
	return 0;
}

/* Emit grains of one table from pieces[0] on; returns how many, or -1. */
static int emit_grains(struct vmdk_writer *self, const struct piece *pieces,
		       size_t count, struct error *err)
{
	struct sink *sink = self->writer.sink;
	struct iovec iov[EMIT_MAX];
	uint64_t at = sink->position;
	int n = 0;

	while ((size_t)n < count && n < EMIT_MAX) {
		const struct piece *piece = &pieces[n];
		uint64_t grain = piece->offset / GRAIN_BYTES;
		uint32_t sector = 0;

		if (grain / TABLE_GRAINS != self->table)
			break;
		if (sector_at(at, &sector, err))
			return -1;
		le32_put(self->entries + 4 * (grain % TABLE_GRAINS), sector);
		iov[n].iov_base = (void *)piece->data;
		iov[n++].iov_len = piece->stored;
		at += piece->stored;
	}
	return sink_writev(sink, iov, n, err) ? -1 : n;
}

static int vmdk_pieces(struct writer *writer, const struct piece *pieces,
		       size_t count, struct error *err)
{
	struct vmdk_writer *self = (struct vmdk_writer *)writer;

	while (count) {
		uint32_t table = (uint32_t)(pieces->offset / GRAIN_BYTES /
					    TABLE_GRAINS);
		int n;

		if (table != self->table && end_table(self, err))
			return -1;
		self->table = table;
		n = emit_grains(self, pieces, count, err);
		if (n < 0)
			return -1;
		pieces += n;
		count -= (size_t)n;
	}
	return 0;
}

/* The directory of `entries` tables, padded to a sector. */
static int emit_directory(struct vmdk_writer *self, uint64_t entries,
			  struct error *err)
{
	struct sink *sink = self->writer.sink;
	const struct numbers *list = &self->directory;
	uint64_t padded = div_round_up(entries * 4, VMDK_SECTOR) *
			  (VMDK_SECTOR / 4);
	uint8_t sector[VMDK_SECTOR];
	size_t next = 0;

	for (uint64_t first = 0; first < padded; first += VMDK_SECTOR / 4) {
		memset(sector, 0, sizeof(sector));
		for (; next < list->count &&
		       list->items[next] < first + VMDK_SECTOR / 4; next += 2)
			le32_put(sector + 4 * (list->items[next] - first),
				 list->items[next + 1]);
		if (sink_write(sink, sector, sizeof(sector), err))
			return -1;
	}
	return 0;
}

static int emit_end(struct vmdk_writer *self, uint64_t size,
		    struct error *err)
{
	struct sink *sink = self->writer.sink;
	uint64_t entries = div_round_up(size, (uint64_t)GRAIN_BYTES *
					      TABLE_GRAINS);
	uint8_t footer[VMDK_SECTOR];

	if (end_table(self, err) ||
	    emit_marker(sink, VMDK_MARKER_DIRECTORY,
			div_round_up(entries * 4, VMDK_SECTOR), err))
		return -1;
	put_header(footer, size / VMDK_SECTOR, sink->position / VMDK_SECTOR);
	if (emit_directory(self, entries, err) ||
	    emit_marker(sink, VMDK_MARKER_FOOTER, 1, err) ||
	    sink_write(sink, footer, sizeof(footer), err))
		return -1;
	return emit_marker(sink, VMDK_MARKER_END, 0, err);
}

static int vmdk_finish(struct writer *writer, uint64_t size,
		       struct error *err)
{
	struct vmdk_writer *self = (struct vmdk_writer *)writer;
	AUTO_FREE uint8_t *head = NULL;

	if (emit_end(self, size, err))
		return -1;
	if (writer->size != WRITE_SIZE_UNKNOWN)
		return 0;
	head = malloc(HEAD_BYTES);
	if (!head)
		return error_nomem(err);
	if (vmdk_head(writer, size, head, err))
		return -1;
	return sink_patch(writer->sink, 0, head, HEAD_BYTES, err);
}

static void vmdk_free(struct writer *writer)
{
	struct vmdk_writer *self = (struct vmdk_writer *)writer;

	numbers_free(&self->directory);
	free(self->name);
	free(self);
}

static const struct writer_ops vmdk_writer_ops = {
	.start = vmdk_start,
	.pack = vmdk_pack,
	.pieces = vmdk_pieces,
	.head = vmdk_head,
	.finish = vmdk_finish,
	.free = vmdk_free,
};

int vmdk_create(struct writer **out, const struct write_args *args,
		struct error *err)
{
	static const char *const words[] = { "streamOptimized", NULL };
	struct vmdk_writer *self;
	unsigned int choice;
	size_t packed = VMDK_MARKER_BYTES + packer_bound(GRAIN_BYTES);

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
	self->table = NO_TABLE;
	self->directory.budget = args->budget;
	self->writer = (struct writer){
		.ops = &vmdk_writer_ops,
		.unit_bytes = GRAIN_BYTES,
		.packed_max = (uint32_t)div_round_up(packed, VMDK_SECTOR) *
			      VMDK_SECTOR,
		.sector_bytes = VMDK_SECTOR,
		.head_bytes = args->size == WRITE_SIZE_UNKNOWN ? HEAD_BYTES :
								 0,
		.object_bytes_max = SINK_SIZE_UNKNOWN,
		.size_max = FORMAT_DISK_MAX,
	};
	*out = &self->writer;
	return 0;
}
