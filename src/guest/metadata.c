/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Four file systems keep the label (NTFS: the record that confirms it, too)
 * at a place that their first sectors name. The numbers are hostile, but all
 * they decide is which bytes of the same disk become visible. */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "guest/metadata.h"

#define HEAD_BYTES      2048       /* boot sector, and the header of HFS+ */
#define METADATA_WINDOW (128u << 10)

/* Each returns false where the head is not its own, else the place, in bytes
 * from the partition's start. */
typedef bool locate_fn(const unsigned char *head, uint64_t *at);

static bool locate_ntfs(const unsigned char *head, uint64_t *at)
{
	uint64_t per_cluster = head[13];

	if (memcmp(head + 3, "NTFS    ", 8) != 0)
		return false;
	if (per_cluster > 0x80) /* a negative power of two since Windows 10 */
		per_cluster = per_cluster < 0xe0 ? 0 :
						   1ull << (256 - per_cluster);
	return mul_u64(le16_get(head + 11) * per_cluster, le64_get(head + 48),
		       at);
}

static bool locate_fat32(const unsigned char *head, uint64_t *at)
{
	uint64_t sectors;
	uint32_t root = le32_get(head + 44);

	if (memcmp(head + 82, "FAT32   ", 8) != 0 || root < 2)
		return false;
	sectors = le16_get(head + 14) +
		  (uint64_t)head[16] * le32_get(head + 36) +
		  (uint64_t)head[13] * (root - 2);
	*at = sectors * le16_get(head + 11);
	return true;
}

static bool locate_exfat(const unsigned char *head, uint64_t *at)
{
	uint32_t root = le32_get(head + 96);

	if (memcmp(head + 3, "EXFAT   ", 8) != 0 || root < 2 ||
	    head[108] > 12 || head[109] > 25)
		return false;
	*at = ((uint64_t)le32_get(head + 88) +
	       ((uint64_t)(root - 2) << head[109])) << head[108];
	return true;
}

static bool locate_hfsplus(const unsigned char *head, uint64_t *at)
{
	const unsigned char *volume = head + 1024;

	if (memcmp(volume, "H+", 2) != 0 && memcmp(volume, "HX", 2) != 0)
		return false;
	*at = (uint64_t)be32_get(volume + 40) * be32_get(volume + 288);
	return true;
}

static locate_fn *const locators[] = {
	locate_ntfs, locate_fat32, locate_exfat, locate_hfsplus,
};

int guest_metadata_want(struct guest_scan *scan, uint64_t offset,
			uint64_t size, struct error *err)
{
	unsigned char head[HEAD_BYTES] = { 0 };

	if (pread(scan->fd, head, sizeof(head), (off_t)offset) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(locators) / sizeof(locators[0]); i++) {
		uint64_t at;

		if (!locators[i](head, &at) || at >= size)
			continue;
		if (guest_scan_window(scan, offset + at, METADATA_WINDOW, err))
			return -1;
	}
	return 0;
}
