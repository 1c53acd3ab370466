/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHDX: what opening and asking cost in reads, errors of the store, hostile
 * numbers, hostile logs. The bytes of whole disks are compared in
 * tests/format/vhdx.py. */
#include "config.h"

#include "common/budget.h"
#include "common/crc32c.h"
#include "format/vhdx.h"
#include "tests/tap.h"
#include "tests/unit/counted-source.h"

#define MIB        (1ull << 20)
#define LOG_AT     MIB
#define METADATA   (2 * MIB)
#define BAT_AT     (3 * MIB)
#define BLOCK      (1u << 20)
#define DISK_BYTES (100ull << 30)
#define RATIO      4096ull
#define FILE_BYTES (1ull << 40)

static struct extents ex;
static uint8_t file[4 * MIB];

static const char bat_guid[] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42"
			       "\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const char metadata_guid[] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b"
				    "\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
static const char log_guid[] = "a log's own guid";

static const struct {
	char guid[17];
	uint8_t bytes;
	uint64_t value;
} items[] = {
	{ "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b",
	  8, BLOCK },
	{ "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8",
	  8, DISK_BYTES },
	{ "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f",
	  4, 512 },
};

/* Renew the CRC at byte 4. */
static void seal(uint8_t *p, size_t len)
{
	le32_put(p + 4, 0);
	le32_put(p + 4, crc32c(0, p, len));
}

static void seal_all(void)
{
	seal(file + VHDX_HEADER1_AT, VHDX_HEADER_BYTES);
	seal(file + VHDX_REGION1_AT, VHDX_REGION_BYTES);
	memcpy(file + VHDX_HEADER2_AT, file + VHDX_HEADER1_AT,
	       VHDX_HEADER_BYTES);
	memcpy(file + VHDX_REGION2_AT, file + VHDX_REGION1_AT,
	       VHDX_REGION_BYTES);
}

static void put_region(uint8_t *p, const char *guid, uint64_t at, uint32_t len)
{
	memcpy(p, guid, 16);
	le64_put(p + 16, at);
	le32_put(p + 24, len);
	le32_put(p + 28, 1);
}

static void make_disk(void)
{
	uint8_t *header = file + VHDX_HEADER1_AT;
	uint8_t *regions = file + VHDX_REGION1_AT;
	uint8_t *metadata = file + METADATA;

	memset(file, 0, sizeof(file));
	memcpy(file, "vhdxfile", 8);
	memcpy(header, "head", 4);
	le64_put(header + 8, 3);
	le16_put(header + 66, 1);
	le32_put(header + 68, MIB);
	le64_put(header + 72, LOG_AT);
	memcpy(regions, "regi", 4);
	le32_put(regions + 8, 2);
	put_region(regions + 16, bat_guid, BAT_AT, MIB);
	put_region(regions + 48, metadata_guid, METADATA, MIB);
	memcpy(metadata, "metadata", 8);
	le16_put(metadata + 10, 3);
	for (uint32_t i = 0; i < 3; i++) {
		memcpy(metadata + 32 + i * 32, items[i].guid, 16);
		le32_put(metadata + 32 + i * 32 + 16, 65536 + i * 8);
		le32_put(metadata + 32 + i * 32 + 20, items[i].bytes);
		le64_put(metadata + 65536 + i * 8, items[i].value);
	}
	seal_all();
}

static void put_entry(uint64_t n, uint64_t entry)
{
	le64_put(file + BAT_AT + (n + n / RATIO) * 8, entry);
}

static struct counted *new_source(void)
{
	return counted_new("disk.vhdx", file, sizeof(file), FILE_BYTES);
}

/* Open what `file` holds; *map and *source need closing. */
static int open_file(struct counted **source, struct map **map,
		     struct budget *budget, struct error *err)
{
	struct open_args args = { .format = "vhdx", .file_name = "disk.vhdx",
				  .budget = budget };

	*source = new_source();
	return format_open(map, &(*source)->source, NULL, &args, err);
}

static void close_file(struct counted *source, struct map *map)
{
	map_close(map);
	source_unref(&source->source);
}

static void test_cost(void)
{
	struct counted *source;
	struct error err;
	struct map *map;

	make_disk();
	put_entry(4095, 64 * MIB | 6);
	put_entry(4096, 65 * MIB | 6);
	succeeds(open_file(&source, &map, NULL, &err), &err, "open");
	is_u64(source->reads, 2, "in two reads");
	ok(source->bytes <= 448 << 10, "of less than half a MiB");
	source->reads = 0;
	extents_init(&ex, 4096 * MIB + 512, 512, 0);
	succeeds(map_extents(map, &ex, &err), &err, "a small question");
	is_u64(source->reads, 1, "one read");
	is_u64(ex.items[0].at, 65 * MIB + 512, "the place");
	source->reads = 0;
	extents_init(&ex, 3700 * MIB, 480 * MIB, 0);
	succeeds(map_extents(map, &ex, &err), &err, "480 blocks");
	is_u64(source->reads, 1, "one read, too");
	is_u64(ex.count, 3, "hole, data over the chunks' border, hole");
	is_u64(ex.items[1].length, 2 * MIB, "the data");
	extents_init(&ex, 0, DISK_BYTES, 0);
	succeeds(map_extents(map, &ex, &err), &err, "all of it");
	ok(extents_next(&ex) >= 64ull << 30, "a long piece of the answer");
	close_file(source, map);
}

static void test_busy(void)
{
	struct counted *source;
	struct error err;
	struct map *map;

	make_disk();
	succeeds(open_file(&source, &map, NULL, &err), &err, "open");
	source->is_busy = true;
	extents_init(&ex, 0, 4096, SOURCE_NOWAIT);
	fails_with(map_extents(map, &ex, &err), &err, ERR_AGAIN, "busy",
		   "a busy source passes through");
	source->is_busy = false;
	source->reads = 0;
	source->fail_at = 2;
	extents_init(&ex, 0, DISK_BYTES, 0);
	succeeds(map_extents(map, &ex, &err), &err, "a later failure waits");
	is_u64(extents_next(&ex), 480 * MIB, "behind what is known");
	close_file(source, map);
}

/* A number of the file at the border of what is possible. Header, regions
 * and metadata have their checksums renewed. */
static const struct {
	uint32_t at;
	uint8_t bytes;
	uint64_t value;
	enum error_kind kind; /* ERR_NONE: opens */
} hostile[] = {
	{ VHDX_HEADER1_AT + 66, 2, 2, ERR_UNSUPPORTED },
	{ VHDX_HEADER1_AT + 64, 2, 9, ERR_NONE }, /* the log is empty */
	{ VHDX_HEADER1_AT + 68, 4, UINT32_MAX, ERR_CORRUPT },
	{ VHDX_HEADER1_AT + 72, 8, UINT64_MAX, ERR_NONE },
	{ VHDX_HEADER1_AT + 72, 8, 2 * MIB, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 8, 4, 0, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 8, 4, UINT32_MAX, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 32, 8, 0, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 32, 8, UINT64_MAX, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 32, 8, UINT64_MAX - MIB + 1, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 32, 8, FILE_BYTES - 819200, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 32, 8, FILE_BYTES - 819392, ERR_NONE },
	{ VHDX_REGION1_AT + 40, 4, 0, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 40, 4, 819391, ERR_CORRUPT },
	{ VHDX_REGION1_AT + 40, 4, UINT32_MAX, ERR_NONE },
	{ VHDX_REGION1_AT + 64, 8, FILE_BYTES, ERR_CORRUPT },
	{ METADATA + 10, 2, 0, ERR_CORRUPT },
	{ METADATA + 10, 2, 65535, ERR_CORRUPT },
	{ METADATA + 10, 2, 2047, ERR_NONE },
	{ METADATA + 48, 4, 0, ERR_CORRUPT },
	{ METADATA + 48, 4, UINT32_MAX, ERR_CORRUPT },
	{ METADATA + 48, 4, MIB - 8, ERR_CORRUPT }, /* zeroes there */
	{ METADATA + 48, 4, MIB - 7, ERR_CORRUPT },
	{ METADATA + 52, 4, 0, ERR_CORRUPT },
	{ METADATA + 52, 4, UINT32_MAX, ERR_CORRUPT },
	{ METADATA + 65536, 4, 0, ERR_CORRUPT },
	{ METADATA + 65536, 4, UINT32_MAX, ERR_CORRUPT },
	{ METADATA + 65536, 4, 256u << 20, ERR_NONE },
	{ METADATA + 65544, 8, 0, ERR_NONE },
	{ METADATA + 65544, 8, 512, ERR_NONE },
	{ METADATA + 65544, 8, UINT64_MAX - 511, ERR_CORRUPT },
	{ METADATA + 65544, 8, 64ull << 40, ERR_CORRUPT },
	{ METADATA + 65552, 4, 0, ERR_CORRUPT },
	{ METADATA + 65552, 4, 4096, ERR_NONE },
};

static void put_number(uint32_t at, uint8_t bytes, uint64_t value)
{
	if (bytes == 2)
		le16_put(file + at, (uint16_t)value);
	else if (bytes == 4)
		le32_put(file + at, (uint32_t)value);
	else
		le64_put(file + at, value);
	seal_all();
}

static void test_hostile(void)
{
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct counted *source;
		struct error err = { 0 };
		struct map *map;

		make_disk();
		put_number(hostile[i].at, hostile[i].bytes, hostile[i].value);
		(void)!open_file(&source, &map, NULL, &err);
		if (!ok(err.kind == hostile[i].kind, "%llu at %u",
			(unsigned long long)hostile[i].value, hostile[i].at))
			printf("# %s: %s\n", error_kind_name(err.kind),
			       err.text);
		close_file(source, map);
	}
}

/* Each state of an entry, in a disk without a parent. */
static void test_states(void)
{
	static const enum extent_kind kinds[8] = {
		EXTENT_ZERO, EXTENT_ZERO, EXTENT_ZERO, EXTENT_ZERO,
		EXTENT_BAD, EXTENT_ZERO, EXTENT_DATA, EXTENT_BAD,
	};
	struct counted *source;
	struct error err;
	struct map *map;

	make_disk();
	for (uint64_t n = 0; n < 8; n++)
		put_entry(n, (64 + n) * MIB | n);
	put_entry(8, 0xfffff00000000000 | 6);
	put_entry(9, (FILE_BYTES - MIB) | 6);
	put_entry(10, FILE_BYTES | 6);
	put_entry(11, 2 * MIB | 6);
	succeeds(open_file(&source, &map, NULL, &err), &err, "open");
	for (uint64_t n = 0; n < 12; n++) {
		extents_init(&ex, n * MIB, 1, 0);
		succeeds(map_extents(map, &ex, &err), &err, "ask");
		is_u64(ex.items[0].kind, n < 8 ? kinds[n] :
		       n == 9 ? EXTENT_DATA : EXTENT_BAD, "kind");
	}
	close_file(source, map);
}

/* A log entry at pos with n data descriptors that write the BAT. */
static void put_log_entry(uint64_t pos, uint64_t sequence, uint32_t tail,
			  uint32_t n, uint8_t fill)
{
	uint8_t *entry = file + LOG_AT + pos;
	uint32_t head = (64 + n * 32 + 4095) / 4096 * 4096;

	memset(entry, 0, head);
	memcpy(entry, "loge", 4);
	le32_put(entry + 8, head + n * 4096);
	le32_put(entry + 12, tail);
	le64_put(entry + 16, sequence);
	le32_put(entry + 24, n);
	memcpy(entry + 32, log_guid, 16);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *desc = entry + 64 + i * 32;
		uint8_t *sector = entry + head + i * 4096;

		memcpy(desc, "desc", 4);
		le64_put(desc + 16, BAT_AT + i * 4096);
		le64_put(desc + 24, sequence);
		memset(sector, fill, 4096);
		memcpy(sector, "data", 4);
		le32_put(sector + 4, (uint32_t)(sequence >> 32));
		le32_put(sector + 4092, (uint32_t)sequence);
	}
	seal(entry, head + n * 4096);
}

static void make_dirty(void)
{
	make_disk();
	memcpy(file + VHDX_HEADER1_AT + 48, log_guid, 16);
	seal_all();
}

static void test_log_cost(void)
{
	struct counted *source;
	struct budget *budget;
	struct error err;
	struct map *map;
	uint64_t used;

	make_dirty();
	for (uint64_t i = 0; i < 128; i++)
		put_log_entry(i * 8192, 1000 + i, 0, 1, 0);
	succeeds(budget_new(&budget, 16 << 20, &err), &err, "budget");
	succeeds(open_file(&source, &map, budget, &err), &err, "open");
	is_u64(source->reads, 4, "start, log, regions again, metadata");
	used = budget_stats(budget).used;
	ok(used >= 4096 && used < 8192, "one sector is kept of 128");
	extents_init(&ex, MIB, 1, 0);
	succeeds(map_extents(map, &ex, &err), &err, "ask");
	is_u64(ex.items[0].kind, EXTENT_ZERO, "the logged table");
	close_file(source, map);
	is_u64(budget_stats(budget).used, 0, "all memory given back");
	budget_free(budget);
	succeeds(budget_new(&budget, 1 << 20, &err), &err, "a small budget");
	fails_with(open_file(&source, &map, budget, &err), &err, ERR_NOMEM,
		   "memory=", "a log needs memory");
	close_file(source, map);
	is_u64(budget_stats(budget).used, 0, "none is kept");
	budget_free(budget);
}

/* Entries that name each other's places wrongly end the search. */
static void test_log_hostile(void)
{
	static const struct {
		uint32_t at;    /* in the entry */
		uint64_t value;
		const char *what;
	} rows[] = {
		{ 8, 0, "no length" },
		{ 8, 4095, "an odd length" },
		{ 8, MIB + 4096, "longer than the ring" },
		{ 8, 4096, "shorter than its data" },
		{ 12, MIB, "tail outside" },
		{ 12, 100, "an odd tail" },
		{ 12, 4096, "tail where no entry is" },
		{ 16, 0, "sequence 0" },
		{ 24, UINT32_MAX, "many descriptors" },
		{ 24, 3, "more descriptors than data" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t *entry = file + LOG_AT + 8192;
		struct counted *source;
		struct error err;
		struct map *map;

		make_dirty();
		put_log_entry(8192, 5, 8192, 2, 0xee);
		if (rows[i].at == 16)
			put_log_entry(8192, 0, 8192, 2, 0xee);
		else
			le32_put(entry + rows[i].at, (uint32_t)rows[i].value);
		seal(entry, 3 * 4096);
		fails_with(open_file(&source, &map, NULL, &err), &err,
			   ERR_CORRUPT, "no complete sequence", rows[i].what);
		close_file(source, map);
	}
}

/* Entries within entries, as no writer leaves them: bounded work. */
static void test_log_nested(void)
{
	struct counted *source;
	struct error err;
	struct map *map;

	make_dirty();
	for (uint64_t pos = 0; pos < MIB; pos += 4096) {
		put_log_entry(pos, pos + 1, (uint32_t)pos, 0, 0);
		le32_put(file + LOG_AT + pos + 8, MIB);
	}
	fails_with(open_file(&source, &map, NULL, &err), &err, ERR_CORRUPT,
		   "within one another", "nested entries");
	close_file(source, map);
}

/* Each read of an open fails once. */
static void test_torture(bool is_dirty)
{
	struct open_args args = { .format = "vhdx", .file_name = "disk.vhdx" };
	struct error err;
	unsigned int n = 0;
	int ret;

	make_disk();
	if (is_dirty) {
		make_dirty();
		put_log_entry(0, 1, 0, 1, 0);
	}
	do {
		struct counted *source = new_source();
		struct map *map;

		memset(&err, 0, sizeof(err));
		source->fail_at = ++n;
		ret = format_open(&map, &source->source, NULL, &args, &err);
		if (ret)
			ok(err.kind == ERR_NETWORK && !map,
			   "read %u fails the open", n);
		close_file(source, map);
	} while (ret && n < 10);
	is_u64(n, is_dirty ? 5 : 3, "then it opens");
}

int main(void)
{
	test_cost();
	test_busy();
	test_hostile();
	test_states();
	test_log_cost();
	test_log_hostile();
	test_log_nested();
	test_torture(false);
	test_torture(true);
	return tap_done();
}
