/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Growing strings: contents, the maximum, taking. */
#include "config.h"

#include "common/strbuf.h"
#include "tests/tap.h"

static void test_growth(void)
{
	struct strbuf b = { .max = 1 << 20 };
	char *text;
	bool good = true;

	for (unsigned int i = 0; i < 10000; i++)
		strbuf_printf(&b, "%u,", i % 10);
	is_u64(b.len, 20000, "length");
	text = strbuf_take(&b);
	for (unsigned int i = 0; i < 10000; i++)
		good = good && text[2 * i] == (char)('0' + i % 10) &&
		       text[2 * i + 1] == ',';
	ok(good && !text[20000], "contents");
	ok(!b.data && !b.len, "empty after taking");
	strbuf_puts(&b, "again");
	is_str(b.data, "again", "usable after taking");
	strbuf_free(&b);
	free(text);
}

static void test_maximum(void)
{
	struct strbuf b = { .max = 64 };
	char *text;

	for (int i = 0; i < 64; i++)
		strbuf_puts(&b, "x");
	ok(!b.failed && b.len == 64, "exactly the maximum");
	strbuf_add(&b, "", 0);
	ok(!b.failed, "nothing more is no failure");
	strbuf_puts(&b, "y");
	ok(b.failed && b.len == 64, "one byte more fails");
	strbuf_free(&b);
	strbuf_printf(&b, "%65s", "");
	ok(b.failed && !b.len, "printf above the maximum");
	strbuf_puts(&b, "z");
	ok(b.failed, "stays failed");
	text = strbuf_take(&b);
	ok(!text, "a failed string is not handed over");
	strbuf_puts(&b, "z");
	is_str(b.data, "z", "usable again");
	strbuf_free(&b);
}

static void test_bytes(void)
{
	struct strbuf b = { .max = 64 };
	char *text = strbuf_take(&b);

	is_str(text, "", "an empty one gives an empty string");
	free(text);
	strbuf_add(&b, "a\0b", 3);
	is_u64(b.len, 3, "NUL is a byte like others");
	is_mem(b.data, "a\0b", 4, "and the end has one");
	strbuf_free(&b);
}

int main(void)
{
	test_growth();
	test_maximum();
	test_bytes();
	return tap_done();
}
