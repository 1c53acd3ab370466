/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * CRC-32C: known values, by the instruction and by the table alike. The
 * source is included to reach the table on machines with the instruction. */
#include "config.h"

#include "src/common/crc32c.c"

#include "tests/tap.h"

static const struct {
	const char *data;
	size_t len;
	uint32_t crc;
} known[] = {
	{ "", 0, 0 },
	{ "123456789", 9, 0xe3069283 },
	/* RFC 3720, B.4 */
	{ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32,
	  0x8a9136aa },
	{ "\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20\21\22\23\24\25\26\27"
	  "\30\31\32\33\34\35\36\37", 32, 0x46dd794e },
};

int main(void)
{
	uint8_t data[1000];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const uint8_t *p = (const uint8_t *)known[i].data;

		is_u64(crc32c(0, p, known[i].len), known[i].crc, "known value");
		is_u64(~update_plain(~0u, p, known[i].len), known[i].crc,
		       "known value by the table");
	}
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37 ^ i >> 3);
	for (size_t cut = 0; cut < sizeof(data); cut += 111)
		is_u64(crc32c(crc32c(0, data, cut), data + cut,
			      sizeof(data) - cut),
		       ~update_plain(~0u, data, sizeof(data)),
		       "in two pieces, both ways the same");
	return tap_done();
}
