/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The checked entry points of all sinks; each remembers its first failure. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/checked.h"
#include "store/sink.h"
#include "store/store.h"

/* Fails with the sink's first failure, if there was one. */
static int check_sink(const struct sink *sink, struct error *err)
{
	if (sink->error.kind == ERR_NONE)
		return 0;
	if (err)
		*err = sink->error;
	return -1;
}

/* Remember that a driver's call failed; its error is in sink->error. */
static int sink_failed(struct sink *sink, struct error *err)
{
	if (sink->error.kind == ERR_NONE)
		error_set(&sink->error, ERR_BUG, "a failure without a cause");
	return check_sink(sink, err);
}

static int check_room(struct sink *sink, uint64_t length)
{
	if (length > (uint64_t)INT64_MAX - sink->position)
		return error_set(&sink->error, ERR_LIMIT, "no object has more "
				 "than %lld bytes", (long long)INT64_MAX);
	return 0;
}

int sink_writev(struct sink *sink, const struct iovec *iov, int iovcnt,
		struct error *err)
{
	uint64_t length = 0;

	if (check_sink(sink, err))
		return -1;
	for (int i = 0; i < iovcnt; i++)
		length += iov[i].iov_len;
	if (!length)
		return 0;
	if (check_room(sink, length) ||
	    sink->ops->write(sink, iov, iovcnt, &sink->error))
		return sink_failed(sink, err);
	sink->position += length;
	return 0;
}

int sink_write(struct sink *sink, const void *data, size_t length,
	       struct error *err)
{
	struct iovec iov = { (void *)data, length };

	return sink_writev(sink, &iov, 1, err);
}

int sink_zeroes(struct sink *sink, uint64_t length, struct error *err)
{
	if (check_sink(sink, err))
		return -1;
	if (!length)
		return 0;
	if (check_room(sink, length) ||
	    sink->ops->zeroes(sink, length, &sink->error))
		return sink_failed(sink, err);
	sink->position += length;
	return 0;
}

int sink_patch(struct sink *sink, uint64_t offset, const void *data,
	       size_t length, struct error *err)
{
	if (check_sink(sink, err))
		return -1;
	if (!in_range(offset, length,
		      min_u64(sink->position, sink->head_bytes))) {
		error_set(&sink->error, ERR_BUG, "bytes %llu to %llu are not "
			  "in the head of %u", (unsigned long long)offset,
			  (unsigned long long)(offset + length),
			  sink->head_bytes);
		return sink_failed(sink, err);
	}
	if (sink->ops->patch(sink, offset, data, length, &sink->error))
		return sink_failed(sink, err);
	return 0;
}

int sink_finish(struct sink *sink, struct object_info *info,
		struct error *err)
{
	struct object_info own;

	if (check_sink(sink, err))
		return -1;
	if (sink->ops->finish(sink, info ? info : &own, &sink->error))
		return sink_failed(sink, err);
	return 0;
}

int sink_seal(struct sink *sink, struct error *err)
{
	if (check_sink(sink, err))
		return -1;
	if (!sink->can_seal)
		return error_set(err, ERR_UNSUPPORTED, "the store cannot give "
				 "back what it was given");
	if (sink->ops->seal(sink, &sink->error))
		return sink_failed(sink, err);
	return 0;
}

struct sealed_object {
	struct object object;
	struct sink *sink;
};

static int sealed_readv(struct object *object, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, uint64_t *filled,
			struct error *err)
{
	struct sink *sink = ((struct sealed_object *)object)->sink;

	if (flags & STORE_NOWAIT)
		return error_set(err, ERR_AGAIN, "may have to wait");
	if (sink->ops->readv(sink, offset, iov, iovcnt, err))
		return -1;
	for (int i = 0; i < iovcnt; i++)
		*filled += iov[i].iov_len;
	return 0;
}

static void sealed_close(struct object *object)
{
	sink_discard(((struct sealed_object *)object)->sink);
	free(object);
}

static const struct object_ops sealed_ops = {
	.readv = sealed_readv,
	.close = sealed_close,
};

int sink_object(struct object **out, struct sink *sink, struct error *err)
{
	struct sealed_object *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->object.ops = &sealed_ops;
	self->object.info.size = sink->position;
	self->sink = sink;
	*out = &self->object;
	return 0;
}

uint64_t sink_stored(const struct sink *sink)
{
	while (sink->beneath)
		sink = sink->beneath;
	return atomic_load(&sink->stored);
}

void sink_cancel(struct sink *sink)
{
	if (sink->ops->cancel)
		sink->ops->cancel(sink);
}

void sink_discard(struct sink *sink)
{
	if (sink)
		sink->ops->discard(sink);
}
