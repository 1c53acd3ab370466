/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The sizes of parts, by arithmetic: whatever memory and scratch space there
 * are, parts are such as S3 takes, and hold what they promise. */
#include "config.h"

#include "common/checked.h"
#include "store/s3-multipart.h"
#include "store/s3-schedule.h"
#include "store/sink.h"
#include "tests/tap.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)
#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static uint64_t part(const struct s3_schedule *schedule, unsigned int number)
{
	bool is_spooled;

	return s3_schedule_part(schedule, number, &is_spooled);
}

/* Parts of an object of unknown size. */
static void test_growing(void)
{
	static const struct {
		uint64_t budget, scratch;
		unsigned int number;
		uint64_t bytes;
	} rows[] = {
		{ UINT64_MAX, 0, 0, 0 },
		{ UINT64_MAX, 0, 1, 8 * MIB },
		{ UINT64_MAX, 0, 1000, 8 * MIB },
		{ UINT64_MAX, 0, 1001, 16 * MIB },
		{ UINT64_MAX, 0, 2000, 16 * MIB },
		{ UINT64_MAX, 0, 2001, 32 * MIB },
		{ UINT64_MAX, 0, 3001, 64 * MIB },
		{ UINT64_MAX, 0, 10000, 64 * MIB },
		{ UINT64_MAX, 0, 10001, 0 },
		{ UINT64_MAX, 16 * GIB, 7400, 64 * MIB },
		{ UINT64_MAX, 16 * GIB, 7401, 2 * GIB },
		{ UINT64_MAX, 16 * GIB, 10000, 2 * GIB },
		{ UINT64_MAX, 1 * GIB, 7401, 256 * MIB },
		{ UINT64_MAX, 511 * MIB, 7401, 64 * MIB },
		{ 256 * MIB, 0, 3001, 64 * MIB },
		{ 255 * MIB, 0, 3001, 63 * MIB },
		{ 64 * MIB, 0, 1, 8 * MIB },
		{ 64 * MIB, 0, 5000, 16 * MIB },
		{ 28 * MIB, 0, 1, 7 * MIB },
		{ 16 * MIB, 0, 1, 5 * MIB },
		{ 16 * MIB, 0, 9999, 5 * MIB },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_schedule schedule;
		struct error err;

		succeeds(s3_schedule_init(&schedule, SINK_SIZE_UNKNOWN,
					  rows[i].budget, rows[i].scratch,
					  &err), &err, "unknown size");
		ok(part(&schedule, rows[i].number) == rows[i].bytes,
		   "part %u has %" PRIu64 " bytes, not %" PRIu64,
		   rows[i].number, rows[i].bytes,
		   part(&schedule, rows[i].number));
	}
}

static void test_capacity(void)
{
	static const struct {
		uint64_t budget, scratch, bytes;
	} rows[] = {
		{ UINT64_MAX, 0, 504000 * MIB },
		{ 256 * MIB, 0, 504000 * MIB },
		{ 16 * MIB, 0, 50000 * MIB },
		{ UINT64_MAX, 16 * GIB, 5 * TIB },
		{ 16 * MIB, 16 * GIB, 5 * TIB },
		{ 256 * MIB, 1 * GIB, (56000 + 4400 * 64 + 2600 * 256) * MIB },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_schedule schedule;
		struct error err;

		succeeds(s3_schedule_init(&schedule, SINK_SIZE_UNKNOWN,
					  rows[i].budget, rows[i].scratch,
					  &err), &err, "unknown size");
		is_u64(s3_schedule_bytes(&schedule), rows[i].bytes,
		       "all parts");
	}
}

/* Is every part one that S3 takes, and do the first of them hold `size`? */
static void check(const struct s3_schedule *schedule, uint64_t size)
{
	uint64_t before = 0, sum = 0, most = schedule->budget / 4;
	const char *bad = NULL;

	if (most < S3_PART_MIN)
		most = S3_PART_MIN;
	for (unsigned int i = 1; i <= S3_PARTS_MAX; i++) {
		bool is_spooled;
		uint64_t bytes = s3_schedule_part(schedule, i, &is_spooled);

		if (bytes < S3_PART_MIN || bytes > S3_PART_MAX)
			bad = "a part that S3 refuses";
		if (bytes < before)
			bad = "a part that is smaller than the one before";
		if (!is_spooled && (bytes > most || bytes > 64 * MIB))
			bad = "a part that memory does not hold";
		if (is_spooled && 4 * bytes > schedule->scratch)
			bad = "a part that the scratch space does not hold";
		before = bytes;
		sum += bytes;
	}
	ok(!bad && sum >= size, "parts are right for %" PRIu64 " bytes in %"
	   PRIu64 " and %" PRIu64 "%s%s", size, schedule->budget,
	   schedule->scratch, bad ? ": " : "", bad ? bad : "");
}

static void test_all(void)
{
	static const uint64_t budgets[] = {
		16 * MIB, 17 * MIB, 64 * MIB, 200 * MIB, 256 * MIB, 4 * GIB,
		UINT64_MAX,
	};
	static const uint64_t scratches[] = { 0, 100 * MIB, 1 * GIB, 16 * GIB,
					      1 * TIB };
	static const uint64_t sizes[] = {
		0, 1, 8 * MIB, 49 * GIB, 50000 * MIB, 50000 * MIB + 1,
		100 * GIB, 504000 * MIB, 504000 * MIB + 1, 625 * GIB,
		626 * GIB, 2 * TIB, 5 * TIB - 1, 5 * TIB, SINK_SIZE_UNKNOWN,
	};
	unsigned int held = 0;

	for (size_t i = 0; i < ROWS(budgets) * ROWS(scratches) * ROWS(sizes);
	     i++) {
		uint64_t size = sizes[i % ROWS(sizes)];
		uint64_t scratch = scratches[i / ROWS(sizes) %
					     ROWS(scratches)];
		uint64_t budget = budgets[i / ROWS(sizes) / ROWS(scratches)];
		struct s3_schedule schedule;
		struct error err;

		if (!s3_schedule_init(&schedule, size, budget, scratch,
				      &err)) {
			check(&schedule, size == SINK_SIZE_UNKNOWN ? 0 : size);
			held++;
		} else {
			ok(err.kind == ERR_LIMIT && scratch < 16 * GIB &&
			   size > s3_schedule_bytes(&schedule),
			   "too large: %s", err.text);
		}
	}
	ok(held > ROWS(budgets) * ROWS(sizes), "most of them fit");
}

/* What is known to fit does not use scratch space. */
static void test_equal(void)
{
	static const struct {
		uint64_t size, budget, bytes;
	} rows[] = {
		{ 504000 * MIB + 1, UINT64_MAX, 51 * MIB },
		{ 600 * GIB, UINT64_MAX, 62 * MIB },
		{ 639999 * MIB, UINT64_MAX, 64 * MIB },
		{ 60 * GIB, 16 * MIB, 0 },
		{ 60 * GIB, 28 * MIB, 0 },
		{ 150 * GIB, 64 * MIB, 16 * MIB },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_schedule schedule;
		struct error err;
		bool is_spooled;

		s3_schedule_init(&schedule, rows[i].size, rows[i].budget,
				 16 * GIB, &err);
		is_u64(schedule.equal, rows[i].bytes, "equal parts");
		s3_schedule_part(&schedule, S3_PARTS_MAX, &is_spooled);
		if (rows[i].bytes)
			ok(!is_spooled, "all in memory");
	}
}

/* As the sink does it, with parts that never outgrow part_bytes: what all of
 * them hold, and how many are spooled. */
static uint64_t crowded(const struct s3_schedule *schedule,
			uint64_t part_bytes, unsigned int *spooled)
{
	uint64_t sum = 0;

	*spooled = 0;
	for (unsigned int i = 1; i <= S3_PARTS_MAX; i++) {
		uint64_t bytes = min_u64(part(schedule, i), part_bytes);
		uint64_t fallback = s3_schedule_fallback(schedule, i, bytes,
							 sum);

		*spooled += fallback > 0;
		sum += fallback ? fallback : bytes;
	}
	return sum;
}

/* Others have the memory that larger parts would need. */
static void test_crowded(void)
{
	static const struct {
		uint64_t size, budget, scratch, part_bytes;
		unsigned int spooled;
	} rows[] = {
		{ 40 * GIB, 64 * MIB, 16 * GIB, S3_PART_MIN, 0 },
		{ 100 * GIB, 64 * MIB, 16 * GIB, S3_PART_MIN, 26 },
		{ 100 * GIB, 64 * MIB, 16 * GIB, 8 * MIB, 11 },
		{ 100 * GIB, 64 * MIB, 16 * GIB, 16 * MIB, 0 },
		{ 100 * GIB, 64 * MIB, GIB, S3_PART_MIN, 209 },
		{ 490 * GIB, 256 * MIB, 16 * GIB, S3_PART_MIN, 222 },
		{ 490 * GIB, 256 * MIB, 16 * GIB, 64 * MIB, 0 },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_schedule schedule;
		unsigned int spooled;
		struct error err;

		succeeds(s3_schedule_init(&schedule, rows[i].size,
					  rows[i].budget, rows[i].scratch,
					  &err), &err, "known size");
		ok(crowded(&schedule, rows[i].part_bytes, &spooled) >=
		   rows[i].size, "%" PRIu64 " bytes fit into parts of %" PRIu64
		   " and larger ones", rows[i].size, rows[i].part_bytes);
		is_u64(spooled, rows[i].spooled, "so many of which are "
		       "spooled");
	}
}

static void test_refused(void)
{
	struct s3_schedule schedule;
	struct error err;

	fails_with(s3_schedule_init(&schedule, 626 * GIB, UINT64_MAX, 0, &err),
		   &err, ERR_LIMIT, "-o scratch-size=", "without scratch");
	fails_with(s3_schedule_init(&schedule, 60 * GIB, 16 * MIB, 0, &err),
		   &err, ERR_LIMIT, "end after 52428800000 bytes with 16777216 "
		   "bytes of memory", "with little memory");
	fails_with(s3_schedule_init(&schedule, 5 * TIB + 1, UINT64_MAX,
				    TIB, &err), &err, ERR_LIMIT,
		   "at most 5497558138880 bytes", "more than S3 has");
}

int main(void)
{
	test_growing();
	test_capacity();
	test_all();
	test_equal();
	test_crowded();
	test_refused();
	return tap_done();
}
