/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHDX, by [MS-VHDX] (the "VHDX Format Specification v1.00" of 2012).
 * Little-endian, GUIDs in Windows' mixed order.
 *
 *     0        64K        128K       192K       256K       1M
 *     | "vhdx" | header 1 | header 2 | region   | region   | log, metadata,
 *     | file   |          |          | table 1  | table 2  | BAT, blocks
 *
 * Everything behind the first MiB is aligned to 1 MiB. Of the headers that
 * with the greater sequence number counts; it says whether the log must be
 * applied first (vhdx-log.c). The region table leads to the metadata
 * (vhdx-metadata.c) and to the BAT (vhdx-bat.c), which has 8 bytes for each
 * block of 1 to 256 MiB: up to 512 MiB for 64 TiB, so that it is read through
 * the page cache and never kept. Opening reads twice, and twice more if the
 * log is to be applied.
 *
 * "Fixed" disks are read like dynamic ones: writers leave out zero blocks. */
#include "config.h"

#include "format/parent.h"
#include "format/vhdx.h"

#define CREATOR_BYTES 512

static void vhdx_close(struct map *base)
{
	struct vhdx_map *map = (struct vhdx_map *)base;

	source_unref(map->tables);
	source_unref(map->content);
	free(map->creator);
	free(map);
}

static const struct map_ops vhdx_map_ops = {
	.extents = vhdx_extents,
	.describe = vhdx_describe,
	.check = vhdx_check,
	.close = vhdx_close,
};

/* How many blocks, how many table entries, and is the table there? */
static int check_layout(struct vhdx_map *map, struct error *err)
{
	uint64_t blocks = div_round_up(map->map.size, map->block_bytes);
	uint64_t ratio = VHDX_CHUNK_SECTORS * map->sector_bytes /
			 map->block_bytes;
	uint64_t bytes;

	map->block_count = blocks;
	map->chunk_ratio = ratio;
	if (map->has_parent)
		map->entry_count = div_round_up(blocks, ratio) * (ratio + 1);
	else if (blocks)
		map->entry_count = blocks + (blocks - 1) / ratio;
	bytes = map->entry_count * 8;
	if (bytes > map->bat.length)
		return error_set(err, ERR_CORRUPT, "a disk of %llu bytes "
				 "needs %llu bytes of block table, it has %llu",
				 (unsigned long long)map->map.size,
				 (unsigned long long)bytes,
				 (unsigned long long)map->bat.length);
	if (!in_range(map->bat.offset, bytes, map->content->size))
		return error_set(err, ERR_CORRUPT, "the file ends at %llu, "
				 "within or before the block table at %llu",
				 (unsigned long long)map->content->size,
				 (unsigned long long)map->bat.offset);
	return 0;
}

/* The region tables may themselves have been changed through the log. */
static int read_regions(struct vhdx_map *map, uint8_t *start,
			const struct open_args *args, struct error *err)
{
	if (map->header.is_dirty &&
	    source_read(map->content, VHDX_REGION1_AT, start + VHDX_REGION1_AT,
			2 * VHDX_REGION_BYTES, 0, err))
		return -1;
	return vhdx_find_regions(map, start + VHDX_REGION1_AT,
				 start + VHDX_REGION2_AT, args, err);
}

/* start is VHDX_START_BYTES long and gets what source begins with. */
static int open_start(struct vhdx_map *map, struct source *source,
		      uint8_t *start, const struct open_args *args,
		      struct error *err)
{
	if (source->size < VHDX_START_BYTES)
		return error_set(err, ERR_CORRUPT, "a VHDX has at least %u "
				 "bytes, this file %llu", VHDX_START_BYTES,
				 (unsigned long long)source->size);
	if (source_read(source, 0, start, VHDX_START_BYTES, 0, err))
		return -1;
	if (memcmp(start, "vhdxfile", 8) != 0)
		return error_set(err, ERR_CORRUPT, "no VHDX: it does not "
				 "start with 'vhdxfile'");
	map->creator = utf16_text(start + 8, CREATOR_BYTES, false);
	if (!map->creator)
		return error_nomem(err);
	if (vhdx_choose_header(&map->header, start + VHDX_HEADER1_AT,
			       start + VHDX_HEADER2_AT, args, err))
		return -1;
	if (map->header.is_dirty && args->size_only)
		return error_set(err, ERR_AGAIN, "has a log to be replayed");
	if (vhdx_replay_log(map, args, err) ||
	    read_regions(map, start, args, err))
		return -1;
	map->is_cut = map->content->size % VHDX_MIB != 0;
	if (map->is_cut)
		open_warn(args, "the file's size %llu is no multiple of "
			  "1 MiB: what its end cuts off the last block reads "
			  "as zeroes",
			  (unsigned long long)map->content->size);
	return 0;
}

static int open_disk(struct vhdx_map *map, const struct open_args *args,
		     struct error *err)
{
	AUTO_FREE uint8_t *start = malloc(VHDX_START_BYTES);
	struct source *head;
	int ret;

	if (!start)
		return error_nomem(err);
	if (source_cached(&head, map->map.source, args->cache, err))
		return -1;
	ret = open_start(map, head, start, args, err);
	source_unref(head);
	if (ret ||
	    source_cached(&map->tables, map->content, args->cache, err) ||
	    vhdx_read_metadata(map, err) || check_layout(map, err))
		return -1;
	map->map.can_have_holes = true;
	map->map.subformat = map->keeps_blocks ? "fixed" : "dynamic";
	if (!map->has_parent)
		return 0;
	map->map.subformat = "differencing";
	return vhdx_open_parent(map, args, err);
}

static int vhdx_open(struct map **out, struct source *source,
		     const struct open_args *args, struct error *err)
{
	struct vhdx_map *map = calloc(1, sizeof(*map));

	*out = NULL;
	if (!map)
		return error_nomem(err);
	map_init(&map->map, &vhdx_map_ops, &vhdx_format, source);
	map->budget = args->budget;
	if (open_disk(map, args, err)) {
		map_close(&map->map);
		return -1;
	}
	*out = &map->map;
	return 0;
}

const struct format vhdx_format = {
	.name = "vhdx",
	.title = "Hyper-V virtual hard disk",
	.magics = {
		{ 0, "vhdxfile", 8 },
	},
	.head_bytes = VHDX_START_BYTES,
	/* The metadata of Hyper-V and of QEMU (up to a BAT of 1 MiB). */
	.likely_at = { 2 * VHDX_MIB, 3 * VHDX_MIB },
	.open = vhdx_open,
	.create = vhdx_create,
};
