/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Buffers of the loop threads. A request is scattered: its head to libfuse's
 * buffer, what follows to ours. All but writes is put together again, which is
 * short. */
#include "config.h"

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/error.h"
#include "disk/batch.h"
#include "fs/landing.h"

#define HEAD_BYTES (sizeof(struct fuse_in_header) + \
		    sizeof(struct fuse_write_in))

struct landing {
	void *buffer;
	bool is_filled; /* by the request that is being handled */
};

static void free_landing(void *arg)
{
	struct landing *own = arg;

	free(own->buffer);
	free(own);
}

int landings_init(struct landings *landings, struct error *err)
{
	int ret = pthread_key_create(&landings->key, free_landing);

	return ret ? error_errno(err, ret, "no key for threads") : 0;
}

void landings_destroy(struct landings *landings)
{
	pthread_key_delete(landings->key);
}

static bool is_write(const void *buf, size_t n)
{
	const struct fuse_in_header *in = buf;

	return in->opcode == FUSE_WRITE && n <= HEAD_BYTES + BATCH_BYTES;
}

ssize_t landing_read(const struct landings *landings, int fd, void *buf,
		     size_t size)
{
	struct landing *own = pthread_getspecific(landings->key);
	char *rest = (char *)buf + HEAD_BYTES;
	struct iovec iov[3] = { { buf, HEAD_BYTES } };
	ssize_t n;

	if (!own || size < HEAD_BYTES + BATCH_BYTES)
		return read(fd, buf, size);
	own->is_filled = false;
	iov[1] = (struct iovec){ own->buffer, BATCH_BYTES };
	iov[2] = (struct iovec){ rest + BATCH_BYTES,
				 size - HEAD_BYTES - BATCH_BYTES };
	n = readv(fd, iov, 3);
	if (n <= (ssize_t)HEAD_BYTES)
		return n;
	if (is_write(buf, (size_t)n))
		own->is_filled = true;
	else
		memcpy(rest, own->buffer,
		       min_u64((size_t)n - HEAD_BYTES, BATCH_BYTES));
	return n;
}

const char *landing_data(const struct landings *landings, const char *data)
{
	const struct landing *own = pthread_getspecific(landings->key);

	return own && own->is_filled ? own->buffer : data;
}

/* For the next such write. */
static void make_landing(const struct landings *landings)
{
	struct landing *own = calloc(1, sizeof(*own));

	if (!own)
		return;
	own->buffer = batch_buffer_new(BATCH_BYTES);
	if (!own->buffer || pthread_setspecific(landings->key, own))
		free_landing(own);
}

void **landing_of(const struct landings *landings, size_t size)
{
	struct landing *own = pthread_getspecific(landings->key);

	if (size != BATCH_BYTES)
		return NULL;
	if (!own)
		make_landing(landings);
	return own && own->is_filled ? &own->buffer : NULL;
}
