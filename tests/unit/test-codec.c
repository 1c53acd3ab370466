/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Unpacking: what the codec is built with and plain zlib agree on every
 * input, good or damaged. */
#include "config.h"

#include <pthread.h>
#include <zlib.h>

#include "common/codec.h"
#include "tests/tap.h"

#define UNIT 65536

/* codec.c again, without libdeflate (tests/unit/codec-zlib.c). */
int zlib_codec_unzlib(const void *in, size_t in_len, void *out, size_t cap,
		      size_t *out_len, struct error *err);
const char *zlib_codec_unpacker_name(void);

static unsigned char plain[UNIT], packed[2 * UNIT];
static size_t plain_len; /* of what was packed last */
static unsigned char out_a[UNIT + 1], out_b[UNIT + 1];

/* Both unpack in[0..len) to at most cap bytes; they must do the same. True
 * if both succeeded. (A damaged stream whose bytes and checksum still come out
 * right is an exception: libdeflate takes some incomplete code tables that
 * zlib refuses.) */
static bool agree(const void *in, size_t len, size_t cap, const char *what)
{
	struct error err_a = { 0 }, err_b = { 0 };
	size_t len_a = 0, len_b = 0;
	int a = codec_unzlib(in, len, out_a, cap, &len_a, &err_a);
	int b = zlib_codec_unzlib(in, len, out_b, cap, &len_b, &err_b);

	if (a != b && a == 0 && len_a == plain_len &&
	    !memcmp(out_a, plain, plain_len))
		return false;
	if (a != b || err_a.kind != err_b.kind ||
	    (a == 0 && (len_a != len_b || memcmp(out_a, out_b, len_a) != 0)))
		ok(false, "%s: %d, %s, %zu bytes but zlib %d, %s, %zu bytes",
		   what, a, err_a.text, len_a, b, err_b.text, len_b);
	return a == 0 && b == 0;
}

/* Text-like, repeating or random bytes. */
static void fill(unsigned int kind)
{
	static const unsigned char words[] = "some words ";
	uint32_t seed = kind + 1;

	for (size_t i = 0; i < UNIT; i++) {
		seed = seed * 1664525 + 1013904223;
		plain[i] = (unsigned char)(kind == 0 ? 0 :
			   kind == 1 ? words[i % 11] :
			   kind == 2 ? (seed >> 24) & 7 : seed >> 24);
	}
}

static size_t pack(size_t len, int level, int window)
{
	z_stream zs = { 0 };

	if (deflateInit2(&zs, level, Z_DEFLATED, window, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	plain_len = len;
	zs.next_in = plain;
	zs.avail_in = (uInt)len;
	zs.next_out = packed;
	zs.avail_out = sizeof(packed);
	if (deflate(&zs, Z_FINISH) != Z_STREAM_END)
		abort();
	deflateEnd(&zs);
	return zs.total_out;
}

static void test_good(void)
{
	static const size_t lengths[] = { 0, 1, 511, 4096, UNIT };
	unsigned int good = 0, tried = 0;

	for (unsigned int kind = 0; kind < 4; kind++) {
		fill(kind);
		for (int level = 0; level <= 9; level += 3) {
			for (size_t i = 0; i < 5; i++) {
				size_t len = pack(lengths[i], level,
						  9 + level % 7);

				tried++;
				good += agree(packed, len, UNIT, "good") &&
					!memcmp(out_a, plain, lengths[i]);
				memset(packed + len, 0x5a, 600);
				tried++;
				good += agree(packed, len + 600, UNIT,
					      "with bytes behind it");
			}
		}
	}
	is_u64(good, tried, "every good stream gives its bytes");
}

static void test_capacity(void)
{
	struct error err;
	size_t len, out_len;

	fill(2);
	len = pack(10000, 6, 15);
	ok(agree(packed, len, 10000, "exact"), "exactly the room");
	ok(!agree(packed, len, 9999, "short"), "a byte less");
	out_a[9999] = 0xa5;
	fails_with(codec_unzlib(packed, len, out_a, 9999, &out_len, &err),
		   &err, ERR_CORRUPT, "more than 9999 bytes", "it says why");
	is_u64(out_a[9999], 0xa5, "nothing behind the room is touched");
	ok(!agree(packed, len, 0, "none"), "no room at all");
	ok(!agree(packed, 0, 100, "empty input"), "no input");
}

static void test_damage(void)
{
	unsigned int good = 0, tried = 0;
	size_t len;

	fill(1);
	len = pack(3000, 6, 15);
	for (size_t cut = 0; cut < len; cut++)
		good += agree(packed, cut, UNIT, "cut off");
	is_u64(good, 0, "no stream that is cut off unpacks");
	for (size_t bit = 0; bit < len * 8; bit++) {
		packed[bit / 8] ^= (unsigned char)(1 << bit % 8);
		good += agree(packed, len, UNIT, "one bit flipped");
		packed[bit / 8] ^= (unsigned char)(1 << bit % 8);
		tried++;
	}
	ok(tried > 200, "tried %u flips", tried);
	is_u64(good, 0, "no stream with a flipped bit unpacks");
}

static void *unpack_often(void *arg)
{
	size_t len = *(size_t *)arg, out_len;
	unsigned char *out = malloc(UNIT);
	uintptr_t bad = out == NULL;

	for (int i = 0; out && i < 100; i++)
		bad += codec_unzlib(packed, len, out, UNIT, &out_len, NULL) ||
		       out_len != UNIT || memcmp(out, plain, UNIT) != 0;
	free(out);
	return (void *)bad;
}

static void test_threads(void)
{
	pthread_t threads[4];
	uintptr_t bad = 0;
	size_t len;

	fill(2);
	len = pack(UNIT, 6, 15);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, unpack_often, &len))
			abort();
	for (int i = 0; i < 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		bad += (uintptr_t)result;
	}
	is_u64(bad, 0, "four threads at once");
}

int main(void)
{
	printf("# %s against %s\n", codec_unpacker_name(),
	       zlib_codec_unpacker_name());
	test_good();
	test_capacity();
	test_damage();
	test_threads();
	return tap_done();
}
