/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The extent collector: merging, clipping, fullness, data past the end. */
#include "config.h"

#include "format/extents.h"
#include "format/source.h"
#include "tests/tap.h"

static struct extents ex;

static void test_merge_and_clip(void)
{
	extents_init(&ex, 100, 1000, 0);
	ok(extents_zero(&ex, 0, 300), "zero before the range is clipped");
	is_u64(ex.items[0].offset, 100, "clipped offset");
	is_u64(ex.items[0].length, 200, "clipped length");
	ok(extents_zero(&ex, 300, 100), "second zero");
	is_u64(ex.count, 1, "equal neighbours merge");
	ok(!extents_parent(&ex, 400, 5000), "complete");
	is_u64(ex.items[1].length, 700, "cut at the end of the range");
	ok(extents_done(&ex), "done");
	ok(!extents_zero(&ex, 1100, 10), "takes no more");
}

static void test_data(struct source *source)
{
	extents_init(&ex, 4096, 8192, 0);
	ok(extents_data(&ex, 0, 8192, source, 100), "data");
	is_u64(ex.items[0].at, 100 + 4096, "clipping moves the source offset");
	ok(!extents_data(&ex, 8192, 8192, source, 100 + 8192), "more");
	is_u64(ex.count, 2, "data then bad");
	is_u64(ex.items[0].length, 10000 - 4196, "merged up to source's end");
	is_u64(ex.items[1].kind, EXTENT_BAD, "past the source's end is bad");
	is_u64(ex.filled, 8192, "all answered");
}

static void test_packed(struct source *source)
{
	struct extent unit = { .kind = EXTENT_PACKED, .offset = 65536,
			       .length = 65536, .source = source,
			       .unpacked = 65536, .bound = 70 };

	extents_init(&ex, 65536 + 512, 512, 0);
	ok(!extents_add(&ex, &unit), "one unit covers the question");
	is_u64(ex.items[0].offset, 65536, "a unit is not clipped");
	is_u64(ex.items[0].length, 65536, "nor cut");
}

static void test_full(struct source *source)
{
	uint64_t i;

	extents_init(&ex, 0, 1 << 20, 0);
	for (i = 0; i < 2000; i++)
		if (!(i % 2 ? extents_zero(&ex, i * 8, 8) :
		      extents_data(&ex, i * 8, 8, source, 0)))
			break;
	is_u64(i, EXTENTS_MAX, "refuses when full");
	is_u64(ex.count, EXTENTS_MAX, "holds the maximum");
	is_u64(extents_next(&ex), EXTENTS_MAX * 8, "knows how far it got");
}

int main(void)
{
	static char data[10000];
	struct source *source;
	struct error err;

	succeeds(source_memory(&source, "test", data, sizeof(data), &err),
		 &err, "memory source");
	test_merge_and_clip();
	test_data(source);
	test_packed(source);
	test_full(source);
	source_unref(source);
	return tap_done();
}
