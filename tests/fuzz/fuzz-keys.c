/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: JSON with keys, as processes and metadata services write it.
 * The first byte says which of them it is. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/credentials-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What goes into headers cannot end one. */
static void check_text(const char *text)
{
	if (!text)
		return;
	if (!*text)
		abort();
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf text = { .max = KEYS_BODY_MAX };
	struct key_set *set = NULL;
	struct error err = { 0 };
	bool is_process;

	if (!size)
		return 0;
	is_process = data[0] & 1;
	strbuf_add(&text, data + 1, size - 1);
	if (text.failed) {
		strbuf_free(&text);
		return 0;
	}
	if (key_set_from_json(&set, &text, is_process ? "SessionToken" :
			      "Token", is_process, &err) == 0) {
		check_text(set->keys.access_key);
		check_text(set->keys.secret_key);
		check_text(set->keys.session_token);
		key_set_unref(set);
	} else if (!err.text[0]) {
		abort();
	}
	strbuf_free(&text);
	return 0;
}
