/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Gzip streams as sources: random and sequential reads against the plain
 * bytes, members, damage, the index's memory, parallel readers. */
#include "config.h"

#include <zlib.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/strbuf.h"
#include "format/gzip-index.h"
#include "format/gzip.h"
#include "tests/tap.h"
#include "tests/unit/failing-source.h"

#define PLAIN_BYTES (6u << 20)

static uint8_t *plain; /* PLAIN_BYTES: text, noise, zeroes, runs */
static uint32_t seed = 1;

static uint32_t noise(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void make_plain(void)
{
	plain = calloc(1, PLAIN_BYTES);
	for (size_t i = 0; plain && i < PLAIN_BYTES; i++) {
		switch (i >> 18 & 3) {
		case 0:
			plain[i] = (uint8_t)noise();
			break;
		case 1:
			plain[i] = "etaoin shrdlu\n"[noise() % 14];
			break;
		case 2:
			plain[i] = i > 4000 && noise() % 50 ?
				   plain[i - noise() % 3 - 1000] :
				   (uint8_t)noise();
			break;
		}
	}
}

/* Append one gzip member with the bytes data[0..len). */
static void add_member(struct strbuf *stream, const void *data, size_t len,
		       int level)
{
	z_stream z = { .next_in = (Bytef *)data, .avail_in = (uInt)len };
	size_t room;
	uint8_t *out;

	deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
	room = deflateBound(&z, len);
	out = malloc(room);
	z.next_out = out;
	z.avail_out = (uInt)room;
	deflate(&z, Z_FINISH);
	strbuf_add(stream, out, room - z.avail_out);
	deflateEnd(&z);
	free(out);
}

#define STREAM(name) struct strbuf name = { .max = 64u << 20 }

static int open_stream(struct source **out, struct strbuf *stream,
		       struct budget *budget, struct error *err)
{
	struct source *below;
	int ret;

	memset(err, 0, sizeof(*err));
	if (source_memory(&below, "x.gz", stream->data, stream->len, err)) {
		printf("Bail out! %s\n", err->text);
		exit(1);
	}
	strbuf_free(stream);
	ret = gzip_open(out, below, budget, NULL, NULL, err);
	source_unref(below);
	return ret;
}

static bool reads_right(struct source *source, uint64_t offset, size_t len)
{
	uint8_t *buf = malloc(len + 1);
	struct iovec iov[2] = { { buf, len / 3 },
				{ buf + len / 3, len - len / 3 } };
	struct error err = { 0 };
	bool good = !source_readv(source, offset, iov, 2, 0, &err) &&
		    !memcmp(buf, plain + offset, len);

	if (!good)
		printf("# %zu bytes at %llu: %s\n", len,
		       (unsigned long long)offset, err.text);
	free(buf);
	return good;
}

static bool random_reads_right(struct source *source, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t offset = noise() % source->size;
		size_t len = min_u64(noise() % 70000, source->size - offset);

		if (!reads_right(source, offset, len))
			return false;
	}
	return true;
}

static bool sequential_reads_right(struct source *source, size_t step)
{
	for (uint64_t at = 0; at < source->size; at += step)
		if (!reads_right(source, at,
				 min_u64(step, source->size - at)))
			return false;
	return true;
}

static void test_levels(void)
{
	static const int levels[] = { 0, 1, 6, 9 };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		struct source *source;
		struct error err;
		STREAM(stream);

		add_member(&stream, plain, PLAIN_BYTES, levels[i]);
		succeeds(open_stream(&source, &stream, NULL, &err), &err,
			 "open");
		is_u64(source->size, PLAIN_BYTES, "size from the scan");
		ok(random_reads_right(source, 40), "level %d: random reads",
		   levels[i]);
		ok(sequential_reads_right(source, 100000),
		   "level %d: sequential reads", levels[i]);
		source_unref(source);
	}
}

static void test_members(void)
{
	struct source *source;
	struct error err;
	STREAM(stream);
	size_t at = 0, n;

	for (; at < PLAIN_BYTES; at += n) {
		n = min_u64(noise() % 300000, PLAIN_BYTES - at);
		add_member(&stream, plain + at, n, 1);
	}
	strbuf_add(&stream, "\0\0\0\0\0", 5);
	succeeds(open_stream(&source, &stream, NULL, &err), &err,
		 "members and padding");
	is_u64(source->size, PLAIN_BYTES, "size of all members");
	ok(random_reads_right(source, 40), "random reads");
	ok(sequential_reads_right(source, 99999), "sequential reads");
	source_unref(source);

	add_member(&stream, "", 0, 6);
	succeeds(open_stream(&source, &stream, NULL, &err), &err, "no bytes");
	is_u64(source->size, 0, "nothing in it");
	succeeds(source_read(source, 0, NULL, 0, 0, &err), &err, "empty read");
	source_unref(source);
}

static void refuses(struct strbuf *stream, const char *part, const char *what)
{
	struct source *source;
	struct error err;

	fails_with(open_stream(&source, stream, NULL, &err), &err, ERR_CORRUPT,
		   part, what);
	ok(!source, "nothing is returned");
}

static void test_damage(void)
{
	STREAM(stream);

	add_member(&stream, plain, 1 << 20, 6);
	stream.len -= 9;
	refuses(&stream, "is cut", "a cut stream");
	add_member(&stream, plain, 1 << 20, 6);
	stream.len -= 1;
	refuses(&stream, "is cut", "a cut trailer");
	add_member(&stream, plain, 1 << 20, 6);
	stream.data[stream.len - 8] ^= 1;
	refuses(&stream, "incorrect data check", "a wrong checksum");
	add_member(&stream, plain, 1 << 20, 6);
	stream.data[stream.len - 4] ^= 1;
	refuses(&stream, "incorrect length check", "a wrong length");
	add_member(&stream, plain + (1 << 18), 1 << 18, 6);
	memset(stream.data + stream.len / 2, 0xff, 100);
	refuses(&stream, "is damaged before byte", "damaged data");
	add_member(&stream, "a", 1, 6);
	strbuf_puts(&stream, "garbage");
	refuses(&stream, "neither zero nor another member", "garbage behind");
	add_member(&stream, "a", 1, 6);
	strbuf_add(&stream, "\0\0\0\0", 4);
	add_member(&stream, "b", 1, 6);
	refuses(&stream, "neither zero nor another member",
		"a member behind padding");
	add_member(&stream, "a", 1, 6);
	strbuf_add(&stream, "\x1f\x8c", 2);
	refuses(&stream, "incorrect header check", "a broken second header");
	strbuf_add(&stream, "\x1f\x8b\x08", 3);
	refuses(&stream, "is cut", "no more than a magic");
}

static void test_probe(void)
{
	static const struct {
		const char *bytes;
		size_t len;
		int is_gzip;
	} rows[] = {
		{ "\x1f\x8b\x08\0", 4, 1 }, { "\x1f\x8b\x09\0", 4, 0 },
		{ "\x1f\x8b", 2, 0 }, { "", 0, 0 }, { "KDMV", 4, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct source *source;
		struct error err = { 0 };

		succeeds(source_memory(&source, "x", rows[i].bytes,
				       rows[i].len, &err), &err, "memory");
		ok(gzip_probe(source, &err) == rows[i].is_gzip, "probe %zu", i);
		source_unref(source);
	}
}

/* A small budget thins the index out; the bytes stay right. */
static void test_budget(void)
{
	struct budget *budget;
	struct source *source;
	struct error err;
	STREAM(stream);
	uint64_t rest;

	succeeds(budget_new(&budget, 1 << 20, &err), &err, "1 MiB of budget");
	add_member(&stream, plain, PLAIN_BYTES, 6);
	succeeds(open_stream(&source, &stream, budget, &err), &err, "open");
	ok(budget_stats(budget).used > 0, "points are accounted");
	ok(budget_stats(budget).used <= (1 << 20) / 8,
	   "and stay below an eighth");
	ok(random_reads_right(source, 20), "random reads");
	source_unref(source);
	is_u64(budget_stats(budget).used, 0, "all is given back");

	add_member(&stream, plain, PLAIN_BYTES, 6);
	succeeds(open_stream(&source, &stream, budget, &err), &err, "open");
	rest = (1 << 20) - budget_stats(budget).used;
	ok(budget_try(budget, rest), "somebody takes the rest");
	fails_with(source_read(source, 0, &err, 1, 0, &err), &err, ERR_NOMEM,
		   "memory", "no memory for the first cursor");
	source_unref(source);
	budget_release(budget, rest);
	budget_free(budget);
}

static void test_thinning(void)
{
	struct gzip_index index;
	struct budget *budget;
	struct source *below;
	struct error err;
	STREAM(stream);

	succeeds(budget_new(&budget, 600 << 10, &err), &err, "budget");
	add_member(&stream, plain, PLAIN_BYTES, 1);
	succeeds(source_memory(&below, "x", stream.data, stream.len, &err),
		 &err, "memory");
	succeeds(gzip_index_build(&index, below, budget, NULL, NULL, &err),
		 &err, "index");
	ok(index.spacing > 1 << 20, "points were thinned out");
	ok(index.count > 2, "but not to nothing");
	is_u64(index.points[0].out, 0, "the first is the start");
	for (size_t i = 1; i < index.count; i++)
		if (!ok(index.points[i].out - index.points[i - 1].out >=
			index.spacing, "point %zu keeps its distance", i))
			break;
	ok(gzip_index_find(&index, index.points[1].out) == &index.points[1] &&
	   gzip_index_find(&index, index.points[1].out - 1) ==
	   &index.points[0], "find");
	gzip_index_free(&index);
	is_u64(budget_stats(budget).used, 0, "all is given back");
	source_unref(below);
	strbuf_free(&stream);
	budget_free(budget);
}

static bool stop_at(void *arg)
{
	return --*(int *)arg > 0;
}

static void test_cancel(void)
{
	struct source *below, *source;
	struct error err;
	STREAM(stream);
	int left = 1000, asked;

	add_member(&stream, plain, PLAIN_BYTES, 6);
	succeeds(source_memory(&below, "x", stream.data, stream.len, &err),
		 &err, "memory");
	succeeds(gzip_open(&source, below, NULL, stop_at, &left, &err), &err,
		 "never stopped");
	asked = 1000 - left;
	ok(asked >= (int)(PLAIN_BYTES >> 20), "asked at least once a MiB");
	source_unref(source);
	left = asked / 2;
	fails_with(gzip_open(&source, below, NULL, stop_at, &left, &err), &err,
		   ERR_CANCELLED, "stopped", "stopped half way");
	source_unref(below);
	strbuf_free(&stream);
}

static void test_nowait(void)
{
	struct source *source;
	struct error err;
	STREAM(stream);
	char byte;

	add_member(&stream, plain, 1000, 6);
	succeeds(open_stream(&source, &stream, NULL, &err), &err, "open");
	fails_with(source_read(source, 0, &byte, 1, SOURCE_NOWAIT, &err), &err,
		   ERR_AGAIN, "unpacked", "NOWAIT never inflates");
	fails_with(source_read(source, 999, &err, 2, 0, &err), &err,
		   ERR_CORRUPT, "ends at byte 1000", "past the end");
	source_unref(source);
}

/* A read that fails leaves nothing wrong behind, wherever it fails. */
static void test_failing_reads(void)
{
	struct source *below, *source;
	struct failing *failing;
	struct error err;
	STREAM(stream);
	char byte;

	add_member(&stream, plain, PLAIN_BYTES, 6);
	succeeds(source_memory(&below, "x", stream.data, stream.len, &err),
		 &err, "memory");
	failing = failing_source(below, 3);
	fails_with(gzip_open(&source, &failing->source, NULL, NULL, NULL,
			     &err), &err, ERR_NETWORK, "connection lost",
		   "the scan's third read fails");
	failing->left = 1000;
	succeeds(gzip_open(&source, &failing->source, NULL, NULL, NULL, &err),
		 &err, "open");
	for (int i = 0; i < 10; i++) {
		uint64_t offset = noise() % PLAIN_BYTES;
		bool good;

		failing->left = 1 + i % 3;
		good = !source_read(source, offset, &byte, 1, 0, &err);
		failing->left = 1000;
		ok(good || err.kind == ERR_NETWORK, "fails or not");
		ok(reads_right(source, offset,
			       min_u64(100000, PLAIN_BYTES - offset)),
		   "the next read is right");
	}
	source_unref(source);
	source_unref(&failing->source);
	source_unref(below);
	strbuf_free(&stream);
}

/* Parallel: some read sequentially, taking turns, others at random. */

struct reader {
	struct source *source;
	pthread_t thread;
	atomic_uint *next; /* NULL: random */
	uint32_t seed;
	bool is_good;
};

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	static const size_t step = 60000;

	r->is_good = true;
	for (int i = 0; r->is_good && i < 30; i++) {
		uint64_t at = r->next ? atomic_fetch_add(r->next, 1) * step :
			      (r->seed = r->seed * 1103515245 + 12345) %
			      PLAIN_BYTES;

		if (at >= PLAIN_BYTES)
			break;
		r->is_good = reads_right(r->source, at,
					 min_u64(step, PLAIN_BYTES - at));
	}
	return NULL;
}

static void test_parallel(void)
{
	struct reader readers[12];
	struct source *source;
	atomic_uint next = 0;
	struct error err;
	STREAM(stream);

	add_member(&stream, plain, PLAIN_BYTES / 2, 6);
	add_member(&stream, plain + PLAIN_BYTES / 2, PLAIN_BYTES / 2, 6);
	succeeds(open_stream(&source, &stream, NULL, &err), &err, "open");
	for (uint32_t i = 0; i < 12; i++) {
		readers[i] = (struct reader){ .source = source, .seed = i,
					      .next = i < 6 ? &next : NULL };
		pthread_create(&readers[i].thread, NULL, reader_run,
			       &readers[i]);
	}
	for (int i = 0; i < 12; i++) {
		pthread_join(readers[i].thread, NULL);
		ok(readers[i].is_good, "reader %d of 12 in parallel", i);
	}
	source_unref(source);
}

int main(void)
{
	make_plain();
	test_levels();
	test_members();
	test_damage();
	test_probe();
	test_budget();
	test_thinning();
	test_cancel();
	test_nowait();
	test_failing_reads();
	test_parallel();
	free(plain);
	return tap_done();
}
