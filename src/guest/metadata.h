/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Where file systems keep what libblkid reads away from both ends. */
#ifndef VMIEFS_METADATA_H
#define VMIEFS_METADATA_H

#include "guest/scan.h"

/* Ask for the windows that the boot sector at offset points to: the MFT of
 * NTFS, the root directory of FAT32 and exFAT, the catalog of HFS+. The
 * partition's first sectors must be there. */
MUST_CHECK int guest_metadata_want(struct guest_scan *scan, uint64_t offset,
				   uint64_t size, struct error *err);

/* A window, cut at the disk's end. */
MUST_CHECK int guest_scan_window(struct guest_scan *scan, uint64_t offset,
				 uint64_t length, struct error *err);

#endif
