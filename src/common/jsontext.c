/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Escaping what is no UTF-8. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "common/jsontext.h"
#include "common/strbuf.h"

static json_t *escaped(const char *text, size_t len)
{
	struct strbuf out = { .max = 4 * JSONTEXT_MAX };
	json_t *string;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x7f && c != '\\')
			strbuf_add(&out, &text[i], 1);
		else
			strbuf_printf(&out, "\\x%02x", c);
	}
	string = out.failed ? NULL : json_stringn(out.data ? out.data : "",
						  out.len);
	strbuf_free(&out);
	return string;
}

json_t *jsontext_new(const char *text)
{
	size_t len = strnlen(text, JSONTEXT_MAX);
	json_t *string = json_stringn(text, len);

	return string ? string : escaped(text, len);
}

int jsontext_set(json_t *object, const char *key, const char *text,
		 struct error *err)
{
	if (!text || !*text)
		return 0;
	if (json_object_set_new(object, key, jsontext_new(text)))
		return error_nomem(err);
	return 0;
}
