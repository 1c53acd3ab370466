/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A source whose Nth read fails. */
#ifndef VMIEFS_TESTS_FAILING_SOURCE_H
#define VMIEFS_TESTS_FAILING_SOURCE_H

#include <stdio.h>
#include <stdlib.h>

#include "format/source.h"

struct failing {
	struct source source;
	struct source *below;
	int left; /* reads until one fails */
};

static int failing_readv(struct source *source, uint64_t offset,
			 const struct iovec *iov, int iovcnt,
			 unsigned int flags, struct error *err)
{
	struct failing *self = (struct failing *)source;

	if (--self->left == 0)
		return error_set(err, ERR_NETWORK, "connection lost");
	return source_readv(self->below, offset, iov, iovcnt, flags, err);
}

static void failing_close(struct source *source)
{
	source_unref(((struct failing *)source)->below);
	free(source);
}

static const struct source_ops failing_ops = {
	.readv = failing_readv,
	.close = failing_close,
};

/* Release it with source_unref(). */
static inline struct failing *failing_source(struct source *below, int left)
{
	struct failing *self = calloc(1, sizeof(*self));
	struct error err = { 0 };

	if (!self || source_init(&self->source, &failing_ops, "failing",
				 below->size, NULL, &err)) {
		printf("Bail out! no memory\n");
		exit(1);
	}
	self->below = source_ref(below);
	self->left = left;
	return self;
}

#endif
