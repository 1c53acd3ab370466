/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A growing byte string with a stated maximum. After a failed append the
 * buffer keeps `failed` set, so a chain of appends needs one check at its end.
 * Zero-initialise with the maximum: struct strbuf b = { .max = 4096 }. */
#ifndef VMIEFS_STRBUF_H
#define VMIEFS_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct strbuf {
	char *data;    /* NUL-terminated once anything was added, else NULL */
	size_t len;    /* without the NUL */
	size_t size;   /* allocated */
	size_t max;    /* len never exceeds it */
	bool failed;   /* out of memory or above max */
};

void strbuf_add(struct strbuf *buf, const void *data, size_t len);
void strbuf_puts(struct strbuf *buf, const char *text);
void strbuf_printf(struct strbuf *buf, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void strbuf_free(struct strbuf *buf);

/* Hand the string over (caller frees); NULL if an append failed. An empty
 * buffer gives "". The buffer is empty afterwards. */
char *strbuf_take(struct strbuf *buf);

#endif
