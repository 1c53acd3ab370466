/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Unpacking of zlib units by libdeflate or zlib. Each thread keeps one
 * decompressor, freed when the thread ends. */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <zlib.h>
/* Tests build the variant without libdeflate, too. */
#if defined(HAVE_LIBDEFLATE) && !defined(CODEC_WITHOUT_LIBDEFLATE)
#define USE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "common/codec.h"
#include "common/error.h"

static pthread_key_t state_key;
static pthread_once_t state_once = PTHREAD_ONCE_INIT;

#ifdef USE_LIBDEFLATE

static void free_state(void *state)
{
	libdeflate_free_decompressor(state);
}

static void make_key(void)
{
	pthread_key_create(&state_key, free_state);
}

static void *new_state(void)
{
	return libdeflate_alloc_decompressor();
}

static int unpack(void *state, const void *in, size_t in_len, void *out,
		  size_t cap, size_t *out_len, struct error *err)
{
	switch (libdeflate_zlib_decompress_ex(state, in, in_len, out, cap,
					      NULL, out_len)) {
	case LIBDEFLATE_SUCCESS:
		return 0;
	case LIBDEFLATE_INSUFFICIENT_SPACE:
		return error_set(err, ERR_CORRUPT,
				 "packed data unpacks to more than %zu bytes",
				 cap);
	default:
		return error_set(err, ERR_CORRUPT, "packed data is damaged");
	}
}

const char *codec_unpacker_name(void)
{
	return "libdeflate " LIBDEFLATE_VERSION_STRING;
}

#else

static void free_state(void *state)
{
	inflateEnd(state);
	free(state);
}

static void make_key(void)
{
	pthread_key_create(&state_key, free_state);
}

static void *new_state(void)
{
	z_stream *zs = calloc(1, sizeof(*zs));

	if (zs && inflateInit(zs) != Z_OK) {
		free(zs);
		zs = NULL;
	}
	return zs;
}

static int unpack(void *state, const void *in, size_t in_len, void *out,
		  size_t cap, size_t *out_len, struct error *err)
{
	z_stream *zs = state;
	int ret;

	inflateReset(zs);
	zs->next_in = (Bytef *)in;
	zs->avail_in = (uInt)in_len;
	zs->next_out = out;
	zs->avail_out = (uInt)cap;
	ret = inflate(zs, Z_FINISH);
	*out_len = cap - zs->avail_out;
	if (ret == Z_STREAM_END)
		return 0;
	if (ret == Z_BUF_ERROR && zs->avail_out == 0)
		return error_set(err, ERR_CORRUPT,
				 "packed data unpacks to more than %zu bytes",
				 cap);
	return error_set(err, ERR_CORRUPT, "packed data is damaged");
}

const char *codec_unpacker_name(void)
{
	return "zlib " ZLIB_VERSION;
}

#endif

int codec_unzlib(const void *in, size_t in_len, void *out, size_t cap,
		 size_t *out_len, struct error *err)
{
	void *state;

	pthread_once(&state_once, make_key);
	state = pthread_getspecific(state_key);
	if (!state) {
		state = new_state();
		if (!state)
			return error_nomem(err);
		pthread_setspecific(state_key, state);
	}
	return unpack(state, in, in_len, out, cap, out_len, err);
}
