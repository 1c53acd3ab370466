/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Spools. Space is counted in blocks of the file below, before it is used. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/scratch.h"
#include "fs/spool.h"

#define BLOCK_BYTES 4096u
#define COPY_BYTES  (256u << 10)

struct spool {
	struct scratch *scratch;
	struct budget *budget;
	int fd;               /* -1: nothing was written yet */
	bool is_file;         /* in scratch space */
	struct ranges written;
	struct ranges blocks; /* that take space */
};

int spool_new(struct spool **out, struct scratch *scratch,
	      struct budget *budget, struct error *err)
{
	struct spool *spool = calloc(1, sizeof(*spool));

	*out = spool;
	if (!spool)
		return error_nomem(err);
	spool->scratch = scratch;
	spool->budget = budget;
	spool->written.budget = spool->blocks.budget = budget;
	spool->fd = -1;
	return 0;
}

static void release(struct spool *spool, uint64_t bytes)
{
	if (spool->is_file)
		scratch_release(spool->scratch, bytes);
	else
		budget_release(spool->budget, bytes);
}

void spool_free(struct spool *spool)
{
	if (!spool)
		return;
	release(spool, spool->blocks.bytes);
	ranges_free(&spool->written);
	ranges_free(&spool->blocks);
	if (spool->fd >= 0)
		close(spool->fd);
	free(spool);
}

static int write_all(int fd, uint64_t offset, const char *data, size_t length,
		     struct error *err)
{
	while (length) {
		ssize_t n = pwrite(fd, data, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "scratch space");
		data += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

/* What lies behind the file's end reads as zeroes. */
static int read_all(int fd, uint64_t offset, char *buf, size_t length,
		    struct error *err)
{
	while (length) {
		ssize_t n = pread(fd, buf, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "scratch space");
		if (n == 0) {
			memset(buf, 0, length);
			return 0;
		}
		buf += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int copy_range(int from, int to, const struct range *range,
		      struct error *err)
{
	AUTO_FREE char *buf = malloc(COPY_BYTES);
	uint64_t at = range->begin;

	if (!buf)
		return error_nomem(err);
	while (at < range->end) {
		size_t n = (size_t)min_u64(COPY_BYTES, range->end - at);

		if (read_all(from, at, buf, n, err) ||
		    write_all(to, at, buf, n, err))
			return -1;
		at += n;
	}
	return 0;
}

/* From memory to scratch space. */
static int move_to_file(struct spool *spool, struct error *err)
{
	uint64_t bytes = spool->blocks.bytes;
	AUTO_CLOSE int fd = scratch_open_file(spool->scratch, err);
	int old = spool->fd;

	if (fd < 0 || scratch_reserve(spool->scratch, bytes, err))
		return -1;
	for (size_t i = 0; i < spool->blocks.count; i++) {
		if (copy_range(old, fd, &spool->blocks.at[i], err)) {
			scratch_release(spool->scratch, bytes);
			return -1;
		}
	}
	budget_release(spool->budget, bytes);
	spool->is_file = true;
	spool->fd = fd;
	fd = old; /* to be closed */
	return 0;
}

/* Count so many more bytes, wherever they are to be. */
static int reserve(struct spool *spool, uint64_t bytes, struct error *err)
{
	if (!bytes)
		return 0;
	if (!spool->is_file &&
	    spool->blocks.bytes + bytes <= SPOOL_MEMORY_BYTES &&
	    budget_try(spool->budget, bytes))
		return 0;
	if (!spool->is_file && move_to_file(spool, err))
		return -1;
	return scratch_reserve(spool->scratch, bytes, err);
}

static int open_memory(struct spool *spool, struct error *err)
{
	if (spool->fd >= 0)
		return 0;
	spool->fd = memfd_create("vmiefs-spool", MFD_CLOEXEC);
	return spool->fd < 0 ? error_errno(err, errno, "no memory file") : 0;
}

static uint64_t block_begin(uint64_t offset)
{
	return round_down(offset, BLOCK_BYTES);
}

static uint64_t block_end(uint64_t offset)
{
	return div_round_up(offset, BLOCK_BYTES) * BLOCK_BYTES;
}

int spool_write(struct spool *spool, uint64_t offset, const void *data,
		size_t length, struct error *err)
{
	uint64_t end = offset + length;
	uint64_t begin_block = block_begin(offset), end_block = block_end(end);
	uint64_t more = ranges_missing(&spool->blocks, begin_block, end_block);

	if (open_memory(spool, err) || reserve(spool, more, err))
		return -1;
	if (ranges_add(&spool->blocks, begin_block, end_block, err)) {
		release(spool, more);
		return -1;
	}
	return write_all(spool->fd, offset, data, length, err) ? -1 :
	       ranges_add(&spool->written, offset, end, err);
}

/* Make a range zero, and give its whole blocks back. */
static int punch(struct spool *spool, uint64_t begin, uint64_t end,
		 struct error *err)
{
	uint64_t first = block_end(begin), last = block_begin(end), before;

	if (spool->fd < 0 || begin == end)
		return 0;
	if (fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)begin, (off_t)(end - begin)))
		return error_errno(err, errno, "scratch space");
	if (first >= last)
		return 0;
	before = spool->blocks.bytes;
	if (ranges_remove(&spool->blocks, first, last, err))
		return -1;
	release(spool, before - spool->blocks.bytes);
	return 0;
}

int spool_write_zeroes(struct spool *spool, uint64_t offset, uint64_t length,
		       struct error *err)
{
	if (punch(spool, offset, offset + length, err))
		return -1;
	return ranges_add(&spool->written, offset, offset + length, err);
}

/* Nothing is left that anybody would read: give all space back, also blocks of
 * which parts were forgotten one by one. */
static int clear(struct spool *spool, struct error *err)
{
	if (spool->fd >= 0 && ftruncate(spool->fd, 0))
		return error_errno(err, errno, "scratch space");
	release(spool, spool->blocks.bytes);
	ranges_free(&spool->blocks);
	return 0;
}

int spool_forget(struct spool *spool, uint64_t offset, uint64_t length,
		 struct error *err)
{
	if (punch(spool, offset, offset + length, err) ||
	    ranges_remove(&spool->written, offset, offset + length, err))
		return -1;
	return spool->written.count ? 0 : clear(spool, err);
}

int spool_read(struct spool *spool, uint64_t offset, void *buf, size_t length,
	       struct error *err)
{
	if (spool->fd >= 0)
		return read_all(spool->fd, offset, buf, length, err);
	memset(buf, 0, length);
	return 0;
}

bool spool_next_stored(const struct spool *spool, uint64_t begin, uint64_t end,
		       struct range *found)
{
	if (begin >= end || !ranges_find(&spool->blocks, begin, found) ||
	    found->begin >= end)
		return false;
	found->begin = max_u64(found->begin, begin);
	found->end = min_u64(found->end, end);
	return true;
}

const struct ranges *spool_ranges(const struct spool *spool)
{
	return &spool->written;
}

uint64_t spool_bytes(const struct spool *spool)
{
	return spool->blocks.bytes;
}

bool spool_is_in_memory(const struct spool *spool)
{
	return !spool->is_file;
}
