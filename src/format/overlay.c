/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Overlays. The writes are flattened once into ascending segments that do
 * not overlap, so that a read finds its segments by bisection. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "format/overlay.h"
#include "format/source.h"

struct segment {
	uint64_t offset, length;
	const uint8_t *data; /* NULL = zeroes */
};

struct overlay_source {
	struct source source;
	struct source *below;
	struct budget *budget;
	uint64_t reserved; /* bytes of the budget */
	uint8_t *bytes;    /* what the segments' data points into */
	size_t count;
	struct segment *segments;
};

/* Flattening: a sweep over the writes by offset. Those that cover the place
 * of the sweep (and older ones that have ended) wait in a heap with the
 * newest on top, which is the one that is seen. */
struct sweep {
	const struct overlay_write *writes;
	size_t n;
	uint32_t *by_offset; /* indices of writes */
	uint32_t *heap;      /* indices; a greater one is newer */
	size_t heap_count;
	struct segment *out;
	size_t out_count;
};

static void heap_push(struct sweep *sweep, uint32_t value)
{
	size_t i = sweep->heap_count++;

	while (i > 0 && sweep->heap[(i - 1) / 2] < value) {
		sweep->heap[i] = sweep->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	sweep->heap[i] = value;
}

static void heap_pop(struct sweep *sweep)
{
	uint32_t value = sweep->heap[--sweep->heap_count];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < sweep->heap_count) {
		if (child + 1 < sweep->heap_count &&
		    sweep->heap[child + 1] > sweep->heap[child])
			child++;
		if (sweep->heap[child] <= value)
			break;
		sweep->heap[i] = sweep->heap[child];
		i = child;
	}
	sweep->heap[i] = value;
}

static int compare_offsets(const void *a, const void *b, void *arg)
{
	const struct overlay_write *writes = arg;
	uint64_t x = writes[*(const uint32_t *)a].offset;
	uint64_t y = writes[*(const uint32_t *)b].offset;

	return x < y ? -1 : x > y;
}

static uint64_t write_end(const struct overlay_write *write)
{
	return write->offset + write->length;
}

/* The sweep itself; at most 2n segments come out. */
static void flatten(struct sweep *sweep)
{
	const struct overlay_write *writes = sweep->writes;
	uint64_t at = 0;
	size_t next = 0;

	qsort_r(sweep->by_offset, sweep->n, sizeof(sweep->by_offset[0]),
		compare_offsets, (void *)writes);
	while (next < sweep->n || sweep->heap_count) {
		const struct overlay_write *top;
		uint64_t end;

		if (!sweep->heap_count)
			at = max_u64(at, writes[sweep->by_offset[next]].offset);
		while (next < sweep->n &&
		       writes[sweep->by_offset[next]].offset <= at)
			heap_push(sweep, sweep->by_offset[next++]);
		top = &writes[sweep->heap[0]];
		end = write_end(top);
		if (end <= at) {
			heap_pop(sweep);
			continue;
		}
		if (next < sweep->n)
			end = min_u64(end,
				      writes[sweep->by_offset[next]].offset);
		sweep->out[sweep->out_count++] = (struct segment){
			.offset = at, .length = end - at,
			.data = top->data ? top->data + (at - top->offset) :
					    NULL };
		at = end;
	}
}

/* Join segments that continue each other in place and in kind. */
static size_t join(struct segment *segments, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct segment *last = kept ? &segments[kept - 1] : NULL;
		const struct segment *next = &segments[i];

		if (last && last->offset + last->length == next->offset &&
		    (last->data ? last->data + last->length == next->data :
				  !next->data))
			last->length += next->length;
		else
			segments[kept++] = *next;
	}
	return kept;
}

/* Copy what is seen of the writes into memory of the overlay's own. */
static int adopt(struct overlay_source *self, const struct segment *segments,
		 size_t n, struct error *err)
{
	uint64_t bytes = 0, need = n * sizeof(*segments);
	uint8_t *p;

	for (size_t i = 0; i < n; i++)
		if (segments[i].data)
			bytes += segments[i].length;
	if (self->budget && budget_reserve(self->budget, need + bytes,
					   "writes to be replayed", err))
		return -1;
	self->reserved = need + bytes;
	self->segments = malloc(need + 1);
	self->bytes = p = malloc(bytes + 1);
	if (!self->segments || !p)
		return error_nomem(err);
	memcpy(self->segments, segments, need);
	self->count = n;
	for (size_t i = 0; i < n; i++) {
		struct segment *segment = &self->segments[i];

		if (!segment->data)
			continue;
		memcpy(p, segment->data, segment->length);
		segment->data = p;
		p += segment->length;
	}
	return 0;
}

static int build_segments(struct overlay_source *self,
			  const struct overlay_write *writes, size_t n,
			  struct error *err)
{
	AUTO_FREE uint32_t *by_offset = calloc(n + 1, sizeof(*by_offset));
	AUTO_FREE uint32_t *heap = calloc(n + 1, sizeof(*heap));
	AUTO_FREE struct segment *out = calloc(2 * n + 1, sizeof(*out));
	struct sweep sweep = { .writes = writes, .n = n,
			       .by_offset = by_offset, .heap = heap,
			       .out = out };

	if (!by_offset || !heap || !out)
		return error_nomem(err);
	for (size_t i = 0; i < n; i++)
		by_offset[i] = (uint32_t)i;
	flatten(&sweep);
	return adopt(self, out, join(out, sweep.out_count), err);
}

/* Index of the first segment that ends behind offset. */
static size_t find_segment(const struct overlay_source *self, uint64_t offset)
{
	size_t low = 0, high = self->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct segment *segment = &self->segments[middle];

		if (segment->offset + segment->length <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Put len bytes (zeroes if data is NULL) `skip` bytes into iov. */
static void fill(const struct iovec *iov, uint64_t skip, const uint8_t *data,
		 uint64_t len)
{
	for (; len; iov++) {
		uint64_t part;
		char *to;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		part = min_u64(len, iov->iov_len - skip);
		to = (char *)iov->iov_base + skip;
		if (data) {
			memcpy(to, data, part);
			data += part;
		} else {
			memset(to, 0, part);
		}
		len -= part;
		skip = 0;
	}
}

/* What lies in below, zeroes behind it. */
static int read_below(struct overlay_source *self, uint64_t offset,
		      const struct iovec *iov, int iovcnt, uint64_t length,
		      unsigned int flags, struct error *err)
{
	uint64_t size = self->below->size;
	uint64_t here = offset < size ? min_u64(length, size - offset) : 0;
	AUTO_FREE struct iovec *cut = NULL;
	uint64_t left = here;
	int n = 0;

	if (here == length)
		return source_readv(self->below, offset, iov, iovcnt, flags,
				    err);
	fill(iov, here, NULL, length - here);
	if (!here)
		return 0;
	cut = calloc((size_t)iovcnt, sizeof(*cut));
	if (!cut)
		return error_nomem(err);
	while (left) {
		cut[n] = iov[n];
		cut[n].iov_len = min_u64(left, iov[n].iov_len);
		left -= cut[n++].iov_len;
	}
	return source_readv(self->below, offset, cut, n, flags, err);
}

static int overlay_readv(struct source *source, uint64_t offset,
			 const struct iovec *iov, int iovcnt,
			 unsigned int flags, struct error *err)
{
	struct overlay_source *self = (struct overlay_source *)source;
	uint64_t length = 0, end;

	for (int i = 0; i < iovcnt; i++)
		length += iov[i].iov_len;
	if (read_below(self, offset, iov, iovcnt, length, flags, err))
		return -1;
	end = offset + length;
	for (size_t i = find_segment(self, offset); i < self->count; i++) {
		const struct segment *segment = &self->segments[i];
		uint64_t from = max_u64(offset, segment->offset);
		uint64_t to = min_u64(end, segment->offset + segment->length);

		if (from >= to)
			break;
		fill(iov, from - offset, segment->data ?
		     segment->data + (from - segment->offset) : NULL,
		     to - from);
	}
	return 0;
}

static void overlay_close(struct source *source)
{
	struct overlay_source *self = (struct overlay_source *)source;

	source_unref(self->below);
	if (self->budget)
		budget_release(self->budget, self->reserved);
	free(self->segments);
	free(self->bytes);
	free(self);
}

static const struct source_ops overlay_ops = {
	.readv = overlay_readv,
	.close = overlay_close,
};

int source_overlay(struct source **out, struct source *below, uint64_t size,
		   const struct overlay_write *writes, size_t n,
		   struct budget *budget, struct error *err)
{
	struct overlay_source *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	if (source_init(&self->source, &overlay_ops, below->name, size, below,
			err)) {
		free(self);
		return -1;
	}
	self->below = source_ref(below);
	self->budget = budget;
	if (build_segments(self, writes, n, err)) {
		source_unref(&self->source);
		return -1;
	}
	*out = &self->source;
	return 0;
}
