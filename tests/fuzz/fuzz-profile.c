/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: profile files of AWS's tools. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "store/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char blanks[] = " \t\r\v\f";

/* A value is what the rest of a line was, trimmed. */
static void check_value(const struct ini *ini, const char *section,
			const char *key)
{
	const char *value = ini_get(ini, section, key);
	size_t len = value ? strlen(value) : 0;

	if (!value)
		return;
	if (!ini_has_section(ini, section) || strchr(value, '\n') ||
	    (len && (strchr(blanks, value[0]) ||
		     strchr(blanks, value[len - 1]))))
		abort();
}

/* What is said of a bad line must not hold its text. */
static void check_error(const struct error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789 :,[]=";

	if (err->kind != ERR_ARG && err->kind != ERR_LIMIT)
		abort();
	if (err->text[strspn(err->text, letters)] || strlen(err->text) > 80)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const sections[] = { "default", "profile x", "x",
						"services s", "" };
	static const char *const keys[] = { "aws_access_key_id", "region",
					    "s3.endpoint_url", "k", "" };
	struct error err = { 0 };
	struct ini *ini;

	if (ini_parse(&ini, (const char *)data, size, &err) < 0) {
		check_error(&err);
		return 0;
	}
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		for (size_t j = 0; j < sizeof(keys) / sizeof(keys[0]); j++)
			check_value(ini, sections[i], keys[j]);
	ini_free(ini);
	return 0;
}
