/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: gzip streams. What the scan accepts must unpack to the same
 * bytes, read at random and in sequence, as by plain inflate. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "format/gzip.h"

#define PLAIN_MAX (8u << 20) /* larger results are not compared */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All members by plain inflate; returns how many bytes that are. */
static size_t inflate_all(const uint8_t *data, size_t size, uint8_t *plain)
{
	z_stream z = { .next_in = (Bytef *)data, .avail_in = (uInt)size };

	if (inflateInit2(&z, 31) != Z_OK)
		abort();
	z.next_out = plain;
	z.avail_out = PLAIN_MAX;
	while (inflate(&z, Z_NO_FLUSH) == Z_STREAM_END && z.avail_in &&
	       *z.next_in == 0x1f)
		inflateReset(&z);
	inflateEnd(&z);
	return PLAIN_MAX - z.avail_out;
}

static void compare(struct source *source, const uint8_t *plain,
		    uint64_t offset, size_t len)
{
	AUTO_FREE uint8_t *buf = malloc(len + 1);
	struct error err = { 0 };

	if (!buf || source_read(source, offset, buf, len, 0, &err) ||
	    memcmp(buf, plain + offset, len))
		abort();
}

static void compare_all(struct source *source, const uint8_t *plain)
{
	uint32_t seed = (uint32_t)source->size;

	for (int i = 0; i < 8 && source->size; i++) {
		uint64_t offset = (seed = seed * 1103515245 + 12345) %
				  source->size;

		compare(source, plain, offset,
			min_u64(seed >> 16 & 4095, source->size - offset));
	}
	for (uint64_t at = 0; at < source->size; at += 300000)
		compare(source, plain, at,
			min_u64(300000, source->size - at));
}

/* Bombs: give up after a few questions, as a deadline would. */
static bool few_times(void *arg)
{
	return ++*(int *)arg < 64;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source *below, *source;
	AUTO_FREE uint8_t *plain = NULL;
	struct error err = { 0 };
	int asked = 0;

	if (source_memory(&below, "fuzz", data, size, &err))
		return 0;
	if (gzip_open(&source, below, NULL, few_times, &asked, &err)) {
		if (!err.kind || source)
			abort();
	} else if (source->size <= PLAIN_MAX) {
		plain = malloc(PLAIN_MAX);
		if (!plain || inflate_all(data, size, plain) != source->size)
			abort();
		compare_all(source, plain);
	}
	source_unref(source);
	source_unref(below);
	return 0;
}
