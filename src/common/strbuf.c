/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A growing byte string with a stated maximum. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

/* Make room for `len` more bytes and the NUL. */
static bool make_room(struct strbuf *buf, size_t len)
{
	size_t size = buf->size ? buf->size : 64;
	char *data;

	if (buf->failed || len > buf->max - buf->len) {
		buf->failed = true;
		return false;
	}
	while (size < buf->len + len + 1)
		size *= 2;
	if (size == buf->size)
		return true;
	data = realloc(buf->data, size);
	if (!data) {
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->size = size;
	return true;
}

void strbuf_add(struct strbuf *buf, const void *data, size_t len)
{
	if (!make_room(buf, len))
		return;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void strbuf_puts(struct strbuf *buf, const char *text)
{
	strbuf_add(buf, text, strlen(text));
}

void strbuf_printf(struct strbuf *buf, const char *fmt, ...)
{
	va_list args, again;
	int len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len >= 0 && make_room(buf, (size_t)len)) {
		vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
		buf->len += (size_t)len;
	}
	va_end(again);
}

void strbuf_free(struct strbuf *buf)
{
	free(buf->data);
	*buf = (struct strbuf){ .max = buf->max };
}

char *strbuf_take(struct strbuf *buf)
{
	char *text = NULL;

	if (!buf->failed && make_room(buf, 0)) {
		text = buf->data;
		text[buf->len] = '\0';
		buf->data = NULL;
	}
	strbuf_free(buf);
	return text;
}
