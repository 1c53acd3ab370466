/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A fixed VHD. */
#include "config.h"

#include <string.h>

#include "common/bytes.h"
#include "tests/lib/fixed-vhd.h"

#define FOOTER_BYTES 512

void fixed_vhd_fill(uint8_t *vhd, uint8_t byte)
{
	uint8_t *footer = vhd + FIXED_VHD_DISK_BYTES;
	uint32_t sum = 0;

	memset(vhd, byte, FIXED_VHD_DISK_BYTES);
	memset(footer, 0, FOOTER_BYTES);
	memcpy(footer, "conectix", 8);
	be32_put(footer + 8, 2); /* features: reserved, always set */
	be32_put(footer + 12, 0x00010000);
	be64_put(footer + 16, UINT64_MAX);
	memcpy(footer + 28, "win ", 4);
	be64_put(footer + 40, FIXED_VHD_DISK_BYTES);
	be64_put(footer + 48, FIXED_VHD_DISK_BYTES);
	be32_put(footer + 60, 2); /* fixed */
	for (int i = 0; i < FOOTER_BYTES; i++)
		sum += footer[i];
	be32_put(footer + 64, ~sum);
}
