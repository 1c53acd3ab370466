/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The simplest container with metadata of its own, for tests that need any
 * disk: a fixed VHD, which is the disk's bytes and a footer (FORMATS 2.1). */
#ifndef VMIEFS_TESTS_FIXED_VHD_H
#define VMIEFS_TESTS_FIXED_VHD_H

#include <stdint.h>

#define FIXED_VHD_DISK_BYTES 65536
#define FIXED_VHD_BYTES      (FIXED_VHD_DISK_BYTES + 512)

/* Fill vhd (FIXED_VHD_BYTES of it) with a disk of nothing but this byte. */
void fixed_vhd_fill(uint8_t *vhd, uint8_t byte);

#endif
