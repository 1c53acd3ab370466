/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Make a stream-optimised VMDK in the layout that VMware's exporters write:
 * grains and tables in the order of the disk, the directory and a footer at
 * the end. Packs on all cores; test input for the bench, not an exporter.
 *
 *     usage: stream-vmdk RAW VMDK     (the size must be a multiple of 64 KiB)
 *
 *     header | descriptor | grains, a table after each 512 | directory |
 *     footer marker | footer | end marker            (all in sectors, LE)
 *
 * Threads: a round packs 512 grains, each thread every Nth one; the main
 * thread reads before and writes after. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "common/bytes.h"
#include "common/cleanup.h"

#define SECTOR        512
#define GRAIN_BYTES   65536
#define GRAIN_SECTORS (GRAIN_BYTES / SECTOR)
#define TABLE_GRAINS  512
#define OVERHEAD      128 /* sectors in front of the first grain */
#define PACKED_MAX    (12 + GRAIN_BYTES + 1024)
#define THREADS_MAX   16

enum marker { END_OF_STREAM, GRAIN_TABLE, GRAIN_DIRECTORY, FOOTER };

struct stream {
	int raw, out;
	uint64_t capacity; /* sectors */
	uint64_t at;       /* sectors written */
	unsigned int threads;
	uint32_t *directory;
	/* One round. */
	uint64_t first;    /* its first grain */
	unsigned char *plain, *packed[TABLE_GRAINS];
	uint32_t length[TABLE_GRAINS]; /* marker and data; 0 = all zeroes */
};

struct share {
	struct stream *stream;
	unsigned int number;
	pthread_t thread;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void emit(struct stream *s, const void *data, size_t sectors)
{
	if (write(s->out, data, sectors * SECTOR) !=
	    (ssize_t)(sectors * SECTOR))
		die("write");
	s->at += sectors;
}

static bool is_zero(const unsigned char *p, size_t n)
{
	return p[0] == 0 && !memcmp(p, p + 1, n - 1);
}

static void *pack_share(void *arg)
{
	const struct share *share = arg;
	struct stream *s = share->stream;

	for (unsigned int i = share->number; i < TABLE_GRAINS;
	     i += s->threads) {
		const unsigned char *grain = s->plain + i * GRAIN_BYTES;
		uLongf packed = PACKED_MAX - 12;

		s->length[i] = 0;
		if (is_zero(grain, GRAIN_BYTES))
			continue;
		if (compress2(s->packed[i] + 12, &packed, grain, GRAIN_BYTES,
			      6) != Z_OK)
			die("compress2");
		le64_put(s->packed[i], (s->first + i) * GRAIN_SECTORS);
		le32_put(s->packed[i] + 8, (uint32_t)packed);
		s->length[i] = 12 + (uint32_t)packed;
	}
	return NULL;
}

static void pack_round(struct stream *s)
{
	struct share shares[THREADS_MAX];

	for (unsigned int i = 0; i < s->threads; i++) {
		shares[i].stream = s;
		shares[i].number = i;
		if (pthread_create(&shares[i].thread, NULL, pack_share,
				   &shares[i]))
			die("pthread_create");
	}
	for (unsigned int i = 0; i < s->threads; i++)
		pthread_join(shares[i].thread, NULL);
}

static void emit_marker(struct stream *s, enum marker type, uint64_t sectors)
{
	unsigned char marker[SECTOR] = { 0 };

	le64_put(marker, sectors);
	le32_put(marker + 12, type);
	emit(s, marker, 1);
}

/* Write what a round has packed, and its table unless it is empty. */
static void emit_round(struct stream *s)
{
	unsigned char table[TABLE_GRAINS * 4] = { 0 };
	unsigned int grains = 0;

	for (unsigned int i = 0; i < TABLE_GRAINS; i++) {
		size_t sectors = (s->length[i] + SECTOR - 1) / SECTOR;

		if (!s->length[i])
			continue;
		memset(s->packed[i] + s->length[i], 0,
		       sectors * SECTOR - s->length[i]);
		le32_put(table + 4 * i, (uint32_t)s->at);
		emit(s, s->packed[i], sectors);
		grains++;
	}
	if (!grains)
		return;
	emit_marker(s, GRAIN_TABLE, sizeof(table) / SECTOR);
	le32_put(&s->directory[s->first / TABLE_GRAINS], (uint32_t)s->at);
	emit(s, table, sizeof(table) / SECTOR);
}

static void read_round(struct stream *s)
{
	size_t want = (size_t)TABLE_GRAINS * GRAIN_BYTES, got = 0;

	while (got < want) {
		ssize_t n = pread(s->raw, s->plain + got, want - got,
				  (off_t)(s->first * GRAIN_BYTES + got));

		if (n < 0)
			die("read");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	memset(s->plain + got, 0, want - got);
}

static void fill_header(const struct stream *s, unsigned char *h,
			uint64_t directory_at)
{
	memset(h, 0, SECTOR);
	memcpy(h, "KDMV", 4);
	le32_put(h + 4, 3);
	le32_put(h + 8, 0x30001);
	le64_put(h + 12, s->capacity);
	le64_put(h + 20, GRAIN_SECTORS);
	le64_put(h + 28, 1);
	le64_put(h + 36, 2);
	le32_put(h + 44, TABLE_GRAINS);
	le64_put(h + 56, directory_at);
	le64_put(h + 64, OVERHEAD);
	memcpy(h + 73, "\n \r\n", 4);
	le16_put(h + 77, 1);
}

/* name: some readers want the extent to bear the file's own name. */
static void emit_front(struct stream *s, const char *name)
{
	static unsigned char front[OVERHEAD * SECTOR];

	fill_header(s, front, UINT64_MAX);
	snprintf((char *)front + SECTOR, 2 * SECTOR,
		 "# Disk DescriptorFile\nversion=1\nCID=00000001\n"
		 "parentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"
		 "# Extent description\nRW %" PRIu64 " SPARSE \"%s\"\n\n"
		 "# The Disk Data Base\nddb.virtualHWVersion = \"10\"\n"
		 "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
		 "ddb.geometry.heads = \"255\"\n"
		 "ddb.geometry.sectors = \"63\"\n"
		 "ddb.adapterType = \"lsilogic\"\n",
		 s->capacity, name, s->capacity / (255 * 63));
	emit(s, front, OVERHEAD);
}

static void emit_end(struct stream *s, size_t directory_sectors)
{
	unsigned char footer[SECTOR];

	emit_marker(s, GRAIN_DIRECTORY, directory_sectors);
	fill_header(s, footer, s->at);
	emit(s, s->directory, directory_sectors);
	emit_marker(s, FOOTER, 1);
	emit(s, footer, 1);
	emit_marker(s, END_OF_STREAM, 0);
}

static void convert(struct stream *s, const char *name)
{
	uint64_t grains = s->capacity / GRAIN_SECTORS;
	uint64_t tables = (grains + TABLE_GRAINS - 1) / TABLE_GRAINS;
	size_t sectors = (size_t)(tables * 4 + SECTOR - 1) / SECTOR;

	s->directory = calloc(sectors, SECTOR);
	s->plain = calloc(TABLE_GRAINS, GRAIN_BYTES);
	if (!s->directory || !s->plain)
		die("memory");
	for (unsigned int i = 0; i < TABLE_GRAINS; i++) {
		s->packed[i] = malloc(PACKED_MAX + SECTOR);
		if (!s->packed[i])
			die("memory");
	}
	emit_front(s, name);
	for (s->first = 0; s->first < grains; s->first += TABLE_GRAINS) {
		read_round(s);
		pack_round(s);
		emit_round(s);
		fprintf(stderr, "\r%3" PRIu64 " %%", s->first * 100 / grains);
	}
	emit_end(s, sectors);
	fprintf(stderr, "\r100 %%\n");
}

int main(int argc, char **argv)
{
	static struct stream s;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const char *name;
	struct stat st;

	if (argc != 3) {
		fprintf(stderr, "usage: stream-vmdk RAW VMDK\n");
		return 2;
	}
	s.threads = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX :
							 (unsigned int)cores;
	s.raw = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (s.raw < 0 || fstat(s.raw, &st))
		die(argv[1]);
	if (st.st_size == 0 || st.st_size % GRAIN_BYTES) {
		fprintf(stderr, "%s: not a multiple of 64 KiB\n", argv[1]);
		return 1;
	}
	s.capacity = (uint64_t)st.st_size / SECTOR;
	s.out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (s.out < 0)
		die(argv[2]);
	name = strrchr(argv[2], '/');
	convert(&s, name ? name + 1 : argv[2]);
	if (close(s.out))
		die(argv[2]);
	return 0;
}
