/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The child's answer is hostile too: only what fits the documented shape gets
 * through. */
#ifndef VMIEFS_REPORT_H
#define VMIEFS_REPORT_H

#include <jansson.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"

/* Build a new object from the known fields of the text. ERR_CORRUPT where it
 * is no JSON or a field has another type, a negative number or a text above
 * 4 KiB; unknown fields are left out. */
MUST_CHECK int guest_report_parse(json_t **out, const char *text, size_t len,
				  struct error *err);

#endif
