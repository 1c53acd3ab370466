/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The files of AWS's tools (~/.aws/config, ~/.aws/credentials), read the way
 * their SDKs do:
 *
 *   [profile "name"]          sections keep their case; a repeated one goes on
 *   key = value               keys without regard to case; the last one counts
 *   s3 =
 *     endpoint_url = value    nested: "s3.endpoint_url"
 *   # or ; starts a comment at the start of a line only
 *
 * A value goes up to the end of its line. Threads: immutable once parsed. */
#ifndef VMIEFS_INI_H
#define VMIEFS_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define INI_FILE_MAX    (1u << 20) /* bytes */
#define INI_ENTRIES_MAX 20000      /* sections and keys */

struct ini;

/* text[0..len) is copied. ERR_ARG with the line's number, never its text,
 * which may be a secret; ERR_LIMIT above the caps. */
int ini_parse(struct ini **out, const char *text, size_t len,
	      struct error *err);

/* Read and parse a file. ERR_NOT_FOUND, ERR_DENIED, ...; the texts name it. */
int ini_load(struct ini **out, const char *path, struct error *err);

/* All that it held is overwritten. NULL is legal. */
void ini_free(struct ini *ini);

bool ini_has_section(const struct ini *ini, const char *section);

/* Borrowed; NULL where the key is absent. An ini of NULL is empty. */
const char *ini_get(const struct ini *ini, const char *section,
		    const char *key);

#endif
