/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHDX headers and region tables: two copies of each, guarded by checksums. */
#include "config.h"

#include <stdio.h>

#include "common/crc32c.h"
#include "format/vhdx.h"

#define REGIONS_MAX 2047

struct region_table_disk {
	uint8_t signature[4]; /* "regi" */
	uint8_t checksum[4];
	uint8_t count[4];
	uint8_t reserved[4];
};

struct region_disk {
	uint8_t guid[16];
	uint8_t offset[8];
	uint8_t length[4];
	uint8_t required[4];
};

_Static_assert(sizeof(struct region_table_disk) == 16, "region table");
_Static_assert(sizeof(struct region_disk) == 32, "region table entry");
_Static_assert(16 + REGIONS_MAX * 32 <= VHDX_REGION_BYTES, "region table");

const uint8_t vhdx_bat_guid[16] = {
	0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
	0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
};
const uint8_t vhdx_metadata_guid[16] = {
	0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
	0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
};

void vhdx_guid_text(char text[VHDX_GUID_TEXT], const uint8_t guid[16])
{
	snprintf(text, VHDX_GUID_TEXT, "%08x-%04x-%04x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x", le32_get(guid),
		 le16_get(guid + 4), le16_get(guid + 6), guid[8], guid[9],
		 guid[10], guid[11], guid[12], guid[13], guid[14], guid[15]);
}

bool vhdx_checksum_good(const uint8_t *data, size_t len)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, data, 4);

	crc = crc32c(crc, zero, sizeof(zero));
	crc = crc32c(crc, data + 8, len - 8);
	return crc == le32_get(data + 4);
}

static bool header_good(const uint8_t *data)
{
	return !memcmp(data, "head", 4) &&
	       vhdx_checksum_good(data, VHDX_HEADER_BYTES);
}

static void decode_header(struct vhdx_header *header, const uint8_t *data)
{
	static const uint8_t no_log[16];
	struct vhdx_header_disk disk;

	memcpy(&disk, data, sizeof(disk));
	header->sequence = le64_get(disk.sequence);
	memcpy(header->file_write_guid, disk.file_write_guid, 16);
	memcpy(header->data_write_guid, disk.data_write_guid, 16);
	memcpy(header->log_guid, disk.log_guid, 16);
	header->log_version = le16_get(disk.log_version);
	header->version = le16_get(disk.version);
	header->log_length = le32_get(disk.log_length);
	header->log_offset = le64_get(disk.log_offset);
	header->is_dirty = memcmp(disk.log_guid, no_log, 16) != 0;
}

int vhdx_choose_header(struct vhdx_header *out, const uint8_t *first,
		       const uint8_t *second, const struct open_args *args,
		       struct error *err)
{
	bool first_good = header_good(first), second_good = header_good(second);
	struct vhdx_header other;

	if (!first_good && !second_good)
		return error_set(err, ERR_CORRUPT, "neither of the two "
				 "headers has a good checksum");
	decode_header(out, first_good ? first : second);
	if (first_good != second_good)
		open_warn(args, "header %d is damaged; header %d is used",
			  first_good ? 2 : 1, first_good ? 1 : 2);
	decode_header(&other, second_good ? second : first);
	if (other.sequence == out->sequence && first_good && second_good &&
	    memcmp(first, second, VHDX_HEADER_BYTES) != 0)
		return error_set(err, ERR_CORRUPT, "the two headers have the "
				 "same sequence number %llu, but differ",
				 (unsigned long long)out->sequence);
	if (other.sequence > out->sequence)
		*out = other;
	if (out->version != 1)
		return error_set(err, ERR_UNSUPPORTED, "VHDX version %u; only "
				 "1 is known", out->version);
	return 0;
}

/* Take one region table entry into map; others than ours must be optional. */
static int take_region(struct vhdx_map *map, const struct region_disk *disk,
		       const struct vhdx_range *range, struct error *err)
{
	struct vhdx_range *known = NULL;
	char guid[VHDX_GUID_TEXT];

	vhdx_guid_text(guid, disk->guid);
	if (!memcmp(disk->guid, vhdx_bat_guid, 16))
		known = &map->bat;
	else if (!memcmp(disk->guid, vhdx_metadata_guid, 16))
		known = &map->metadata;
	if (!known && le32_get(disk->required) & 1)
		return error_set(err, ERR_UNSUPPORTED, "the disk requires an "
				 "unknown region {%s}", guid);
	if (!known)
		return 0;
	if (known->length)
		return error_set(err, ERR_CORRUPT, "region {%s} is listed "
				 "twice", guid);
	if (range->length == 0)
		return error_set(err, ERR_CORRUPT, "region {%s} is empty",
				 guid);
	*known = *range;
	return 0;
}

/* Each region lies behind the first MiB and apart from all others and from
 * the log. ranges[0] is the log. */
static int check_ranges(const struct vhdx_range *ranges, size_t n,
			struct error *err)
{
	for (size_t i = 1; i < n; i++) {
		const struct vhdx_range *range = &ranges[i];
		uint64_t end;

		if (range->offset < VHDX_MIB ||
		    !add_u64(range->offset, range->length, &end))
			return error_set(err, ERR_CORRUPT, "region %zu cannot "
					 "lie at %llu", i,
					 (unsigned long long)range->offset);
		for (size_t k = 0; k < i; k++)
			if (vhdx_overlap(&ranges[k], range))
				return error_set(err, ERR_CORRUPT, "region "
						 "%zu at %llu overlaps %s", i,
						 (unsigned long long)
						 range->offset,
						 k ? "another region" :
						 "the log");
	}
	return 0;
}

static int parse_regions(struct vhdx_map *map, const uint8_t *table,
			 struct error *err)
{
	AUTO_FREE struct vhdx_range *ranges = NULL;
	struct region_table_disk head;
	uint32_t count;

	memcpy(&head, table, sizeof(head));
	count = le32_get(head.count);
	if (count > REGIONS_MAX)
		return error_set(err, ERR_CORRUPT, "the region table has %u "
				 "entries, at most %d are possible", count,
				 REGIONS_MAX);
	ranges = calloc(count + 1, sizeof(*ranges));
	if (!ranges)
		return error_nomem(err);
	if (in_range(map->header.log_offset, map->header.log_length,
		     UINT64_MAX)) {
		ranges[0].offset = map->header.log_offset;
		ranges[0].length = map->header.log_length;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct region_disk disk;

		memcpy(&disk, table + sizeof(head) + i * sizeof(disk),
		       sizeof(disk));
		ranges[i + 1].offset = le64_get(disk.offset);
		ranges[i + 1].length = le32_get(disk.length);
		if (take_region(map, &disk, &ranges[i + 1], err))
			return -1;
	}
	return check_ranges(ranges, count + 1, err);
}

static bool table_good(const uint8_t *table)
{
	return !memcmp(table, "regi", 4) &&
	       vhdx_checksum_good(table, VHDX_REGION_BYTES);
}

int vhdx_find_regions(struct vhdx_map *map, const uint8_t *first,
		      const uint8_t *second, const struct open_args *args,
		      struct error *err)
{
	const uint8_t *table = first;

	if (!table_good(first)) {
		table = second;
		if (!table_good(second))
			return error_set(err, ERR_CORRUPT, "neither of the two "
					 "region tables has a good checksum");
		open_warn(args, "region table 1 is damaged; its copy is used");
	}
	if (parse_regions(map, table, err))
		return -1;
	if (!map->bat.length || !map->metadata.length)
		return error_set(err, ERR_CORRUPT, "the region table lacks the "
				 "%s region", map->bat.length ? "metadata" :
				 "block allocation table's");
	return 0;
}
