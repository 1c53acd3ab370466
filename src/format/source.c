/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sources: the checked entry points, and the kinds that only forward: object,
 * window, concatenation, memory. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "format/source.h"

#define IOV_LOCAL 64 /* pieces that a splitting source forwards at once */

int source_init(struct source *source, const struct source_ops *ops,
		const char *name, uint64_t size, const struct source *below,
		struct error *err)
{
	source->name = strdup(name);
	if (!source->name)
		return error_nomem(err);
	source->ops = ops;
	source->size = size;
	source->fetch_bytes = below ? below->fetch_bytes : 4096;
	source->request_bytes = below ? below->request_bytes : 512 << 10;
	atomic_init(&source->refs, 1);
	return 0;
}

struct source *source_ref(struct source *source)
{
	atomic_fetch_add_explicit(&source->refs, 1, memory_order_relaxed);
	return source;
}

void source_unref(struct source *source)
{
	char *name;

	if (!source || atomic_fetch_sub(&source->refs, 1) != 1)
		return;
	name = source->name;
	source->ops->close(source);
	free(name);
}

static uint64_t iov_length(const struct iovec *iov, int iovcnt)
{
	uint64_t sum = 0;

	for (int i = 0; i < iovcnt; i++)
		sum += iov[i].iov_len;
	return sum;
}

int source_readv(struct source *source, uint64_t offset,
		 const struct iovec *iov, int iovcnt, unsigned int flags,
		 struct error *err)
{
	uint64_t length = iov_length(iov, iovcnt);

	if (!in_range(offset, length, source->size))
		return error_set(err, ERR_CORRUPT,
				 "ends at byte %llu, but %llu bytes at %llu "
				 "are needed", (unsigned long long)source->size,
				 (unsigned long long)length,
				 (unsigned long long)offset);
	return source->ops->readv(source, offset, iov, iovcnt, flags, err);
}

int source_read(struct source *source, uint64_t offset, void *buf, size_t len,
		unsigned int flags, struct error *err)
{
	struct iovec iov = { buf, len };

	return source_readv(source, offset, &iov, 1, flags, err);
}

void source_prefetch(struct source *source, uint64_t offset, uint64_t length)
{
	if (offset >= source->size || !source->ops->prefetch)
		return;
	length = min_u64(length, source->size - offset);
	if (length)
		source->ops->prefetch(source, offset, length);
}

/* An object. */

struct object_source {
	struct source source;
	struct object *object;
};

static int object_source_readv(struct source *source, uint64_t offset,
			       const struct iovec *iov, int iovcnt,
			       unsigned int flags, struct error *err)
{
	struct object_source *self = (struct object_source *)source;

	return object_readv(self->object, offset, iov, iovcnt, flags, err);
}

static void object_source_close(struct source *source)
{
	struct object_source *self = (struct object_source *)source;

	object_close(self->object);
	free(self);
}

static const struct source_ops object_source_ops = {
	.readv = object_source_readv,
	.close = object_source_close,
};

int source_from_object(struct source **out, const char *name,
		       struct object *object, const struct store *store,
		       struct error *err)
{
	AUTO_FREE struct object_source *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	if (source_init(&self->source, &object_source_ops, name,
			object->info.size, NULL, err))
		return -1;
	self->source.fetch_bytes = store->fetch_bytes;
	self->source.request_bytes = store->request_bytes;
	self->object = object;
	*out = &take_ptr(self)->source;
	return 0;
}

/* A window. */

struct window_source {
	struct source source;
	struct source *below;
	uint64_t start;
};

static int window_readv(struct source *source, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, struct error *err)
{
	struct window_source *self = (struct window_source *)source;

	return source_readv(self->below, self->start + offset, iov, iovcnt,
			    flags, err);
}

static void window_prefetch(struct source *source, uint64_t offset,
			    uint64_t length)
{
	struct window_source *self = (struct window_source *)source;

	source_prefetch(self->below, self->start + offset, length);
}

static int window_cached(struct source **out, struct source *source,
			 struct page_cache *cache, struct error *err)
{
	struct window_source *self = (struct window_source *)source;
	struct source *below;
	int ret;

	if (source_cached(&below, self->below, cache, err))
		return -1;
	ret = source_window(out, source->name, below, self->start,
			    source->size, err);
	source_unref(below);
	return ret;
}

static void window_close(struct source *source)
{
	struct window_source *self = (struct window_source *)source;

	source_unref(self->below);
	free(self);
}

static const struct source_ops window_ops = {
	.readv = window_readv,
	.prefetch = window_prefetch,
	.cached = window_cached,
	.close = window_close,
};

int source_window(struct source **out, const char *name, struct source *below,
		  uint64_t offset, uint64_t size, struct error *err)
{
	AUTO_FREE struct window_source *self = NULL;

	*out = NULL;
	if (!in_range(offset, size, below->size))
		return error_set(err, ERR_CORRUPT,
				 "%s: bytes %llu to %llu lie past the end at "
				 "%llu", name, (unsigned long long)offset,
				 (unsigned long long)(offset + size),
				 (unsigned long long)below->size);
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_nomem(err);
	if (source_init(&self->source, &window_ops, name, size, below, err))
		return -1;
	self->below = source_ref(below);
	self->start = offset;
	*out = &take_ptr(self)->source;
	return 0;
}

/* A concatenation. */

struct concat_source {
	struct source source;
	size_t n;
	struct {
		struct source *source;
		uint64_t start;
	} parts[];
};

/* Index of the part that holds offset. */
static size_t find_part(const struct concat_source *self, uint64_t offset)
{
	size_t low = 0, high = self->n;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (self->parts[middle].start <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Cut the first `length` bytes off *iov into out[]; returns how many pieces
 * (at most IOV_LOCAL, then *length is lowered to what they hold). */
static int iov_cut(struct iovec *out, struct iovec **iov, int *iovcnt,
		   uint64_t *length)
{
	uint64_t left = *length;
	int n = 0;

	while (left && n < IOV_LOCAL) {
		uint64_t take = min_u64(left, (*iov)->iov_len);

		out[n].iov_base = (*iov)->iov_base;
		out[n++].iov_len = take;
		left -= take;
		(*iov)->iov_base = (char *)(*iov)->iov_base + take;
		(*iov)->iov_len -= take;
		if ((*iov)->iov_len == 0) {
			++*iov;
			--*iovcnt;
		}
	}
	*length -= left;
	return n;
}

static int concat_readv(struct source *source, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, struct error *err)
{
	struct concat_source *self = (struct concat_source *)source;
	uint64_t left = iov_length(iov, iovcnt);
	AUTO_FREE struct iovec *copy =
		reallocarray(NULL, (size_t)iovcnt, sizeof(*iov));
	struct iovec *rest = copy, piece[IOV_LOCAL];

	if (!copy)
		return error_nomem(err);
	memcpy(copy, iov, sizeof(*iov) * (size_t)iovcnt);
	for (size_t i = find_part(self, offset); left; i++) {
		struct source *part = self->parts[i].source;
		uint64_t at = offset - self->parts[i].start;
		uint64_t here = min_u64(left, part->size - at);

		while (here) {
			uint64_t length = here;
			int n = iov_cut(piece, &rest, &iovcnt, &length);

			if (source_readv(part, at, piece, n, flags, err))
				return error_prefix(err, "%s", part->name);
			at += length;
			offset += length;
			here -= length;
			left -= length;
		}
	}
	return 0;
}

static void concat_close(struct source *source)
{
	struct concat_source *self = (struct concat_source *)source;

	for (size_t i = 0; i < self->n; i++)
		source_unref(self->parts[i].source);
	free(self);
}

static const struct source_ops concat_ops = {
	.readv = concat_readv,
	.close = concat_close,
};

int source_concat(struct source **out, const char *name, struct source **parts,
		  size_t n, struct error *err)
{
	AUTO_FREE struct concat_source *self = NULL;
	uint64_t size = 0;

	*out = NULL;
	assert(n > 0 && n <= 1u << 20);
	self = calloc(1, sizeof(*self) + n * sizeof(self->parts[0]));
	if (!self)
		return error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		self->parts[i].source = parts[i];
		self->parts[i].start = size;
		if (!add_u64(size, parts[i]->size, &size))
			return error_set(err, ERR_LIMIT, "%s: too large", name);
	}
	if (source_init(&self->source, &concat_ops, name, size, parts[0], err))
		return -1;
	self->n = n;
	for (size_t i = 0; i < n; i++)
		source_ref(parts[i]);
	*out = &take_ptr(self)->source;
	return 0;
}

/* Memory. */

struct memory_source {
	struct source source;
	char data[];
};

static int memory_readv(struct source *source, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, struct error *err)
{
	struct memory_source *self = (struct memory_source *)source;

	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, self->data + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static void memory_close(struct source *source)
{
	free(source);
}

static const struct source_ops memory_ops = {
	.readv = memory_readv,
	.close = memory_close,
};

int source_memory(struct source **out, const char *name, const void *data,
		  size_t size, struct error *err)
{
	struct memory_source *self = malloc(sizeof(*self) + size);

	*out = NULL;
	if (!self)
		return error_nomem(err);
	if (source_init(&self->source, &memory_ops, name, size, NULL, err)) {
		free(self);
		return -1;
	}
	if (size)
		memcpy(self->data, data, size);
	*out = &self->source;
	return 0;
}
