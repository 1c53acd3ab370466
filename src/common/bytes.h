/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Loads and stores of fixed-width integers at any alignment, by byte order:
 * the only way that on-disk numbers are read and written. */
#ifndef VMIEFS_BYTES_H
#define VMIEFS_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_DEFINE(name, type, load, store)                                  \
	static inline type name##_get(const void *p)                           \
	{                                                                      \
		type v;                                                        \
		memcpy(&v, p, sizeof(v));                                      \
		return load(v);                                                \
	}                                                                      \
	static inline void name##_put(void *p, type v)                         \
	{                                                                      \
		v = store(v);                                                  \
		memcpy(p, &v, sizeof(v));                                      \
	}

BYTES_DEFINE(le16, uint16_t, le16toh, htole16)
BYTES_DEFINE(le32, uint32_t, le32toh, htole32)
BYTES_DEFINE(le64, uint64_t, le64toh, htole64)
BYTES_DEFINE(be16, uint16_t, be16toh, htobe16)
BYTES_DEFINE(be32, uint32_t, be32toh, htobe32)
BYTES_DEFINE(be64, uint64_t, be64toh, htobe64)

#undef BYTES_DEFINE

#endif
