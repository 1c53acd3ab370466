/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sources: windows, concatenations, pieces of any size, references. */
#include "config.h"

#include "format/source.h"
#include "tests/tap.h"

#define SIZE 1000

static char data[SIZE];

/* A source that counts what happens to it. */
struct counted {
	struct source source;
	unsigned int reads, *closed, flags;
};

static int counted_readv(struct source *source, uint64_t offset,
			 const struct iovec *iov, int iovcnt,
			 unsigned int flags, struct error *err)
{
	struct counted *self = (struct counted *)source;

	self->reads++;
	self->flags = flags;
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, data + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static void counted_close(struct source *source)
{
	struct counted *self = (struct counted *)source;

	++*self->closed;
	free(self);
}

static const struct source_ops counted_ops = {
	.readv = counted_readv,
	.close = counted_close,
};

static struct source *make_counted(unsigned int *closed)
{
	struct counted *self = calloc(1, sizeof(*self));
	struct error err;

	if (!self || source_init(&self->source, &counted_ops, "counted", SIZE,
				 NULL, &err))
		abort();
	self->closed = closed;
	self->source.fetch_bytes = 123;
	return &self->source;
}

static struct source *make_memory(size_t offset, size_t size)
{
	struct source *source;
	struct error err;

	if (source_memory(&source, "memory", data + offset, size, &err))
		abort();
	return source;
}

static void test_memory(void)
{
	struct source *source = make_memory(0, SIZE), *empty;
	struct error err;
	char out[10];

	succeeds(source_read(source, SIZE - 10, out, 10, 0, &err), &err,
		 "the end");
	is_mem(out, data + SIZE - 10, 10, "its bytes");
	fails_with(source_read(source, SIZE - 9, out, 10, 0, &err), &err,
		   ERR_CORRUPT, "ends at byte 1000, but 10 bytes at 991",
		   "one byte past the end");
	fails_with(source_read(source, UINT64_MAX, out, 10, 0, &err), &err,
		   ERR_CORRUPT, "ends at byte 1000", "far past the end");
	succeeds(source_read(source, SIZE, out, 0, 0, &err), &err,
		 "nothing at the end");
	source_unref(source);
	succeeds(source_memory(&empty, "empty", NULL, 0, &err), &err,
		 "an empty one");
	is_u64(empty->size, 0, "its size");
	source_unref(empty);
	source_unref(NULL);
}

static void test_window(void)
{
	unsigned int closed = 0;
	struct source *below = make_counted(&closed), *outer, *inner, *bad;
	struct error err;
	char out[10];

	succeeds(source_window(&outer, "outer", below, 100, 500, &err), &err,
		 "a window");
	succeeds(source_window(&inner, "inner", outer, 50, 450, &err), &err,
		 "a window in it, up to its end");
	source_unref(below);
	source_unref(outer);
	is_u64(closed, 0, "who stands on it keeps it");
	succeeds(source_read(inner, 7, out, 10, SOURCE_NOWAIT, &err), &err,
		 "read");
	is_mem(out, data + 157, 10, "from the right place");
	is_u64(((struct counted *)below)->flags, SOURCE_NOWAIT,
	       "flags are passed down");
	is_u64(inner->fetch_bytes, 123, "hints come from below");
	fails_with(source_read(inner, 441, out, 10, 0, &err), &err,
		   ERR_CORRUPT, "ends at byte 450", "past the window's end");
	fails_with(source_window(&bad, "bad", inner, 1, 450, &err), &err,
		   ERR_CORRUPT, "bad: bytes 1 to 451", "reaches too far");
	ok(!bad, "none is made");
	fails_with(source_window(&bad, "bad", inner, UINT64_MAX, 2, &err),
		   &err, ERR_CORRUPT, "lie past the end", "no overflow");
	source_unref(source_ref(inner));
	is_u64(closed, 0, "a reference more and one less");
	source_unref(inner);
	is_u64(closed, 1, "closed with the last one");
}

/* Every way to read a concatenation with these parts gives these bytes. */
static void check_all_reads(struct source *source, uint64_t size)
{
	unsigned int bad = 0;
	struct error err;
	char out[SIZE];

	for (uint64_t at = 0; at <= size; at++) {
		for (uint64_t len = 0; at + len <= size; len += 1 + len / 3) {
			memset(out, 0xee, sizeof(out));
			bad += source_read(source, at, out, len, 0, &err) ||
			       memcmp(out, data + at, len) != 0;
		}
	}
	is_u64(bad, 0, "every offset and length");
}

static void test_concat(void)
{
	static const size_t sizes[] = { 0, 10, 0, 0, 1, 60, 0, 29, 0 };
	struct source *parts[9], *source;
	struct error err;
	size_t start = 0;
	char out[10];

	for (size_t i = 0; i < 9; i++) {
		parts[i] = make_memory(start, sizes[i]);
		start += sizes[i];
	}
	succeeds(source_concat(&source, "all", parts, 9, &err), &err,
		 "parts, some of them empty");
	for (size_t i = 0; i < 9; i++)
		source_unref(parts[i]);
	is_u64(source->size, 100, "its size");
	check_all_reads(source, 100);
	fails_with(source_read(source, 95, out, 6, 0, &err), &err,
		   ERR_CORRUPT, "ends at byte 100", "past the end");
	source_unref(source);
}

/* More and smaller pieces than the concatenation forwards at once, some of
 * them empty, across the parts' borders. */
static void test_pieces(void)
{
	struct source *parts[2] = { make_memory(0, 333),
				    make_memory(333, SIZE - 333) };
	static struct iovec iov[SIZE], before[SIZE];
	struct source *source;
	struct error err;
	char out[SIZE];
	size_t n = 0;

	succeeds(source_concat(&source, "two", parts, 2, &err), &err, "two");
	for (size_t at = 0; at < SIZE; n++) {
		size_t len = n % 4;

		len = len < SIZE - at ? len : SIZE - at;
		iov[n] = (struct iovec){ out + at, len };
		at += len;
	}
	memcpy(before, iov, sizeof(iov));
	succeeds(source_readv(source, 0, iov, (int)n, 0, &err), &err,
		 "many pieces");
	is_mem(out, data, SIZE, "their bytes");
	is_mem(iov, before, sizeof(iov), "the caller's iov is left alone");
	source_unref(parts[0]);
	source_unref(parts[1]);
	source_unref(source);
}

static int failing_readv(struct source *source, uint64_t offset,
			 const struct iovec *iov, int iovcnt,
			 unsigned int flags, struct error *err)
{
	return error_set(err, ERR_IO, "broken");
}

static void failing_close(struct source *source)
{
}

static void test_concat_error(void)
{
	static const struct source_ops ops = {
		.readv = failing_readv,
		.close = failing_close,
	};
	struct source bad, *parts[2] = { make_memory(0, 10), &bad }, *source;
	struct error err;
	char out[20];

	if (source_init(&bad, &ops, "disk-s002", 10, NULL, &err))
		abort();
	succeeds(source_concat(&source, "split", parts, 2, &err), &err,
		 "a good and a bad part");
	succeeds(source_read(source, 0, out, 10, 0, &err), &err,
		 "the good one reads");
	fails_with(source_read(source, 9, out, 2, 0, &err), &err, ERR_IO,
		   "disk-s002: broken", "an error names the part");
	source_unref(source);
	source_unref(parts[0]);
	source_unref(&bad);
}

static void test_concat_size(void)
{
	struct source huge = { .size = UINT64_MAX / 2 + 1 };
	struct source *parts[2] = { &huge, &huge }, *source;
	struct error err;

	fails_with(source_concat(&source, "huge", parts, 2, &err), &err,
		   ERR_LIMIT, "huge: too large", "sizes that overflow");
	ok(!source, "none is made");
}

int main(void)
{
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)(i * 7 + i / 256);
	test_memory();
	test_window();
	test_concat();
	test_pieces();
	test_concat_error();
	test_concat_size();
	return tap_done();
}
