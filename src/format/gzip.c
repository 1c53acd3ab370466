/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A gzip stream as a source of its unpacked bytes.
 *
 * A cursor is a live inflate state at some unpacked offset. A read takes the
 * cursor that reaches its offset with the least work, or sets one up from the
 * nearest point of the index, inflates up to the offset and then straight into
 * the caller's buffers. Sequential readers so go on where they stopped, at the
 * speed of zlib.
 *
 * Threads: a cursor is used by one read at a time (is_busy); gzip.lock guards
 * the choice only and is never held while inflating or reading. A read whose
 * bytes follow those that another read is inflating waits for that cursor,
 * unless starting from a point costs less than half as much. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "format/gzip-index.h"
#include "format/gzip.h"

#define CURSORS_MAX   8            /* reads that inflate at once */
#define CURSORS_KEPT  4            /* of these, left for later when idle */
#define IN_BYTES_MIN  (128u << 10) /* packed bytes that a cursor reads */
#define IN_BYTES_MAX  (1u << 20)
#define SKIP_BYTES    (32u << 10)
#define STATE_BYTES   (48u << 10)  /* what zlib's inflate state takes */
#define REQUEST_BYTES (512u << 10)
#define GZIP_AUTO     31           /* windowBits for a gzip wrapper */
#define GZIP_RAW      (-15)        /* windowBits for bare deflate data */

struct cursor {
	z_stream z;
	bool is_busy;
	bool is_raw;        /* started in a member: its trailer is skipped */
	bool is_good;       /* out and z belong together */
	uint64_t out;       /* next unpacked byte; the reader's while busy */
	uint64_t begin, end; /* while busy: what the read inflates */
	uint64_t in;        /* packed offset behind what z was given */
	uint64_t used;      /* clock of the last use */
	uint8_t *in_buf;
	uint8_t skip[SKIP_BYTES];
};

struct gzip_source {
	struct source source;
	struct source *below;
	struct budget *budget;
	struct gzip_index index;
	size_t in_bytes;    /* size of each in_buf */
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a cursor became idle */
	struct cursor *cursors[CURSORS_MAX]; /* NULL: not made */
	uint64_t clock;
};

int gzip_probe(struct source *source, struct error *err)
{
	static const uint8_t magic[] = { 0x1f, 0x8b, 8 };
	uint8_t start[sizeof(magic)];

	if (source->size < sizeof(start))
		return 0;
	if (source_read(source, 0, start, sizeof(start), 0, err))
		return -1;
	return !memcmp(start, magic, sizeof(magic));
}

static uint64_t cursor_bytes(const struct gzip_source *self)
{
	return sizeof(struct cursor) + STATE_BYTES + self->in_bytes;
}

static void cursor_free(struct gzip_source *self, struct cursor *cursor)
{
	if (!cursor)
		return;
	inflateEnd(&cursor->z);
	free(cursor->in_buf);
	free(cursor);
	if (self->budget)
		budget_release(self->budget, cursor_bytes(self));
}

/* NULL and err if there is no memory. */
static struct cursor *cursor_new(struct gzip_source *self, struct error *err)
{
	struct cursor *cursor;

	if (self->budget && budget_reserve(self->budget, cursor_bytes(self),
					   "reading a gzip stream", err))
		return NULL;
	cursor = calloc(1, sizeof(*cursor));
	if (cursor)
		cursor->in_buf = malloc(self->in_bytes);
	if (!cursor || !cursor->in_buf ||
	    inflateInit2(&cursor->z, GZIP_AUTO) != Z_OK) {
		if (cursor)
			cursor_free(self, cursor);
		else if (self->budget)
			budget_release(self->budget, cursor_bytes(self));
		error_nomem(err);
		return NULL;
	}
	return cursor;
}

/* Set up z for a wrapper or for bare data. zlib has checked the checksums
 * once, in the scan; doing so again would only cost time. */
static int cursor_reset(struct cursor *cursor, bool is_raw, struct error *err)
{
	cursor->is_raw = is_raw;
	if (inflateReset2(&cursor->z, is_raw ? GZIP_RAW : GZIP_AUTO) != Z_OK ||
	    (!is_raw && inflateValidate(&cursor->z, 0) != Z_OK))
		return error_nomem(err);
	return 0;
}

static int cursor_start(struct cursor *cursor, const struct gzip_point *point,
			struct error *err)
{
	uint8_t window[GZIP_WINDOW];
	size_t len;

	cursor->is_good = false;
	cursor->z.avail_in = 0;
	if (cursor_reset(cursor, !point->is_member, err) ||
	    gzip_point_window(point, window, &len, err))
		return -1;
	if (point->bits)
		inflatePrime(&cursor->z, point->bits, point->prime);
	if (len && inflateSetDictionary(&cursor->z, window, (uInt)len) != Z_OK)
		return error_set(err, ERR_BUG, "inflate refuses its window");
	cursor->in = point->in;
	cursor->out = point->out;
	cursor->is_good = true;
	return 0;
}

static int cursor_refill(struct gzip_source *self, struct cursor *cursor,
			 struct error *err)
{
	uint64_t left = self->below->size - cursor->in;
	size_t n = min_u64(left, self->in_bytes);

	if (cursor->in >= self->below->size)
		return error_set(err, ERR_CORRUPT, "the gzip stream ends "
				 "early");
	if (source_read(self->below, cursor->in, cursor->in_buf, n, 0, err))
		return -1;
	cursor->in += n;
	cursor->z.next_in = cursor->in_buf;
	cursor->z.avail_in = (uInt)n;
	return 0;
}

/* At a member's end: on to the next header. */
static int cursor_next_member(struct cursor *cursor, struct error *err)
{
	if (cursor->is_raw) { /* z does not know of the 8-byte trailer */
		cursor->in -= cursor->z.avail_in;
		cursor->in += 8;
		cursor->z.avail_in = 0;
	}
	return cursor_reset(cursor, false, err);
}

/* Inflate exactly len bytes to buf. */
static int cursor_inflate(struct gzip_source *self, struct cursor *cursor,
			  void *buf, size_t len, struct error *err)
{
	z_stream *z = &cursor->z;

	z->next_out = buf;
	while (len) {
		uInt room = (uInt)min_u64(len, 1u << 30);
		int ret;

		if (z->avail_in == 0 && cursor_refill(self, cursor, err))
			return -1;
		z->avail_out = room;
		ret = inflate(z, Z_NO_FLUSH);
		len -= room - z->avail_out;
		cursor->out += room - z->avail_out;
		if (ret == Z_STREAM_END) {
			if (cursor_next_member(cursor, err))
				return -1;
		} else if (ret != Z_OK && ret != Z_BUF_ERROR) {
			return error_set(err, ret == Z_MEM_ERROR ? ERR_NOMEM :
					 ERR_CORRUPT, "cannot unpack the gzip "
					 "stream: %s", z->msg ? z->msg :
					 "broken");
		}
	}
	return 0;
}

/* Choosing a cursor; all with the lock held. */

/* The cursor at or before offset that is nearest to it, none being further
 * away than `work` bytes. A busy one counts from where it will stop, plus
 * what it still has to do; see the head of the file. */
static struct cursor *best_cursor(const struct gzip_source *self,
				  uint64_t offset, uint64_t work)
{
	struct cursor *best = NULL;

	for (size_t i = 0; i < CURSORS_MAX; i++) {
		struct cursor *cursor = self->cursors[i];
		uint64_t from, cost;

		if (!cursor || (!cursor->is_busy && !cursor->is_good))
			continue;
		from = cursor->is_busy ? cursor->end : cursor->out;
		if (from > offset)
			continue;
		cost = offset - from;
		if (cursor->is_busy)
			cost += (cursor->end - cursor->begin) / 2;
		if (cost < work) {
			work = cost;
			best = cursor;
		}
	}
	return best;
}

/* The idle cursor that was not used for longest, or NULL; *unmade gets a free
 * place or NULL, *made how many there are. */
static struct cursor *oldest_cursor(struct gzip_source *self,
				    struct cursor ***unmade, size_t *made)
{
	struct cursor *oldest = NULL;

	*unmade = NULL;
	*made = 0;
	for (size_t i = 0; i < CURSORS_MAX; i++) {
		struct cursor *cursor = self->cursors[i];

		if (!cursor) {
			*unmade = &self->cursors[i];
			continue;
		}
		++*made;
		if (!cursor->is_busy &&
		    (!oldest || cursor->used < oldest->used))
			oldest = cursor;
	}
	return oldest;
}

/* A cursor to be set up anew: a new one while there are few or all are busy,
 * else the oldest idle one. NULL: wait for one, or where err is set, fail. */
static struct cursor *spare_cursor(struct gzip_source *self, struct error *err)
{
	struct error why = { 0 };
	struct cursor **unmade, *oldest;
	size_t made;

	oldest = oldest_cursor(self, &unmade, &made);
	if (!unmade || (oldest && made >= CURSORS_KEPT))
		return oldest;
	*unmade = cursor_new(self, &why);
	if (*unmade)
		return *unmade;
	if (made == 0) /* nobody to wait for */
		error_set(err, why.kind, "%s", why.text);
	return oldest;
}

/* A busy cursor for [offset, end); *point tells where it has to be started,
 * or is NULL where it can go on. */
static struct cursor *take_cursor(struct gzip_source *self, uint64_t offset,
				  uint64_t end,
				  const struct gzip_point **point,
				  struct error *err)
{
	const struct gzip_point *nearest =
		gzip_index_find(&self->index, offset);
	struct error why = { 0 };
	struct cursor *cursor;

	for (;;) {
		*point = NULL;
		cursor = best_cursor(self, offset, offset - nearest->out + 1);
		if (cursor && !cursor->is_busy)
			break;
		if (!cursor) {
			*point = nearest;
			cursor = spare_cursor(self, &why);
			if (cursor)
				break;
		}
		if (why.kind) {
			error_set(err, why.kind, "%s", why.text);
			return NULL;
		}
		pthread_cond_wait(&self->idle, &self->lock);
	}
	cursor->is_busy = true;
	cursor->begin = *point ? nearest->out : cursor->out;
	cursor->end = end;
	cursor->used = ++self->clock;
	return cursor;
}

/* Leave the cursor to others, or free it where enough are left. */
static void give_cursor(struct gzip_source *self, struct cursor *cursor,
			bool is_good)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	size_t idle = 0;

	cursor->is_busy = false;
	cursor->is_good = is_good;
	for (size_t i = 0; i < CURSORS_MAX; i++)
		idle += self->cursors[i] && !self->cursors[i]->is_busy;
	for (size_t i = 0; idle > CURSORS_KEPT && i < CURSORS_MAX; i++) {
		if (self->cursors[i] != cursor)
			continue;
		cursor_free(self, cursor);
		self->cursors[i] = NULL;
	}
	pthread_cond_broadcast(&self->idle);
}

static int read_with(struct gzip_source *self, struct cursor *cursor,
		     uint64_t offset, const struct iovec *iov, int iovcnt,
		     struct error *err)
{
	while (cursor->out < offset) {
		size_t n = min_u64(offset - cursor->out, SKIP_BYTES);

		if (cursor_inflate(self, cursor, cursor->skip, n, err))
			return -1;
	}
	for (int i = 0; i < iovcnt; i++)
		if (cursor_inflate(self, cursor, iov[i].iov_base,
				   iov[i].iov_len, err))
			return -1;
	return 0;
}

static int gzip_readv(struct source *source, uint64_t offset,
		      const struct iovec *iov, int iovcnt, unsigned int flags,
		      struct error *err)
{
	struct gzip_source *self = (struct gzip_source *)source;
	const struct gzip_point *point;
	struct cursor *cursor;
	uint64_t end = offset;
	int ret = 0;

	if (flags & SOURCE_NOWAIT)
		return error_set(err, ERR_AGAIN, "a gzip stream has to be "
				 "unpacked");
	for (int i = 0; i < iovcnt; i++)
		end += iov[i].iov_len;
	if (end == offset)
		return 0;
	pthread_mutex_lock(&self->lock);
	cursor = take_cursor(self, offset, end, &point, err);
	pthread_mutex_unlock(&self->lock);
	if (!cursor)
		return -1;
	if (point)
		ret = cursor_start(cursor, point, err);
	if (!ret)
		ret = read_with(self, cursor, offset, iov, iovcnt, err);
	give_cursor(self, cursor, !ret);
	return ret;
}

static void gzip_close(struct source *source)
{
	struct gzip_source *self = (struct gzip_source *)source;

	for (size_t i = 0; i < CURSORS_MAX; i++)
		cursor_free(self, self->cursors[i]);
	gzip_index_free(&self->index);
	pthread_cond_destroy(&self->idle);
	pthread_mutex_destroy(&self->lock);
	source_unref(self->below);
	free(self);
}

static const struct source_ops gzip_ops = {
	.readv = gzip_readv,
	.close = gzip_close,
};

int gzip_open(struct source **out, struct source *below,
	      struct budget *budget, bool (*keep_going)(void *arg), void *arg,
	      struct error *err)
{
	AUTO_FREE struct gzip_source *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	if (gzip_index_build(&self->index, below, budget, keep_going, arg,
			     err))
		return -1;
	if (source_init(&self->source, &gzip_ops, below->name,
			self->index.size, below, err)) {
		gzip_index_free(&self->index);
		return -1;
	}
	self->source.request_bytes = REQUEST_BYTES;
	self->below = source_ref(below);
	self->budget = budget;
	self->in_bytes = max_u64(IN_BYTES_MIN,
				 min_u64(below->fetch_bytes, IN_BYTES_MAX));
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->idle, NULL);
	*out = &take_ptr(self)->source;
	return 0;
}
