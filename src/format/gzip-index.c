/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One pass over a gzip stream (RFC 1952, deflate in RFC 1951) that checks it,
 * measures it and notes where inflating can start again: between two deflate
 * blocks, with the 32 KiB before that place as history, or at a member's
 * header without any. History is kept packed where that is shorter, which for
 * disks, being half empty, it mostly is.
 *
 * Points start out 1 MiB apart. When they reach their cap every second one is
 * dropped and the distance doubles, so that a stream of any length is covered
 * evenly.
 *
 * Behind the last member only zeroes are accepted: anything else may be a
 * member whose header is damaged, and ignoring it would cut a disk silently. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/codec.h"
#include "common/error.h"
#include "format/format.h"
#include "format/gzip-index.h"
#include "format/source.h"

#define SPACING_MIN  (1u << 20)
#define CAP_DEFAULT  (16u << 20)
#define IN_BYTES_MIN (128u << 10)
#define IN_BYTES_MAX (1u << 20)
#define OUT_BYTES    (128u << 10)
#define ZLIB_BYTES   (210u << 10) /* what both zlib states take */
#define ASK_BYTES    (1u << 20) /* unpacked between two questions */
#define GZIP_AUTO    31         /* windowBits: 32 KiB window, gzip wrapper */

struct scan {
	struct gzip_index *index;
	struct source *below;
	bool (*keep_going)(void *arg);
	void *arg;
	z_stream z;         /* inflating the stream */
	z_stream packer;    /* packing windows */
	uint64_t in;        /* packed bytes handed to z, up to next_in */
	uint64_t out;       /* unpacked bytes so far */
	uint64_t asked;     /* out when keep_going() was last asked */
	uint8_t window[GZIP_WINDOW];
	uint8_t packed[GZIP_WINDOW];
	uint8_t out_buf[OUT_BYTES];
	size_t in_bytes;    /* size of one read */
	uint8_t in_buf[];   /* 1 + in_bytes; [0] is the last byte before */
};

static uint64_t point_bytes(const struct gzip_point *point)
{
	return sizeof(*point) + (point->window ? point->stored_len + 1u : 0);
}

static void drop_point(struct gzip_index *index, struct gzip_point *point)
{
	uint64_t bytes = point_bytes(point);

	free(point->window);
	index->bytes -= bytes;
	if (index->budget)
		budget_release(index->budget, bytes);
}

/* Drop every second point and double the distance. */
static void thin_out(struct gzip_index *index)
{
	size_t kept = 0;

	for (size_t i = 0; i < index->count; i++) {
		if (i % 2)
			drop_point(index, &index->points[i]);
		else
			index->points[kept++] = index->points[i];
	}
	index->count = kept;
	index->spacing *= 2;
}

static bool is_due(const struct gzip_index *index, uint64_t out)
{
	return index->count == 0 ||
	       out - index->points[index->count - 1].out >= index->spacing;
}

static bool has_room(struct gzip_index *index, uint64_t bytes)
{
	if (index->bytes + bytes > index->cap)
		return false;
	return !index->budget || budget_try(index->budget, bytes);
}

/* Take over *point. Without room the index is thinned out; the point itself
 * is left out where that makes it too near or does not help. */
static int add_point(struct gzip_index *index, struct gzip_point *point,
		     struct error *err)
{
	uint64_t bytes = point_bytes(point);

	while (!has_room(index, bytes)) {
		bool is_hopeless = index->count < 2;

		if (!is_hopeless)
			thin_out(index);
		if (is_hopeless || !is_due(index, point->out)) {
			free(point->window);
			return 0;
		}
	}
	index->bytes += bytes;
	if (index->count == index->allocated) {
		size_t n = index->allocated ? 2 * index->allocated : 16;
		struct gzip_point *points =
			reallocarray(index->points, n, sizeof(*points));

		if (!points) {
			drop_point(index, point);
			return error_nomem(err);
		}
		index->points = points;
		index->allocated = n;
	}
	index->points[index->count++] = *point;
	return 0;
}

/* Keep the window of `len` bytes in point, packed if that is shorter. */
static int store_window(struct scan *scan, struct gzip_point *point,
			size_t len, struct error *err)
{
	const uint8_t *from = scan->window;
	size_t stored = len;

	deflateReset(&scan->packer);
	scan->packer.next_in = scan->window;
	scan->packer.avail_in = (uInt)len;
	scan->packer.next_out = scan->packed;
	scan->packer.avail_out = (uInt)len - 1;
	if (deflate(&scan->packer, Z_FINISH) == Z_STREAM_END) {
		from = scan->packed;
		stored = len - 1 - scan->packer.avail_out;
	}
	point->window = malloc(stored);
	if (!point->window)
		return error_nomem(err);
	memcpy(point->window, from, stored);
	point->window_len = (uint16_t)(len - 1);
	point->stored_len = (uint16_t)(stored - 1);
	return 0;
}

/* Packed offset of the next byte that z reads. */
static uint64_t scan_position(const struct scan *scan)
{
	return scan->in - scan->z.avail_in;
}

static int note_member(struct scan *scan, struct error *err)
{
	struct gzip_point point = {
		.out = scan->out,
		.in = scan_position(scan),
		.is_member = true,
	};

	if (!is_due(scan->index, scan->out))
		return 0;
	return add_point(scan->index, &point, err);
}

/* z stopped between two blocks. */
static int note_block(struct scan *scan, struct error *err)
{
	struct gzip_point point = {
		.out = scan->out,
		.in = scan_position(scan),
		.bits = scan->z.data_type & 7,
	};
	uInt len = 0;

	if (point.bits)
		point.prime = (uint8_t)(scan->z.next_in[-1] >>
					(8 - point.bits));
	if (inflateGetDictionary(&scan->z, scan->window, &len) != Z_OK)
		return error_set(err, ERR_BUG, "no inflate window");
	if (len && store_window(scan, &point, len, err))
		return -1;
	return add_point(scan->index, &point, err);
}

static int refill(struct scan *scan, struct error *err)
{
	uint64_t left = scan->below->size - scan->in;
	size_t n = min_u64(left, scan->in_bytes);

	if (n == 0)
		return error_set(err, ERR_CORRUPT, "the gzip stream is cut: it "
				 "goes on where the file ends at %llu bytes",
				 (unsigned long long)scan->below->size);
	if (scan->keep_going && !scan->keep_going(scan->arg))
		return error_set(err, ERR_CANCELLED, "stopped while scanning "
				 "a gzip stream");
	/* A block may end within a byte that was consumed before. */
	if (scan->in)
		scan->in_buf[0] = scan->z.next_in[-1];
	if (source_read(scan->below, scan->in, scan->in_buf + 1, n, 0, err))
		return -1;
	scan->z.next_in = scan->in_buf + 1;
	scan->z.avail_in = (uInt)n;
	scan->in += n;
	return 0;
}

/* Count what z just wrote to out_buf. */
static int count_output(struct scan *scan, struct error *err)
{
	scan->out += OUT_BYTES - scan->z.avail_out;
	if (scan->out > FORMAT_DISK_MAX)
		return error_set(err, ERR_LIMIT, "the gzip stream unpacks to "
				 "more than %llu bytes", FORMAT_DISK_MAX);
	if (scan->out - scan->asked < ASK_BYTES)
		return 0;
	scan->asked = scan->out;
	if (scan->keep_going && !scan->keep_going(scan->arg))
		return error_set(err, ERR_CANCELLED, "stopped while scanning "
				 "a gzip stream");
	return 0;
}

static int broken(const struct scan *scan, const z_stream *z,
		  struct error *err)
{
	return error_set(err, ERR_CORRUPT, "the gzip stream is damaged before "
			 "byte %llu: %s", (unsigned long long)
			 scan_position(scan), z->msg ? z->msg : "broken");
}

/* One member, from its header to its checksum. zlib verifies both. */
static int scan_member(struct scan *scan, struct error *err)
{
	z_stream *z = &scan->z;

	for (;;) {
		bool due = is_due(scan->index, scan->out);
		int ret;

		if (z->avail_in == 0 && refill(scan, err))
			return -1;
		z->next_out = scan->out_buf;
		z->avail_out = OUT_BYTES;
		ret = inflate(z, due ? Z_BLOCK : Z_NO_FLUSH);
		if (ret == Z_MEM_ERROR)
			return error_nomem(err);
		if (ret != Z_OK && ret != Z_STREAM_END && ret != Z_BUF_ERROR)
			return broken(scan, z, err);
		if (count_output(scan, err))
			return -1;
		if (ret == Z_STREAM_END)
			return 0;
		/* 128: between blocks; 64: behind the last one. */
		if (due && (z->data_type & 192) == 128 &&
		    note_block(scan, err))
			return -1;
	}
}

/* What follows a member: another one at once (1), nothing or zeroes (0). */
static int find_member(struct scan *scan, struct error *err)
{
	z_stream *z = &scan->z;
	bool is_padded = false;

	for (;;) {
		if (z->avail_in == 0) {
			if (scan->in == scan->below->size)
				return 0;
			if (refill(scan, err))
				return -1;
		}
		if (*z->next_in == 0x1f && !is_padded)
			return 1;
		if (*z->next_in != 0)
			return error_set(err, ERR_CORRUPT, "byte %llu, behind "
					 "the gzip stream's end, is neither "
					 "zero nor another member",
					 (unsigned long long)
					 scan_position(scan));
		is_padded = true;
		while (z->avail_in && *z->next_in == 0) {
			z->next_in++;
			z->avail_in--;
		}
	}
}

static int scan_members(struct scan *scan, struct error *err)
{
	int more;

	do {
		if (note_member(scan, err) || scan_member(scan, err))
			return -1;
		inflateReset(&scan->z);
		more = find_member(scan, err);
	} while (more > 0);
	return more;
}

static int scan_stream(struct scan *scan, struct error *err)
{
	int ret = -1;

	if (inflateInit2(&scan->z, GZIP_AUTO) != Z_OK)
		return error_nomem(err);
	if (deflateInit2(&scan->packer, 1, Z_DEFLATED, 15, 6,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		error_nomem(err);
	else
		ret = scan_members(scan, err);
	deflateEnd(&scan->packer);
	inflateEnd(&scan->z);
	return ret;
}

int gzip_index_build(struct gzip_index *index, struct source *below,
		     struct budget *budget, bool (*keep_going)(void *arg),
		     void *arg, struct error *err)
{
	size_t in_bytes = max_u64(IN_BYTES_MIN,
				  min_u64(below->fetch_bytes, IN_BYTES_MAX));
	uint64_t bytes = sizeof(struct scan) + 1 + in_bytes;
	AUTO_FREE struct scan *scan = NULL;
	int ret;

	*index = (struct gzip_index){
		.spacing = SPACING_MIN,
		.cap = budget ? budget_stats(budget).limit / 8 : CAP_DEFAULT,
		.budget = budget,
	};
	if (budget && budget_reserve(budget, bytes + ZLIB_BYTES,
				     "scanning a gzip stream", err))
		return -1;
	scan = calloc(1, bytes);
	if (scan) {
		scan->index = index;
		scan->below = below;
		scan->keep_going = keep_going;
		scan->arg = arg;
		scan->in_bytes = in_bytes;
	}
	ret = scan ? scan_stream(scan, err) : error_nomem(err);
	if (ret)
		gzip_index_free(index);
	else
		index->size = scan->out;
	if (budget)
		budget_release(budget, bytes + ZLIB_BYTES);
	return ret;
}

void gzip_index_free(struct gzip_index *index)
{
	for (size_t i = 0; i < index->count; i++)
		drop_point(index, &index->points[i]);
	free(index->points);
	*index = (struct gzip_index){ 0 };
}

const struct gzip_point *gzip_index_find(const struct gzip_index *index,
					 uint64_t out)
{
	/* The start needs no history, so it is there even without a point. */
	static const struct gzip_point start = { .is_member = true };
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (index->points[middle].out <= out)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &index->points[low - 1] : &start;
}

int gzip_point_window(const struct gzip_point *point,
		      uint8_t window[GZIP_WINDOW], size_t *len,
		      struct error *err)
{
	size_t stored = point->stored_len + 1u, unpacked;

	*len = point->window ? point->window_len + 1u : 0;
	if (*len == 0 || stored == *len) {
		if (*len)
			memcpy(window, point->window, *len);
		return 0;
	}
	if (codec_unzlib(point->window, stored, window, *len, &unpacked, err))
		return -1;
	return unpacked == *len ? 0 :
	       error_set(err, ERR_BUG, "a stored window has %zu bytes, not %zu",
			 unpacked, *len);
}
