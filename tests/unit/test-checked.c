/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Arithmetic on hostile numbers and loads at any alignment. */
#include "config.h"

#include "common/bytes.h"
#include "common/checked.h"
#include "tests/tap.h"

#define MAX UINT64_MAX

static void test_ranges(void)
{
	static const struct {
		uint64_t off, len, size;
		bool inside;
	} cases[] = {
		{ 0, 0, 0, true },
		{ 0, 1, 0, false },
		{ 5, 5, 10, true },
		{ 5, 6, 10, false },
		{ 10, 0, 10, true },
		{ 11, 0, 10, false },
		{ MAX, 1, MAX, false },
		{ MAX - 1, 1, MAX, true },
		{ 1, MAX, MAX, false },
		{ MAX, MAX, MAX, false },
		{ 0, MAX, MAX, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ok(in_range(cases[i].off, cases[i].len, cases[i].size) ==
		   cases[i].inside, "range %zu", i);
}

static void test_arithmetic(void)
{
	uint64_t n = 0;

	ok(add_u64(MAX - 1, 1, &n) && n == MAX, "sum up to the limit");
	ok(!add_u64(MAX, 1, &n), "sum above");
	ok(mul_u64(1ull << 32, (1ull << 32) - 1, &n), "product below");
	ok(!mul_u64(1ull << 32, 1ull << 32, &n), "product above");
	ok(mul_u64(0, MAX, &n) && n == 0, "product of zero");
	is_u64(div_round_up(MAX, 2), 1ull << 63, "rounds up without overflow");
	is_u64(div_round_up(0, 512), 0, "nothing needs no block");
	is_u64(div_round_up(513, 512), 2, "a byte more needs one more");
	is_u64(round_down(MAX, 4096), MAX - 4095, "rounds down");
	ok(!is_power_of_two(0) && is_power_of_two(1) &&
	   is_power_of_two(1ull << 63) && !is_power_of_two(3), "powers of 2");
	is_u64(min_u64(3, MAX), 3, "min");
	is_u64(max_u64(3, MAX), MAX, "max");
}

static void test_bytes(void)
{
	static const uint8_t raw[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t out[9] = { 0 };

	is_u64(le16_get(raw + 1), 0x0201, "le16");
	is_u64(be16_get(raw + 1), 0x0102, "be16");
	is_u64(le32_get(raw + 1), 0x04030201, "le32");
	is_u64(be32_get(raw + 1), 0x01020304, "be32");
	is_u64(le64_get(raw + 1), 0x0807060504030201, "le64");
	is_u64(be64_get(raw + 1), 0x0102030405060708, "be64");
	be64_put(out + 1, 0x0102030405060708);
	is_mem(out, raw, 9, "be64 stored");
	le64_put(out + 1, 0x0807060504030201);
	is_mem(out, raw, 9, "le64 stored");
}

int main(void)
{
	test_ranges();
	test_arithmetic();
	test_bytes();
	return tap_done();
}
