/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHD: what `info` shows, and what `check` verifies beyond reading. */
#include "config.h"

#include <stdio.h>
#include <time.h>

#include "common/budget.h"
#include "common/checked.h"
#include "format/findings.h"
#include "format/vhd.h"

#define BATCH        512
#define PLACES_BYTES (64u << 20) /* cap on the table that finds overlaps */

/* Four characters as a string; others than printable ASCII are left out. */
static void tag_text(char text[5], const uint8_t tag[4])
{
	size_t n = 0;

	for (int i = 0; i < 4; i++)
		if (tag[i] > 0x20 && tag[i] < 0x7f)
			text[n++] = (char)tag[i];
	text[n] = '\0';
}

static void time_text(char text[32], uint32_t vhd_time)
{
	time_t when = (time_t)VHD_EPOCH + vhd_time;
	struct tm tm;

	if (!gmtime_r(&when, &tm) ||
	    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		text[0] = '\0';
}

static int add_to(json_t *object, json_t *more, struct error *err)
{
	if (!more || json_object_update_new(object, more))
		return error_nomem(err);
	return 0;
}

static int describe_footer(const struct vhd_map *map, json_t *object,
			   struct error *err)
{
	const struct vhd_footer_disk *disk = &map->footer.disk;
	uint32_t version = be32_get(disk->creator_version);
	char creator[5], host[5], uuid[VHD_UUID_TEXT], timestamp[32];

	tag_text(creator, disk->creator);
	tag_text(host, disk->creator_host);
	vhd_uuid_text(uuid, disk->uuid);
	time_text(timestamp, be32_get(disk->timestamp));
	return add_to(object, json_pack(
		"{s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:{s:i, s:i, s:i}, s:b, "
		"s:b, s:b}",
		"creator", creator,
		"creator_version", json_sprintf("%u.%u", version >> 16,
						version & 0xffff),
		"creator_host", host,
		"uuid", uuid,
		"timestamp", timestamp,
		"original_size",
		(json_int_t)be64_get(disk->original_size),
		"current_size", (json_int_t)map->footer.current_size,
		"geometry", "cylinders", be16_get(disk->cylinders),
		"heads", disk->heads, "sectors", disk->sectors,
		"temporary", be32_get(disk->features) & 1,
		"saved_state", disk->saved_state != 0,
		"footer_checksum_good", map->footer.checksum_good), err);
}

static int describe_parent(const struct vhd_map *map, json_t *object,
			   struct error *err)
{
	const struct vhd_header_disk *header = &map->header;
	AUTO_FREE char *name = utf16_text(header->parent_name,
					  sizeof(header->parent_name), true);
	char uuid[VHD_UUID_TEXT], timestamp[32];

	if (!name)
		return error_nomem(err);
	vhd_uuid_text(uuid, header->parent_uuid);
	time_text(timestamp, be32_get(header->parent_timestamp));
	return add_to(object, json_pack(
		"{s:{s:s, s:s, s:s, s:s%}}", "parent",
		"uuid", uuid, "name", name, "timestamp", timestamp,
		"file", map->map.parent->source->name,
		strlen(map->map.parent->source->name)), err);
}

int vhd_describe(struct map *base, json_t *object, struct error *err)
{
	struct vhd_map *map = (struct vhd_map *)base;

	if (describe_footer(map, object, err))
		return -1;
	if (map->footer.type == VHD_FIXED)
		return 0;
	if (add_to(object, json_pack(
		"{s:I, s:I}", "block_size", (json_int_t)map->block_bytes,
		"table_entries",
		(json_int_t)be32_get(map->header.entries)), err))
		return -1;
	return base->parent ? describe_parent(map, object, err) : 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void check_footer(const char *which, const struct vhd_footer *footer,
			 struct findings *found)
{
	const struct vhd_footer_disk *disk = &footer->disk;

	if (!footer->there) {
		findings_add(found, "%s is missing", which);
		return;
	}
	if (!footer->checksum_good)
		findings_add(found, "%s has a wrong checksum", which);
	if (footer->length != VHD_FOOTER_BYTES)
		findings_add(found, "%s has %u bytes instead of %u", which,
			     footer->length, VHD_FOOTER_BYTES);
	if (!all_zero(disk->reserved, sizeof(disk->reserved)))
		findings_add(found, "%s has reserved bytes that are not zero",
			     which);
}

static int check_footers(struct vhd_map *map, struct findings *found,
			 struct error *err)
{
	AUTO_FREE struct vhd_ends *ends = malloc(sizeof(*ends));

	if (!ends)
		return error_nomem(err);
	if (vhd_read_ends(ends, map->map.source, err))
		return -1;
	check_footer("the footer at the end", &ends->tail, found);
	if (map->footer.type == VHD_FIXED)
		return 0;
	check_footer("the copy of the footer at 0", &ends->copy, found);
	if (ends->tail.there && ends->copy.there &&
	    memcmp(&ends->tail.disk, &ends->copy.disk,
		   sizeof(ends->tail.disk)) != 0)
		findings_add(found, "footers not identical");
	if (be32_get(map->header.checksum) !=
	    vhd_checksum(&map->header, sizeof(map->header),
			 offsetof(struct vhd_header_disk, checksum)))
		findings_add(found, "the dynamic header has a wrong checksum");
	return 0;
}

/* Where blocks start, by file range of one block's length: a range holds at
 * most one start, unless blocks overlap. */
struct places {
	uint64_t count;
	uint32_t *sectors; /* 0 = none (0 is never a block's) */
	uint64_t block_sectors;
};

static void check_overlap(struct places *places, uint64_t block,
			  uint32_t sector, struct findings *found)
{
	uint64_t i = sector / places->block_sectors;
	uint32_t before, after;

	if (i >= places->count || sector == 0)
		return;
	if (places->sectors[i]) {
		findings_add(found, "block %llu at sector %u overlaps the one "
			     "at sector %u", (unsigned long long)block, sector,
			     places->sectors[i]);
		return;
	}
	places->sectors[i] = sector;
	before = i ? places->sectors[i - 1] : 0;
	after = i + 1 < places->count ? places->sectors[i + 1] : 0;
	if (before && sector - before < places->block_sectors)
		findings_add(found, "block %llu at sector %u overlaps the one "
			     "at sector %u", (unsigned long long)block, sector,
			     before);
	if (after && after - sector < places->block_sectors)
		findings_add(found, "block %llu at sector %u overlaps the one "
			     "at sector %u", (unsigned long long)block, sector,
			     after);
}

static void check_entry(struct vhd_map *map, struct places *places, uint64_t n,
			uint32_t entry, struct findings *found)
{
	uint64_t at = (uint64_t)entry * VHD_SECTOR;
	uint64_t length = map->bitmap_bytes + map->block_bytes;

	if (entry == VHD_UNALLOCATED)
		return;
	if (n >= map->table_entries)
		findings_add(found, "block %llu behind the disk's end is "
			     "allocated", (unsigned long long)n);
	else if (!in_range(at, length, map->data_end))
		findings_add(found, "block %llu at sector %u reaches behind "
			     "the end of the data at byte %llu",
			     (unsigned long long)n, entry,
			     (unsigned long long)map->data_end);
	if (vhd_in_headers(map, at, length))
		findings_add(found, "block %llu at sector %u lies inside the "
			     "headers", (unsigned long long)n, entry);
	else
		check_overlap(places, n, entry, found);
}

static int check_entries(struct vhd_map *map, struct places *places,
			 struct findings *found, struct error *err)
{
	uint64_t here = (map->map.source->size - map->table_offset) / 4;
	uint64_t count = min_u64(be32_get(map->header.entries), here);
	uint8_t entries[BATCH * 4];

	if (count < be32_get(map->header.entries))
		findings_add(found, "the block table has %u entries, the file "
			     "ends after %llu", be32_get(map->header.entries),
			     (unsigned long long)here);
	for (uint64_t first = 0; first < count; first += BATCH) {
		uint64_t n = min_u64(count - first, BATCH);

		if (source_read(map->tables, map->table_offset + first * 4,
				entries, n * 4, 0, err))
			return -1;
		for (uint64_t i = 0; i < n; i++)
			check_entry(map, places, first + i,
				    be32_get(entries + i * 4), found);
	}
	return 0;
}

static int check_table(struct vhd_map *map, struct findings *found,
		       struct error *err)
{
	uint64_t length = map->bitmap_bytes + map->block_bytes;
	struct places places = { .block_sectors = length / VHD_SECTOR };
	AUTO_FREE uint32_t *sectors = NULL;
	uint64_t bytes;
	int ret;

	places.count = div_round_up(map->map.source->size, length);
	bytes = places.count * sizeof(*sectors);
	if (bytes > PLACES_BYTES)
		return error_set(err, ERR_LIMIT, "too many blocks (%llu) to "
				 "look for overlaps",
				 (unsigned long long)places.count);
	if (map->budget && budget_reserve(map->budget, bytes,
					  "looking for overlaps", err))
		return -1;
	sectors = calloc(places.count, sizeof(*sectors));
	places.sectors = sectors;
	ret = sectors ? check_entries(map, &places, found, err) :
			error_nomem(err);
	if (map->budget)
		budget_release(map->budget, bytes);
	return ret;
}

int vhd_check(struct map *base, void (*problem)(void *arg, const char *),
	      void *arg, struct error *err)
{
	struct vhd_map *map = (struct vhd_map *)base;
	struct findings found = { .problem = problem, .arg = arg };

	if (check_footers(map, &found, err))
		return -1;
	if (map->footer.type != VHD_FIXED && check_table(map, &found, err))
		return -1;
	findings_finish(&found);
	return 0;
}
