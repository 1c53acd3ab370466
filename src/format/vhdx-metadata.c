/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The VHDX metadata region: a table of items by GUID, and the items. */
#include "config.h"

#include "format/vhdx.h"

#define TABLE_BYTES     (64u << 10)
#define FIRST_READ      (128u << 10) /* the table and, mostly, the items */
#define ENTRIES_MAX     2047
#define ENTRIES_AT      32
#define BLOCK_BYTES_MIN (1u << 20)
#define BLOCK_BYTES_MAX (256u << 20)
#define DISK_BYTES_MAX  (64ull << 40)

enum { FLAG_USER = 1, FLAG_REQUIRED = 4 };

struct entry_disk {
	uint8_t guid[16];
	uint8_t offset[4]; /* in the region */
	uint8_t length[4];
	uint8_t flags[4];
	uint8_t reserved[4];
};

_Static_assert(sizeof(struct entry_disk) == 32, "metadata table entry");
_Static_assert(ENTRIES_AT + ENTRIES_MAX * 32 <= TABLE_BYTES, "table");

static const struct {
	const char *name;
	uint32_t bytes; /* at least; 0 = checked where it is used */
	bool needed;
	uint8_t guid[16];
} known[VHDX_ITEMS] = {
	[VHDX_FILE_PARAMETERS] = { "file parameters", 8, true, {
		0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
		0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b } },
	[VHDX_DISK_SIZE] = { "virtual disk size", 8, true, {
		0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
		0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 } },
	[VHDX_DISK_ID] = { "disk id", 16, false, {
		0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
		0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 } },
	[VHDX_LOGICAL_SECTOR] = { "logical sector size", 4, true, {
		0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
		0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f } },
	[VHDX_PHYSICAL_SECTOR] = { "physical sector size", 4, false, {
		0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
		0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 } },
	[VHDX_PARENT_LOCATOR] = { "parent locator", 0, false, {
		0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45,
		0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c } },
};

const uint8_t *vhdx_item_guid(enum vhdx_item item)
{
	return known[item].guid;
}

/* What was read of the region's start. */
struct region {
	struct vhdx_map *map;
	uint8_t *data;
	uint64_t length;
};

static int find_known(const uint8_t guid[16])
{
	for (int i = 0; i < VHDX_ITEMS; i++)
		if (!memcmp(guid, known[i].guid, 16))
			return i;
	return -1;
}

static int take_entry(struct vhdx_map *map, const struct entry_disk *disk,
		      struct error *err)
{
	uint32_t flags = le32_get(disk->flags);
	uint64_t offset = le32_get(disk->offset);
	uint64_t length = le32_get(disk->length);
	int i = flags & FLAG_USER ? -1 : find_known(disk->guid);
	char guid[VHDX_GUID_TEXT];

	vhdx_guid_text(guid, disk->guid);
	if (i < 0 && flags & FLAG_REQUIRED)
		return error_set(err, ERR_UNSUPPORTED, "the disk requires "
				 "unknown metadata {%s}", guid);
	if (i < 0)
		return 0;
	if (map->items[i].length)
		return error_set(err, ERR_CORRUPT, "metadata: two items are "
				 "the %s", known[i].name);
	if (length == 0 || length < known[i].bytes || offset < TABLE_BYTES ||
	    !in_range(offset, length, map->metadata.length))
		return error_set(err, ERR_CORRUPT, "metadata: the %s (%llu "
				 "bytes at %llu) cannot be", known[i].name,
				 (unsigned long long)length,
				 (unsigned long long)offset);
	map->items[i].offset = map->metadata.offset + offset;
	map->items[i].length = length;
	return 0;
}

static int parse_table(const struct region *region, struct error *err)
{
	uint32_t count;

	if (region->length < TABLE_BYTES)
		return error_set(err, ERR_CORRUPT, "metadata: only %llu bytes "
				 "of the table are there",
				 (unsigned long long)region->length);
	if (memcmp(region->data, "metadata", 8) != 0)
		return error_set(err, ERR_CORRUPT, "no metadata table at %llu",
				 (unsigned long long)
				 region->map->metadata.offset);
	count = le16_get(region->data + 10);
	if (count > ENTRIES_MAX)
		return error_set(err, ERR_CORRUPT, "metadata: %u items, at "
				 "most %d are possible", count, ENTRIES_MAX);
	for (uint32_t i = 0; i < count; i++) {
		struct entry_disk disk;

		memcpy(&disk, region->data + ENTRIES_AT + i * sizeof(disk),
		       sizeof(disk));
		if (take_entry(region->map, &disk, err))
			return -1;
	}
	for (int i = 0; i < VHDX_ITEMS; i++)
		if (known[i].needed && !region->map->items[i].length)
			return error_set(err, ERR_CORRUPT, "metadata: the %s "
					 "is missing", known[i].name);
	return 0;
}

/* The first len bytes of an item; zeroes if it is not there. */
static int read_item(const struct region *region, enum vhdx_item i,
		     void *buf, size_t len, struct error *err)
{
	const struct vhdx_range *item = &region->map->items[i];
	uint64_t at = item->offset - region->map->metadata.offset;

	if (!item->length) {
		memset(buf, 0, len);
		return 0;
	}
	if (in_range(at, len, region->length)) {
		memcpy(buf, region->data + at, len);
		return 0;
	}
	if (source_read(region->map->tables, item->offset, buf, len, 0, err))
		return error_prefix(err, "metadata: %s", known[i].name);
	return 0;
}

static int read_items(const struct region *region, struct error *err)
{
	struct vhdx_map *map = region->map;
	uint8_t file[8], size[8], logical[4], physical[4];

	if (read_item(region, VHDX_FILE_PARAMETERS, file, 8, err) ||
	    read_item(region, VHDX_DISK_SIZE, size, 8, err) ||
	    read_item(region, VHDX_LOGICAL_SECTOR, logical, 4, err) ||
	    read_item(region, VHDX_PHYSICAL_SECTOR, physical, 4, err) ||
	    read_item(region, VHDX_DISK_ID, map->disk_id, 16, err))
		return -1;
	map->block_bytes = le32_get(file);
	map->keeps_blocks = le32_get(file + 4) & 1;
	map->has_parent = le32_get(file + 4) & 2;
	map->map.size = le64_get(size);
	map->sector_bytes = le32_get(logical);
	map->physical_sector_bytes = le32_get(physical);
	return 0;
}

static int check_items(const struct vhdx_map *map, struct error *err)
{
	unsigned long long size = map->map.size;

	if (!is_power_of_two(map->block_bytes) ||
	    map->block_bytes < BLOCK_BYTES_MIN ||
	    map->block_bytes > BLOCK_BYTES_MAX)
		return error_set(err, ERR_CORRUPT, "block size %u is no power "
				 "of two from %u to %u", map->block_bytes,
				 BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
	if (map->sector_bytes != 512 && map->sector_bytes != 4096)
		return error_set(err, ERR_CORRUPT, "logical sector size %u is "
				 "neither 512 nor 4096", map->sector_bytes);
	if (size > DISK_BYTES_MAX)
		return error_set(err, ERR_CORRUPT, "disk size %llu is above "
				 "64 TiB", size);
	if (size % map->sector_bytes)
		return error_set(err, ERR_CORRUPT, "disk size %llu is no "
				 "multiple of its sectors of %u bytes", size,
				 map->sector_bytes);
	if (map->has_parent && !map->items[VHDX_PARENT_LOCATOR].length)
		return error_set(err, ERR_CORRUPT, "differencing disk without "
				 "a parent locator");
	return 0;
}

int vhdx_read_metadata(struct vhdx_map *map, struct error *err)
{
	AUTO_FREE uint8_t *data = malloc(FIRST_READ);
	struct region region = { .map = map, .data = data };
	uint64_t at = map->metadata.offset, size = map->content->size;

	if (!data)
		return error_nomem(err);
	if (at < size)
		region.length = min_u64(min_u64(FIRST_READ, size - at),
					map->metadata.length);
	if (source_read(map->tables, at, data, region.length, 0, err))
		return error_prefix(err, "metadata");
	if (parse_table(&region, err) || read_items(&region, err))
		return -1;
	return check_items(map, err);
}
