/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The sector that a hosted sparse extent starts with, and that a stream
 * repeats at its end as the footer. All numbers little-endian, unaligned:
 *
 *       0  "KDMV"             28  descriptor, sector      64  overhead, sectors
 *       4  version            36  descriptor, sectors     72  unclean shutdown
 *       8  flags              44  entries per table       73  \n ' ' \r \n
 *      12  capacity, sectors  48  redundant directory     77  compression
 *      20  grain, sectors     56  directory, sector       79  zeroes
 *
 * After VMware's "Virtual Disk Format 5.0" (2011). Versions 1 to 3; 3 without
 * compression adds changed-block tracking, which concerns writers only. */
#include "config.h"

#include <string.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "format/vmdk-sparse.h"

#define VERSION_MAX     3
#define GRAIN_MIN       8    /* sectors */
#define GRAIN_MAX       2048 /* sectors: FORMAT_UNIT_MAX */
#define COMPRESS_NONE    0
#define COMPRESS_DEFLATE 1

_Static_assert(GRAIN_MAX * VMDK_SECTOR == FORMAT_UNIT_MAX, "unit limit");

int vmdk_header_load(struct vmdk_header *header, const uint8_t *sector,
		     struct error *err)
{
	if (memcmp(sector, "KDMV", 4) != 0)
		return error_set(err, ERR_CORRUPT,
				 "does not start with a sparse header");
	header->version = le32_get(sector + 4);
	header->flags = le32_get(sector + 8);
	header->capacity = le64_get(sector + 12);
	header->grain = le64_get(sector + 20);
	header->descriptor = le64_get(sector + 28);
	header->descriptor_length = le64_get(sector + 36);
	header->table_entries = le32_get(sector + 44);
	header->rgd = le64_get(sector + 48);
	header->gd = le64_get(sector + 56);
	header->overhead = le64_get(sector + 64);
	memcpy(header->newlines, sector + 73, sizeof(header->newlines));
	header->algorithm = le16_get(sector + 77);
	header->is_packed = header->algorithm == COMPRESS_DEFLATE;
	return 0;
}

/* The newline characters tell whether somebody copied the file as text. */
static int check_newlines(const struct vmdk_header *header,
			  struct error *err)
{
	if (!(header->flags & VMDK_FLAG_NEWLINES) ||
	    !memcmp(header->newlines, "\n \r\n", 4) ||
	    vmdk_newlines_unset(header))
		return 0;
	return error_set(err, ERR_CORRUPT, "the file was damaged by a transfer "
			 "in text mode; copy it again in binary mode");
}

bool vmdk_newlines_unset(const struct vmdk_header *header)
{
	return (header->flags & VMDK_FLAG_NEWLINES) &&
	       !memcmp(header->newlines, "\0\0\0\0", 4);
}

static int check_compression(const struct vmdk_header *header,
			     struct error *err)
{
	bool markers = header->flags & VMDK_FLAG_MARKERS;

	if (header->algorithm > COMPRESS_DEFLATE)
		return error_set(err, ERR_UNSUPPORTED, "compression algorithm "
				 "%u is not supported, only deflate (1)",
				 header->algorithm);
	if (!header->is_packed && (header->flags & VMDK_FLAG_PACKED))
		return error_set(err, ERR_CORRUPT, "grains are said to be "
				 "compressed, but by no algorithm");
	if (header->is_packed != markers)
		return error_set(err, ERR_UNSUPPORTED, "%s grains with%s "
				 "markers are not supported",
				 header->is_packed ? "compressed" :
						     "uncompressed",
				 markers ? "" : "out");
	return 0;
}

static int check_numbers(const struct vmdk_header *header, struct error *err)
{
	if (header->version == 0 || header->version > VERSION_MAX)
		return error_set(err, ERR_UNSUPPORTED, "version %u of the "
				 "sparse format is not supported, only 1 to %d",
				 header->version, VERSION_MAX);
	if (header->capacity == 0)
		return error_set(err, ERR_CORRUPT,
				 "the disk has no sectors (capacity 0)");
	if (header->capacity > FORMAT_DISK_MAX / VMDK_SECTOR)
		return error_set(err, ERR_LIMIT, "capacity of %llu sectors is "
				 "above the limit of %llu",
				 (unsigned long long)header->capacity,
				 FORMAT_DISK_MAX / VMDK_SECTOR);
	if (!is_power_of_two(header->grain) || header->grain < GRAIN_MIN ||
	    header->grain > GRAIN_MAX)
		return error_set(err, ERR_CORRUPT, "grain size of %llu sectors "
				 "is not a power of two from %d to %d",
				 (unsigned long long)header->grain, GRAIN_MIN,
				 GRAIN_MAX);
	if (header->table_entries == 0 ||
	    header->table_entries > VMDK_TABLE_MAX)
		return error_set(err, ERR_CORRUPT, "%u entries in a grain "
				 "table are not from 1 to %u",
				 header->table_entries, VMDK_TABLE_MAX);
	return 0;
}

int vmdk_header_check(const struct vmdk_header *header, struct error *err)
{
	if (check_numbers(header, err) || check_newlines(header, err) ||
	    check_compression(header, err))
		return -1;
	return 0;
}
