/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Names and labels that a guest wrote, as JSON strings. */
#ifndef VMIEFS_TEXT_H
#define VMIEFS_TEXT_H

#include <jansson.h>

#include "common/cleanup.h"
#include "common/error.h"

#define GUEST_TEXT_MAX 1024 /* bytes; the rest is cut */

/* Set key to the value (NULL or "": leave it out). Text that is not UTF-8
 * gets \xNN for each byte above 0x7e, and for backslashes. */
MUST_CHECK int guest_text_add(json_t *object, const char *key,
			      const char *value, struct error *err);

#endif
