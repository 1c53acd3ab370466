/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Headers of a tar being written: regular files with plain names. Nothing in
 * them depends on when or by whom it is written. */
#ifndef VMIEFS_TAR_WRITE_H
#define VMIEFS_TAR_WRITE_H

#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK      512
#define TAR_NAME_MAX   255             /* bytes of a plain name */
#define TAR_HEADER_MAX (3 * TAR_BLOCK)
#define TAR_END_BYTES  (2 * TAR_BLOCK) /* zeroes behind the last member */

/* Put the header of a member with that name (of at most TAR_NAME_MAX bytes)
 * and size to out; its length, a multiple of TAR_BLOCK that depends on the
 * name alone. */
size_t tar_put_header(uint8_t out[TAR_HEADER_MAX], const char *name,
		      uint64_t size);

/* Zeroes between a member's bytes and what follows. */
static inline size_t tar_padding(uint64_t size)
{
	return (size_t)(-size % TAR_BLOCK);
}

#endif
