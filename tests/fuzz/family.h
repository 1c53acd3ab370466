/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For fuzz targets of differencing disks: an input that holds a child and a
 * parent, which is the only file beside the child. */
#ifndef VMIEFS_TESTS_FUZZ_FAMILY_H
#define VMIEFS_TESTS_FUZZ_FAMILY_H

#include <stddef.h>
#include <stdint.h>

#include "format/format.h"

/* Makes a source of the bytes of one of the two; NULL without memory. */
typedef struct source *family_source_fn(const char *name, const uint8_t *data,
					size_t size);

/* The input: the child's length in 256 bytes (one byte: 255 = all), its
 * bytes, the parent's bytes. Walks the child as `format`; every name is the
 * parent's, and "parent" + ending is what is listed. */
void family_walk(const char *format, const char *parent_name,
		 family_source_fn *make, const uint8_t *data, size_t size);

#endif
