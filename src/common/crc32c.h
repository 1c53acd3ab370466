/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * CRC-32C (Castagnoli, reflected, initial value and final xor all ones), the
 * checksum of VHDX. crc32c("123456789") is 0xe3069283. */
#ifndef VMIEFS_CRC32C_H
#define VMIEFS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of data that may come in pieces: start with crc = 0 and hand
 * each result to the next call. Any thread. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
