/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sets of ranges against a plain bitmap, and spools against plain memory: the
 * bytes, what was written, the space that is counted, and both limits. */
#include "config.h"

#include <errno.h>

#include "common/budget.h"
#include "common/scratch.h"
#include "fs/spool.h"
#include "tests/tap.h"

#define BITS   500u
#define ROUNDS 4000

static struct error err;
static uint32_t seed = 1;

static unsigned int chance(unsigned int below)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % below;
}

/* Does the set say what the bitmap says? */
static bool is_like(const struct ranges *ranges, const bool *bits)
{
	uint64_t bytes = 0, before = UINT64_MAX;

	for (size_t i = 0; i < ranges->count; i++) {
		const struct range *range = &ranges->at[i];

		if (range->begin >= range->end ||
		    (i && range->begin <= before))
			return false;
		before = range->end;
		for (uint64_t at = range->begin; at < range->end; at++)
			if (!bits[at])
				return false;
		bytes += range->end - range->begin;
	}
	for (size_t i = 0; i < BITS; i++)
		bytes -= bits[i];
	return bytes == 0;
}

static bool check_questions(const struct ranges *ranges, const bool *bits)
{
	unsigned int from = chance(BITS), to = from + chance(BITS - from);
	struct range found;
	uint64_t missing = 0, at = from;

	for (unsigned int i = from; i < to; i++)
		missing += !bits[i];
	while (at < BITS && !bits[at])
		at++;
	if (ranges_find(ranges, from, &found) != (at < BITS))
		return false;
	if (at < BITS && (found.begin > at || found.end <= at))
		return false;
	return ranges_missing(ranges, from, to) == missing;
}

static void test_ranges(void)
{
	struct budget *budget;
	struct ranges ranges = { 0 };
	bool bits[BITS] = { false };
	bool good = true;

	ok(!budget_new(&budget, 1 << 20, &err), "a budget");
	ranges.budget = budget;
	for (int i = 0; i < ROUNDS && good; i++) {
		unsigned int begin = chance(BITS);
		unsigned int end = begin + chance(i % 3 ? 20 : BITS - begin);
		bool add = chance(2);

		end = end > BITS ? BITS : end;
		good = add ? !ranges_add(&ranges, begin, end, &err) :
			     !ranges_remove(&ranges, begin, end, &err);
		memset(bits + begin, add, end - begin);
		good = good && is_like(&ranges, bits) &&
		       check_questions(&ranges, bits);
	}
	ok(good, "ranges are like a bitmap");
	ok(budget_stats(budget).used > 0, "their memory is counted");
	ranges_free(&ranges);
	is_u64(budget_stats(budget).used, 0, "and given back");
	budget_free(budget);
}

static void test_ranges_limit(void)
{
	struct budget *budget;
	struct ranges ranges = { 0 };
	int ret = 0;

	ok(!budget_new(&budget, 4096, &err), "a small budget");
	ranges.budget = budget;
	for (unsigned int i = 0; i < 1000 && !ret; i++)
		ret = ranges_add(&ranges, 2 * i, 2 * i + 1, &err);
	ok(ret && err.kind == ERR_NOMEM, "many ranges need memory");
	error_clear(&err);
	is_u64(ranges.bytes, ranges.count, "what was there before still is");
	ranges_free(&ranges);
	budget_free(budget);
}

#define SPACE (12u << 20)

struct twin {
	struct budget *budget;
	struct scratch *scratch;
	struct spool *spool;
	char *plain;
};

static bool open_twin(struct twin *twin, uint64_t limit)
{
	const char *dir = getenv("TMPDIR");

	twin->plain = calloc(1, SPACE);
	return twin->plain && !budget_new(&twin->budget, 64 << 20, &err) &&
	       !scratch_new(&twin->scratch, dir ? dir : "/tmp", limit, &err) &&
	       !spool_new(&twin->spool, twin->scratch, twin->budget, &err);
}

static void close_twin(struct twin *twin)
{
	spool_free(twin->spool);
	is_u64(scratch_stats(twin->scratch).used, 0, "no scratch is in use");
	is_u64(budget_stats(twin->budget).used, 0, "no memory is in use");
	scratch_free(twin->scratch);
	budget_free(twin->budget);
	free(twin->plain);
}

static bool change(struct twin *twin)
{
	unsigned int at = chance(SPACE - 200000);
	unsigned int n = 1 + chance(200000);
	AUTO_FREE char *data = malloc(n);

	memset(data, (int)(1 + chance(255)), n);
	switch (chance(5)) {
	case 0:
		memset(twin->plain + at, 0, n);
		return !spool_write_zeroes(twin->spool, at, n, &err);
	case 1:
		memset(twin->plain + at, 0, n);
		return !spool_forget(twin->spool, at, n, &err);
	default:
		memcpy(twin->plain + at, data, n);
		return !spool_write(twin->spool, at, data, n, &err);
	}
}

static bool is_twin(struct twin *twin)
{
	AUTO_FREE char *data = malloc(SPACE);

	return data && !spool_read(twin->spool, 0, data, SPACE, &err) &&
	       !memcmp(data, twin->plain, SPACE);
}

/* All that is not zero is in ranges that say so. */
static bool is_told(struct twin *twin)
{
	struct range range;
	uint64_t at = 0;

	while (spool_next_stored(twin->spool, at, SPACE, &range)) {
		for (; at < range.begin; at++)
			if (twin->plain[at])
				return false;
		at = range.end;
	}
	for (; at < SPACE; at++)
		if (twin->plain[at])
			return false;
	return true;
}

static void test_spool(void)
{
	struct twin twin;
	bool good = true, was_memory;

	ok(open_twin(&twin, UINT64_MAX), "a spool");
	ok(is_twin(&twin), "is empty");
	for (int i = 0; i < 10 && good; i++)
		good = change(&twin);
	was_memory = spool_is_in_memory(twin.spool);
	ok(good && was_memory && is_twin(&twin), "in memory at first");
	is_u64(scratch_stats(twin.scratch).used, 0, "takes no scratch");
	memset(twin.plain, 7, 9 << 20);
	ok(!spool_write(twin.spool, 0, twin.plain, 9 << 20, &err),
	   "more than it keeps in memory");
	for (int i = 0; i < 300 && good; i++)
		good = change(&twin);
	ok(good && is_twin(&twin) && is_told(&twin), "has its bytes");
	ok(!spool_is_in_memory(twin.spool), "in scratch space by now");
	is_u64(scratch_stats(twin.scratch).used, spool_bytes(twin.spool),
	       "which is counted");
	ok(!spool_forget(twin.spool, 0, SPACE, &err), "all is forgotten");
	is_u64(spool_bytes(twin.spool), 0, "and takes nothing");
	close_twin(&twin);
}

static void test_spool_limit(void)
{
	static char data[1 << 20];
	struct twin twin;
	int ret = 0;

	ok(open_twin(&twin, 10 << 20), "a spool with little scratch space");
	memset(data, 1, sizeof(data));
	for (unsigned int i = 0; i < 12 && !ret; i++) {
		ret = spool_write(twin.spool, i * sizeof(data), data,
				  sizeof(data), &err);
		if (!ret)
			memcpy(twin.plain + i * sizeof(data), data,
			       sizeof(data));
	}
	ok(ret && err.errnum == ENOSPC, "it has an end");
	ok(strstr(err.text, "scratch-size"), "which names the option");
	error_clear(&err);
	ok(is_twin(&twin), "what was written before is good");
	close_twin(&twin);
}

int main(void)
{
	test_ranges();
	test_ranges_limit();
	test_spool();
	test_spool_limit();
	return tap_done();
}
