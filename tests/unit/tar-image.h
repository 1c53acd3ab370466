/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Tars in memory, header by header, so that odd ones can be made. */
#ifndef VMIEFS_TESTS_TAR_IMAGE_H
#define VMIEFS_TESTS_TAR_IMAGE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "format/source.h"

#define TAR_IMAGE(name) struct strbuf name = { .max = 16u << 20 }

/* Write the checksum of the header at the image's end. */
static inline void image_checksum(struct strbuf *image)
{
	uint8_t *header = (uint8_t *)image->data + image->len - 512;
	unsigned int sum = 0;

	memset(header + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += header[i];
	snprintf((char *)header + 148, 8, "%06o", sum);
}

/* A ustar header; returns it, to be changed (then image_checksum() again). */
static inline uint8_t *image_header(struct strbuf *image, const char *name,
				    char type, size_t size)
{
	char header[512] = { 0 };

	snprintf(header, 100, "%s", name);
	snprintf(header + 100, 8, "%07o", 0644);
	snprintf(header + 124, 12, "%011o", (unsigned int)size);
	header[156] = type;
	memcpy(header + 257, "ustar\0" "00", 8);
	strbuf_add(image, header, sizeof(header));
	image_checksum(image);
	return (uint8_t *)image->data + image->len - 512;
}

static inline void image_data(struct strbuf *image, const void *data,
			      size_t size)
{
	static const char zeroes[512];

	strbuf_add(image, data, size);
	strbuf_add(image, zeroes, (512 - size % 512) % 512);
}

static inline void image_file(struct strbuf *image, const char *name,
			      const char *text)
{
	image_header(image, name, '0', strlen(text));
	image_data(image, text, strlen(text));
}

/* An 'L', 'x' or 'g' member. */
static inline void image_meta(struct strbuf *image, char type,
			      const char *text, size_t len)
{
	image_header(image, "././@LongLink", type, len);
	image_data(image, text, len);
}

static inline void image_end(struct strbuf *image)
{
	static const char zeroes[1024];

	strbuf_add(image, zeroes, sizeof(zeroes));
}

/* The image as a source; the image is freed. */
static inline struct source *image_source(struct strbuf *image)
{
	struct error err = { 0 };
	struct source *source;

	if (source_memory(&source, "test.ova", image->data, image->len, &err)) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	strbuf_free(image);
	return source;
}

#endif
