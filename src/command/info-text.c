/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The text of `vmiefs info`: a block for the object, one for each disk. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command/info.h"
#include "command/text.h"

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void print_field(int indent, const char *label, const char *text)
{
	if (!*text)
		return;
	printf("%*s%-*s", indent, "", 16, label);
	text_print(stdout, text);
	putchar('\n');
}

static void print_bytes(int indent, const char *label, uint64_t bytes,
			const char *more)
{
	char size[TEXT_SIZE_MAX];

	printf("%*s%-*s%s", indent, "", 16, label, text_size(size, bytes));
	if (bytes >= 1024)
		printf(" (%" PRIu64 " bytes)", bytes);
	printf("%s\n", more);
}

/* Bytes in so many runs or units; nothing where there are none. */
static void print_parts(const json_t *all, const char *label, const char *key,
			const char *parts_key, const char *part)
{
	uint64_t count = number(all, parts_key);
	char more[64];

	if (!count)
		return;
	snprintf(more, sizeof(more), " in %" PRIu64 " %s%s", count, part,
		 count == 1 ? "" : "s");
	print_bytes(2, label, number(all, key), more);
}

static void print_allocation(const json_t *object)
{
	const json_t *all = json_object_get(object, "allocation");

	if (!number(all, "data_runs"))
		print_field(2, "allocated:", "nothing");
	print_parts(all, "allocated:", "allocated", "data_runs", "run");
	print_parts(all, "packed:", "packed", "packed_units", "unit");
	print_parts(all, "holes:", "holes", "hole_runs", "run");
	if (number(all, "damaged"))
		print_bytes(2, "damaged:", number(all, "damaged"),
			    "; see vmiefs check");
}

static void print_format(int indent, const json_t *object)
{
	printf("%*s%-*s%s", indent, "", 16, "format:",
	       string(object, "format"));
	if (*string(object, "subformat"))
		printf(" %s", string(object, "subformat"));
	printf(" (%s)\n", string(object, "title"));
	print_bytes(indent, "virtual size:", number(object, "virtual_size"),
		    "");
	print_bytes(indent, "stored size:", number(object, "stored_size"),
		    "");
}

static void print_file_system(const json_t *fs)
{
	static const char *const keys[] = { "version", "label", "uuid" };

	text_print(stdout, string(fs, "type"));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (!*string(fs, keys[i]))
			continue;
		printf(" %s=", keys[i]);
		text_print(stdout, string(fs, keys[i]));
	}
	putchar('\n');
}

static void print_partition(const json_t *part)
{
	const json_t *fs = json_object_get(part, "file_system");
	char start[TEXT_SIZE_MAX], size[TEXT_SIZE_MAX];

	printf("    %-4" PRIu64 "%-12s%-12s", number(part, "number"),
	       text_size(start, number(part, "start")),
	       text_size(size, number(part, "size")));
	text_print(stdout, string(part, "type"));
	if (*string(part, "name")) {
		printf(" \"");
		text_print(stdout, string(part, "name"));
		printf("\"");
	}
	if (*string(part, "note")) {
		printf(" (");
		text_print(stdout, string(part, "note"));
		printf(")");
	}
	printf("  ");
	if (fs)
		print_file_system(fs);
	else
		puts(json_is_true(json_object_get(part, "extended")) ?
		     "extended" : json_is_true(json_object_get(part,
							      "ambiguous")) ?
		     "several file systems claim it" : "-");
}

static void print_guest(const json_t *object)
{
	const json_t *guest = json_object_get(object, "guest");
	const json_t *table = json_object_get(guest, "partition_table");
	const json_t *fs = json_object_get(guest, "file_system");
	const json_t *part;
	size_t i;

	print_field(2, "guest:", string(json_object_get(object, "guest_error"),
					"text"));
	if (json_is_true(json_object_get(guest, "damaged")))
		print_field(2, "guest:", "part of what was looked at does not "
			    "read; see vmiefs check");
	if (json_is_true(json_object_get(guest, "ambiguous")))
		print_field(2, "file system:", "several claim the disk");
	if (fs) {
		printf("  %-*s", 16, "file system:");
		print_file_system(fs);
	}
	if (!table)
		return;
	printf("  %-*s", 16, "partitions:");
	text_print(stdout, string(table, "type"));
	if (*string(table, "id")) {
		printf(" id=");
		text_print(stdout, string(table, "id"));
	}
	printf(" sectors of %" PRIu64 " bytes\n", number(guest, "sector_size"));
	print_field(4, "note:", string(table, "note"));
	json_array_foreach(json_object_get(table, "partitions"), i, part)
		print_partition(part);
}

static void print_disk(const json_t *disk)
{
	const json_t *error = json_object_get(disk, "error");
	const json_t *parent;
	size_t i;

	print_field(0, "disk:", string(disk, "name"));
	if (number(disk, "capacity"))
		print_bytes(2, "capacity:", number(disk, "capacity"),
			    " by the OVF");
	if (error) {
		print_field(2, "cannot be read:", string(error, "text"));
		return;
	}
	print_format(2, disk);
	print_allocation(disk);
	text_json(stdout, 2, "details", json_object_get(disk, "details"));
	json_array_foreach(json_object_get(disk, "parents"), i, parent) {
		print_field(2, "parent:", string(parent, "file"));
		print_format(4, parent);
		text_json(stdout, 4, "details",
			  json_object_get(parent, "details"));
	}
	print_guest(disk);
}

void info_print(const json_t *object)
{
	const json_t *item;
	size_t i;

	print_field(0, "object:", string(object, "object"));
	print_field(2, "store:", string(object, "store"));
	print_bytes(2, "stored size:", number(object, "stored_size"), "");
	print_field(2, "modified:", string(object, "mtime"));
	print_field(2, "etag:", string(object, "etag"));
	print_field(2, "identity:", string(object, "identity"));
	print_field(2, "unpacks with:", string(object, "unpacker"));
	json_array_foreach(json_object_get(object, "warnings"), i, item)
		print_field(2, "warning:", json_string_value(item));
	text_json(stdout, 0, "ovf", json_object_get(object, "ovf"));
	json_array_foreach(json_object_get(object, "disks"), i, item)
		print_disk(item);
}
