/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: looking for partitions and file systems (guest/scan.c and
 * libblkid). Here, and only here, that runs without its cage. The first byte
 * chooses sector size and disk size; the rest is the start of the disk, and
 * what is beyond 64 KiB lies at 1 MiB. */
#include "config.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "common/checked.h"
#include "guest/scan.h"

#define HEAD_BYTES (64u << 10)
#define TAIL_AT    (1u << 20)
#define DISK_MAX   (1ull << 40)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct disk {
	uint64_t size, wanted;
};

static int want(void *arg, uint64_t offset, uint64_t length,
		struct error *err)
{
	struct disk *disk = arg;

	if (!length || length > GUEST_WINDOW_MAX ||
	    !in_range(offset, length, disk->size))
		abort();
	disk->wanted++;
	return disk->wanted > 5000 ? error_set(err, ERR_LIMIT, "enough") : 0;
}

static int drop(void *arg, struct error *err)
{
	return 0;
}

static int fill(int fd, const uint8_t *data, size_t size, uint64_t disk_size)
{
	size_t head = min_u64(size, HEAD_BYTES);

	if (ftruncate(fd, (off_t)DISK_MAX) ||
	    pwrite(fd, data, head, 0) != (ssize_t)head ||
	    pwrite(fd, data + head, size - head, TAIL_AT) !=
		    (ssize_t)(size - head))
		return -1;
	return ftruncate(fd, (off_t)disk_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t sectors[] = { 0, 512, 4096, 0 };
	uint8_t choice = size ? data[0] : 0;
	struct disk disk = { .size = DISK_MAX >> (choice >> 2) % 41 };
	AUTO_CLOSE int fd = memfd_create("fuzz-guest", MFD_CLOEXEC);
	struct guest_scan scan = {
		.fd = fd, .size = disk.size,
		.sector_bytes = sectors[choice & 3],
		.want = want, .drop = drop, .arg = &disk,
	};
	struct error err = { 0 };
	json_t *result;

	if (size > (4u << 20) || fd < 0)
		return 0;
	if (fill(fd, data + (size > 0), size - (size > 0), disk.size))
		abort();
	if (guest_scan(&result, &scan, &err) == 0)
		json_decref(result);
	return 0;
}
