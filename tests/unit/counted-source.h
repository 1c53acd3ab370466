/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For unit tests: a source that counts how it is read and fails on demand. */
#ifndef VMIEFS_TESTS_COUNTED_SOURCE_H
#define VMIEFS_TESTS_COUNTED_SOURCE_H

#include <stdlib.h>

#include "common/checked.h"
#include "format/source.h"

struct counted {
	struct source source;
	const uint8_t *data;  /* borrowed; zeroes behind `length` */
	uint64_t length;
	unsigned int reads;   /* calls so far */
	uint64_t bytes;       /* they asked for */
	unsigned int fail_at; /* this call fails (ERR_NETWORK); 0 = none */
	bool is_busy;         /* SOURCE_NOWAIT calls fail (ERR_AGAIN) */
};

static int counted_readv(struct source *source, uint64_t offset,
			 const struct iovec *iov, int iovcnt,
			 unsigned int flags, struct error *err)
{
	struct counted *self = (struct counted *)source;

	self->reads++;
	if (self->is_busy && flags & SOURCE_NOWAIT)
		return error_set(err, ERR_AGAIN, "busy");
	if (self->reads == self->fail_at)
		return error_set(err, ERR_NETWORK, "failed on demand");
	for (int i = 0; i < iovcnt; i++) {
		uint64_t here = offset < self->length ?
			min_u64(iov[i].iov_len, self->length - offset) : 0;

		memset(iov[i].iov_base, 0, iov[i].iov_len);
		if (here)
			memcpy(iov[i].iov_base, self->data + offset, here);
		offset += iov[i].iov_len;
		self->bytes += iov[i].iov_len;
	}
	return 0;
}

static void counted_close(struct source *source)
{
	free(source);
}

static const struct source_ops counted_ops = {
	.readv = counted_readv,
	.close = counted_close,
};

/* length bytes of data, then zeroes up to size. Never fails but for lack of
 * memory, which ends the test. */
static struct counted *counted_new(const char *name, const void *data,
				   uint64_t length, uint64_t size)
{
	struct counted *self = calloc(1, sizeof(*self));
	struct error err;

	if (!self || source_init(&self->source, &counted_ops, name, size, NULL,
				 &err))
		abort();
	self->data = data;
	self->length = length;
	return self;
}

#endif
