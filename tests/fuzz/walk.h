/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the fuzz targets of all disk formats do with an input. */
#ifndef VMIEFS_TESTS_FUZZ_WALK_H
#define VMIEFS_TESTS_FUZZ_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "format/format.h"

/* Open the bytes as `format` (NULL: by probing), ask for the whole disk's
 * extents (a bounded number of answers, from both ends), unpack a few units,
 * describe and check. siblings may be NULL. Aborts where an answer breaks the
 * contract of extents.h. */
void fuzz_walk(const char *format, const uint8_t *data, size_t size,
	       struct siblings *siblings);

/* The same for a source that the caller has made. */
void fuzz_walk_source(const char *format, struct source *source,
		      struct siblings *siblings);

#endif
