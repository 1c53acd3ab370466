/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The writers alone: what a disk may have, what a sink is told of it, tables
 * within the budget, and identities that chance has no part in. */
#include "config.h"

#include "common/budget.h"
#include "common/checked.h"
#include "format/writer.h"
#include "tests/lib/log-sink.h"
#include "tests/tap.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static struct error err;

static struct writer *new_writer(const char *format, const char *subformat,
				 uint64_t size, struct budget *budget)
{
	struct write_args args = { .name = "disk", .subformat = subformat,
				   .size = size, .block_bytes = MIB,
				   .budget = budget };
	struct writer *writer;

	if (writer_new(&writer, format_find(format), &args, &err)) {
		printf("Bail out! %s: %s\n", format, err.text);
		exit(99);
	}
	return writer;
}

static void test_sizes(void)
{
	static const struct {
		const char *format;
		uint64_t most;
		const char *fault;
	} rows[] = {
		{ "raw", INT64_MAX, "ends at 9223372036854775807 bytes" },
		{ "vmdk", 64 * TIB, "ends at 65536 GiB" },
		{ "vhd", 2040 * GIB, "ends at 2040 GiB" },
		{ "vhdx", 64 * TIB, "ends at 65536 GiB" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct write_args args = { .name = "disk",
					   .size = rows[i].most + 1 };
		struct writer *writer = new_writer(rows[i].format, NULL,
						   WRITE_SIZE_UNKNOWN, NULL);
		struct writer *none;

		succeeds(writer_check_size(writer, rows[i].most, &err), &err,
			 "the largest disk");
		fails_with(writer_check_size(writer, rows[i].most + 1, &err),
			   &err, ERR_LIMIT, rows[i].fault, "one byte more");
		writer_free(writer);
		fails_with(writer_new(&none, format_find(rows[i].format),
				      &args, &err), &err, ERR_LIMIT,
			   rows[i].fault, "announced");
		ok(none == NULL, "%s: no writer then", rows[i].format);
	}
}

/* One unit with a byte, at the start of a disk of that size. */
static int write_one(struct writer *writer, struct sink *sink, uint64_t size,
		     struct error *error)
{
	static unsigned char unit[64 * KIB] = { 1 };
	struct piece piece = { .length = sizeof(unit),
			       .stored = sizeof(unit), .data = unit };

	if (writer_start(writer, sink, error) ||
	    writer_pieces(writer, &piece, 1, error))
		return -1;
	return writer_finish(writer, size, error);
}

/* The size that a sink is told is the size that comes. */
static void test_object_bytes(void)
{
	static const char *const rows[][2] = {
		{ "raw", NULL }, { "vhd", "fixed" }, { "vhdx", "fixed" }
	};
	uint64_t size = 5 * MIB + 512;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct writer *writer = new_writer(rows[i][0], rows[i][1],
						   size, NULL);
		struct sink_log log;
		struct sink *sink;

		sink_log_init(&log);
		sink = log_sink_new(&log, writer->head_bytes);
		succeeds(write_one(writer, sink, size, &err), &err,
			 "an announced disk");
		is_u64(writer->object_bytes_max, log.size,
		       "the object's size is told before");
		sink_discard(sink);
		writer_free(writer);
		sink_log_free(&log);
	}
}

/* Sectors of a VMDK have 32 bits: the next grain would start behind them. */
static void test_vmdk_end(void)
{
	struct writer *writer = new_writer("vmdk", NULL, 3 * TIB, NULL);
	struct sink_log log;
	struct sink *sink;

	sink_log_init(&log);
	sink = log_sink_new(&log, 0);
	succeeds(writer_start(writer, sink, &err), &err, "started");
	sink->position = 2 * TIB;
	fails_with(writer_pieces(writer, &(struct piece){
			.length = 64 * KIB, .stored = 512, .data = "" },
			1, &err), &err, ERR_LIMIT, "ends at 2 TiB",
		   "a grain behind 2 TiB");
	sink_discard(sink);
	writer_free(writer);
	sink_log_free(&log);
}

/* A head that is guessed is what it is in the end, if the size was. */
static void test_guess(void)
{
	struct writer *writer = new_writer("vmdk", NULL, WRITE_SIZE_UNKNOWN,
					   NULL);
	AUTO_FREE char *head = malloc(writer->head_bytes);
	struct sink_log log;
	struct sink *sink;

	sink_log_init(&log);
	sink = log_sink_new(&log, writer->head_bytes);
	succeeds(writer_start(writer, sink, &err), &err, "started");
	ok(writer_guess_head(writer, 7 * MIB - 100, head), "a guess");
	succeeds(writer_finish(writer, 7 * MIB - 5, &err), &err, "finished");
	is_mem(head, log.data, writer->head_bytes, "the same to a sector");
	ok(writer_guess_head(writer, 6 * MIB, head), "another guess");
	ok(memcmp(head, log.data, writer->head_bytes) != 0, "is wrong");
	ok(!writer_guess_head(writer, UINT64_MAX, head), "too large a disk");
	sink_discard(sink);
	writer_free(writer);
	sink_log_free(&log);
	writer = new_writer("vhdx", NULL, WRITE_SIZE_UNKNOWN, NULL);
	ok(!writer_guess_head(writer, MIB, head), "nobody can tell a VHDX's");
	writer_free(writer);
}

/* Room for a disk of some size, and what fits there. */
static void test_hint(void)
{
	struct write_args args = { .name = "disk", .size = WRITE_SIZE_UNKNOWN,
				   .size_hint = 200 * MIB };
	struct writer *writer;

	succeeds(writer_new(&writer, format_find("vhd"), &args, &err), &err,
		 "a VHD of perhaps 200 MiB");
	is_u64(writer->head_bytes, 512 + 1024 + 512, "a table of one sector");
	is_u64(writer->size_max, 256 * MIB, "has room for 256");
	writer_free(writer);
	args.size_hint = 3000 * GIB;
	succeeds(writer_new(&writer, format_find("vhd"), &args, &err), &err,
		 "a VHD that is too large");
	is_u64(writer->size_max, 2040 * GIB, "has room for the largest");
	writer_free(writer);
	args.subformat = "fixed";
	args.size_hint = 1000;
	succeeds(writer_new(&writer, format_find("vhd"), &args, &err), &err,
		 "a fixed one");
	is_u64(writer->size_max, 2040 * GIB, "needs no table");
	is_u64(writer->object_bytes_max, 1024 + 512, "and has its footer");
	writer_free(writer);
	args.subformat = NULL;
	succeeds(writer_new(&writer, format_find("raw"), &args, &err), &err,
		 "a raw disk");
	is_u64(writer->object_bytes_max, 1000, "is expected so large");
	is_u64(writer->size_max, INT64_MAX, "and may be larger");
	writer_free(writer);
}

/* Blocks are remembered within the budget, and no longer than the writer
 * lives. */
static void test_budget(const char *format)
{
	static unsigned char unit[512] = { 1 };
	struct error error = { 0 };
	struct budget *budget;
	struct writer *writer;
	struct sink_log log;
	struct sink *sink;
	uint64_t at = 0;
	int ret = 0;

	succeeds(budget_new(&budget, 4 * KIB, &err), &err, "budget");
	writer = new_writer(format, NULL, WRITE_SIZE_UNKNOWN, budget);
	sink_log_init(&log);
	sink = log_sink_new(&log, writer->head_bytes);
	succeeds(writer_start(writer, sink, &err), &err, "started");
	for (; !ret && at < 100000; at++) {
		/* The bytes do not matter here, and would be many. */
		struct piece piece = { .offset = at * 64 * MIB, .length = 512,
				       .stored = 512, .data = unit };

		ret = writer_pieces(writer, &piece, 1, &error);
		log.size = writer->head_bytes;
	}
	ok(ret && error.kind == ERR_NOMEM && strstr(error.text, "-o memory="),
	   "%s: the tables count towards the budget: %s", format, error.text);
	ok(at > 500, "%s: %llu blocks fit", format, (unsigned long long)at);
	sink_discard(sink);
	writer_free(writer);
	is_u64(budget_stats(budget).used, 0, "all is given back");
	budget_free(budget);
	sink_log_free(&log);
}

static void test_identity(void)
{
	static const struct {
		const char *purpose, *name;
		uint64_t size;
		uint32_t content;
	} rows[] = {
		{ "vhd", "a", 1, 0 }, { "vhd", "b", 1, 0 },
		{ "vhdx", "a", 1, 0 }, { "vhd", "a", 2, 0 },
		{ "vhd", "a", 1, 1 }, { "vhda", "", 1, 0 },
	};
	uint8_t ids[sizeof(rows) / sizeof(rows[0])][16], again[16];
	size_t n = sizeof(rows) / sizeof(rows[0]);
	unsigned int equal = 0;

	for (size_t i = 0; i < n; i++) {
		succeeds(writer_identity(ids[i], rows[i].purpose, rows[i].name,
					 rows[i].size, rows[i].content, &err),
			 &err, "an identity");
		for (size_t k = 0; k < i; k++)
			equal += !memcmp(ids[i], ids[k], 16);
	}
	is_u64(equal, 0, "what differs has another identity");
	succeeds(writer_identity(again, "vhd", "a", 1, 0, &err), &err,
		 "again");
	is_mem(again, ids[0], 16, "what is the same has the same");
}

int main(void)
{
	test_sizes();
	test_object_bytes();
	test_vmdk_end();
	test_guess();
	test_budget("vmdk");
	test_hint();
	test_budget("vhd");
	test_budget("vhdx");
	test_identity();
	return tap_done();
}
