/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What unpacking costs: one thread unpacks all grains of a stream-optimised
 * VMDK with a footer, which lies in memory, one after the other. Prints JSON.
 *
 *     usage: unpack-limit VMDK */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/codec.h"
#include "common/error.h"

#define SECTOR      512
#define GRAIN_MAX   (1u << 20)

struct sums {
	uint64_t grains, packed, unpacked;
};

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Walk over the markers from sector `at` on, as a reader without tables. */
static int unpack_all(const unsigned char *file, uint64_t size, uint64_t at,
		      struct sums *sums, struct error *err)
{
	static unsigned char out[GRAIN_MAX];

	while ((at + 1) * SECTOR <= size) {
		const unsigned char *marker = file + at * SECTOR;
		uint32_t packed = le32_get(marker + 8);
		size_t length;

		if (!packed && !le32_get(marker + 12))
			return 0;
		if (!packed) {
			at += 1 + le64_get(marker);
			continue;
		}
		if (packed > size - at * SECTOR - 12)
			return error_set(err, ERR_CORRUPT, "grain at sector "
					 "%" PRIu64 " is cut off", at);
		if (codec_unzlib(marker + 12, packed, out, sizeof(out),
				 &length, err))
			return -1;
		sums->grains++;
		sums->packed += packed;
		sums->unpacked += length;
		at += (12 + packed + SECTOR - 1) / SECTOR;
	}
	return error_set(err, ERR_CORRUPT, "no end-of-stream marker");
}

int main(int argc, char **argv)
{
	struct sums sums = { 0 };
	struct error err = { 0 };
	const unsigned char *file;
	struct stat st;
	double begin;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "usage: unpack-limit VMDK\n");
		return 2;
	}
	file = mmap(NULL, (size_t)st.st_size, PROT_READ,
		    MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (file == MAP_FAILED || st.st_size < SECTOR) {
		perror(argv[1]);
		return 1;
	}
	begin = cpu_seconds();
	if (unpack_all(file, (uint64_t)st.st_size, le64_get(file + 64), &sums,
		       &err)) {
		fprintf(stderr, "%s: %s\n", argv[1], err.text);
		return 1;
	}
	printf("{\"unpacker\": \"%s\", \"cpu_seconds\": %.6f, "
	       "\"virtual_bytes\": %" PRIu64 ", \"grains\": %" PRIu64 ", "
	       "\"packed_bytes\": %" PRIu64 ", \"unpacked_bytes\": %" PRIu64
	       "}\n", codec_unpacker_name(), cpu_seconds() - begin,
	       le64_get(file + 12) * SECTOR, sums.grains, sums.packed,
	       sums.unpacked);
	return 0;
}
