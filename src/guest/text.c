/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Making guests' text safe to pass on. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "guest/text.h"

static json_t *escaped(const char *value, size_t len)
{
	char text[4 * GUEST_TEXT_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c < 0x7f && c != '\\')
			text[n++] = (char)c;
		else
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      "\\x%02x", c);
	}
	return json_stringn(text, n);
}

int guest_text_add(json_t *object, const char *key, const char *value,
		   struct error *err)
{
	json_t *string;
	size_t len;

	if (!value || !*value)
		return 0;
	len = strnlen(value, GUEST_TEXT_MAX);
	string = json_stringn(value, len);
	if (!string)
		string = escaped(value, len);
	if (!string || json_object_set_new(object, key, string))
		return error_nomem(err);
	return 0;
}
