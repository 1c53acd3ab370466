/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: one disk read through container and engine, as the daemon does,
 * but without FUSE.
 *
 *     diskcat raw OBJECT[/MEMBER] FILE   the raw bytes, sparse
 *     diskcat random OBJECT[/MEMBER] EXPECTED N SEED THREADS
 *                                        N random reads compared with a file
 *     diskcat seek OBJECT[/MEMBER]       data and hole ranges
 *
 * Exit status: 0 good, 1 refused, damaged or different, 2 usage. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/subject.h"
#include "common/checked.h"
#include "common/cleanup.h"

#define CHUNK_BYTES     (4u << 20)
#define RANDOM_READ_MAX (300u << 10) /* more than one unit, odd on purpose */
#define THREADS_MAX     64

/* The disk asked for: the first that is selected. */
static int pick_disk(struct disk **out, const struct subject *subject,
		     struct error *err)
{
	size_t count = container_disk_count(subject->container);

	for (size_t i = 0; i < count; i++) {
		const struct container_disk *disk =
			container_disk(subject->container, i);

		if (!subject_selects(subject, disk))
			continue;
		if (!disk->map) {
			*err = disk->error;
			return error_prefix(err, "%s", disk->name);
		}
		return disk_open(out, subject->engine, disk->map, disk->name,
				 err);
	}
	return error_set(err, ERR_NOT_FOUND, "no disk");
}

/* Next data range at or after *at; false behind the last one. -1 on error. */
static int next_data(struct disk *disk, uint64_t at, uint64_t *start,
		     uint64_t *end, struct error *err)
{
	if (at >= disk_size(disk))
		return 0;
	if (disk_seek(disk, at, true, start, err))
		return -1;
	if (*start == UINT64_MAX)
		return 0;
	if (disk_seek(disk, *start, false, end, err))
		return -1;
	if (*start < at || *end <= *start || *end > disk_size(disk))
		return error_set(err, ERR_BUG, "from %" PRIu64 " data is %"
				 PRIu64 " to %" PRIu64, at, *start, *end);
	return 1;
}

static int copy_range(struct disk *disk, int fd, char *buf, uint64_t start,
		      uint64_t end, struct error *err)
{
	for (uint64_t at = start; at < end;) {
		uint64_t n = min_u64(end - at, CHUNK_BYTES);

		if (disk_read(disk, at, buf, n, err))
			return -1;
		if (pwrite(fd, buf, n, (off_t)at) != (ssize_t)n)
			return error_errno(err, errno, "write");
		at += n;
	}
	return 0;
}

static int cat_raw(struct disk *disk, char **args, struct error *err)
{
	AUTO_CLOSE int fd = open(args[0], O_WRONLY | O_CREAT | O_TRUNC, 0666);
	AUTO_FREE char *buf = malloc(CHUNK_BYTES);
	uint64_t start, end = 0;
	int more;

	if (fd < 0 || ftruncate(fd, (off_t)disk_size(disk)))
		return error_errno(err, errno, "%s", args[0]);
	if (!buf)
		return error_nomem(err);
	while ((more = next_data(disk, end, &start, &end, err)) > 0)
		if (copy_range(disk, fd, buf, start, end, err))
			return -1;
	return more;
}

static int cat_seek(struct disk *disk, char **args, struct error *err)
{
	uint64_t start, end = 0, before = 0;
	int more;

	while ((more = next_data(disk, end, &start, &end, err)) > 0) {
		if (start > before)
			printf("%" PRIu64 " %" PRIu64 " hole\n", before,
			       start - before);
		printf("%" PRIu64 " %" PRIu64 " data\n", start, end - start);
		before = end;
	}
	if (!more && before < disk_size(disk))
		printf("%" PRIu64 " %" PRIu64 " hole\n", before,
		       disk_size(disk) - before);
	return more;
}

struct reader {
	struct disk *disk;
	int expected;
	uint64_t count, random;
	struct error error;
};

/* splitmix64: the same sequence everywhere. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static int compare_one(struct reader *reader, char *got, char *want)
{
	uint64_t size = disk_size(reader->disk);
	uint64_t at = next_random(&reader->random) % size;
	uint64_t n = 1 + next_random(&reader->random) % RANDOM_READ_MAX;
	size_t i = 0;

	n = min_u64(n, size - at);
	if (disk_read(reader->disk, at, got, n, &reader->error))
		return -1;
	if (pread(reader->expected, want, n, (off_t)at) != (ssize_t)n)
		return error_set(&reader->error, ERR_IO, "the expected file "
				 "ends before %" PRIu64, at + n);
	while (i < n && got[i] == want[i])
		i++;
	if (i < n)
		return error_set(&reader->error, ERR_CORRUPT, "byte %" PRIu64
				 " is %02x, want %02x (read of %" PRIu64 "+%"
				 PRIu64 ")", at + i, (unsigned char)got[i],
				 (unsigned char)want[i], at, n);
	return 0;
}

static void *read_randomly(void *arg)
{
	struct reader *reader = arg;
	AUTO_FREE char *got = malloc(RANDOM_READ_MAX);
	AUTO_FREE char *want = malloc(RANDOM_READ_MAX);

	if (!got || !want) {
		error_nomem(&reader->error);
		return NULL;
	}
	while (reader->count-- > 0)
		if (compare_one(reader, got, want))
			break;
	return NULL;
}

static int cat_random(struct disk *disk, char **args, struct error *err)
{
	AUTO_CLOSE int expected = open(args[0], O_RDONLY);
	uint64_t count = strtoull(args[1], NULL, 10);
	uint64_t seed = strtoull(args[2], NULL, 10);
	uint64_t threads = strtoull(args[3], NULL, 10);
	struct reader readers[THREADS_MAX];
	pthread_t ids[THREADS_MAX];
	int ret = 0;

	if (expected < 0)
		return error_errno(err, errno, "%s", args[0]);
	if (!count || !threads || threads > THREADS_MAX)
		return error_set(err, ERR_ARG, "give N above 0 and 1 to %d "
				 "threads", THREADS_MAX);
	if (lseek(expected, 0, SEEK_END) != (off_t)disk_size(disk))
		return error_set(err, ERR_CORRUPT, "the disk has %" PRIu64
				 " bytes, not those of %s", disk_size(disk),
				 args[0]);
	if (disk_size(disk) == 0)
		return 0;
	for (uint64_t i = 0; i < threads; i++) {
		readers[i] = (struct reader){
			.disk = disk, .expected = expected,
			.count = div_round_up(count, threads),
			.random = seed * THREADS_MAX + i,
		};
		if (pthread_create(&ids[i], NULL, read_randomly, &readers[i]))
			abort();
	}
	for (uint64_t i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		if (readers[i].error.kind != ERR_NONE) {
			*err = readers[i].error;
			ret = -1;
		}
	}
	return ret;
}

static const struct {
	const char *name;
	int argc;
	int (*run)(struct disk *disk, char **args, struct error *err);
} actions[] = {
	{ "raw", 1, cat_raw },
	{ "random", 4, cat_random },
	{ "seek", 0, cat_seek },
};

int main(int argc, char **argv)
{
	struct subject_options options = { .memory_bytes = 64 << 20 };
	struct error err = { 0 };
	struct subject subject;
	struct disk *disk;
	size_t i = 0;
	int ret;

	while (i < 3 && (argc < 3 || strcmp(actions[i].name, argv[1]) != 0 ||
			 argc != 3 + actions[i].argc))
		i++;
	if (i == 3) {
		fprintf(stderr, "usage: diskcat raw|random|seek OBJECT ...\n");
		return EXIT_USAGE;
	}
	ret = subject_open(&subject, argv[2], &options, &err);
	if (!ret) {
		ret = pick_disk(&disk, &subject, &err);
		if (!ret) {
			ret = actions[i].run(disk, argv + 3, &err);
			disk_close(disk);
		}
		subject_close(&subject);
	}
	if (ret)
		fprintf(stderr, "diskcat: %s\n", err.text);
	return ret ? EXIT_FAILED : EXIT_OK;
}
