/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: VHDX with its log, a child and a parent. A file of 6 MiB is
 * made from an input of some KiB, which holds the start of each structure; a
 * checksum of 0 stands for the right one. */
#include "config.h"

#include "common/checked.h"
#include "common/crc32c.h"
#include "format/vhdx.h"
#include "tests/fuzz/family.h"

#define FILE_BYTES (6u << 20)
#define LOG_AT     (1u << 20)
#define LOG_BYTES  (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where the input's bytes go, one part after the other. */
static const struct {
	uint32_t at, bytes;
} parts[] = {
	{ 0, 64 },
	{ VHDX_HEADER1_AT, 128 },
	{ VHDX_HEADER2_AT, 128 },
	{ VHDX_REGION1_AT, 128 },
	{ VHDX_REGION2_AT, 128 },
	{ 2u << 20, 320 },               /* metadata table */
	{ (2u << 20) + (64u << 10), 384 }, /* its items */
	{ 3u << 20, 256 },               /* BAT */
	{ (3u << 20) + 4096 * 8, 128 },  /* its bitmap entry (1 MiB blocks) */
	{ 4u << 20, 128 },               /* the first bitmap */
	{ LOG_AT + LOG_BYTES - 8192, 8192 },
	{ LOG_AT, 48u << 10 },
};

static void fix(uint8_t *p, size_t len)
{
	if (le32_get(p + 4) == 0)
		le32_put(p + 4, crc32c(0, p, len));
}

/* Log entries may wrap around the ring's end. */
static void fix_log(uint8_t *ring)
{
	for (uint32_t pos = 0; pos < LOG_BYTES; pos += 4096) {
		uint32_t length = le32_get(ring + pos + 8), crc = 0;

		if (memcmp(ring + pos, "loge", 4) != 0 ||
		    le32_get(ring + pos + 4) != 0 || length > LOG_BYTES)
			continue;
		for (uint32_t at = 0; at < length; at += 4096)
			crc = crc32c(crc, ring + (pos + at) % LOG_BYTES, 4096);
		le32_put(ring + pos + 4, crc);
	}
}

struct image {
	struct source source;
	uint8_t *bytes;
};

static int image_readv(struct source *source, uint64_t offset,
		       const struct iovec *iov, int iovcnt,
		       unsigned int flags, struct error *err)
{
	struct image *self = (struct image *)source;

	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, self->bytes + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static void image_close(struct source *source)
{
	struct image *self = (struct image *)source;

	free(self->bytes);
	free(self);
}

static const struct source_ops image_ops = {
	.readv = image_readv,
	.close = image_close,
};

static void fill(uint8_t *bytes, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t part = min_u64(parts[i].bytes, size);

		memcpy(bytes + parts[i].at, data, part);
		data += part;
		size -= part;
	}
	fix(bytes + VHDX_HEADER1_AT, VHDX_HEADER_BYTES);
	fix(bytes + VHDX_HEADER2_AT, VHDX_HEADER_BYTES);
	fix(bytes + VHDX_REGION1_AT, VHDX_REGION_BYTES);
	fix(bytes + VHDX_REGION2_AT, VHDX_REGION_BYTES);
	fix_log(bytes + LOG_AT);
}

static struct source *make(const char *name, const uint8_t *data, size_t size)
{
	struct image *self = calloc(1, sizeof(*self));
	struct error err;

	if (!self)
		return NULL;
	self->bytes = calloc(1, FILE_BYTES);
	if (!self->bytes || source_init(&self->source, &image_ops, name,
					FILE_BYTES, NULL, &err)) {
		free(self->bytes);
		free(self);
		return NULL;
	}
	fill(self->bytes, data, size);
	return &self->source;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	family_walk("vhdx", "parent.vhdx", make, data, size);
	return 0;
}
