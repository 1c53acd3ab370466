/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: writes a container as the daemon does, but without FUSE: a raw
 * disk goes through the pipeline into a directory.
 *
 *     disksink [-a] [-b BLOCK] [-c LEVEL] [-m MEMORY] [-n CHUNK] [-r]
 *              [-s SUBFORMAT] [-S SECTOR] [-t THREADS] FORMAT RAW DIR KEY
 *
 * RAW is a file, whose holes are holes, or - for a stream. -a announces the
 * size first, -r replaces the object; CHUNK is how much is written at once.
 * Prints what it took as JSON. Exit status: 0 good, 1 failed, 2 usage. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "disk/engine.h"
#include "disk/pack.h"
#include "format/writer.h"
#include "store/store.h"

struct job_args {
	struct write_args write;
	struct engine_options engine;
	bool announces, replaces;
	size_t chunk;
	const char *format, *raw, *dir, *key;
};

static int parse_options(struct job_args *args, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "ab:c:m:n:rs:S:t:")) != -1) {
		switch (c) {
		case 'a':
			args->announces = true;
			break;
		case 'b':
			args->write.block_bytes =
				(uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			if (!packer_level_find(optarg, &args->write.level))
				return -1;
			break;
		case 'm':
			args->engine.memory_bytes =
				strtoull(optarg, NULL, 10);
			break;
		case 'n':
			args->chunk = strtoul(optarg, NULL, 10);
			break;
		case 'r':
			args->replaces = true;
			break;
		case 's':
			args->write.subformat = optarg;
			break;
		case 'S':
			args->write.sector_bytes =
				(uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 't':
			args->engine.threads =
				(uint32_t)strtoul(optarg, NULL, 10);
			break;
		default:
			return -1;
		}
	}
	if (argc - optind != 4 || !args->chunk)
		return -1;
	args->format = argv[optind];
	args->raw = argv[optind + 1];
	args->dir = argv[optind + 2];
	args->key = argv[optind + 3];
	return 0;
}

static int start(struct pack **out, struct engine *engine,
		 struct store *store, const struct job_args *args,
		 struct error *err)
{
	const struct format *format = format_find(args->format);
	struct sink_args sink_args = { .replace = args->replaces };
	struct writer *writer;
	struct sink *sink;

	if (!format)
		return error_set(err, ERR_ARG, "%s: no such format",
				 args->format);
	if (writer_new(&writer, format, &args->write, err))
		return -1;
	sink_args.head_bytes = writer->head_bytes;
	sink_args.size = writer->object_bytes_max;
	if (store_create(&sink, store, args->key, &sink_args, err)) {
		writer_free(writer);
		return -1;
	}
	if (pack_new(out, engine_pool(engine), engine_budget(engine), writer,
		     sink, NULL, err)) {
		sink_discard(sink);
		writer_free(writer);
		return -1;
	}
	return 0;
}

/* The next range with data of fd, from `at` on; a stream is all data. */
static void next_data(int fd, bool has_size, uint64_t size, uint64_t at,
		      uint64_t *begin, uint64_t *end)
{
	off_t found;

	*begin = at;
	*end = size;
	if (!has_size)
		return;
	found = lseek(fd, (off_t)at, SEEK_DATA);
	*begin = found < 0 ? size : (uint64_t)found;
	if (*begin < size)
		*end = (uint64_t)lseek(fd, (off_t)*begin, SEEK_HOLE);
	lseek(fd, (off_t)*begin, SEEK_SET);
}

/* Read up to `end`, or the stream's end. */
static int copy_data(struct pack *pack, int fd, char *buf, size_t chunk,
		     uint64_t at, uint64_t end, struct error *err)
{
	while (at < end) {
		ssize_t n = read(fd, buf, (size_t)min_u64(chunk, end - at));

		if (n < 0)
			return error_errno(err, errno, "read");
		if (n == 0)
			return 0;
		if (pack_write(pack, buf, (size_t)n, err))
			return -1;
		at += (uint64_t)n;
	}
	return 0;
}

static int copy_all(struct pack *pack, int fd, const struct stat *st,
		    size_t chunk, struct error *err)
{
	AUTO_FREE char *buf = malloc(chunk);
	bool has_size = S_ISREG(st->st_mode);
	uint64_t size = has_size ? (uint64_t)st->st_size : UINT64_MAX;
	uint64_t at = 0, begin, end;

	if (!buf)
		return error_nomem(err);
	while (at < size) {
		next_data(fd, has_size, size, at, &begin, &end);
		if (pack_hole(pack, begin - at, err) ||
		    copy_data(pack, fd, buf, chunk, begin, end, err))
			return -1;
		at = end;
	}
	return 0;
}

static void report(struct engine *engine, double begin)
{
	struct timespec now;
	struct rusage use;

	clock_gettime(CLOCK_MONOTONIC, &now);
	getrusage(RUSAGE_SELF, &use);
	printf("{\"seconds\": %.3f, \"cpu_seconds\": %.3f, "
	       "\"memory_peak\": %" PRIu64 ", \"rss_kib\": %ld}\n",
	       (double)now.tv_sec + (double)now.tv_nsec / 1e9 - begin,
	       (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
	       budget_stats(engine_budget(engine)).peak, use.ru_maxrss);
}

static int write_disk(const struct job_args *args, struct engine *engine,
		      struct store *store, int fd, const struct stat *st,
		      struct error *err)
{
	struct pack *pack;

	if (start(&pack, engine, store, args, err))
		return -1;
	if (copy_all(pack, fd, st, args->chunk, err)) {
		pack_discard_wait(pack);
		return -1;
	}
	return pack_finish_wait(pack, NULL, err);
}

static int run(struct job_args *args, struct error *err)
{
	AUTO_CLOSE int fd = strcmp(args->raw, "-") != 0 ?
		open(args->raw, O_RDONLY | O_CLOEXEC) : dup(0);
	const char *slash = strrchr(args->key, '/');
	struct engine *engine;
	struct store *store;
	struct timespec now;
	struct stat st;
	uint64_t idle;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (fd < 0 || fstat(fd, &st))
		return error_errno(err, errno, "%s", args->raw);
	args->write.name = slash ? slash + 1 : args->key;
	args->write.size = args->announces ? (uint64_t)st.st_size :
					     WRITE_SIZE_UNKNOWN;
	if (engine_new(&engine, &args->engine, err))
		return -1;
	args->write.budget = engine_budget(engine);
	idle = budget_stats(args->write.budget).used;
	ret = store_open(&store, args->dir, NULL, err);
	if (!ret) {
		ret = store_start(store, err) ||
		      write_disk(args, engine, store, fd, &st, err);
		store_close(store);
	}
	if (!ret)
		report(engine, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
	if (budget_stats(engine_budget(engine)).used != idle)
		ret = error_set(err, ERR_BUG, "memory is still in use");
	engine_free(engine);
	return ret;
}

int main(int argc, char **argv)
{
	struct job_args args = { .chunk = 1 << 20 };
	struct error err = { 0 };

	args.engine.memory_bytes = 64 << 20;
	if (parse_options(&args, argc, argv)) {
		fprintf(stderr, "usage: disksink [-ar] [-b BLOCK] [-c LEVEL] "
			"[-m MEMORY] [-n CHUNK] [-s SUBFORMAT] [-S SECTOR] "
			"[-t THREADS] FORMAT RAW DIR KEY\n");
		return 2;
	}
	if (run(&args, &err)) {
		fprintf(stderr, "disksink: %s\n", err.text);
		return 1;
	}
	return 0;
}
