/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Checks that print TAP. A failed one shows file, line and both values; the
 * test goes on. main() ends with `return tap_done();`. */
#ifndef VMIEFS_TAP_H
#define VMIEFS_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"

static int tap_count, tap_failed;

__attribute__((format(printf, 4, 5), unused))
static bool tap_result(bool good, const char *file, int line, const char *fmt,
		       ...)
{
	va_list args;

	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	if (!good) {
		printf("# at %s:%d\n", file, line);
		tap_failed++;
	}
	fflush(stdout);
	return good;
}

/* ok(condition, "what should hold", ...) */
#define ok(good, ...) tap_result((good), __FILE__, __LINE__, __VA_ARGS__)

#define is_u64(got, want, what)                                                \
	do {                                                                   \
		uint64_t got_ = (got), want_ = (want);                         \
		if (!ok(got_ == want_, "%s", what))                            \
			printf("# got %" PRIu64 ", want %" PRIu64 "\n", got_,  \
			       want_);                                         \
	} while (0)

#define is_str(got, want, what)                                                \
	do {                                                                   \
		const char *got_ = (got), *want_ = (want);                     \
		if (!ok(got_ && !strcmp(got_, want_), "%s", what))             \
			printf("# got \"%s\", want \"%s\"\n",                  \
			       got_ ? got_ : "(null)", want_);                 \
	} while (0)

#define is_mem(got, want, len, what)                                           \
	do {                                                                   \
		const unsigned char *got_ = (const void *)(got);               \
		const unsigned char *want_ = (const void *)(want);             \
		size_t at_ = 0, len_ = (len);                                  \
		while (at_ < len_ && got_[at_] == want_[at_])                  \
			at_++;                                                 \
		if (!ok(at_ == len_, "%s", what))                              \
			printf("# differs at byte %zu: got %02x, want %02x\n", \
			       at_, got_[at_], want_[at_]);                    \
	} while (0)

/* The call succeeded; shows the error's text otherwise. */
#define succeeds(call, err, what)                                              \
	do {                                                                   \
		memset((err), 0, sizeof(*(err)));                              \
		if (!ok((call) == 0, "%s", what))                              \
			printf("# error: %s\n", (err)->text);                  \
	} while (0)

/* The call failed with this kind and a text that contains `part`. */
#define fails_with(call, err, want_kind, part, what)                           \
	do {                                                                   \
		int ret_;                                                      \
		memset((err), 0, sizeof(*(err)));                              \
		ret_ = (call);                                                 \
		if (!ok(ret_ == -1 && (err)->kind == (want_kind) &&            \
			strstr((err)->text, part), "%s", what))                \
			printf("# returned %d, kind %s, text \"%s\"; want "    \
			       "kind %s with \"%s\"\n", ret_,                  \
			       error_kind_name((err)->kind), (err)->text,      \
			       error_kind_name(want_kind), part);              \
	} while (0)

/* Skip the whole test program: `return tap_skip_all("why");` first thing. */
__attribute__((unused)) static int tap_skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	return 0;
}

__attribute__((unused)) static int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed ? 1 : 0;
}

#endif
