/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHDX: what `info` shows, and what `check` verifies beyond reading. */
#include "config.h"

#include "common/budget.h"
#include "format/findings.h"
#include "format/vhdx.h"

#define BATCH          512 /* entries read at once, on the stack */
#define ENTRY_RESERVED 0xffff8ull
#define USED_BYTES_MAX (32u << 20) /* a bit a MiB: files up to 256 TiB */

static int add_to(json_t *object, json_t *more, struct error *err)
{
	if (!more || json_object_update_new(object, more))
		return error_nomem(err);
	return 0;
}

static int describe_parent(struct vhdx_map *map, json_t *object,
			   struct error *err)
{
	const char *file = map->map.parent->source->name;
	json_t *locator;

	if (vhdx_describe_locator(map, &locator, err))
		return -1;
	return add_to(object, json_pack("{s:{s:o, s:s%}}", "parent",
					"locator", locator,
					"file", file, strlen(file)), err);
}

int vhdx_describe(struct map *base, json_t *object, struct error *err)
{
	struct vhdx_map *map = (struct vhdx_map *)base;
	const struct vhdx_header *header = &map->header;
	char id[VHDX_GUID_TEXT], file[VHDX_GUID_TEXT], data[VHDX_GUID_TEXT];

	vhdx_guid_text(id, map->disk_id);
	vhdx_guid_text(file, header->file_write_guid);
	vhdx_guid_text(data, header->data_write_guid);
	if (add_to(object, json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:I, "
		"s:{s:s, s:I, s:I}}",
		"creator", map->creator,
		"disk_id", id,
		"block_size", (json_int_t)map->block_bytes,
		"logical_sector_size", (json_int_t)map->sector_bytes,
		"physical_sector_size",
		(json_int_t)map->physical_sector_bytes,
		"file_write_guid", file,
		"data_write_guid", data,
		"sequence_number", (json_int_t)header->sequence,
		"log", "state", header->is_dirty ? "replayed" : "clean",
		"size", (json_int_t)header->log_length,
		"entries", (json_int_t)map->log_entries), err))
		return -1;
	return base->parent ? describe_parent(map, object, err) : 0;
}

/* A structure with two copies: both good, and equal where they should be. */
static void check_copies(const char *what, const uint8_t *first,
			 const uint8_t *second, size_t len, bool equal,
			 struct findings *found)
{
	if (!vhdx_checksum_good(first, len))
		findings_add(found, "%s 1 has a wrong checksum", what);
	if (!vhdx_checksum_good(second, len))
		findings_add(found, "%s 2 has a wrong checksum", what);
	if (equal && memcmp(first, second, len) != 0)
		findings_add(found, "the two copies of the %s differ", what);
}

static int check_start(struct vhdx_map *map, struct findings *found,
		       struct error *err)
{
	AUTO_FREE uint8_t *start = malloc(VHDX_START_BYTES);

	if (!start)
		return error_nomem(err);
	if (source_read(map->content, 0, start, VHDX_START_BYTES, 0, err))
		return -1;
	check_copies("header", start + VHDX_HEADER1_AT,
		     start + VHDX_HEADER2_AT, VHDX_HEADER_BYTES, false, found);
	check_copies("region table", start + VHDX_REGION1_AT,
		     start + VHDX_REGION2_AT, VHDX_REGION_BYTES, true, found);
	if (map->header.is_dirty)
		findings_add(found, "the disk was not closed properly: its "
			     "log has %u entries to be applied",
			     map->log_entries);
	if (map->is_cut)
		findings_add(found, "the file's size %llu is no multiple of "
			     "1 MiB", (unsigned long long)map->content->size);
	return 0;
}

/* Which MiB of the file belong to something, a bit each. */
struct used {
	uint64_t count;
	uint8_t *bits;
};

/* False if part of [offset, offset + length) was in use before. */
static bool mark_used(struct used *used, uint64_t offset, uint64_t length)
{
	uint64_t end = div_round_up(offset + length, VHDX_MIB);
	bool is_free = true;

	for (uint64_t i = offset / VHDX_MIB; i < end && i < used->count; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		is_free &= !(used->bits[i / 8] & bit);
		used->bits[i / 8] |= bit;
	}
	return is_free;
}

/* What holds for all entries that point into the file. */
static void check_place(const struct vhdx_map *map, struct used *used,
			const char *what, uint64_t n, uint64_t entry,
			struct findings *found)
{
	uint64_t at = vhdx_entry_offset(entry);
	uint64_t length = VHDX_BITMAP_BYTES;

	if (what[0] == 'b')
		length = map->block_bytes;
	if (!in_range(at, length, map->content->size))
		findings_add(found, "%s %llu at %llu reaches behind the "
			     "file's end", what, (unsigned long long)n,
			     (unsigned long long)at);
	if (at < UINT64_MAX - length && !mark_used(used, at, length))
		findings_add(found, "%s %llu at %llu overlaps something else",
			     what, (unsigned long long)n,
			     (unsigned long long)at);
}

static void check_block(const struct vhdx_map *map, struct used *used,
			uint64_t n, uint64_t entry, struct findings *found)
{
	enum vhdx_state state = vhdx_entry_state(entry);

	if (n >= map->block_count) {
		if (entry)
			findings_add(found, "block %llu behind the disk's end "
				     "has an entry", (unsigned long long)n);
		return;
	}
	if (state == 4 || (state == VHDX_PARTIALLY_PRESENT && !map->has_parent))
		findings_add(found, "block %llu has state %u",
			     (unsigned long long)n, state);
	if (state >= VHDX_FULLY_PRESENT)
		check_place(map, used, "block", n, entry, found);
}

static void check_bitmap(const struct vhdx_map *map, struct used *used,
			 uint64_t chunk, uint64_t entry,
			 struct findings *found)
{
	enum vhdx_state state = vhdx_entry_state(entry);

	if (state == VHDX_NOT_PRESENT)
		return;
	if (state != VHDX_FULLY_PRESENT || !map->has_parent)
		findings_add(found, "sector bitmap %llu has state %u",
			     (unsigned long long)chunk, state);
	else
		check_place(map, used, "sector bitmap", chunk, entry, found);
}

static int check_entries(struct vhdx_map *map, struct used *used,
			 struct findings *found, struct error *err)
{
	uint64_t here = map->content->size - map->bat.offset;
	uint64_t count = min_u64(map->bat.length, here) / 8;
	uint64_t ratio = map->chunk_ratio;
	uint8_t entries[BATCH * 8];

	for (uint64_t i = 0; i < count; i++) {
		uint64_t chunk = i / (ratio + 1), pos = i % (ratio + 1), entry;

		if (i % BATCH == 0 &&
		    source_read(map->tables, map->bat.offset + i * 8, entries,
				min_u64(BATCH, count - i) * 8, 0, err))
			return -1;
		entry = le64_get(entries + i % BATCH * 8);
		if (entry & ENTRY_RESERVED)
			findings_add(found, "table entry %llu has reserved "
				     "bits set", (unsigned long long)i);
		if (pos == ratio)
			check_bitmap(map, used, chunk, entry, found);
		else
			check_block(map, used, chunk * ratio + pos, entry,
				    found);
	}
	return 0;
}

static int check_table(struct vhdx_map *map, struct findings *found,
		       struct error *err)
{
	struct used used = { .count = div_round_up(map->content->size,
						   VHDX_MIB) };
	uint64_t bytes = used.count / 8 + 1;
	AUTO_FREE uint8_t *bits = NULL;
	int ret = 0;

	if (bytes > USED_BYTES_MAX)
		return error_set(err, ERR_LIMIT, "the file is too large to "
				 "look for overlaps");
	if (map->budget && budget_reserve(map->budget, bytes,
					  "looking for overlaps", err))
		return -1;
	bits = calloc(bytes, 1);
	used.bits = bits;
	if (bits) {
		mark_used(&used, 0, VHDX_MIB);
		mark_used(&used, map->bat.offset, map->bat.length);
		mark_used(&used, map->metadata.offset, map->metadata.length);
		if (in_range(map->header.log_offset, map->header.log_length,
			     map->content->size))
			mark_used(&used, map->header.log_offset,
				  map->header.log_length);
		ret = check_entries(map, &used, found, err);
	} else {
		ret = error_nomem(err);
	}
	if (map->budget)
		budget_release(map->budget, bytes);
	return ret;
}

int vhdx_check(struct map *base, void (*problem)(void *arg, const char *),
	       void *arg, struct error *err)
{
	struct vhdx_map *map = (struct vhdx_map *)base;
	struct findings found = { .problem = problem, .arg = arg };

	if (check_start(map, &found, err) || check_table(map, &found, err))
		return -1;
	findings_finish(&found);
	return 0;
}
