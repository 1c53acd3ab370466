/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHD, by the "Virtual Hard Disk Image Format Specification" of 2006.
 * Big-endian; sizes in bytes, places of blocks in 512-byte sectors.
 *
 *     fixed:        | data .............................. | footer |
 *     dynamic,      | footer | dynamic | BAT | block ... | footer |
 *     differencing: | copy   | header  |     |           |        |
 *     a block:      | sector bitmap | data |
 *
 * The BAT has a u32 for each block: its sector, or all ones for a block that
 * is not stored (zeroes, or the parent's). At most 2040 GiB in blocks of
 * 2 MiB make 4 MiB of BAT; it is read through the page cache, never kept.
 *
 * A dynamic disk's bitmaps are not looked at: all bytes of a stored block are
 * the disk's. The specification has unset sectors read as zeroes; writers
 * that leave bits unset (Virtual PC, xapi) also leave zeroes in the sectors,
 * so that both rules agree on whole disks, and this is the one of qemu.
 *
 * Not supported: the deprecated disk types 1, 5 and 6. */
#include "config.h"

#include "common/checked.h"
#include "format/block.h"
#include "format/vhd.h"

#define VERSION_MAJOR     1
#define BLOCK_BYTES_MAX   (256u << 20)
#define BATCH             512 /* BAT entries read at once, on the stack */
#define QUESTION_ENTRIES  (128u << 10) /* looked at in one question */

static const char bad_place[] = "the block lies inside the VHD's own headers";

bool vhd_in_headers(const struct vhd_map *map, uint64_t at, uint64_t len)
{
	uint64_t header = map->footer.data_offset, end = at + len;

	return at < VHD_FOOTER_BYTES ||
	       (at < header + VHD_HEADER_BYTES && end > header) ||
	       (at < map->table_offset + map->table_entries * 4 &&
		end > map->table_offset);
}

/* Add block n with BAT entry `entry`. False when the answer is complete or
 * full, and after an error. */
static bool add_block(struct vhd_map *map, struct extents *ex, uint64_t n,
		      uint32_t entry, int *ret, struct error *err)
{
	struct block block = { .offset = n * map->block_bytes };
	struct sector_bitmap bitmap = { .tables = map->tables,
					.at = (uint64_t)entry * VHD_SECTOR,
					.sector_bytes = VHD_SECTOR,
					.order = BITS_MSB_FIRST };

	block.length = min_u64(map->block_bytes,
			       map->map.size - block.offset);
	block.source = map->map.source;
	block.at = bitmap.at + map->bitmap_bytes;
	block.end = map->data_end;
	if (entry == VHD_UNALLOCATED)
		return map->map.parent ?
			extents_parent(ex, block.offset, block.length) :
			extents_zero(ex, block.offset, block.length);
	if (vhd_in_headers(map, bitmap.at, map->bitmap_bytes + block.length))
		return extents_bad(ex, block.offset, block.length, bad_place);
	if (!map->map.parent)
		return block_add_data(ex, &block);
	if (block.at > block.end)
		return extents_bad(ex, block.offset, block.length,
				   "the container ends before this block");
	*ret = block_add_sectors(ex, &block, &bitmap, err);
	return *ret == 0 &&
	       extents_next(ex) == block.offset + block.length;
}

static int vhd_extents(struct map *base, struct extents *ex, struct error *err)
{
	struct vhd_map *map = (struct vhd_map *)base;
	uint64_t first = ex->offset / map->block_bytes;
	uint64_t last = (ex->offset + ex->length - 1) / map->block_bytes;
	uint8_t entries[BATCH * 4];
	int ret = 0;

	last = min_u64(last, first + QUESTION_ENTRIES - 1);
	while (first <= last) {
		uint64_t n = min_u64(last - first + 1, BATCH);

		if (source_read(map->tables, map->table_offset + first * 4,
				entries, n * 4, ex->flags, err))
			return extents_stop_early(ex, err);
		for (uint64_t i = 0; i < n; i++)
			if (!add_block(map, ex, first + i,
				       be32_get(entries + i * 4), &ret, err))
				return ret;
		first += n;
	}
	return 0;
}

static int vhd_fixed_extents(struct map *map, struct extents *ex,
			     struct error *err)
{
	extents_data(ex, ex->offset, ex->length, map->source, ex->offset);
	return 0;
}

static void vhd_close(struct map *base)
{
	struct vhd_map *map = (struct vhd_map *)base;

	source_unref(map->tables);
	free(map);
}

static const struct map_ops vhd_map_ops = {
	.extents = vhd_extents,
	.describe = vhd_describe,
	.check = vhd_check,
	.close = vhd_close,
};

static const struct map_ops vhd_fixed_map_ops = {
	.extents = vhd_fixed_extents,
	.describe = vhd_describe,
	.check = vhd_check,
	.close = vhd_close,
};

static int open_fixed(struct vhd_map *map, const struct open_args *args,
		      struct error *err)
{
	unsigned long long size = map->map.size, there = map->data_end;

	map->map.ops = &vhd_fixed_map_ops;
	map->map.subformat = "fixed";
	if (size > there)
		return error_set(err, ERR_CORRUPT, "the footer says %llu "
				 "bytes, but only %llu lie before it", size,
				 there);
	if (size < there)
		open_warn(args, "%llu bytes between the disk's end at %llu "
			  "and the footer are not part of it", there - size,
			  size);
	return 0;
}

static int read_header(struct vhd_map *map, const struct vhd_ends *ends,
		       struct error *err)
{
	uint64_t at = map->footer.data_offset;

	if (at < VHD_FOOTER_BYTES ||
	    !in_range(at, VHD_HEADER_BYTES, map->map.source->size))
		return error_set(err, ERR_CORRUPT, "the dynamic header at %llu "
				 "is not within the file's %llu bytes",
				 (unsigned long long)at,
				 (unsigned long long)map->map.source->size);
	if (in_range(at, VHD_HEADER_BYTES, ends->head_bytes)) {
		memcpy(&map->header, ends->head + at, VHD_HEADER_BYTES);
		return 0;
	}
	return source_read(map->tables, at, &map->header, VHD_HEADER_BYTES, 0,
			   err);
}

static int check_header(struct vhd_map *map, const struct open_args *args,
			struct error *err)
{
	const struct vhd_header_disk *header = &map->header;
	uint32_t stored = be32_get(header->checksum);
	uint32_t sum = vhd_checksum(header, sizeof(*header),
				    offsetof(struct vhd_header_disk, checksum));

	if (memcmp(header->cookie, "cxsparse", 8) != 0)
		return error_set(err, ERR_CORRUPT, "no dynamic header at %llu",
				 (unsigned long long)map->footer.data_offset);
	if (be32_get(header->version) >> 16 != VERSION_MAJOR)
		return error_set(err, ERR_UNSUPPORTED, "dynamic header version "
				 "%#x; only 1.x is known",
				 be32_get(header->version));
	if (stored != sum)
		open_warn(args, "the dynamic header's checksum is wrong "
			  "(stored %#x, calculated %#x)", stored, sum);
	return 0;
}

/* The BAT must have an entry for every block of the disk and lie within the
 * file, apart from the headers. */
static int check_table(struct vhd_map *map, struct error *err)
{
	uint64_t at = map->table_offset, header = map->footer.data_offset;
	uint64_t end = map->map.source->size;
	uint32_t entries = be32_get(map->header.entries);

	if (!is_power_of_two(map->block_bytes) ||
	    map->block_bytes < VHD_SECTOR ||
	    map->block_bytes > BLOCK_BYTES_MAX)
		return error_set(err, ERR_CORRUPT, "block size %u is no power "
				 "of two from %u to %u", map->block_bytes,
				 VHD_SECTOR, BLOCK_BYTES_MAX);
	map->table_entries = div_round_up(map->map.size, map->block_bytes);
	if (map->table_entries > entries)
		return error_set(err, ERR_CORRUPT, "a disk of %llu bytes has "
				 "%llu blocks of %u bytes, the table only %u",
				 (unsigned long long)map->map.size,
				 (unsigned long long)map->table_entries,
				 map->block_bytes, entries);
	if (!in_range(at, map->table_entries * 4, end))
		return error_set(err, ERR_CORRUPT, "the block table (%llu "
				 "entries at %llu) ends behind the file's "
				 "%llu bytes",
				 (unsigned long long)map->table_entries,
				 (unsigned long long)at,
				 (unsigned long long)end);
	if (at < VHD_FOOTER_BYTES || (at < header + VHD_HEADER_BYTES &&
				      at + map->table_entries * 4 > header))
		return error_set(err, ERR_CORRUPT, "the block table at %llu "
				 "lies inside the headers",
				 (unsigned long long)at);
	return 0;
}

static int open_dynamic(struct vhd_map *map, const struct vhd_ends *ends,
			const struct open_args *args, struct error *err)
{
	uint32_t bits;

	map->map.can_have_holes = true;
	map->map.subformat = "dynamic";
	if (read_header(map, ends, err) || check_header(map, args, err))
		return -1;
	map->block_bytes = be32_get(map->header.block_bytes);
	map->table_offset = be64_get(map->header.table_offset);
	if (check_table(map, err))
		return -1;
	bits = map->block_bytes / VHD_SECTOR;
	map->bitmap_bytes = (uint32_t)div_round_up(bits, 8 * VHD_SECTOR) *
			    VHD_SECTOR;
	if (map->footer.type != VHD_DIFFERENCING)
		return 0;
	map->map.subformat = "differencing";
	return vhd_open_parent(map, args, err);
}

static int open_footer(struct vhd_map *map, const struct vhd_ends *ends,
		       const struct open_args *args, struct error *err)
{
	const struct vhd_footer_disk *disk = &map->footer.disk;
	struct source *source = map->map.source;

	if (be32_get(disk->version) >> 16 != VERSION_MAJOR)
		return error_set(err, ERR_UNSUPPORTED, "VHD version %#x; only "
				 "1.x is known", be32_get(disk->version));
	map->data_end = source->size -
			(ends->tail.there ? ends->tail.length : 0);
	map->map.size = args->vhd_chs ? vhd_chs_size(disk) :
					map->footer.current_size;
	switch (map->footer.type) {
	case VHD_FIXED:
		return open_fixed(map, args, err);
	case VHD_DYNAMIC:
	case VHD_DIFFERENCING:
		return open_dynamic(map, ends, args, err);
	default:
		return error_set(err, ERR_UNSUPPORTED, "VHD disk type %u; "
				 "known are 2 (fixed), 3 (dynamic) and 4 "
				 "(differencing)", map->footer.type);
	}
}

/* The footer at the end is sound, and nothing but its size is wanted: the rest
 * is read when the disk is opened. A differencing disk is more than this file,
 * so that is no answer for it. */
static bool is_enough(const struct vhd_ends *ends,
		      const struct open_args *args)
{
	return args->size_only && ends->tail.checksum_good &&
	       be32_get(ends->tail.disk.version) >> 16 == VERSION_MAJOR &&
	       ends->tail.type == VHD_DYNAMIC;
}

static void glance(struct vhd_map *map, const struct open_args *args)
{
	const struct vhd_footer *footer = &map->footer;

	map->map.size = args->vhd_chs ? vhd_chs_size(&footer->disk) :
					footer->current_size;
	map->map.can_have_holes = true;
	map->map.subformat = "dynamic";
}

static int open_map(struct vhd_map *map, const struct open_args *args,
		    struct error *err)
{
	uint64_t file_size = map->map.source->size;
	const struct vhd_footer *footer;
	struct vhd_ends ends;

	if (vhd_read_tail(&ends, map->tables, err))
		return -1;
	if (is_enough(&ends, args)) {
		map->footer = ends.tail;
		glance(map, args);
		return 0;
	}
	if (vhd_read_head(&ends, map->tables, err) ||
	    vhd_choose_footer(&footer, &ends, file_size, args, err))
		return -1;
	map->footer = *footer;
	return open_footer(map, &ends, args, err);
}

static int vhd_open(struct map **out, struct source *source,
		    const struct open_args *args, struct error *err)
{
	struct vhd_map *map = calloc(1, sizeof(*map));

	*out = NULL;
	if (!map)
		return error_nomem(err);
	map_init(&map->map, &vhd_map_ops, &vhd_format, source);
	map->budget = args->budget;
	if (source_cached(&map->tables, source, args->cache, err) ||
	    open_map(map, args, err)) {
		map_close(&map->map);
		return -1;
	}
	*out = &map->map;
	return 0;
}

/* A footer at the end alone may be a guest's own file at the end of its disk:
 * for other than fixed disks the dynamic header must be there. */
static int vhd_probe(struct source *source, struct error *err)
{
	struct vhd_ends ends;
	char cookie[8];

	if (vhd_read_ends(&ends, source, err))
		return -1;
	if (ends.copy.there || ends.tail.type == VHD_FIXED)
		return 1;
	if (!in_range(ends.tail.data_offset, sizeof(cookie), source->size))
		return 0;
	if (source_read(source, ends.tail.data_offset, cookie, sizeof(cookie),
			0, err))
		return -1;
	return !memcmp(cookie, "cxsparse", sizeof(cookie));
}

const struct format vhd_format = {
	.name = "vhd",
	.title = "Microsoft virtual hard disk",
	.magics = {
		{ -512, "conectix", 8 },
		{ 0, "conectix", 8 },
		{ -511, "conectix", 8 },
	},
	.head_bytes = VHD_HEAD_BYTES,
	.tail_bytes = VHD_FOOTER_BYTES,
	.probe = vhd_probe,
	.open = vhd_open,
	.create = vhd_create,
};
