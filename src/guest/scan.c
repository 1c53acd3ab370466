/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Asking libblkid. It takes a descriptor and reads where it likes, so what it
 * will read must be there before: both ends of the disk for tables, the first
 * sectors of each DOS partition (and of each link of an extended one) for
 * tables within, both ends of each partition for file systems, and the few
 * places further inside that a boot sector points to (metadata.c). */
#include "config.h"

#include <blkid/blkid.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/jsontext.h"
#include "guest/metadata.h"
#include "guest/scan.h"

#define TABLE_WINDOW   (1u << 20)  /* bytes at both ends of the disk */
#define NESTED_WINDOW  (64u << 10) /* bytes at the start of a partition */
#define PARTITIONS_MAX 256         /* listed; file systems likewise */
#define EBR_MAX        128         /* links in an extended partition */

static void free_probe(blkid_probe *probe)
{
	blkid_free_probe(*probe);
}

#define AUTO_PROBE __attribute__((cleanup(free_probe)))

int guest_scan_window(struct guest_scan *scan, uint64_t offset,
		      uint64_t length, struct error *err)
{
	if (offset >= scan->size)
		return 0;
	length = min_u64(length, scan->size - offset);
	if (!length)
		return 0;
	return scan->want(scan->arg, offset, length, err);
}

/* Both ends of [offset, offset + size), which lies within the disk. */
static int want_ends(struct guest_scan *scan, uint64_t offset, uint64_t size,
		     uint64_t window, struct error *err)
{
	if (guest_scan_window(scan, offset, min_u64(window, size), err))
		return -1;
	if (size <= window)
		return 0;
	return guest_scan_window(scan, offset + size - window, window, err);
}

static bool holds(const struct guest_scan *scan, uint64_t offset,
		  const char *bytes, size_t len)
{
	char found[8];

	return in_range(offset, len, scan->size) && len <= sizeof(found) &&
	       pread(scan->fd, found, len, (off_t)offset) == (ssize_t)len &&
	       !memcmp(found, bytes, len);
}

/* A GPT tells by where its header is; nothing else does. */
static uint32_t find_sector_size(const struct guest_scan *scan)
{
	static const char magic[] = "EFI PART";

	if (holds(scan, 512, magic, 8))
		return 512;
	if (holds(scan, 4096, magic, 8))
		return 4096;
	if (scan->size > 4096 && !holds(scan, scan->size - 512, magic, 8) &&
	    holds(scan, scan->size - 4096, magic, 8))
		return 4096;
	return 512;
}

static int new_probe(blkid_probe *out, const struct guest_scan *scan,
		     uint64_t offset, uint64_t size, struct error *err)
{
	*out = blkid_new_probe();
	if (!*out)
		return error_nomem(err);
	if (blkid_probe_set_device(*out, scan->fd, (blkid_loff_t)offset,
				   (blkid_loff_t)size) ||
	    blkid_probe_set_sectorsize(*out, scan->sector_bytes))
		return error_set(err, ERR_BUG, "libblkid takes no memory file");
	return 0;
}

/* Result values of libblkid and what they are called here. */
static const struct {
	const char *from, *to;
} fs_values[] = {
	{ "TYPE", "type" },         { "USAGE", "usage" },
	{ "LABEL", "label" },       { "UUID", "uuid" },
	{ "UUID_SUB", "uuid_sub" }, { "VERSION", "version" },
	{ "SEC_TYPE", "sec_type" },
};

static int copy_value(blkid_probe probe, const char *from, json_t *object,
		      const char *to, struct error *err)
{
	const char *value;
	size_t len;

	if (blkid_probe_lookup_value(probe, from, &value, &len) || !len)
		return 0;
	return jsontext_set(object, to, value, err);
}

static json_t *describe_fs(blkid_probe probe, struct error *err)
{
	json_t *fs = json_object();
	const char *block = NULL;

	for (size_t i = 0; i < sizeof(fs_values) / sizeof(fs_values[0]); i++)
		if (copy_value(probe, fs_values[i].from, fs, fs_values[i].to,
			       err)) {
			json_decref(fs);
			return NULL;
		}
	if (!blkid_probe_lookup_value(probe, "BLOCK_SIZE", &block, NULL))
		json_object_set_new(fs, "block_size",
				    json_integer(strtol(block, NULL, 10)));
	return fs;
}

/* Find the file system in a range and add it to `to`. */
static int scan_fs(struct guest_scan *scan, uint64_t offset, uint64_t size,
		   json_t *to, struct error *err)
{
	AUTO_PROBE blkid_probe probe = NULL;
	json_t *fs;
	int ret;

	if (size == 0)
		return 0;
	if (want_ends(scan, offset, size, GUEST_WINDOW_MAX, err) ||
	    guest_metadata_want(scan, offset, size, err) ||
	    new_probe(&probe, scan, offset, size, err))
		return -1;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_DEFAULT |
					  BLKID_SUBLKS_USAGE |
					  BLKID_SUBLKS_VERSION);
	ret = blkid_do_safeprobe(probe);
	if (ret == -2)
		json_object_set_new(to, "ambiguous", json_true());
	if (ret != 0)
		return 0;
	fs = describe_fs(probe, err);
	if (!fs)
		return -1;
	if (json_object_get(fs, "type"))
		json_object_set(to, "file_system", fs);
	json_decref(fs);
	return 0;
}

static uint64_t sectors_to_bytes(blkid_loff_t sectors)
{
	uint64_t bytes;

	if (sectors < 0 || !mul_u64((uint64_t)sectors, 512, &bytes))
		return INT64_MAX; /* what JSON can hold */
	return min_u64(bytes, INT64_MAX);
}

/* The part of a partition that lies within the disk. */
static uint64_t usable_size(const struct guest_scan *scan, uint64_t start,
			    uint64_t size)
{
	return start >= scan->size ? 0 : min_u64(size, scan->size - start);
}

/* The links of an extended DOS partition lie anywhere in it; each names the
 * next one, relative to the first. */
static int want_extended(struct guest_scan *scan, uint64_t start,
			 struct error *err)
{
	uint64_t at = start;

	for (int n = 0; n < EBR_MAX && at < scan->size; n++) {
		unsigned char ebr[512] = { 0 };
		uint64_t next = 0;

		if (guest_scan_window(scan, at, NESTED_WINDOW, err))
			return -1;
		if (pread(scan->fd, ebr, sizeof(ebr), (off_t)at) < 0 ||
		    ebr[510] != 0x55 || ebr[511] != 0xaa)
			return 0;
		for (size_t i = 446; i < 510; i += 16)
			if (ebr[i + 4] == 0x05 || ebr[i + 4] == 0x0f ||
			    ebr[i + 4] == 0x85)
				next = le32_get(ebr + i + 8);
		if (!next)
			return 0;
		at = start + next * scan->sector_bytes;
	}
	return 0;
}

static int want_nested(struct guest_scan *scan, blkid_partlist list,
		       struct error *err)
{
	int count = blkid_partlist_numof_partitions(list);

	for (int i = 0; i < count && i < PARTITIONS_MAX; i++) {
		blkid_partition part = blkid_partlist_get_partition(list, i);
		uint64_t start =
			sectors_to_bytes(blkid_partition_get_start(part));

		if (blkid_partition_is_extended(part)) {
			if (want_extended(scan, start, err))
				return -1;
		} else if (guest_scan_window(scan, start, NESTED_WINDOW,
					     err)) {
			return -1;
		}
	}
	return 0;
}

static int describe_ids(blkid_partition part, json_t *object,
			struct error *err)
{
	const char *type = blkid_partition_get_type_string(part);
	blkid_parttable table = blkid_partition_get_table(part);
	blkid_partition parent = table ? blkid_parttable_get_parent(table) :
					 NULL;
	char number[16];

	if (!type) {
		snprintf(number, sizeof(number), "0x%02x",
			 (unsigned int)blkid_partition_get_type(part));
		type = number;
	}
	if (parent)
		json_object_set_new(object, "parent",
				    json_integer(blkid_partition_get_partno(
					    parent)));
	if (jsontext_set(object, "type", type, err) ||
	    jsontext_set(object, "uuid", blkid_partition_get_uuid(part),
			   err) ||
	    jsontext_set(object, "name", blkid_partition_get_name(part),
			   err))
		return -1;
	return !table ? 0 :
	       jsontext_set(object, "table", blkid_parttable_get_type(table),
			      err);
}

static int scan_partition(struct guest_scan *scan, blkid_partition part,
			  json_t *object, struct error *err)
{
	uint64_t start = sectors_to_bytes(blkid_partition_get_start(part));
	uint64_t size = sectors_to_bytes(blkid_partition_get_size(part));
	uint64_t usable = usable_size(scan, start, size);
	unsigned long long flags = blkid_partition_get_flags(part);

	json_object_set_new(object, "number",
			    json_integer(blkid_partition_get_partno(part)));
	json_object_set_new(object, "start", json_integer((json_int_t)start));
	json_object_set_new(object, "size", json_integer((json_int_t)size));
	if (flags) {
		char text[32];

		snprintf(text, sizeof(text), "0x%llx", flags);
		json_object_set_new(object, "flags", json_string(text));
	}
	if (describe_ids(part, object, err))
		return -1;
	if (usable < size &&
	    jsontext_set(object, "note", "reaches past the disk's end", err))
		return -1;
	if (blkid_partition_is_extended(part)) {
		json_object_set_new(object, "extended", json_true());
		return 0;
	}
	if (scan->drop(scan->arg, err))
		return -1;
	return scan_fs(scan, start, usable, object, err);
}

static int scan_partitions(struct guest_scan *scan, blkid_partlist list,
			   json_t *array, struct error *err)
{
	int count = blkid_partlist_numof_partitions(list);

	for (int i = 0; i < count && i < PARTITIONS_MAX; i++) {
		json_t *object = json_object();

		if (json_array_append_new(array, object))
			return error_nomem(err);
		if (scan_partition(scan,
				   blkid_partlist_get_partition(list, i),
				   object, err))
			return -1;
	}
	return 0;
}

/* Read the table. *list belongs to the probe; NULL where there is none. */
static int read_table(blkid_probe probe, blkid_partlist *list, json_t *table,
		      struct error *err)
{
	*list = NULL;
	blkid_probe_enable_superblocks(probe, 0);
	blkid_probe_enable_partitions(probe, 1);
	if (blkid_do_fullprobe(probe) != 0)
		return 0;
	if (copy_value(probe, "PTTYPE", table, "type", err) ||
	    copy_value(probe, "PTUUID", table, "id", err))
		return -1;
	if (json_object_get(table, "type"))
		*list = blkid_probe_get_partitions(probe);
	return 0;
}

static int scan_table(struct guest_scan *scan, json_t *table,
		      struct error *err)
{
	AUTO_PROBE blkid_probe first = NULL, second = NULL;
	json_t *array = json_array();
	blkid_partlist list;

	json_object_set_new(table, "partitions", array);
	if (new_probe(&first, scan, 0, scan->size, err) ||
	    read_table(first, &list, table, err))
		return -1;
	if (!list)
		return 0;
	if (blkid_partlist_numof_partitions(list) > PARTITIONS_MAX &&
	    jsontext_set(table, "note", "more partitions than are shown", err))
		return -1;
	if (!strcmp(json_string_value(json_object_get(table, "type")), "dos")) {
		if (want_nested(scan, list, err) ||
		    new_probe(&second, scan, 0, scan->size, err) ||
		    read_table(second, &list, table, err))
			return -1;
	}
	return list ? scan_partitions(scan, list, array, err) : 0;
}

/* libblkid (2.38) takes the boot sector of an exFAT disk for an empty DOS
 * table, since both end in 55 aa. */
static bool is_real_table(json_t *table, json_t *disk)
{
	const char *type = json_string_value(json_object_get(table, "type"));

	if (!type)
		return false;
	return strcmp(type, "dos") != 0 ||
	       json_array_size(json_object_get(table, "partitions")) ||
	       !json_object_get(disk, "file_system");
}

int guest_scan(json_t **out, struct guest_scan *scan, struct error *err)
{
	json_t *object = json_object(), *table = json_object();

	*out = NULL;
	if (!object || !table ||
	    want_ends(scan, 0, scan->size, TABLE_WINDOW, err))
		goto fail;
	if (scan->sector_bytes == 0)
		scan->sector_bytes = find_sector_size(scan);
	json_object_set_new(object, "sector_size",
			    json_integer(scan->sector_bytes));
	if (scan_fs(scan, 0, scan->size, object, err) ||
	    scan_table(scan, table, err))
		goto fail;
	if (is_real_table(table, object))
		json_object_set(object, "partition_table", table);
	json_decref(table);
	*out = object;
	return 0;
fail:
	json_decref(object);
	json_decref(table);
	return -1;
}
