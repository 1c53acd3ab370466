/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Packing by ISA-L, libdeflate or zlib: one table row a level, made of what
 * configure found. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
/* Tests build the variant without both, too. */
#if defined(HAVE_ISAL) && !defined(PACKER_ZLIB_ONLY)
#define USE_ISAL
#include <isa-l.h>
#endif
#if defined(HAVE_LIBDEFLATE) && !defined(PACKER_ZLIB_ONLY)
#define USE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "common/cleanup.h"
#include "common/error.h"
#include "common/packer.h"

struct backend {
	void *(*new)(int level);
	void (*free)(void *state);
	size_t bytes;
	/* The stream's length, 0 on failure. */
	size_t (*pack)(void *state, const void *in, size_t len, void *out,
		       size_t cap);
};

struct packer {
	const struct backend *backend;
	void *state;
	struct packer *next; /* of free ones */
};

#ifdef USE_ISAL

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define ISAL_TEXT                                                              \
	"ISA-L " TEXT(ISAL_MAJOR_VERSION) "." TEXT(ISAL_MINOR_VERSION) "."     \
	TEXT(ISAL_PATCH_VERSION)

struct isal_state {
	struct isal_zstream stream;
	uint8_t buffer[ISAL_DEF_LVL2_DEFAULT];
};

static void *isal_new(int level)
{
	struct isal_state *state = calloc(1, sizeof(*state));

	if (state)
		state->stream.level = (uint32_t)level;
	return state;
}

static size_t isal_pack(void *arg, const void *in, size_t len, void *out,
			size_t cap)
{
	struct isal_state *state = arg;
	struct isal_zstream *stream = &state->stream;
	uint32_t level = stream->level;

	isal_deflate_stateless_init(stream);
	stream->level = level;
	stream->level_buf = state->buffer;
	stream->level_buf_size = sizeof(state->buffer);
	stream->gzip_flag = IGZIP_ZLIB;
	stream->end_of_stream = 1;
	stream->next_in = (uint8_t *)in;
	stream->avail_in = (uint32_t)len;
	stream->next_out = out;
	stream->avail_out = (uint32_t)cap;
	return isal_deflate_stateless(stream) == COMP_OK ? stream->total_out :
							   0;
}

static const struct backend isal_backend = {
	.new = isal_new,
	.free = free,
	.bytes = sizeof(struct isal_state),
	.pack = isal_pack,
};

#endif
#ifdef USE_LIBDEFLATE

static void *deflate_new(int level)
{
	return libdeflate_alloc_compressor(level);
}

static void deflate_free(void *state)
{
	libdeflate_free_compressor(state);
}

static size_t deflate_pack(void *state, const void *in, size_t len, void *out,
			   size_t cap)
{
	return libdeflate_zlib_compress(state, in, len, out, cap);
}

static const struct backend deflate_backend = {
	.new = deflate_new,
	.free = deflate_free,
	.bytes = 1 << 20, /* at most, up to level 9 */
	.pack = deflate_pack,
};

#endif
#if !defined(USE_LIBDEFLATE)

static void *zlib_new(int level)
{
	z_stream *zs = calloc(1, sizeof(*zs));

	if (zs && deflateInit(zs, level) != Z_OK) {
		free(zs);
		zs = NULL;
	}
	return zs;
}

static void zlib_free(void *state)
{
	deflateEnd(state);
	free(state);
}

static size_t zlib_pack(void *state, const void *in, size_t len, void *out,
			size_t cap)
{
	z_stream *zs = state;

	if (deflateReset(zs) != Z_OK)
		return 0;
	zs->next_in = (Bytef *)in;
	zs->avail_in = (uInt)len;
	zs->next_out = out;
	zs->avail_out = (uInt)cap;
	return deflate(zs, Z_FINISH) == Z_STREAM_END ? zs->total_out : 0;
}

static const struct backend zlib_backend = {
	.new = zlib_new,
	.free = zlib_free,
	.bytes = 272 << 10, /* what zconf.h says of deflateInit() */
	.pack = zlib_pack,
};

#endif

static const struct {
	const char *word;
	const struct backend *backend;
	int level;
	const char *name;
} levels[] = {
#if defined(USE_ISAL)
	[PACKER_FAST] = { "fast", &isal_backend, 2, ISAL_TEXT " level 2" },
#elif defined(USE_LIBDEFLATE)
	[PACKER_FAST] = { "fast", &deflate_backend, 1,
			  "libdeflate " LIBDEFLATE_VERSION_STRING " level 1" },
#else
	[PACKER_FAST] = { "fast", &zlib_backend, 1,
			  "zlib " ZLIB_VERSION " level 1" },
#endif
#ifdef USE_LIBDEFLATE
	[PACKER_SMALL] = { "small", &deflate_backend, 6,
			   "libdeflate " LIBDEFLATE_VERSION_STRING
			   " level 6" },
	[PACKER_SMALLEST] = { "smallest", &deflate_backend, 9,
			      "libdeflate " LIBDEFLATE_VERSION_STRING
			      " level 9" },
#else
	[PACKER_SMALL] = { "small", &zlib_backend, 6,
			   "zlib " ZLIB_VERSION " level 6" },
	[PACKER_SMALLEST] = { "smallest", &zlib_backend, 9,
			      "zlib " ZLIB_VERSION " level 9" },
#endif
};

int packer_new(struct packer **out, enum packer_level level,
	       struct error *err)
{
	AUTO_FREE struct packer *packer = calloc(1, sizeof(*packer));

	*out = NULL;
	if (!packer)
		return error_nomem(err);
	packer->backend = levels[level].backend;
	packer->state = packer->backend->new(levels[level].level);
	if (!packer->state)
		return error_nomem(err);
	*out = take_ptr(packer);
	return 0;
}

void packer_free(struct packer *packer)
{
	if (!packer)
		return;
	packer->backend->free(packer->state);
	free(packer);
}

size_t packer_bytes(enum packer_level level)
{
	return sizeof(struct packer) + levels[level].backend->bytes;
}

size_t packer_bound(size_t len)
{
	/* Stored blocks cost 5 bytes each: of 64 KiB in zlib and ISA-L, of
	 * 10,000 bytes in libdeflate; zlib's own bound is below this. */
	return len + (len >> 10) + 64;
}

int packer_zlib(struct packer *packer, const void *in, size_t len, void *out,
		size_t cap, size_t *out_len, struct error *err)
{
	*out_len = packer->backend->pack(packer->state, in, len, out, cap);
	if (!*out_len)
		return error_set(err, ERR_BUG, "cannot pack %zu bytes to %zu",
				 len, cap);
	return 0;
}

const char *packer_name(enum packer_level level)
{
	return levels[level].name;
}

bool packer_level_find(const char *word, enum packer_level *level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i].word, word) != 0)
			continue;
		*level = (enum packer_level)i;
		return true;
	}
	return false;
}

void packers_init(struct packers *packers, enum packer_level level)
{
	pthread_mutex_init(&packers->lock, NULL);
	packers->free = NULL;
	packers->level = level;
}

void packers_clear(struct packers *packers)
{
	struct packer *packer;

	while ((packer = packers->free)) {
		packers->free = packer->next;
		packer_free(packer);
	}
}

void packers_destroy(struct packers *packers)
{
	packers_clear(packers);
	pthread_mutex_destroy(&packers->lock);
}

int packers_take(struct packer **out, struct packers *packers,
		 struct error *err)
{
	pthread_mutex_lock(&packers->lock);
	*out = packers->free;
	if (*out)
		packers->free = (*out)->next;
	pthread_mutex_unlock(&packers->lock);
	return *out ? 0 : packer_new(out, packers->level, err);
}

void packers_give(struct packers *packers, struct packer *packer)
{
	if (!packer)
		return;
	pthread_mutex_lock(&packers->lock);
	packer->next = packers->free;
	packers->free = packer;
	pthread_mutex_unlock(&packers->lock);
}
