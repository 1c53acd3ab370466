/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One hosted sparse extent: from a place in it to a place in its file.
 *
 *     header  directory -> grain tables -> grains       (sectors, u32)
 *     grain g lies where tables[directory[g / N]][g % N] says, N <= 512
 *     entry 0: not stored; 1: zeroed, where the header's flags allow it
 *
 * Streams have grains that are packed behind a marker and tables anywhere:
 * in front (qemu, open-vmdk), or behind, where the footer at the end (footer
 * marker, footer, end marker; maybe padding) says where the directory is.
 *
 * Tables are never loaded whole, they can have 128 MiB for 2 TiB: each answer
 * reads the directory entry and the few entries it needs, in two small reads
 * through the page cache. A damaged entry is BAD for what it covers only. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "format/vmdk-sparse.h"

#define ENTRY_BYTES       4u
#define FOOTER_SEARCH     (64u << 10)  /* bytes at the end */
#define TABLES_PER_ANSWER 1024u
#define LOOK_AHEAD        16u /* entries read to see where a grain ends */
#define PACKED_FACTOR     2u  /* packed data is at most this times the grain */

const char *vmdk_layout_name(enum vmdk_layout layout)
{
	static const char *const names[] = {
		[VMDK_IN_FRONT] = "tables in front",
		[VMDK_FOOTER] = "footer",
		[VMDK_SCANNED] = "scanned",
	};

	return names[layout];
}

uint64_t vmdk_sparse_size(const struct vmdk_sparse *sparse)
{
	return sparse->header.capacity * VMDK_SECTOR;
}

uint64_t vmdk_sparse_tables(const struct vmdk_sparse *sparse)
{
	return div_round_up(sparse->header.capacity,
			    sparse->header.grain *
				    sparse->header.table_entries);
}

/* Opening */

/* Does the directory that this header points at lie within the file? */
static bool has_directory(struct vmdk_sparse *sparse,
			  const struct vmdk_header *header)
{
	uint64_t entries = div_round_up(header->capacity,
					header->grain * header->table_entries);
	uint64_t at;

	if (header->gd == 0 || header->gd == VMDK_GD_AT_END ||
	    !mul_u64(header->gd, VMDK_SECTOR, &at) ||
	    !in_range(at, entries * ENTRY_BYTES, sparse->source->size))
		return false;
	sparse->directory = at;
	return true;
}

/* Three sectors: marker, footer, end marker. */
static bool is_footer(const uint8_t *sectors)
{
	const uint8_t *end = sectors + 2 * VMDK_SECTOR;

	return le32_get(sectors + 8) == 0 &&
	       le32_get(sectors + 12) == VMDK_MARKER_FOOTER &&
	       !memcmp(sectors + VMDK_SECTOR, "KDMV", 4) &&
	       le64_get(end) == 0 && le32_get(end + 8) == 0 &&
	       le32_get(end + 12) == VMDK_MARKER_END;
}

/* Take the footer whose marker lies at byte `at` if it is of use. */
static bool take_footer(struct vmdk_sparse *sparse, const uint8_t *sectors,
			uint64_t at)
{
	struct vmdk_header footer;

	if (!is_footer(sectors) ||
	    vmdk_header_load(&footer, sectors + VMDK_SECTOR, NULL) ||
	    vmdk_header_check(&footer, NULL) ||
	    !footer.is_packed || !has_directory(sparse, &footer))
		return false;
	sparse->header = footer;
	sparse->layout = VMDK_FOOTER;
	sparse->data_end = at;
	return true;
}

/* The footer at the very end, as written. 1 found, 0 not, -1 error. */
static int read_footer(struct vmdk_sparse *sparse, struct error *err)
{
	uint8_t sectors[VMDK_FOOTER_BYTES];
	uint64_t at;

	if (sparse->source->size < sizeof(sectors))
		return 0;
	at = sparse->source->size - sizeof(sectors);
	if (source_read(sparse->tables, at, sectors, sizeof(sectors), 0, err))
		return -1;
	return at % VMDK_SECTOR == 0 && take_footer(sparse, sectors, at);
}

/* Where something was appended to the stream (stores and tapes pad). */
static int search_footer(struct vmdk_sparse *sparse, struct error *err)
{
	uint64_t size = round_down(sparse->source->size, VMDK_SECTOR);
	uint64_t length = min_u64(size, FOOTER_SEARCH);
	AUTO_FREE uint8_t *tail = malloc(FOOTER_SEARCH);

	if (!tail)
		return error_nomem(err);
	if (source_read(sparse->tables, size - length, tail, length, 0, err))
		return -1;
	for (uint64_t at = VMDK_FOOTER_BYTES; at <= length;
	     at += VMDK_SECTOR)
		if (take_footer(sparse, tail + (length - at), size - at))
			return 1;
	return 0;
}

static int scan(struct vmdk_sparse *sparse, const struct open_args *args,
		struct error *err)
{
	if (vmdk_scan_stream(&sparse->scan, sparse->source, &sparse->header,
			     args, &sparse->data_end, err))
		return -1;
	sparse->layout = VMDK_SCANNED;
	open_warn(args, "%s: no usable footer, the whole stream was scanned",
		  sparse->source->name);
	return 0;
}

/* 1: the footer is now the header; 0: there is none of use; -1 error. */
static int find_footer(struct vmdk_sparse *sparse, struct error *err)
{
	int found = read_footer(sparse, err);

	return found == 0 ? search_footer(sparse, err) : found;
}

static int find_tables(struct vmdk_sparse *sparse,
		       const struct open_args *args, struct error *err)
{
	const struct vmdk_header *header = &sparse->header;
	int found = 0;

	sparse->data_end = sparse->source->size;
	sparse->layout = VMDK_IN_FRONT;
	/* The footer repeats the header; its place of the tables is for who
	 * reads. */
	if (args->size_only && header->gd == VMDK_GD_AT_END &&
	    header->capacity && !vmdk_header_check(header, NULL))
		return 0;
	if (header->gd == VMDK_GD_AT_END)
		found = find_footer(sparse, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	if (vmdk_header_check(header, err))
		return -1;
	if (has_directory(sparse, header))
		return 0;
	if (!header->is_packed)
		return error_set(err, ERR_CORRUPT, "the grain directory at "
				 "sector %llu does not lie within the file of "
				 "%llu bytes", (unsigned long long)header->gd,
				 (unsigned long long)sparse->source->size);
	if (header->gd != VMDK_GD_AT_END)
		found = find_footer(sparse, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	return scan(sparse, args, err);
}

int vmdk_sparse_open(struct vmdk_sparse **out, struct source *source,
		     const uint8_t *first_sector,
		     const struct open_args *args, struct error *err)
{
	struct vmdk_sparse *sparse = calloc(1, sizeof(*sparse));

	*out = NULL;
	if (!sparse)
		return error_nomem(err);
	sparse->source = source_ref(source);
	if (source_cached(&sparse->tables, source, args->cache, err) ||
	    vmdk_header_load(&sparse->header, first_sector, err) ||
	    find_tables(sparse, args, err)) {
		vmdk_sparse_close(sparse);
		return -1;
	}
	if (vmdk_newlines_unset(&sparse->header))
		open_warn(args, "%s: the header's newline test is not filled",
			  source->name);
	sparse->grain_bytes = sparse->header.grain * VMDK_SECTOR;
	*out = sparse;
	return 0;
}

void vmdk_sparse_close(struct vmdk_sparse *sparse)
{
	if (!sparse)
		return;
	vmdk_scan_free(&sparse->scan);
	source_unref(sparse->tables);
	source_unref(sparse->source);
	free(sparse);
}

/* Answering */

/* What one answer is about. */
struct question {
	const struct vmdk_sparse *sparse;
	struct extents *ex;
	uint64_t base;   /* the extent's place in the disk, bytes */
	uint64_t length; /* bytes of the extent that are in the disk */
};

/* Bytes [start, end) of the extent are not stored. */
static bool add_hole(const struct question *q, uint64_t start, uint64_t end)
{
	end = min_u64(end, q->length);
	if (q->sparse->is_delta)
		return extents_parent(q->ex, q->base + start, end - start);
	return extents_zero(q->ex, q->base + start, end - start);
}

static bool add_bad(const struct question *q, uint64_t start, uint64_t end,
		    const char *why)
{
	end = min_u64(end, q->length);
	return extents_bad(q->ex, q->base + start, end - start, why);
}

const char *vmdk_grain_fault(const struct vmdk_sparse *sparse,
			     uint32_t sector)
{
	const struct vmdk_header *header = &sparse->header;
	uint64_t needed = header->is_packed ? VMDK_MARKER_BYTES + 1 :
					      VMDK_SECTOR;

	if (!in_range((uint64_t)sector * VMDK_SECTOR, needed,
		      sparse->data_end))
		return "a grain table entry points past the end of the data";
	if (header->descriptor && sector >= header->descriptor &&
	    sector - header->descriptor < header->descriptor_length)
		return "a grain table entry points into the descriptor";
	return NULL;
}

/* The grain's stored bytes end at the next grain's, or are as long as they
 * can get. */
static uint32_t bound_of(const struct vmdk_sparse *sparse, uint32_t sector,
			 uint32_t next)
{
	uint64_t most = VMDK_MARKER_BYTES + PACKED_FACTOR * sparse->grain_bytes;
	uint64_t at = (uint64_t)sector * VMDK_SECTOR;

	most = min_u64(most, sparse->data_end - at);
	if (next > sector)
		most = min_u64(most, (uint64_t)(next - sector) * VMDK_SECTOR);
	return (uint32_t)most;
}

static bool add_packed(const struct question *q, uint64_t grain,
		       uint32_t sector, uint32_t next)
{
	const struct vmdk_sparse *sparse = q->sparse;
	uint64_t start = grain * sparse->grain_bytes;

	return extents_add(q->ex, &(struct extent){
		.kind = EXTENT_PACKED,
		.offset = q->base + start,
		.length = min_u64(sparse->grain_bytes, q->length - start),
		.source = sparse->source,
		.at = (uint64_t)sector * VMDK_SECTOR,
		.bound = bound_of(sparse, sector, next),
		.unpacked = (uint32_t)sparse->grain_bytes,
		.mark = grain * sparse->header.grain,
	});
}

/* One grain by its table entry; `next` is the entry of the next stored grain,
 * or 0. False when ex takes no more. */
static bool add_grain(const struct question *q, uint64_t grain,
		      uint32_t entry, uint32_t next)
{
	const struct vmdk_sparse *sparse = q->sparse;
	uint64_t start = grain * sparse->grain_bytes;
	uint64_t end = start + sparse->grain_bytes;
	const char *fault;

	if (entry == 0)
		return add_hole(q, start, end);
	if (entry == VMDK_GTE_ZEROED &&
	    (sparse->header.flags & VMDK_FLAG_ZEROED))
		return extents_zero(q->ex, q->base + start,
				    min_u64(end, q->length) - start);
	fault = vmdk_grain_fault(sparse, entry);
	if (fault)
		return add_bad(q, start, end, fault);
	if (sparse->header.is_packed)
		return add_packed(q, grain, entry, next);
	return extents_data(q->ex, q->base + start,
			    min_u64(end, q->length) - start, sparse->source,
			    (uint64_t)entry * VMDK_SECTOR);
}

int vmdk_directory_entry(const struct vmdk_sparse *sparse, uint64_t directory,
			 uint64_t table, unsigned int flags, uint32_t *sector,
			 struct error *err)
{
	uint8_t entry[ENTRY_BYTES];

	if (source_read(sparse->tables, directory + table * ENTRY_BYTES, entry,
			sizeof(entry), flags, err))
		return error_prefix(err, "grain directory");
	*sector = le32_get(entry);
	return 0;
}

/* The first stored grain's entry among entries[i..n), or 0. */
static uint32_t next_stored(const uint8_t *entries, uint32_t i, uint32_t n)
{
	for (; i < n; i++) {
		uint32_t entry = le32_get(entries + i * ENTRY_BYTES);

		if (entry > VMDK_GTE_ZEROED)
			return entry;
	}
	return 0;
}

/* Grains from `first` on that lie in its table, as far as ex wants them. */
static int add_from_table(const struct question *q, uint32_t table_sector,
			  uint64_t first, struct error *err)
{
	const struct vmdk_sparse *sparse = q->sparse;
	uint32_t per_table = sparse->header.table_entries;
	uint32_t skip = (uint32_t)(first % per_table);
	uint64_t end = min_u64(q->length, q->ex->offset + q->ex->length -
					  q->base);
	uint64_t wanted = div_round_up(end, sparse->grain_bytes) - first;
	uint32_t count = (uint32_t)min_u64(wanted, per_table - skip);
	uint32_t loaded = (uint32_t)min_u64(count + LOOK_AHEAD,
					    per_table - skip);
	uint64_t at = (uint64_t)table_sector * VMDK_SECTOR;
	uint8_t entries[VMDK_TABLE_MAX * ENTRY_BYTES];

	if (source_read(sparse->tables, at + skip * ENTRY_BYTES, entries,
			loaded * ENTRY_BYTES, q->ex->flags, err))
		return error_prefix(err, "grain table");
	for (uint32_t i = 0; i < count; i++) {
		uint32_t entry = le32_get(entries + i * ENTRY_BYTES);
		uint32_t next = sparse->header.is_packed && entry ?
				next_stored(entries, i + 1, loaded) : 0;

		if (!add_grain(q, first + i, entry, next))
			return 0;
	}
	return 1;
}

/* One grain table's share from where ex stands. */
static int add_table(const struct question *q, uint64_t grain,
		     struct error *err)
{
	const struct vmdk_sparse *sparse = q->sparse;
	uint32_t per_table = sparse->header.table_entries;
	uint64_t table = grain / per_table;
	uint64_t start = table * per_table * sparse->grain_bytes;
	uint64_t end = start + per_table * sparse->grain_bytes;
	uint32_t sector = 0;

	if (vmdk_directory_entry(sparse, sparse->directory, table,
				 q->ex->flags, &sector, err))
		return -1;
	if (sector == 0)
		return add_hole(q, start, end);
	if (!in_range((uint64_t)sector * VMDK_SECTOR, per_table * ENTRY_BYTES,
		      sparse->tables->size))
		return add_bad(q, start, end, "a grain directory entry points "
			       "past the end of the file");
	return add_from_table(q, sector, grain, err);
}

/* From the scan's index: the grain, or the hole up to the next one. */
static int add_scanned(const struct question *q, uint64_t grain)
{
	const struct vmdk_scan *found = &q->sparse->scan;
	uint64_t bytes = q->sparse->grain_bytes;
	size_t i = vmdk_scan_find(found, grain);
	uint32_t next = 0;

	if (i == found->count)
		return add_hole(q, grain * bytes, q->length);
	if (found->grains[i].index > grain)
		return add_hole(q, grain * bytes,
				found->grains[i].index * bytes);
	if (i + 1 < found->count)
		next = found->grains[i + 1].sector;
	return add_packed(q, grain, found->grains[i].sector, next);
}

int vmdk_sparse_extents(const struct vmdk_sparse *sparse, uint64_t base,
			uint64_t length, struct extents *ex,
			struct error *err)
{
	struct question q = { sparse, ex, base, length };

	for (unsigned int i = 0; i < TABLES_PER_ANSWER; i++) {
		uint64_t at = extents_next(ex) - base;
		int more;

		if (at >= length)
			return 1;
		more = sparse->layout == VMDK_SCANNED ?
		       add_scanned(&q, at / sparse->grain_bytes) :
		       add_table(&q, at / sparse->grain_bytes, err);
		if (more <= 0)
			return more;
	}
	return 0;
}
