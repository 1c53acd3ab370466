/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Unpacking of whole units: one zlib (RFC 1950) stream in, at most `cap`
 * bytes out. libdeflate where configure found it, zlib otherwise; the results
 * are the same. Thread-safe: each thread keeps its own state. */
#ifndef VMIEFS_CODEC_H
#define VMIEFS_CODEC_H

#include <stddef.h>

struct error;

/* Unpack the zlib stream at the start of in[0..in_len) to out[0..cap); bytes
 * behind the stream's end are ignored. *out_len gets the unpacked length.
 * ERR_CORRUPT for a broken stream, a wrong checksum or more than cap bytes. */
int codec_unzlib(const void *in, size_t in_len, void *out, size_t cap,
		 size_t *out_len, struct error *err);

/* "libdeflate 1.14" or "zlib 1.2.13": what unpacks here. */
const char *codec_unpacker_name(void);

#endif
