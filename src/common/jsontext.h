/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Bytes that somebody else chose (names of files, labels, messages about
 * them) as JSON strings, which must be UTF-8. */
#ifndef VMIEFS_JSONTEXT_H
#define VMIEFS_JSONTEXT_H

#include <jansson.h>

#include "common/cleanup.h"
#include "common/error.h"

#define JSONTEXT_MAX 4096 /* bytes; the rest is cut */

/* The text as a string. Text that is not UTF-8 gets \xNN for each byte above
 * 0x7e and for backslashes. NULL only when memory is out. */
json_t *jsontext_new(const char *text);

/* Set key to the text; NULL or "" leaves it out. */
MUST_CHECK int jsontext_set(json_t *object, const char *key, const char *text,
			    struct error *err);

#endif
