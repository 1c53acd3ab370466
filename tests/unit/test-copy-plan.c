/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Plans of copies, by arithmetic alone: each byte of the object once, every
 * limit of the store kept, no more fetched than need be. That it cannot be
 * less is seen with small limits, where all ways can be tried.
 *
 * VMIEFS_ROUNDS and VMIEFS_SEED look further, or at one that failed. */
#include "config.h"

#include "common/checked.h"
#include "store/compose.h"
#include "store/copy-plan.h"
#include "store/store.h"
#include "tests/tap.h"

#define KiB (1ull << 10)
#define MiB (1ull << 20)
#define GiB (1ull << 30)
#define TiB (1ull << 40)

#define PIECES_MAX 70000

static uint64_t random_state;

static uint64_t random_up_to(uint64_t max)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return max == UINT64_MAX ? random_state : random_state % (max + 1);
}

static struct store_piece pieces[PIECES_MAX];
static struct object_info infos[PIECES_MAX];
static char keys[PIECES_MAX][8];
static size_t piece_count;

static void begin(void)
{
	piece_count = 0;
}

/* Bytes of ours; never read. */
static void add_data(uint64_t length)
{
	pieces[piece_count++] = (struct store_piece){ .data = "",
						      .length = length };
}

/* A range of an object of its own with that size. */
static void add_range(uint64_t size, uint64_t offset, uint64_t length)
{
	size_t i = piece_count++;

	infos[i] = (struct object_info){ .size = size, .etag = "e" };
	snprintf(keys[i], sizeof(keys[i]), "%zu", i);
	pieces[i] = (struct store_piece){ NULL, keys[i], &infos[i], offset,
					  length };
}

/* The next bytes of the object of the last range. */
static void add_more(uint64_t length)
{
	const struct store_piece *last = &pieces[piece_count - 1];

	while (last->data)
		last--;
	pieces[piece_count++] = (struct store_piece){
		NULL, last->key, last->info, last->offset + last->length,
		length
	};
}

static uint64_t total_of_pieces(void)
{
	uint64_t total = 0;

	for (size_t i = 0; i < piece_count; i++)
		total += pieces[i].length;
	return total;
}

/* Does the part lie in one object, in a row, which may be copied from? */
static const char *check_source(const struct copy_plan *plan,
				const struct copy_part *part,
				const struct copy_limits *limits)
{
	uint64_t within, end = part->offset + part->length;
	size_t i = copy_plan_find(plan, part->offset, &within);
	const struct store_piece *first = &pieces[i];
	uint64_t at = plan->starts[i];

	if (first->data)
		return "bytes of ours are copied";
	if (at + within != part->offset || within >= first->length)
		return "the wrong piece was found";
	if (first->info->size <= limits->source_min)
		return "from an object that is too small";
	if (!in_range(first->offset + within, part->length,
		      first->info->size))
		return "more than the object has";
	for (; at < end; at += pieces[i++].length)
		if (pieces[i].length &&
		    (pieces[i].data || pieces[i].key != first->key ||
		     pieces[i].offset != first->offset + at -
					 plan->starts[first - pieces]))
			return "two objects in one part";
	return NULL;
}

static const char *check_part(const struct copy_plan *plan, size_t i,
			      const struct copy_limits *limits)
{
	const struct copy_part *part = &plan->parts[i];

	if (i + 1 < plan->count && part->length < limits->part_min)
		return "a part that is too small";
	if (!part->length)
		return "an empty part";
	if (part->length > limits->part_max)
		return "a part that is too large";
	if (!part->is_copy)
		return part->length > limits->put_max ?
			"a part that is too large for memory" : NULL;
	return check_source(plan, part, limits);
}

static const char *check_plan(const struct copy_plan *plan,
			      const struct copy_limits *limits)
{
	uint64_t at = 0, sent = 0, ours = 0;

	if (plan->way == COPY_WHOLE)
		return plan->count ? "parts of an object as a whole" : NULL;
	if (plan->way == COPY_PUT &&
	    (plan->count != 1 || plan->parts->is_copy))
		return "more than one thing to put";
	if (plan->count > limits->parts_max)
		return "too many parts";
	for (size_t i = 0; i < plan->count; i++) {
		const char *bad = check_part(plan, i, limits);

		if (bad && (plan->way == COPY_PARTS || plan->parts->length))
			return bad;
		if (plan->parts[i].offset != at)
			return "a gap, or a byte twice";
		at += plan->parts[i].length;
		if (!plan->parts[i].is_copy)
			sent += plan->parts[i].length;
	}
	for (size_t i = 0; i < piece_count; i++)
		if (pieces[i].data)
			ours += pieces[i].length;
	if (at != total_of_pieces())
		return "not all bytes";
	if (sent != plan->sent || sent - ours != plan->fetched)
		return "miscounted";
	return NULL;
}

/* Plan the pieces and check that; false where even that failed. */
static bool plan_pieces(struct copy_plan *plan,
			const struct copy_limits *limits, const char *what)
{
	struct error err;
	const char *bad;

	succeeds(copy_plan_make(plan, pieces, piece_count, limits, &err), &err,
		 what);
	if (err.kind)
		return false;
	bad = check_plan(plan, limits);
	ok(!bad, "%s: %s", what, bad ? bad : "all limits kept");
	return true;
}

static void is_planned(const char *what, enum copy_way way, size_t count,
		       uint64_t fetched)
{
	struct copy_plan plan;

	if (!plan_pieces(&plan, &s3_copy_limits, what))
		return;
	is_u64(plan.way, way, "the way");
	is_u64(plan.count, count, "the number of parts");
	is_u64(plan.fetched, fetched, "bytes that are fetched");
	copy_plan_free(&plan);
}

static void test_simple(void)
{
	begin();
	is_planned("nothing", COPY_PUT, 1, 0);
	add_data(0);
	is_planned("no bytes", COPY_PUT, 1, 0);
	begin();
	add_data(5);
	add_data(1000);
	is_planned("few bytes", COPY_PUT, 1, 0);
	begin();
	add_range(0, 0, 0);
	is_planned("an empty object", COPY_PUT, 1, 0);
	begin();
	add_range(1, 0, 1);
	is_planned("a small object", COPY_WHOLE, 0, 0);
	begin();
	add_range(5 * GiB, 0, 5 * GiB);
	is_planned("the largest copied at once", COPY_WHOLE, 0, 0);
	begin();
	add_range(5 * GiB, 0, 3 * GiB);
	add_data(0);
	add_more(2 * GiB);
	is_planned("the same in two pieces", COPY_WHOLE, 0, 0);
	begin();
	add_range(5 * GiB + 1, 0, 5 * GiB + 1);
	is_planned("a larger one", COPY_PARTS, 21, 0);
	begin();
	add_range(20 * MiB, 1, 20 * MiB - 1);
	is_planned("all but a byte", COPY_PARTS, 1, 0);
	begin();
	add_range(5 * MiB, 1, 5 * MiB - 1);
	is_planned("the same of a small one", COPY_PUT, 1, 5 * MiB - 1);
	begin();
	add_range(5 * MiB + 1, 7, 9);
	is_planned("a few bytes of a larger one", COPY_PARTS, 1, 0);
	begin();
	add_data(100 * MiB);
	is_planned("bytes for some parts", COPY_PARTS, 7, 0);
}

static void test_gaps(void)
{
	begin();
	add_data(1000);
	add_range(20 * MiB, 0, 20 * MiB);
	is_planned("a head", COPY_PARTS, 2, 5 * MiB - 1000);
	add_data(512);
	add_range(20 * MiB, 0, 20 * MiB);
	add_data(1024);
	is_planned("an archive of two", COPY_PARTS, 5,
		   10 * MiB - 1000 - 512);
	begin();
	add_range(20 * MiB, 0, 20 * MiB);
	add_range(20 * MiB, 5, 20 * MiB - 5);
	add_range(20 * MiB, 0, 1);
	is_planned("no gaps", COPY_PARTS, 3, 0);
	begin();
	add_range(20 * MiB, 0, 20 * MiB);
	add_range(5 * MiB, 0, 5 * MiB);
	add_range(20 * MiB, 0, 20 * MiB);
	is_planned("a small object between", COPY_PARTS, 3, 5 * MiB);
	begin();
	add_range(9 * MiB, 0, 9 * MiB);
	add_data(1);
	add_range(9 * MiB, 0, 9 * MiB);
	is_planned("both lend", COPY_PARTS, 3, 5 * MiB - 1);
	begin();
	add_range(GiB, 0, GiB);
	add_data(1);
	add_range(6 * MiB, 0, 6 * MiB);
	add_data(1);
	add_range(GiB, 0, GiB);
	is_planned("one between two gaps is better fetched", COPY_PARTS, 9,
		   6 * MiB);
	begin();
	add_range(6 * MiB, 0, 6 * MiB);
	add_data(1);
	add_range(6 * MiB, 0, 6 * MiB);
	add_data(100);
	is_planned("neither has enough for itself and the gap", COPY_PARTS, 3,
		   6 * MiB);
	begin();
	add_range(9 * MiB, 0, 9 * MiB);
	add_range(9 * MiB, 0, 4 * MiB);
	add_range(9 * MiB, 0, 9 * MiB);
	is_planned("a short range", COPY_PARTS, 3, 5 * MiB);
	begin();
	add_range(9 * MiB, 0, 9 * MiB);
	add_data(0);
	add_range(9 * MiB, 0, 9 * MiB);
	add_data(1);
	is_planned("no bytes are no gap", COPY_PARTS, 3, 0);
}

static void test_odd(void)
{
	struct copy_limits limits = s3_copy_limits;
	struct copy_plan plan;

	limits.odd = "%!";
	begin();
	add_range(20 * MiB, 0, 20 * MiB - 1);
	add_range(20 * MiB, 0, 20 * MiB);
	snprintf(keys[1], sizeof(keys[1]), "1%%");
	if (!plan_pieces(&plan, &limits, "an odd key"))
		return;
	is_u64(plan.fetched, 20 * MiB, "is fetched, and only that");
	copy_plan_free(&plan);
}

/* Of 5 TiB, and more. */
static void test_large(void)
{
	struct copy_plan plan;
	struct error err;

	begin();
	add_range(5 * TiB, 0, 5 * TiB);
	is_planned("5 TiB", COPY_PARTS, 5120, 0);
	begin();
	add_data(1);
	for (uint64_t i = 0; i < 5; i++)
		add_range(TiB, 0, TiB - i);
	is_planned("5 TiB with a head", COPY_PARTS, 5121, 5 * MiB - 1);
	begin();
	add_data(600 * GiB);
	is_planned("600 GiB to be sent", COPY_PARTS, 9600, 0);
	begin();
	add_data(626 * GiB);
	fails_with(copy_plan_make(&plan, pieces, piece_count, &s3_copy_limits,
				  &err), &err, ERR_LIMIT, "of memory",
		   "more than parts in memory hold");
	begin();
	add_range(60 * TiB, 0, 60 * TiB);
	fails_with(copy_plan_make(&plan, pieces, piece_count, &s3_copy_limits,
				  &err), &err, ERR_LIMIT, "53687091200000",
		   "more than an object can have");
	begin();
	for (uint64_t i = 0; i < 65537; i++)
		add_data(1);
	fails_with(copy_plan_make(&plan, pieces, piece_count, &s3_copy_limits,
				  &err), &err, ERR_LIMIT, "65536",
		   "more pieces than one plan has");
}

/* More ranges than parts: some share one, and no more than need be. */
static void test_many(void)
{
	struct copy_plan plan;

	begin();
	for (unsigned int i = 0; i < 9999; i++)
		add_range(GiB, i, 6 * MiB);
	is_planned("as many as parts", COPY_PARTS, 9999, 0);
	begin();
	for (unsigned int i = 0; i < 20000; i++)
		add_range(GiB, i, 6 * MiB);
	add_range(TiB, 0, TiB);
	if (plan_pieces(&plan, &s3_copy_limits, "twice as many")) {
		ok(plan.count > 9900, "the parts are used: %zu", plan.count);
		ok(plan.fetched < 14000ull * 6 * MiB, "%llu MiB fetched",
		   (unsigned long long)(plan.fetched / MiB));
		copy_plan_free(&plan);
	}
	begin();
	for (unsigned int i = 0; i < 65536; i++)
		add_range(4 * MiB, 0, MiB);
	if (plan_pieces(&plan, &s3_copy_limits, "many small objects")) {
		is_u64(plan.fetched, 64 * GiB, "all fetched");
		copy_plan_free(&plan);
	}
}

/* The least that can be fetched, trying all ways. */

static const struct copy_limits small = {
	.part_min = 5,
	.part_max = 40,
	.parts_max = 1000,
	.source_min = 5,
	.whole_max = 40,
	.copy_bytes = 10,
	.put_bytes = 10,
	.put_max = 20,
};

#define RUNS 6 /* a run of sent bytes: 0 to 4, or enough */

static uint64_t enough(uint64_t run)
{
	return min_u64(run, small.part_min);
}

static uint64_t least(size_t i, uint64_t run, uint64_t memory[][RUNS]);

/* Copy all of a piece but `before` and `behind`. */
static uint64_t least_copied(size_t i, uint64_t run, uint64_t memory[][RUNS])
{
	const struct store_piece *piece = &pieces[i];
	uint64_t best = UINT64_MAX;

	for (uint64_t before = 0; before < piece->length; before++)
		for (uint64_t behind = 0; before + behind < piece->length;
		     behind++) {
			uint64_t middle = piece->length - before - behind;
			bool is_end = i + 1 == piece_count && !behind;

			if ((run + before && run + before < small.part_min) ||
			    (middle < small.part_min && !is_end) ||
			    behind > small.part_min)
				continue;
			best = min_u64(best, before + behind +
				       least(i + 1, enough(behind), memory));
		}
	return best;
}

static uint64_t least(size_t i, uint64_t run, uint64_t memory[][RUNS])
{
	const struct store_piece *piece = &pieces[i];
	uint64_t best;

	if (i == piece_count)
		return 0;
	if (memory[i][run] != UINT64_MAX)
		return memory[i][run];
	best = least(i + 1, enough(run + piece->length), memory);
	if (!piece->data)
		best += piece->length;
	if (!piece->data && piece->info->size > small.source_min) {
		uint64_t copied = least_copied(i, run, memory);

		best = min_u64(best, copied);
	}
	memory[i][run] = best;
	return best;
}

static void random_small(void)
{
	size_t n = (size_t)random_up_to(9);

	begin();
	while (n--) {
		uint64_t length = 1 + random_up_to(random_up_to(3) ? 15 : 40);

		if (!random_up_to(2))
			add_data(1 + random_up_to(5));
		else
			add_range(length + random_up_to(3), 0, length);
	}
}

static bool is_least(void)
{
	static uint64_t memory[PIECES_MAX][RUNS];
	struct copy_plan plan;
	struct error err = { 0 };
	uint64_t want, got;
	const char *bad;

	memset(memory, 0xff, sizeof(memory[0]) * (piece_count + 1));
	want = least(0, 0, memory);
	if (copy_plan_make(&plan, pieces, piece_count, &small, &err))
		return ok(false, "no plan: %s", err.text);
	bad = check_plan(&plan, &small);
	got = plan.way == COPY_WHOLE ? want : plan.fetched;
	copy_plan_free(&plan);
	if (bad)
		return ok(false, "%s", bad);
	if (got == want)
		return true;
	return ok(false, "%llu fetched, %llu would do",
		  (unsigned long long)got, (unsigned long long)want);
}

/* Random ones up to 5 TiB. */

static uint64_t random_length(void)
{
	switch (random_up_to(5)) {
	case 0:
		return random_up_to(5000);
	case 1:
		return random_up_to(12 * MiB);
	case 2:
		return 5 * MiB + random_up_to(2) - 1;
	case 3:
		return random_up_to(GiB);
	default:
		return random_up_to(60 * GiB);
	}
}

static void random_large(void)
{
	size_t n = (size_t)random_up_to(200);
	uint64_t total = 0;

	begin();
	while (n--) {
		uint64_t length = random_length();

		if (total + length > 5 * TiB)
			return;
		total += length;
		if (random_up_to(3)) {
			uint64_t half = length / 2;

			add_range(length + random_up_to(9 * MiB), 0, half);
			if (!random_up_to(3))
				add_data(0);
			if (!random_up_to(3))
				add_more(length - half);
		} else {
			add_data(length % (8 * MiB));
		}
	}
}

/* Not more than: what cannot be copied, spans that could not lend to both
 * sides, and a part for each gap. */
static uint64_t bound(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < piece_count; i++) {
		if (pieces[i].data)
			sum += 5 * MiB;
		else if (pieces[i].length < 15 * MiB ||
			 pieces[i].info->size <= 5 * MiB)
			sum += pieces[i].length + 5 * MiB;
	}
	return sum;
}

static bool is_good_large(void)
{
	struct copy_plan plan;
	struct error err = { 0 };
	const char *bad;

	if (copy_plan_make(&plan, pieces, piece_count, &s3_copy_limits, &err))
		return ok(false, "no plan: %s", err.text);
	bad = check_plan(&plan, &s3_copy_limits);
	if (!bad && plan.fetched > bound())
		bad = "more is fetched than ever needed";
	if (bad)
		ok(false, "%s", bad);
	copy_plan_free(&plan);
	return !bad;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_random(const char *what, uint64_t rounds,
			void (*make)(void), bool (*check)(void))
{
	uint64_t seed = from_environment("VMIEFS_SEED", 1);
	uint64_t good = 0;

	rounds = from_environment("VMIEFS_ROUNDS", rounds);
	for (uint64_t i = 0; i < rounds; i++) {
		random_state = (seed + i) * 0x9e3779b97f4a7c15;
		make();
		if (!check()) {
			printf("# seed %llu\n", (unsigned long long)seed + i);
			return;
		}
		good++;
	}
	is_u64(good, rounds, what);
}

int main(void)
{
	test_simple();
	test_gaps();
	test_odd();
	test_large();
	test_many();
	test_random("small ones: nothing fetched in vain", 20000,
		    random_small, is_least);
	test_random("large ones", 2000, random_large, is_good_large);
	return tap_done();
}
