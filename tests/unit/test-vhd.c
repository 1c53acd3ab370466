/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHD: what opening and asking cost in reads, errors of the store, sizes by
 * geometry, hostile numbers, the search for parents. The bytes of whole disks
 * are compared in tests/format/vhd.py. */
#include "config.h"

#include "format/vhd.h"
#include "tests/tap.h"
#include "tests/unit/counted-source.h"

#define BLOCK       (2u << 20)
#define TABLE_AT    1536
#define DISK_BYTES  (2040ull << 30)
#define ENTRIES     (DISK_BYTES / BLOCK)
#define TABLE_BYTES (ENTRIES * 4)
#define FILE_BYTES  (1ull << 40)

static struct extents ex;
static uint8_t start[TABLE_AT + TABLE_BYTES];

/* Footer and header at the start of `start`; the footer at the end is missing
 * (as in a file that was cut off): opening takes the copy. */
static void make_disk(uint32_t type, uint64_t size, const char *uuid)
{
	struct vhd_footer_disk footer = { .cookie = "conectix" };
	struct vhd_header_disk header = { .cookie = "cxsparse" };

	be32_put(footer.version, 0x10000);
	be64_put(footer.data_offset, 512);
	be64_put(footer.current_size, size);
	be32_put(footer.type, type);
	memcpy(footer.uuid, uuid, 16);
	memcpy(footer.creator, "win ", 4);
	be32_put(footer.checksum, vhd_checksum(&footer, sizeof(footer), 64));
	be64_put(header.table_offset, TABLE_AT);
	be32_put(header.version, 0x10000);
	be32_put(header.entries, ENTRIES);
	be32_put(header.block_bytes, BLOCK);
	memcpy(header.parent_uuid, "the parent's id!", 16);
	memcpy(header.parent_name, "\0p\0.\0v\0h\0d", 10);
	be32_put(header.checksum, vhd_checksum(&header, sizeof(header), 36));
	memcpy(start, &footer, sizeof(footer));
	memcpy(start + 512, &header, sizeof(header));
	memset(start + TABLE_AT, 0xff, TABLE_BYTES);
}

static struct counted *new_source(void)
{
	return counted_new("disk.vhd", start, sizeof(start), FILE_BYTES);
}

static void put_entry(uint64_t n, uint32_t sector)
{
	be32_put(start + TABLE_AT + n * 4, sector);
}

static void test_cost(void)
{
	struct open_args args = { .format = "vhd", .file_name = "disk.vhd" };
	struct counted *source;
	struct error err;
	struct map *map;

	make_disk(VHD_DYNAMIC, DISK_BYTES, "an id of 16 byte");
	put_entry(600, 1u << 20);
	put_entry(601, 1u << 21);
	source = new_source();
	succeeds(format_open(&map, &source->source, NULL, &args, &err), &err,
		 "open 2040 GiB");
	is_u64(source->reads, 2, "in two reads");
	ok(source->bytes <= 8192, "small ones");
	source->reads = 0;
	extents_init(&ex, 600ull * BLOCK + 4096, 512, 0);
	succeeds(map_extents(map, &ex, &err), &err, "a small question");
	is_u64(source->reads, 1, "one read");
	is_u64(ex.items[0].at, (512ull << 20) + 512 + 4096, "the place");
	source->reads = 0;
	extents_init(&ex, 0, 512ull * BLOCK, 0);
	succeeds(map_extents(map, &ex, &err), &err, "512 blocks");
	is_u64(source->reads, 1, "one read, too");
	is_u64(ex.count, 1, "one hole");
	extents_init(&ex, 0, DISK_BYTES, 0);
	succeeds(map_extents(map, &ex, &err), &err, "all of it");
	ok(extents_next(&ex) >= 1ull << 37, "a long piece of the answer");
	map_close(map);
	source_unref(&source->source);
}

static void test_busy(void)
{
	struct open_args args = { .format = "vhd", .file_name = "disk.vhd" };
	struct counted *source;
	struct error err;
	struct map *map;

	make_disk(VHD_DYNAMIC, DISK_BYTES, "an id of 16 byte");
	source = new_source();
	succeeds(format_open(&map, &source->source, NULL, &args, &err), &err,
		 "open");
	source->is_busy = true;
	extents_init(&ex, 0, 4096, SOURCE_NOWAIT);
	fails_with(map_extents(map, &ex, &err), &err, ERR_AGAIN, "busy",
		   "a busy source passes through");
	source->is_busy = false;
	succeeds(map_extents(map, &ex, &err), &err, "and later not");
	source->reads = 0;
	source->fail_at = 2;
	extents_init(&ex, 0, DISK_BYTES, 0);
	succeeds(map_extents(map, &ex, &err), &err, "a later failure waits");
	is_u64(extents_next(&ex), 512ull * BLOCK, "behind what is known");
	source->reads = 0;
	source->fail_at = 1;
	extents_init(&ex, 512ull * BLOCK, 1, 0);
	fails_with(map_extents(map, &ex, &err), &err, ERR_NETWORK, "demand",
		   "until it is met");
	map_close(map);
	source_unref(&source->source);
}

static const struct {
	uint16_t cylinders;
	uint8_t heads, sectors;
	char creator[5];
	uint64_t size;
} geometries[] = {
	{ 65278, 16, 255, "vpc ", 136363130880 },
	{ 362, 4, 17, "qemu", 12603392 },
	{ 362, 4, 17, "qem2", 4096 },
	{ 362, 4, 17, "win ", 4096 },
	{ 362, 4, 17, "d2v ", 4096 },
	{ 362, 4, 17, "CTXS", 4096 },
	{ 362, 4, 17, "tap", 4096 },
	{ 65535, 16, 255, "qemu", 4096 },
	{ 0, 4, 17, "vbox", 4096 },
};

static void test_geometry(void)
{
	for (size_t i = 0; i < sizeof(geometries) / sizeof(geometries[0]);
	     i++) {
		struct vhd_footer_disk footer = {
			.heads = geometries[i].heads,
			.sectors = geometries[i].sectors };

		be16_put(footer.cylinders, geometries[i].cylinders);
		memcpy(footer.creator, geometries[i].creator, 4);
		be64_put(footer.current_size, 4096);
		is_u64(vhd_chs_size(&footer), geometries[i].size,
		       geometries[i].creator);
	}
}

/* Numbers at the borders of what is possible: opened or refused, never
 * worse. Offsets count from the footer copy at 0; the checksums follow. */
static const struct {
	uint16_t at;
	uint8_t bytes;
	uint64_t value;
	enum error_kind kind; /* ERR_NONE: opens */
} hostile[] = {
	{ 16, 8, 0, ERR_CORRUPT },
	{ 16, 8, 511, ERR_CORRUPT },
	{ 16, 8, UINT64_MAX, ERR_CORRUPT },
	{ 16, 8, UINT64_MAX - 1023, ERR_CORRUPT },
	{ 16, 8, FILE_BYTES - 1023, ERR_CORRUPT },
	{ 48, 8, 0, ERR_NONE },
	{ 48, 8, 1, ERR_NONE },
	{ 48, 8, DISK_BYTES + 1, ERR_CORRUPT },
	{ 48, 8, UINT64_MAX, ERR_CORRUPT },
	{ 60, 4, 0, ERR_UNSUPPORTED },
	{ 60, 4, UINT32_MAX, ERR_UNSUPPORTED },
	{ 512 + 16, 8, 0, ERR_CORRUPT },
	{ 512 + 16, 8, UINT64_MAX, ERR_CORRUPT },
	{ 512 + 16, 8, FILE_BYTES - TABLE_BYTES, ERR_NONE },
	{ 512 + 16, 8, FILE_BYTES - TABLE_BYTES + 1, ERR_CORRUPT },
	{ 512 + 28, 4, ENTRIES - 1, ERR_CORRUPT },
	{ 512 + 28, 4, UINT32_MAX, ERR_NONE },
	{ 512 + 32, 4, 0, ERR_CORRUPT },
	{ 512 + 32, 4, BLOCK - 1, ERR_CORRUPT },
	{ 512 + 32, 4, 1u << 20, ERR_CORRUPT },
	{ 512 + 32, 4, 256u << 20, ERR_NONE },
	{ 512 + 32, 4, 512u << 20, ERR_CORRUPT },
};

static void put_number(uint16_t at, uint8_t bytes, uint64_t value)
{
	if (bytes == 4)
		be32_put(start + at, (uint32_t)value);
	else
		be64_put(start + at, value);
	be32_put(start + 64, vhd_checksum(start, 512, 64));
	be32_put(start + 512 + 36, vhd_checksum(start + 512, 1024, 36));
}

static void test_hostile(void)
{
	struct open_args args = { .format = "vhd", .file_name = "disk.vhd" };

	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct counted *source;
		struct error err = { 0 };
		struct map *map;

		make_disk(VHD_DYNAMIC, DISK_BYTES, "an id of 16 byte");
		put_number(hostile[i].at, hostile[i].bytes, hostile[i].value);
		source = new_source();
		(void)!format_open(&map, &source->source, NULL, &args, &err);
		if (!ok(err.kind == hostile[i].kind, "%llu at %u",
			(unsigned long long)hostile[i].value, hostile[i].at))
			printf("# %s: %s\n", error_kind_name(err.kind),
			       err.text);
		map_close(map);
		source_unref(&source->source);
	}
}

/* Siblings: one file, in a store with moods. */
struct beside {
	struct siblings siblings;
	const char *name;
	enum error_kind fails_with; /* its open; ERR_NONE = works */
	unsigned int fail_at;       /* read of it that fails */
	unsigned int count;         /* listed as often */
	unsigned int opened;
};

static uint8_t parent_bytes[4096 + 512];

static int beside_open(struct siblings *siblings, const char *name,
		       struct source **out, struct error *err)
{
	struct beside *self = (struct beside *)siblings;
	struct counted *source;

	*out = NULL;
	self->opened++;
	if (strcmp(name, self->name) != 0)
		return error_set(err, ERR_NOT_FOUND, "no %s", name);
	if (self->fails_with)
		return error_set(err, self->fails_with, "mood");
	source = counted_new(name, parent_bytes, sizeof(parent_bytes),
			     sizeof(parent_bytes));
	source->fail_at = self->fail_at;
	*out = &source->source;
	return 0;
}

static int beside_each(struct siblings *siblings,
		       int (*fn)(void *arg, const char *name,
				 struct error *err),
		       void *arg, struct error *err)
{
	struct beside *self = (struct beside *)siblings;

	if (fn(arg, "disk.vhd", err) || fn(arg, "p.txt", err))
		return -1;
	for (unsigned int i = 0; i < self->count; i++)
		if (fn(arg, self->name, err))
			return -1;
	return 0;
}

static void make_parent(const char *uuid)
{
	struct vhd_footer_disk footer = { .cookie = "conectix" };

	be32_put(footer.version, 0x10000);
	be64_put(footer.data_offset, UINT64_MAX);
	be64_put(footer.current_size, 4096);
	be32_put(footer.type, VHD_FIXED);
	memcpy(footer.uuid, uuid, 16);
	be32_put(footer.checksum, vhd_checksum(&footer, sizeof(footer), 64));
	memcpy(parent_bytes + 4096, &footer, sizeof(footer));
}

static const struct {
	const char *name, *uuid;
	enum error_kind fails_with;
	unsigned int fail_at, count;
	enum error_kind kind;
	const char *text;
} searches[] = {
	{ "p.vhd", "the parent's id!", 0, 0, 1, ERR_NONE, "by name" },
	{ "x.VHD", "the parent's id!", 0, 0, 1, ERR_NONE, "by id" },
	{ "x.avhd", "the parent's id!", 0, 0, 9, ERR_NONE, "by id" },
	{ "x.txt", "the parent's id!", 0, 0, 1, ERR_CORRUPT, "not beside it" },
	{ "p.vhd", "another disk's..", 0, 0, 1, ERR_CORRUPT, "not its parent" },
	{ "x.vhd", "another disk's..", 0, 0, 1, ERR_CORRUPT,
	  "(p.vhd, id 74686520-7061-7265-6e74-277320696421) is not beside" },
	{ "p.vhd", "the parent's id!", ERR_DENIED, 0, 1, ERR_CORRUPT,
	  "not beside it" },
	{ "p.vhd", "the parent's id!", ERR_NETWORK, 0, 1, ERR_NETWORK,
	  "parent p.vhd: mood" },
	{ "x.vhd", "the parent's id!", 0, 1, 1, ERR_NETWORK, "parent x.vhd" },
	{ "x.vhd", "another disk's..", 0, 0, 10001, ERR_LIMIT,
	  "first 10000 files" },
};

static void test_search(void)
{
	for (size_t i = 0; i < sizeof(searches) / sizeof(searches[0]); i++) {
		struct beside beside = {
			.siblings = { beside_open, beside_each },
			.name = searches[i].name, .count = searches[i].count,
			.fails_with = searches[i].fails_with,
			.fail_at = searches[i].fail_at };
		struct open_args args = { .format = "vhd",
					  .file_name = "disk.vhd",
					  .siblings = &beside.siblings };
		struct counted *source;
		struct error err = { 0 };
		struct map *map;

		make_disk(VHD_DIFFERENCING, 1 << 20, "the child's own.");
		make_parent(searches[i].uuid);
		source = new_source();
		(void)!format_open(&map, &source->source, NULL, &args, &err);
		if (!ok(err.kind == searches[i].kind &&
			(err.kind ? !!strstr(err.text, searches[i].text) :
				    !!map->parent),
			"parent %zu: %s", i, searches[i].text))
			printf("# %s: %s\n", error_kind_name(err.kind),
			       err.text);
		map_close(map);
		source_unref(&source->source);
	}
}

/* Each read of an open fails once. */
static void test_torture(void)
{
	struct beside beside = { .siblings = { beside_open, beside_each },
				 .name = "p.vhd" };
	struct open_args args = { .format = "vhd", .file_name = "disk.vhd",
				  .siblings = &beside.siblings };
	struct error err;
	unsigned int n = 0;
	int ret;

	make_disk(VHD_DIFFERENCING, 1 << 20, "the child's own.");
	make_parent("the parent's id!");
	do {
		struct counted *source = new_source();
		struct map *map;

		memset(&err, 0, sizeof(err));
		source->fail_at = ++n;
		ret = format_open(&map, &source->source, NULL, &args, &err);
		if (ret)
			ok(err.kind == ERR_NETWORK && !map,
			   "read %u fails the open", n);
		map_close(map);
		source_unref(&source->source);
	} while (ret && n < 10);
	is_u64(n, 3, "two reads, then it opens");
}

static void test_describe(void)
{
	struct open_args args = { .format = "vhd", .file_name = "disk.vhd" };
	json_t *object = json_object();
	struct counted *source;
	struct error err;
	struct map *map;

	make_disk(VHD_DYNAMIC, DISK_BYTES, "\1\2\3\4\5\6\7\10\11abcdef");
	memcpy(start + 28, "a\377\1b", 4); /* creator */
	be32_put(start + 24, 0x10000000); /* 2008-07-03 */
	put_number(60, 4, VHD_DYNAMIC);
	source = new_source();
	succeeds(format_open(&map, &source->source, NULL, &args, &err), &err,
		 "open");
	succeeds(map->ops->describe(map, object, &err), &err, "describe");
	is_str(json_string_value(json_object_get(object, "creator")), "ab",
	       "creator without odd bytes");
	is_str(json_string_value(json_object_get(object, "uuid")),
	       "01020304-0506-0708-0961-626364656600", "uuid");
	is_str(json_string_value(json_object_get(object, "timestamp")),
	       "2008-07-03T21:24:16Z", "timestamp");
	is_u64((uint64_t)json_integer_value(json_object_get(object,
							    "block_size")),
	       BLOCK, "block size");
	json_decref(object);
	map_close(map);
	source_unref(&source->source);
}

int main(void)
{
	test_cost();
	test_busy();
	test_geometry();
	test_hostile();
	test_search();
	test_torture();
	test_describe();
	return tap_done();
}
