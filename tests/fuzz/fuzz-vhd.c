/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: VHD, a child and a parent. A checksum of 0 stands for the
 * right one, so that the fuzzer gets past it and can still make wrong ones. */
#include "config.h"

#include "common/checked.h"
#include "format/vhd.h"
#include "tests/fuzz/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix(uint8_t *p, size_t len, size_t at)
{
	if (be32_get(p + at) == 0)
		be32_put(p + at, vhd_checksum(p, len, at));
}

static struct source *make(const char *name, const uint8_t *data, size_t size)
{
	AUTO_FREE uint8_t *copy = malloc(size + 1);
	struct source *source;
	struct error err;

	if (!copy)
		return NULL;
	memcpy(copy, data, size);
	if (size >= 2 * VHD_FOOTER_BYTES) {
		uint64_t header = be64_get(copy + 16);

		if (in_range(header, VHD_HEADER_BYTES, size))
			fix(copy + header, VHD_HEADER_BYTES, 36);
		fix(copy, VHD_FOOTER_BYTES, 64);
		fix(copy + size - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES, 64);
	}
	return source_memory(&source, name, copy, size, &err) ? NULL : source;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	family_walk("vhd", "parent.vhd", make, data, size);
	return 0;
}
