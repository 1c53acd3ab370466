/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * CRC-32C by the processor's own instruction where it has one, else by a
 * table of 16: what it covers is at most a few hundred KiB for each open. */
#include "config.h"

#include <string.h>

#include "common/crc32c.h"

static uint32_t update_plain(uint32_t crc, const uint8_t *p, size_t len)
{
	/* The remainder of each 4-bit value by the polynomial 0x82f63b78. */
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	while (len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return crc;
}

#ifdef __x86_64__

__attribute__((target("sse4.2")))
static uint32_t update_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t wide = crc;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	while (len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

static uint32_t update(uint32_t crc, const uint8_t *p, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? update_sse42(crc, p, len) :
						  update_plain(crc, p, len);
}

#else
#define update update_plain
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	return ~update(~crc, data, len);
}
