/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Packing: what comes out is a zlib stream that zlib itself unpacks to the
 * same bytes, never longer than promised, and the same each time. */
#include "config.h"

#include <zlib.h>

#include "common/packer.h"
#include "tests/tap.h"

#define UNIT (64u << 10)

/* packer.c again, with zlib alone (tests/unit/packer-zlib.c). */
int zlib_packer_new(struct packer **out, enum packer_level level,
		    struct error *err);
void zlib_packer_free(struct packer *packer);
int zlib_packer_zlib(struct packer *packer, const void *in, size_t len,
		     void *out, size_t cap, size_t *out_len,
		     struct error *err);
const char *zlib_packer_name(enum packer_level level);

static unsigned char plain[16 * UNIT], packed[17 * UNIT], again[17 * UNIT];
static unsigned char unpacked[16 * UNIT];

enum { ZEROES, WORDS, NARROW, RANDOM, KINDS };

static void fill(unsigned int kind)
{
	static const unsigned char words[] = "some words ";
	uint32_t seed = kind + 1;

	for (size_t i = 0; i < sizeof(plain); i++) {
		seed = seed * 1664525 + 1013904223;
		plain[i] = (unsigned char)(kind == ZEROES ? 0 :
			   kind == WORDS ? words[i % 11] :
			   kind == NARROW ? (seed >> 24) & 7 : seed >> 24);
	}
}

static bool unpacks(const unsigned char *stream, size_t stream_len, size_t len)
{
	uLongf got = sizeof(unpacked);

	return uncompress(unpacked, &got, stream, stream_len) == Z_OK &&
	       got == len && !memcmp(unpacked, plain, len);
}

/* Every length packs to what unpacks again, within the bound, twice alike. */
static void try_lengths(struct packer *packer,
			int (*pack)(struct packer *, const void *, size_t,
				    void *, size_t, size_t *, struct error *),
			const char *name, unsigned int kind)
{
	static const size_t lengths[] = { 1, 511, 512, 9999, 65535, UNIT,
					  UNIT + 1, 16 * UNIT };
	struct error err = { 0 };
	size_t n, m;

	fill(kind);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t len = lengths[i], cap = packer_bound(len);
		bool good;

		packed[cap] = 0xa5;
		good = !pack(packer, plain, len, packed, cap, &n, &err) &&
		       n <= cap && packed[cap] == 0xa5 &&
		       unpacks(packed, n, len) &&
		       !pack(packer, plain, len, again, cap, &m, &err) &&
		       n == m && !memcmp(packed, again, n);
		if (!good)
			ok(false, "%s: kind %u, %zu bytes: %s", name, kind,
			   len, err.text);
	}
}

static void test_level(enum packer_level level)
{
	struct packer *own, *zlib;
	struct error err;

	succeeds(packer_new(&own, level, &err), &err, packer_name(level));
	succeeds(zlib_packer_new(&zlib, level, &err), &err,
		 zlib_packer_name(level));
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		try_lengths(own, packer_zlib, packer_name(level), kind);
		try_lengths(zlib, zlib_packer_zlib, zlib_packer_name(level),
			    kind);
	}
	zlib_packer_free(zlib);
	packer_free(own);
}

static size_t packed_size(enum packer_level level)
{
	struct packer *packer;
	size_t n = 0;

	if (packer_new(&packer, level, NULL) ||
	    packer_zlib(packer, plain, UNIT, packed, sizeof(packed), &n, NULL))
		abort();
	packer_free(packer);
	return n;
}

static void test_order(void)
{
	size_t fast, small, smallest;

	fill(NARROW);
	fast = packed_size(PACKER_FAST);
	small = packed_size(PACKER_SMALL);
	smallest = packed_size(PACKER_SMALLEST);
	ok(fast < UNIT / 2 && small <= fast && smallest <= small,
	   "smaller by level: %zu, %zu, %zu", fast, small, smallest);
}

static void test_words(void)
{
	enum packer_level level = PACKER_SMALL;

	ok(packer_level_find("fast", &level) && level == PACKER_FAST, "fast");
	ok(packer_level_find("small", &level) && level == PACKER_SMALL,
	   "small");
	ok(packer_level_find("smallest", &level) && level == PACKER_SMALLEST,
	   "smallest");
	ok(!packer_level_find("9", &level) && level == PACKER_SMALLEST,
	   "no other word");
	packer_free(NULL);
}

int main(void)
{
	test_level(PACKER_FAST);
	test_level(PACKER_SMALL);
	test_level(PACKER_SMALLEST);
	test_order();
	test_words();
	return tap_done();
}
