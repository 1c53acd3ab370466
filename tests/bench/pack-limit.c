/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What packing costs: one thread packs all grains of a raw disk that hold
 * anything, one after the other, from memory, with the packer of the writers.
 * Prints JSON.
 *
 *     usage: pack-limit RAW fast|small|smallest */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/packer.h"
#include "common/zeroes.h"

#define GRAIN_BYTES 65536u
#define PACKED_MAX  (2 * GRAIN_BYTES) /* above packer_bound() of a grain */

struct sums {
	uint64_t grains, plain, packed;
	double cpu;
};

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Only the packing is timed: looking for zeroes also brings the bytes from
 * the page cache to where they can be read without a fault. */
static int pack_all(struct packer *packer, const unsigned char *disk,
		    uint64_t size, struct sums *sums, struct error *err)
{
	static unsigned char out[PACKED_MAX];

	for (uint64_t at = 0; at < size; at += GRAIN_BYTES) {
		size_t len = (size_t)min_u64(GRAIN_BYTES, size - at), packed;
		double begin;

		if (is_all_zero(disk + at, len))
			continue;
		begin = cpu_seconds();
		if (packer_zlib(packer, disk + at, len, out, sizeof(out),
				&packed, err))
			return -1;
		sums->cpu += cpu_seconds() - begin;
		sums->grains++;
		sums->plain += len;
		sums->packed += packed;
	}
	return 0;
}

static int pack_file(const char *path, enum packer_level level,
		     struct sums *sums, uint64_t *size, struct error *err)
{
	struct packer *packer = NULL;
	const unsigned char *disk;
	struct stat st;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0 || fstat(fd, &st))
		return error_errno(err, errno, "cannot open");
	*size = (uint64_t)st.st_size;
	disk = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (disk == MAP_FAILED)
		return error_errno(err, errno, "cannot map");
	if (packer_new(&packer, level, err))
		return -1;
	ret = pack_all(packer, disk, *size, sums, err);
	packer_free(packer);
	return ret;
}

int main(int argc, char **argv)
{
	struct sums sums = { 0 };
	struct error err = { 0 };
	enum packer_level level;
	uint64_t size = 0;

	if (argc != 3 || !packer_level_find(argv[2], &level)) {
		fprintf(stderr, "usage: pack-limit RAW fast|small|smallest\n");
		return 2;
	}
	if (pack_file(argv[1], level, &sums, &size, &err)) {
		fprintf(stderr, "%s: %s\n", argv[1], err.text);
		return 1;
	}
	printf("{\"packer\": \"%s\", \"cpu_seconds\": %.6f, "
	       "\"virtual_bytes\": %" PRIu64 ", \"grains\": %" PRIu64 ", "
	       "\"packed_bytes\": %" PRIu64 ", \"unpacked_bytes\": %" PRIu64
	       "}\n", packer_name(level), sums.cpu, size, sums.grains,
	       sums.packed, sums.plain);
	return 0;
}
