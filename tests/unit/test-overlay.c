/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Overlays: random writes one over the other against the same writes made
 * to a copy, read in random pieces. */
#include "config.h"

#include "common/budget.h"
#include "format/overlay.h"
#include "tests/tap.h"
#include "tests/unit/counted-source.h"

#define BELOW  (48u << 10)
#define SIZE   (64u << 10)
#define WRITES 200

static uint32_t state = 7;

static uint32_t next_random(uint32_t below)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % below;
}

static uint8_t data[BELOW], copy[SIZE], source_bytes[SIZE];

/* A write of some multiple of 16 bytes, every third one of zeroes. */
static void make_write(struct overlay_write *write)
{
	write->offset = next_random(SIZE / 16 - 1) * 16;
	write->length = 16 * (1 + next_random(min_u64(
		256, SIZE / 16 - write->offset / 16)));
	write->data = next_random(3) ? source_bytes + next_random(16) : NULL;
	if (write->data && write->length > SIZE - 16)
		write->length = SIZE - 16;
	if (write->data)
		memcpy(copy + write->offset, write->data, write->length);
	else
		memset(copy + write->offset, 0, write->length);
}

/* One read in three pieces of memory; true if it gives what copy has. */
static bool read_matches(struct source *overlay)
{
	static uint8_t buf[SIZE];
	uint64_t offset = next_random(SIZE - 8);
	uint64_t len = 3 + next_random((uint32_t)(SIZE - offset - 3));
	struct iovec iov[3] = { { buf, 1 }, { buf + 1, len / 2 },
				{ buf + 1 + len / 2, len - 1 - len / 2 } };
	struct error err = { 0 };

	memset(buf, 0xcc, sizeof(buf));
	return !source_readv(overlay, offset, iov, 3, 0, &err) &&
	       !memcmp(buf, copy + offset, len);
}

static void test_random(struct source *below, size_t n)
{
	struct overlay_write writes[WRITES];
	struct source *overlay;
	struct error err;
	int wrong = 0;

	memset(copy, 0, sizeof(copy));
	memcpy(copy, data, sizeof(data));
	for (size_t i = 0; i < n; i++)
		make_write(&writes[i]);
	succeeds(source_overlay(&overlay, below, SIZE, writes, n, NULL, &err),
		 &err, "overlay");
	is_u64(overlay->size, SIZE, "its size");
	for (int i = 0; i < 500; i++)
		wrong += !read_matches(overlay);
	is_u64(wrong, 0, "random reads");
	source_unref(overlay);
}

static void test_bounds(struct source *below)
{
	struct overlay_write far[2] = {
		{ 1ull << 62, 1ull << 61, NULL },
		{ (1ull << 62) + 100, 1, (const uint8_t *)"x" },
	};
	struct source *overlay;
	struct error err;
	uint8_t got[3];

	succeeds(source_overlay(&overlay, below, INT64_MAX, far, 2, NULL,
				&err), &err, "far out");
	succeeds(source_read(overlay, (1ull << 62) + 99, got, 3, 0, &err),
		 &err, "read there");
	is_mem(got, "\0x", 3, "what was written there");
	fails_with(source_read(overlay, INT64_MAX, got, 1, 0, &err), &err,
		   ERR_CORRUPT, "ends at", "behind the end");
	source_unref(overlay);
}

static void test_budget(struct source *below)
{
	struct overlay_write write = { 0, 4096, source_bytes };
	struct budget *budget;
	struct source *overlay;
	struct error err;

	succeeds(budget_new(&budget, 5000, &err), &err, "budget");
	succeeds(source_overlay(&overlay, below, SIZE, &write, 1, budget,
				&err), &err, "fits");
	ok(budget_stats(budget).used >= 4096, "is counted");
	source_unref(overlay);
	is_u64(budget_stats(budget).used, 0, "and given back");
	write.length = 8192;
	fails_with(source_overlay(&overlay, below, SIZE, &write, 1, budget,
				  &err), &err, ERR_NOMEM, "memory=",
		   "does not fit");
	ok(!overlay, "no overlay then");
	is_u64(budget_stats(budget).used, 0, "nothing kept");
	budget_free(budget);
}

int main(void)
{
	struct counted *below;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 >> 4);
	for (size_t i = 0; i < sizeof(source_bytes); i++)
		source_bytes[i] = (uint8_t)(i * 73 + 5);
	below = counted_new("below", data, sizeof(data), sizeof(data));
	test_random(&below->source, 0);
	test_random(&below->source, 1);
	for (int i = 0; i < 20; i++)
		test_random(&below->source, 1 + next_random(WRITES - 1));
	test_bounds(&below->source);
	test_budget(&below->source);
	source_unref(&below->source);
	return tap_done();
}
