/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Blocks: runs of bits in both orders against a naive count, tails that the
 * container cuts off, sector bitmaps and errors in reading them. */
#include "config.h"

#include "format/block.h"
#include "format/source.h"
#include "tests/tap.h"

static struct extents ex;

static bool naive_bit(const uint8_t *bits, size_t i, enum bit_order order)
{
	return order == BITS_MSB_FIRST ? bits[i >> 3] & (0x80 >> (i & 7)) :
					 bits[i >> 3] & (1 << (i & 7));
}

static size_t naive_run(const uint8_t *bits, size_t from, size_t to,
			enum bit_order order)
{
	size_t i = from;

	while (i < to && naive_bit(bits, i, order) ==
			 naive_bit(bits, from, order))
		i++;
	return i - from;
}

static void test_runs(enum bit_order order)
{
	uint8_t bits[32];
	uint32_t seed = 1;
	size_t wrong = 0;

	for (int round = 0; round < 500; round++) {
		for (size_t i = 0; i < sizeof(bits); i++) {
			seed = seed * 1103515245 + 12345;
			/* Mostly whole bytes of equal bits. */
			bits[i] = seed >> 28 < 12 ? (seed >> 20 & 1) * 0xff :
						    (uint8_t)(seed >> 16);
		}
		for (size_t from = 0; from < 256; from += 3) {
			size_t to = from + 1 + seed % (256 - from);
			bool set;

			wrong += bit_run(bits, from, to, order, &set) !=
				 naive_run(bits, from, to, order);
			wrong += set != naive_bit(bits, from, order);
		}
	}
	is_u64(wrong, 0, order == BITS_MSB_FIRST ? "runs, MSB first" :
						   "runs, LSB first");
}

static void test_cut(struct source *source)
{
	struct block block = { .offset = 8192, .length = 8192,
			       .source = source, .at = 4096, .end = 8192 };

	extents_init(&ex, 8192, 8192, 0);
	block_add_data(&ex, &block);
	is_u64(ex.count, 2, "stored and cut");
	is_u64(ex.items[0].length, 4096, "what is there");
	is_u64(ex.items[1].kind, EXTENT_BAD, "the rest is damage");
	block.cut_is_zero = true;
	extents_init(&ex, 8192 + 4096, 100, 0);
	block_add_data(&ex, &block);
	is_u64(ex.items[0].kind, EXTENT_ZERO, "or zeroes");
	is_u64(ex.items[0].offset, 8192 + 4096, "asked from within");
	block.at = UINT64_MAX - 100;
	extents_init(&ex, 8192, 8192, 0);
	block_add_data(&ex, &block);
	is_u64(ex.count, 1, "a block far behind the end");
	is_u64(ex.items[0].length, 8192, "is all cut");
}

/* 64 sectors: bits f0 00 ff 01 0f 80 aa fe, MSB first. */
static void test_sectors(struct source *source, struct source *bits)
{
	struct block block = { .offset = 0, .length = 64 * 512 - 100,
			       .source = source, .at = 0, .end = 1 << 20 };
	struct sector_bitmap bitmap = { .tables = bits, .sector_bytes = 512,
					.order = BITS_MSB_FIRST };
	struct error err = { 0 };

	extents_init(&ex, 0, block.length, 0);
	succeeds(block_add_sectors(&ex, &block, &bitmap, &err), &err, "bits");
	is_u64(ex.count, 18, "pieces");
	is_u64(ex.items[0].length, 4 * 512, "own first");
	is_u64(ex.items[1].kind, EXTENT_PARENT, "then the parent's");
	is_u64(ex.items[1].length, 12 * 512, "over two bytes");
	is_u64(ex.items[2].at, 16 * 512, "own again, at its place");
	is_u64(ex.items[17].length, 512 - 100, "a partial last sector");
	extents_init(&ex, 5 * 512 + 7, 1, 0);
	succeeds(block_add_sectors(&ex, &block, &bitmap, &err), &err, "byte");
	is_u64(ex.count, 1, "one piece for one byte");
	is_u64(ex.items[0].kind, EXTENT_PARENT, "the parent's");
	bitmap.at = 4;
	extents_init(&ex, 0, block.length, 0);
	fails_with(block_add_sectors(&ex, &block, &bitmap, &err), &err,
		   ERR_CORRUPT, "ends at byte 8", "bits past the end");
	extents_init(&ex, 0, block.length, 0);
	ex.filled = ex.count = 1;
	ex.items[0] = (struct extent){ .length = 1 };
	succeeds(block_add_sectors(&ex, &block, &bitmap, &err), &err,
		 "a failure behind the first piece waits");
	ok(err.kind == ERR_NONE, "and leaves no error");
}

int main(void)
{
	static const uint8_t pattern[8] = { 0xf0, 0x00, 0xff, 0x01,
					    0x0f, 0x80, 0xaa, 0xfe };
	static uint8_t data[1 << 20];
	struct source *source, *bits;
	struct error err;

	succeeds(source_memory(&source, "data", data, sizeof(data), &err),
		 &err, "data");
	succeeds(source_memory(&bits, "bits", pattern, sizeof(pattern), &err),
		 &err, "bits");
	test_runs(BITS_MSB_FIRST);
	test_runs(BITS_LSB_FIRST);
	test_cut(source);
	test_sectors(source, bits);
	source_unref(source);
	source_unref(bits);
	return tap_done();
}
