/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects of pieces in a directory: the kernel copies ranges of files, or
 * shares their blocks where the file system can. Holes stay holes. Where the
 * kernel cannot copy between these two files, bytes are read and written. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/pool.h"
#include "store/compose.h"
#include "store/file.h"
#include "store/sink.h"

/* Of one call: a slow disk takes a second for it, and then it can be ended. */
#define CHUNK_BYTES (64u << 20)

struct copying {
	struct store *store;
	struct compose *compose;
	const struct store_piece *piece;
	struct object *object;
	struct sink *sink;
	int fd;           /* the object's */
	uint64_t at, end; /* what is still to come of it */
};

/* The extent at c->at: a hole or not, and its end. A file system that does not
 * know holes has none. */
static bool is_hole(const struct copying *c, uint64_t *end)
{
	off_t at = (off_t)c->at, next = lseek(c->fd, at, SEEK_DATA);

	*end = c->end;
	if (next < 0)
		return errno == ENXIO; /* none but a hole up to the end */
	if (next > at) {
		*end = min_u64((uint64_t)next, c->end);
		return true;
	}
	next = lseek(c->fd, at, SEEK_HOLE);
	if (next > at)
		*end = min_u64((uint64_t)next, c->end);
	return false;
}

static int read_data(struct copying *c, uint64_t end, struct error *err)
{
	struct store_piece rest = *c->piece;

	rest.offset = c->at;
	rest.length = end - c->at;
	c->at = end;
	return compose_read_range(c->store, c->compose, &rest, c->sink, err);
}

/* Can the kernel not do it for these two files, whatever else it can? */
static bool cannot_copy(int errnum)
{
	return errnum == EXDEV || errnum == EINVAL || errnum == ENOSYS ||
	       errnum == EOPNOTSUPP || errnum == EPERM || errnum == ETXTBSY;
}

static int copy_data(struct copying *c, uint64_t end, struct error *err)
{
	while (c->at < end) {
		uint64_t n = min_u64(end - c->at, CHUNK_BYTES);
		ssize_t copied = file_sink_copy(c->sink, c->fd, c->at, n);

		if (copied < 0 && !cannot_copy(errno))
			return error_errno(err, errno, "cannot copy %s",
					   c->piece->key);
		/* Of a file that ends early, reading tells why. */
		if (copied <= 0)
			return read_data(c, end, err);
		c->at += (uint64_t)copied;
		if (compose_step(c->compose, (uint64_t)copied, err))
			return -1;
	}
	return 0;
}

static int copy_extents(struct copying *c, struct error *err)
{
	uint64_t end;

	while (c->at < c->end) {
		if (!is_hole(c, &end)) {
			if (copy_data(c, end, err))
				return -1;
			continue;
		}
		if (sink_zeroes(c->sink, end - c->at, err) ||
		    compose_step(c->compose, end - c->at, err))
			return -1;
		c->at = end;
	}
	return 0;
}

static int copy_range(struct store *store, struct compose *compose,
		      const struct store_piece *piece, struct sink *sink,
		      struct error *err)
{
	struct copying c = { store, compose, piece, .sink = sink };
	int ret;

	if (object_open(&c.object, store, piece->key, piece->info, err))
		return error_prefix(err, "%s", piece->key);
	c.fd = file_object_fd(c.object);
	c.at = piece->offset;
	c.end = piece->offset + piece->length;
	ret = copy_extents(&c, err);
	/* Only now is it known what was copied. */
	if (!ret && file_object_check(c.object, err))
		ret = error_prefix(err, "%s", piece->key);
	object_close(c.object);
	return ret;
}

int file_compose(struct store *store, const char *key,
		 const struct sink_args *args, struct compose *compose,
		 struct object_info *info, struct error *err)
{
	return compose_by_sink(store, key, args, compose, copy_range, info,
			       err);
}
