/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VMDK maps: which reads an open and a question cost, what packed pieces
 * say, hostile numbers, reads that fail or would block, and the budget. */
#include "config.h"

#include "common/budget.h"
#include "common/bytes.h"
#include "format/format.h"
#include "format/vmdk-sparse.h"
#include "tests/tap.h"

#define SECTOR     512u
#define FILE_BYTES (512u << 10)
#define LOG_BYTES  1024

/* A file whose reads are logged as "offset+length " and that fails or would
 * block from the Nth read on. */
struct logged_source {
	struct source source;
	uint8_t *data;
	char log[LOG_BYTES];
	unsigned int reads, fail_at, block_at; /* 1 = the first; 0 = never */
};

static int logged_readv(struct source *source, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, struct error *err)
{
	struct logged_source *self = (struct logged_source *)source;
	size_t used = strlen(self->log);

	self->reads++;
	if (self->fail_at && self->reads >= self->fail_at)
		return error_set(err, ERR_NETWORK, "no answer");
	if (self->block_at && self->reads >= self->block_at &&
	    (flags & SOURCE_NOWAIT))
		return error_set(err, ERR_AGAIN, "would block");
	for (int i = 0; i < iovcnt; i++) {
		used += (size_t)snprintf(self->log + used, LOG_BYTES - used,
					 "%llu+%zu ",
					 (unsigned long long)offset,
					 iov[i].iov_len);
		memcpy(iov[i].iov_base, self->data + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static void logged_close(struct source *source)
{
	struct logged_source *self = (struct logged_source *)source;

	free(self->data);
	free(self);
}

static const struct source_ops logged_ops = {
	.readv = logged_readv,
	.close = logged_close,
};

static struct logged_source *new_file(uint64_t size)
{
	struct logged_source *self = calloc(1, sizeof(*self));

	if (!self || !(self->data = calloc(1, size)) ||
	    source_init(&self->source, &logged_ops, "file", size, NULL, NULL))
		abort();
	return self;
}

static void put_header(uint8_t *at, uint64_t capacity, uint64_t gd,
		       bool packed)
{
	memcpy(at, "KDMV", 4);
	le32_put(at + 4, packed ? 3 : 1);
	le32_put(at + 8, packed ? 0x30001 : 1);
	le64_put(at + 12, capacity);
	le64_put(at + 20, 128);
	le32_put(at + 44, 512);
	le64_put(at + 56, gd);
	le64_put(at + 64, 128);
	memcpy(at + 73, "\n \r\n", 4);
	le16_put(at + 77, packed);
}

/* 64 MiB and a bit: directory in sector 2, tables in 4 and 8; the grains 0,
 * 1, 3 and 512 lie in sectors 128, 140, 260 and 150. */
#define CAPACITY (2 * 65536 + 10ull)

static struct logged_source *new_sparse(bool packed)
{
	struct logged_source *self = new_file(FILE_BYTES);
	uint8_t *data = self->data;

	put_header(data, CAPACITY, 2, packed);
	le32_put(data + 2 * SECTOR, 4);
	le32_put(data + 2 * SECTOR + 4, 8);
	le32_put(data + 4 * SECTOR, 128);
	le32_put(data + 4 * SECTOR + 4, 140);
	le32_put(data + 4 * SECTOR + 12, 260);
	le32_put(data + 8 * SECTOR, 150);
	return self;
}

/* A true stream without grains: directory at 129, footer marker at 131, the
 * end marker at 133. */
static struct logged_source *new_stream(void)
{
	struct logged_source *self = new_file(134 * SECTOR);
	uint8_t *data = self->data;

	put_header(data, CAPACITY, VMDK_GD_AT_END, true);
	le64_put(data + 128 * SECTOR, 1);
	le32_put(data + 128 * SECTOR + 12, VMDK_MARKER_DIRECTORY);
	le64_put(data + 130 * SECTOR, 1);
	le32_put(data + 131 * SECTOR + 12, VMDK_MARKER_FOOTER);
	le64_put(data + 131 * SECTOR, 1);
	put_header(data + 132 * SECTOR, CAPACITY, 129, true);
	memset(data + 130 * SECTOR, 0, SECTOR);
	return self;
}

static struct map *open_map(struct logged_source *file,
			    const struct open_args *args, struct error *err)
{
	struct open_args none = { .format = "vmdk" };
	struct map *map;

	format_open(&map, &file->source, NULL, args ? args : &none, err);
	return map;
}

static struct extents ex;

/* Ask, and compare the reads that it took. */
static void ask(struct map *map, struct logged_source *file, uint64_t offset,
		uint64_t length, const char *reads, const char *what)
{
	struct error err;

	file->log[0] = 0;
	extents_init(&ex, offset, length, 0);
	succeeds(map_extents(map, &ex, &err), &err, what);
	is_str(file->log, reads, what);
}

static void test_sparse_reads(void)
{
	struct logged_source *file = new_sparse(false);
	struct error err = { 0 };
	struct map *map = open_map(file, NULL, &err);

	is_str(file->log, "0+16384 ", "open reads the head only");
	is_u64(map->size, CAPACITY * SECTOR, "size");
	is_str(map->subformat, "monolithicSparse", "subformat");
	ask(map, file, 0, 65536, "1024+4 2048+68 ", "one grain: two reads");
	is_u64(ex.count, 1, "one piece");
	is_u64(ex.items[0].kind, EXTENT_DATA, "of data");
	is_u64(ex.items[0].at, 128 * SECTOR, "at its sector");
	ask(map, file, 65536 + 100, 100, "1024+4 2052+68 ", "within a grain");
	is_u64(ex.items[0].at, 140 * SECTOR + 100, "at its byte");
	ask(map, file, 511 * 65536, 2 * 65536,
	    "1024+4 4092+4 1028+4 4096+68 ", "over the end of a table");
	is_u64(ex.items[0].kind, EXTENT_ZERO, "a hole");
	is_u64(ex.items[1].at, 150 * SECTOR, "and a grain");
	ask(map, file, 0, map->size,
	    "1024+4 2048+2048 1028+4 4096+2048 1032+4 ", "the whole disk");
	is_u64(extents_next(&ex), map->size, "in one answer");
	map_close(map);
	source_unref(&file->source);
}

static void test_stream_reads(void)
{
	struct logged_source *file = new_stream();
	struct error err = { 0 };
	struct map *map = open_map(file, NULL, &err);

	is_str(file->log, "0+16384 67072+1536 ", "open reads head and footer");
	is_str(map->subformat, "streamOptimized", "subformat");
	is_u64(map->unit_bytes, 65536, "unit");
	ask(map, file, 0, map->size, "66048+4 66052+4 66056+4 ",
	    "an empty disk: the directory's entries");
	is_u64(ex.count, 1, "one hole");
	map_close(map);
	source_unref(&file->source);
}

static void test_packed_pieces(void)
{
	static const struct {
		uint64_t offset, length, at, bound, mark;
	} rows[] = {
		{ 0, 65536, 128 * SECTOR, 12 * SECTOR, 0 },
		{ 65536, 65536, 140 * SECTOR, 120 * SECTOR, 128 },
		{ 3 * 65536, 65536, 260 * SECTOR, 12 + 131072, 384 },
		{ 512 * 65536, 65536, 150 * SECTOR, 12 + 131072, 65536 },
	};
	struct logged_source *file = new_sparse(true);
	struct error err = { 0 };
	struct map *map = open_map(file, NULL, &err);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		extents_init(&ex, rows[i].offset + 5, 1, 0);
		succeeds(map_extents(map, &ex, &err), &err, "ask");
		is_u64(ex.items[0].kind, EXTENT_PACKED, "packed");
		is_u64(ex.items[0].offset, rows[i].offset, "offset");
		is_u64(ex.items[0].length, rows[i].length, "length");
		is_u64(ex.items[0].at, rows[i].at, "marker");
		is_u64(ex.items[0].bound, rows[i].bound, "bound");
		is_u64(ex.items[0].mark, rows[i].mark, "LBA");
		is_u64(ex.items[0].unpacked, 65536, "unpacked");
	}
	/* Near the file's end the bound ends there, too. */
	le32_put(file->data + 4 * SECTOR, FILE_BYTES / SECTOR - 2);
	extents_init(&ex, 0, 1, 0);
	succeeds(map_extents(map, &ex, &err), &err, "ask");
	is_u64(ex.items[0].bound, 2 * SECTOR, "bound at the file's end");
	map_close(map);
	source_unref(&file->source);
}

static void test_hostile_headers(void)
{
	static const struct {
		unsigned int at;
		uint64_t value; /* 8 bytes */
		enum error_kind kind;
		const char *part;
	} rows[] = {
		{ 12, UINT64_MAX, ERR_LIMIT, "capacity" },
		{ 12, FORMAT_DISK_MAX / SECTOR + 1, ERR_LIMIT, "capacity" },
		{ 12, FORMAT_DISK_MAX / SECTOR, ERR_CORRUPT, "directory" },
		{ 12, 0, ERR_CORRUPT, "capacity 0" },
		{ 20, UINT64_MAX, ERR_CORRUPT, "grain size" },
		{ 20, 1ull << 63, ERR_CORRUPT, "grain size" },
		{ 56, UINT64_MAX / SECTOR, ERR_CORRUPT, "directory" },
		{ 56, UINT64_MAX / SECTOR + 2, ERR_CORRUPT, "directory" },
		{ 56, FILE_BYTES / SECTOR, ERR_CORRUPT, "directory" },
		{ 56, 0, ERR_CORRUPT, "directory" },
		{ 28, FILE_BYTES / SECTOR, ERR_CORRUPT, "descriptor" },
		{ 28, UINT64_MAX, ERR_CORRUPT, "descriptor" },
		{ 36, UINT64_MAX / SECTOR + 2, ERR_CORRUPT, "descriptor" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct logged_source *file = new_sparse(false);
		struct open_args args = { .format = "vmdk" };
		struct error err;
		struct map *map;

		le64_put(file->data + 28, 1);
		le64_put(file->data + 36, 1);
		le64_put(file->data + rows[i].at, rows[i].value);
		fails_with(format_open(&map, &file->source, NULL, &args, &err),
			   &err, rows[i].kind, rows[i].part, rows[i].part);
		ok(!map, "no map");
		source_unref(&file->source);
	}
}

/* Entries that point anywhere harm their own range only. */
static void test_hostile_tables(void)
{
	struct logged_source *file = new_sparse(false);
	struct error err = { 0 };
	struct map *map = open_map(file, NULL, &err);

	le32_put(file->data + 2 * SECTOR + 4, UINT32_MAX);
	le32_put(file->data + 4 * SECTOR + 4, UINT32_MAX);
	ask(map, file, 0, map->size, "1024+4 2048+2048 1028+4 1032+4 ", "ask");
	is_u64(ex.items[0].kind, EXTENT_DATA, "the grain before");
	is_u64(ex.items[1].kind, EXTENT_BAD, "the bad entry");
	is_u64(ex.items[1].length, 65536, "is one grain");
	is_u64(ex.items[2].kind, EXTENT_ZERO, "the hole behind");
	is_u64(ex.items[5].kind, EXTENT_BAD, "the bad table");
	is_u64(ex.items[5].length, 512 * 65536, "is one table");
	map_close(map);
	source_unref(&file->source);
}

/* Every read of an open and of a question fails once. */
static void test_failing_reads(void)
{
	unsigned int n;

	for (n = 1;; n++) {
		struct logged_source *file = new_sparse(true);
		struct error err = { 0 };
		struct map *map;
		int ret = -1;

		file->fail_at = n;
		map = open_map(file, NULL, &err);
		if (map) {
			extents_init(&ex, 0, 65536, 0);
			ret = map_extents(map, &ex, &err);
		}
		map_close(map);
		source_unref(&file->source);
		if (!ret)
			break;
		is_u64(err.kind, ERR_NETWORK, "the read's own error");
	}
	is_u64(n, 4, "three reads could fail");
}

static void test_nowait(void)
{
	struct logged_source *file = new_sparse(false);
	struct error err = { 0 };
	struct map *map = open_map(file, NULL, &err);

	file->block_at = file->reads + 1;
	extents_init(&ex, 0, map->size, SOURCE_NOWAIT);
	fails_with(map_extents(map, &ex, &err), &err, ERR_AGAIN, "would block",
		   "nothing is known at once");
	file->block_at = file->reads + 3; /* the second table's entry */
	extents_init(&ex, 0, map->size, SOURCE_NOWAIT);
	succeeds(map_extents(map, &ex, &err), &err, "a short answer");
	is_u64(extents_next(&ex), 512 * 65536, "up to what would block");
	map_close(map);
	source_unref(&file->source);
}

/* A stream of one grain, whose footer is gone. */
static struct logged_source *new_scanned(void)
{
	struct logged_source *file = new_stream();
	uint8_t *data = file->data;

	memmove(data + 129 * SECTOR, data + 128 * SECTOR, 2 * SECTOR);
	memset(data + 128 * SECTOR, 0, SECTOR);
	le64_put(data + 128 * SECTOR, 65536);
	le32_put(data + 128 * SECTOR + 8, 100);
	memset(data + 131 * SECTOR, 0, 3 * SECTOR);
	return file;
}

static void test_scan_budget(uint64_t limit, bool fits)
{
	struct logged_source *file = new_scanned();
	struct open_args args = { .format = "vmdk" };
	struct budget *budget;
	struct error err;
	struct map *map;

	succeeds(budget_new(&budget, limit, &err), &err, "budget");
	args.budget = budget;
	if (fits) {
		succeeds(format_open(&map, &file->source, NULL, &args, &err),
			 &err, "scanned");
		ok(budget_stats(budget).used > 0, "its index is in the budget");
		extents_init(&ex, 0, map->size, 0);
		succeeds(map_extents(map, &ex, &err), &err, "ask");
		is_u64(ex.count, 3, "hole, grain, hole");
		is_u64(ex.items[1].offset, 65536 * SECTOR, "the grain");
		is_u64(ex.items[1].at, 128 * SECTOR, "where its marker is");
		map_close(map);
	} else {
		fails_with(format_open(&map, &file->source, NULL, &args, &err),
			   &err, ERR_NOMEM, "memory", "too small a budget");
	}
	is_u64(budget_stats(budget).used, 0, "all given back");
	budget_free(budget);
	source_unref(&file->source);
}

static bool gave_up(void *arg)
{
	++*(unsigned int *)arg;
	return false;
}

static void test_scan_stops(void)
{
	struct logged_source *file = new_scanned();
	unsigned int asked = 0;
	struct open_args args = { .format = "vmdk", .keep_going = gave_up,
				  .keep_going_arg = &asked };
	struct error err;
	struct map *map;

	fails_with(format_open(&map, &file->source, NULL, &args, &err), &err,
		   ERR_CANCELLED, "stopped", "a scan is given up");
	is_u64(asked, 1, "at the first question");
	source_unref(&file->source);
}

int main(void)
{
	test_sparse_reads();
	test_stream_reads();
	test_packed_pieces();
	test_hostile_headers();
	test_hostile_tables();
	test_failing_reads();
	test_nowait();
	test_scan_budget(1 << 20, true);
	test_scan_budget(1 << 10, false);
	test_scan_stops();
	return tap_done();
}
