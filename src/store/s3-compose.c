/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects of pieces in S3.
 *
 * Threads: parts and HEADs run in parallel (s3-parallel.h), as does each single
 * request, so that the caller can give up while it lasts. The lock of
 * s3_parallel guards what the parts share. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "store/compose.h"
#include "store/copy-plan.h"
#include "store/retrier.h"
#include "store/s3-change.h"
#include "store/s3-compose.h"
#include "store/s3-copy.h"
#include "store/s3-describe.h"
#include "store/s3-internal.h"
#include "store/s3-parallel.h"
#include "store/s3-target.h"
#include "store/s3-verify.h"
#include "store/sink.h"

#define THREADS  8
#define PUTS_MAX 3   /* parts in memory at one time */
#define WAIT_MS  100 /* between looks for room in the budget */

struct copying {
	struct s3_store *store;
	struct compose *compose;
	const struct sink_args *args;
	const char *store_key;     /* the store's, and the server's: */
	char key[S3_KEY_SIZE];
	struct copy_plan plan;
	struct s3_target target;
	struct s3_upload upload;
	struct s3_part *parts;     /* of the plan, in order */
	size_t *sources;           /* pieces, one of each object copied from */
	size_t source_count;
	struct object_info *info;  /* of the new object */

	struct s3_parallel parallel; /* its lock: of what follows */
	uint64_t done;             /* bytes */
	unsigned int puts;         /* parts that have memory */
};

static bool compose_goes_on(void *arg)
{
	struct copying *c = arg;
	uint64_t done;

	if (!c->compose->goes_on)
		return true;
	pthread_mutex_lock(&c->parallel.lock);
	done = c->done;
	pthread_mutex_unlock(&c->parallel.lock);
	return c->compose->goes_on(c->compose->arg, done, c->compose->total);
}

/* One request, or a few that follow each other. */
static int run_one(struct copying *c,
		   int (*work)(void *arg, size_t i, struct error *err),
		   struct error *err)
{
	return s3_parallel_run(&c->parallel, 1, 1, work, err);
}

/* The only one that has bytes. */
static const struct store_piece *first_piece(const struct copying *c)
{
	uint64_t within;

	return &c->plan.pieces[copy_plan_find(&c->plan, 0, &within)];
}

/* Name the source in an error about it. */
static int blame(const struct store_piece *piece, struct error *err)
{
	return err && (err->kind == ERR_STALE || err->kind == ERR_NOT_FOUND) ?
		error_prefix(err, "%s", piece->key) : -1;
}

/* Fetching. */

struct fetch_call {
	struct retry_call call; /* first: it is cast */
	struct object *object;
	uint64_t offset;
	struct iovec iov;
};

static int try_fetch(struct retry_call *base, struct error *err)
{
	struct fetch_call *call = (struct fetch_call *)base;

	return object_readv(call->object, call->offset, &call->iov, 1, 0, err);
}

/* Read a range of a piece. stop may be NULL. */
static int fetch(struct s3_store *store, const struct store_piece *piece,
		 uint64_t within, void *buf, size_t length,
		 const atomic_bool *stop, struct error *err)
{
	struct s3_client *client = store->bucket.client;
	struct fetch_call call = {
		.call = { .make_try = try_fetch, .kind = S3_CALL_FETCH,
			  .url = store->store.url, .key = piece->key,
			  .cancelled = stop },
		.offset = piece->offset + within,
		.iov = { buf, length },
	};
	int ret;

	if (object_open(&call.object, &store->store, piece->key, piece->info,
			err))
		return blame(piece, err);
	ret = retrier_run(s3_client_retrier(client), &call.call, err);
	object_close(call.object);
	return ret ? blame(piece, err) : 0;
}

/* Parts that are sent. */

static int take_memory(struct copying *c, uint64_t bytes, struct error *err)
{
	struct retrier *retrier =
		s3_client_retrier(c->store->bucket.client);
	struct budget *budget = c->args->budget;
	unsigned int waited = 0;

	for (;; waited += WAIT_MS) {
		bool is_alone;

		pthread_mutex_lock(&c->parallel.lock);
		is_alone = !c->puts;
		if (c->puts < PUTS_MAX &&
		    (!budget || budget_try(budget, bytes))) {
			c->puts++;
			pthread_mutex_unlock(&c->parallel.lock);
			return 0;
		}
		pthread_mutex_unlock(&c->parallel.lock);
		if (is_alone && waited >= c->args->patience.wait_ms)
			return budget_reserve(budget, bytes, "a part of a "
					      "copy", err);
		if (!retrier_pause(retrier, WAIT_MS, &c->parallel.stop))
			return error_set(err, ERR_CANCELLED, "was cancelled");
	}
}

static void free_memory(struct copying *c, uint64_t bytes)
{
	if (c->args->budget)
		budget_release(c->args->budget, bytes);
	pthread_mutex_lock(&c->parallel.lock);
	c->puts--;
	pthread_mutex_unlock(&c->parallel.lock);
}

/* How many pieces the part touches, and how many of its bytes are not ours. */
static size_t measure_part(const struct copying *c,
			   const struct copy_part *part, uint64_t *fetched)
{
	uint64_t within, left = part->length;
	size_t first = copy_plan_find(&c->plan, part->offset, &within);
	size_t i = first;

	for (*fetched = 0; left; i++, within = 0) {
		const struct store_piece *piece = &c->plan.pieces[i];
		uint64_t n = min_u64(piece->length - within, left);

		*fetched += piece->data ? 0 : n;
		left -= n;
	}
	return i - first;
}

/* Our bytes where they are, the others into buf. */
static int gather(struct copying *c, const struct copy_part *part, char *buf,
		  struct s3_payload *payload, struct iovec *iov,
		  struct error *err)
{
	uint64_t within, left = part->length;
	size_t i = copy_plan_find(&c->plan, part->offset, &within);

	for (; left; i++, within = 0) {
		const struct store_piece *piece = &c->plan.pieces[i];
		size_t n = (size_t)min_u64(piece->length - within, left);

		if (!n)
			continue;
		left -= n;
		if (piece->data) {
			iov[payload->iovcnt++] = (struct iovec){
				(char *)piece->data + within, n };
			continue;
		}
		if (fetch(c->store, piece, within, buf, n, &c->parallel.stop,
			  err))
			return -1;
		iov[payload->iovcnt++] = (struct iovec){ buf, n };
		buf += n;
	}
	return 0;
}

/* A part that is to be sent. */
struct loaded {
	struct iovec *iov;
	char *buf;
	uint64_t bytes; /* of buf, in the budget */
	struct s3_payload payload;
};

static void unload_part(struct copying *c, struct loaded *loaded)
{
	free(loaded->iov);
	free(loaded->buf);
	free_memory(c, loaded->bytes);
}

/* unload_part() ends what is loaded. */
static int load_part(struct copying *c, size_t i, struct loaded *loaded,
		     struct error *err)
{
	const struct copy_part *part = &c->plan.parts[i];
	size_t pieces = measure_part(c, part, &loaded->bytes);

	if (take_memory(c, loaded->bytes, err))
		return -1;
	loaded->iov = calloc(pieces + 1, sizeof(*loaded->iov));
	loaded->buf = malloc((size_t)loaded->bytes + 1);
	loaded->payload = (struct s3_payload){ .iov = loaded->iov,
					       .bytes = part->length };
	if (!loaded->iov || !loaded->buf)
		error_nomem(err);
	else if (!gather(c, part, loaded->buf, &loaded->payload, loaded->iov,
			 err) &&
		 !s3_payload_digest(&c->store->bucket, &loaded->payload, err))
		return 0;
	unload_part(c, loaded);
	return -1;
}

static int put_part(struct copying *c, size_t i, struct error *err)
{
	struct loaded loaded;
	int ret;

	if (load_part(c, i, &loaded, err))
		return -1;
	ret = s3_upload_part(&c->upload, (unsigned int)i + 1, &loaded.payload,
			     &c->parts[i], err);
	unload_part(c, &loaded);
	return ret;
}

/* Parts that are copied. */

/* The range of a piece's object, from the byte `within` the piece on. */
static int range_of(const struct copying *c, const struct store_piece *piece,
		    char key[S3_KEY_SIZE], uint64_t within, uint64_t length,
		    struct s3_range *range, struct error *err)
{
	*range = (struct s3_range){ key, piece->info, piece->offset + within,
				    length };
	return s3_full_key(c->store, piece->key, key, err);
}

static int copy_part(struct copying *c, size_t i, struct error *err)
{
	const struct copy_part *part = &c->plan.parts[i];
	const struct store_piece *piece;
	char key[S3_KEY_SIZE];
	struct s3_range range;
	uint64_t within;

	piece = &c->plan.pieces[copy_plan_find(&c->plan, part->offset,
					       &within)];
	if (range_of(c, piece, key, within, part->length, &range, err))
		return -1;
	return s3_copy_part(&c->upload, (unsigned int)i + 1, &range,
			    &c->parts[i], err) ? blame(piece, err) : 0;
}

static int make_part(void *arg, size_t i, struct error *err)
{
	struct copying *c = arg;
	const struct copy_part *part = &c->plan.parts[i];

	if (part->is_copy ? copy_part(c, i, err) : put_part(c, i, err))
		return -1;
	s3_client_count_copy(c->store->bucket.client, part->is_copy,
			     part->length);
	pthread_mutex_lock(&c->parallel.lock);
	c->done += part->length;
	pthread_mutex_unlock(&c->parallel.lock);
	return 0;
}

/* Sources. */

static int compare_sources(const void *a, const void *b, void *arg)
{
	const struct store_piece *pieces = arg;
	const struct store_piece *x = &pieces[*(const size_t *)a];
	const struct store_piece *y = &pieces[*(const size_t *)b];
	int order = strcmp(x->key, y->key);

	return order ? order : strcmp(x->info->etag, y->info->etag);
}

static int find_sources(struct copying *c, struct error *err)
{
	size_t n = 0, kept = 0;
	uint64_t within;

	c->sources = calloc(c->plan.count + 1, sizeof(*c->sources));
	if (!c->sources)
		return error_nomem(err);
	for (size_t i = 0; i < c->plan.count; i++)
		if (c->plan.parts[i].is_copy)
			c->sources[n++] = copy_plan_find(
				&c->plan, c->plan.parts[i].offset, &within);
	qsort_r(c->sources, n, sizeof(*c->sources), compare_sources,
		(void *)c->plan.pieces);
	for (size_t i = 0; i < n; i++)
		if (!kept || compare_sources(&c->sources[i],
					     &c->sources[kept - 1],
					     (void *)c->plan.pieces))
			c->sources[kept++] = c->sources[i];
	c->source_count = kept;
	return 0;
}

static int check_source(void *arg, size_t i, struct error *err)
{
	const struct copying *c = arg;
	const struct store_piece *piece = &c->plan.pieces[c->sources[i]];
	char key[S3_KEY_SIZE];
	struct s3_range range;

	if (range_of(c, piece, key, 0, piece->length, &range, err))
		return -1;
	return s3_copy_check(&c->store->bucket, &range, &c->parallel.stop,
			     err) ? blame(piece, err) : 0;
}

/* The object of parts. */

/* Is it a copy of one object? */
static bool is_whole(const struct copying *c)
{
	const struct store_piece *first;
	uint64_t at = 0;

	if (!c->plan.piece_count)
		return false;
	first = first_piece(c);
	if (!first->length && c->plan.piece_count > 1)
		return false;
	for (size_t i = 0; i < c->plan.piece_count; i++) {
		const struct store_piece *piece = &c->plan.pieces[i];

		if (!piece->length)
			continue;
		if (piece->data || piece->offset != at ||
		    strcmp(piece->key, first->key) != 0)
			return false;
		at += piece->length;
	}
	return !first->data && first->info && at == first->info->size;
}

/* What the one object is besides its bytes. */
static int describe(struct copying *c, char *lines[S3_HEADERS_MAX + 1],
		    struct error *err)
{
	char key[S3_KEY_SIZE];

	if (s3_full_key(c->store, first_piece(c)->key, key, err) ||
	    s3_describe(&c->store->bucket, key, &c->parallel.stop, lines, err))
		return blame(first_piece(c), err);
	return 0;
}

static int begin(void *arg, size_t i, struct error *err)
{
	struct copying *c = arg;
	char *lines[S3_HEADERS_MAX + 1] = { NULL };
	int ret = 0;

	if (s3_target_ask(&c->target, err))
		return -1;
	c->upload.is_copy = is_whole(c);
	if (c->upload.is_copy)
		ret = describe(c, lines, err);
	if (!ret)
		ret = s3_upload_begin(&c->upload, (const char *const *)lines,
				      err);
	s3_describe_free(lines);
	return ret;
}

static int send_complete(void *arg, const char *condition, struct error *err)
{
	struct copying *c = arg;

	return s3_upload_complete(&c->upload, condition, c->parts,
				  (unsigned int)c->plan.count, c->info, err);
}

static int complete(void *arg, size_t i, struct error *err)
{
	struct copying *c = arg;

	return s3_target_publish(&c->target, S3_COMPLETE_NEW,
				 S3_COMPLETE_MATCH, send_complete, c, err);
}

static int make_of_parts(struct copying *c, struct error *err)
{
	int ret;

	c->parts = calloc(c->plan.count, sizeof(*c->parts));
	if (!c->parts)
		return error_nomem(err);
	if (find_sources(c, err))
		return -1;
	ret = run_one(c, begin, err) ||
	      s3_parallel_run(&c->parallel, THREADS, c->plan.count, make_part,
			      err) ||
	      s3_parallel_run(&c->parallel, THREADS, c->source_count,
			      check_source, err) ||
	      run_one(c, complete, err) ? -1 : 0;
	if (ret && *c->upload.id)
		s3_upload_abort_later(&c->upload);
	return ret;
}

/* The object of one. */

/* libcurl sends a request again when a pooled connection breaks, and tells
 * nobody: the second one finds the object of the first. */
static bool is_copy(struct copying *c)
{
	const struct object_info *source = first_piece(c)->info;
	struct s3_head head;

	if (s3_ask(&c->store->bucket, c->key, &c->parallel.stop, 0, &head,
		   NULL) || head.info.size != source->size ||
	    strcmp(head.info.etag, source->etag) != 0)
		return false;
	*c->info = head.info;
	return true;
}

static int find_lost_copy(struct copying *c, const struct s3_range *range,
			  struct s3_expected *expected, struct error *err)
{
	int status = err->remote.http_status;
	struct error why = { 0 };

	/* 412 and 404 are about either object; which, the source tells. */
	if ((status == 412 || status == 404) &&
	    s3_copy_check(&c->store->bucket, range, &c->parallel.stop, &why)) {
		*err = why;
		return blame(first_piece(c), err);
	}
	if ((status == 412 || status == 409) && is_copy(c))
		return 0;
	return s3_find_lost(&c->store->bucket, c->key, expected, c->info,
			    err);
}

static int send_copy(void *arg, const char *condition, struct error *err)
{
	struct copying *c = arg;
	struct s3_bucket *bucket = &c->store->bucket;
	const char *headers[] = { condition, NULL };
	struct error why = { 0 };
	struct s3_expected expected = {
		.size = first_piece(c)->info->size,
		.since_ns = s3_client_time(bucket->client) * 1000000000,
	};
	struct s3_range range;
	char key[S3_KEY_SIZE];

	if (range_of(c, first_piece(c), key, 0, expected.size, &range, err))
		return -1;
	if (!s3_copy_object(bucket, c->key, &range, headers,
			    &c->parallel.stop, expected.etag, &why))
		return s3_verify(bucket, c->key, &expected, c->info, err);
	if (!find_lost_copy(c, &range, &expected, &why))
		return 0;
	if (err)
		*err = why;
	return -1;
}

/* The source was replaced, and the server has not cared: what was copied is
 * nobody's. It replaced nothing, so it can go. */
static int take_back(struct copying *c, struct error *err)
{
	struct error why = { 0 };

	if (s3_delete(&c->store->bucket, c->key, c->info->etag, &why))
		log_warning("%s: cannot be removed, although %s: %s", c->key,
			    err ? err->text : "", why.text);
	return -1;
}

static int copy_whole(void *arg, size_t i, struct error *err)
{
	struct copying *c = arg;
	bool is_aws = s3_client_is_aws(c->store->bucket.client);

	c->sources[0] = (size_t)(first_piece(c) - c->plan.pieces);
	if (s3_target_ask(&c->target, err) ||
	    (!is_aws && check_source(c, 0, err)))
		return -1;
	if (s3_target_publish(&c->target, S3_COPY_NEW, S3_COPY_MATCH,
			      send_copy, c, err))
		return -1;
	if (!is_aws && check_source(c, 0, err))
		return take_back(c, err);
	s3_client_count_copy(c->store->bucket.client, true, c->info->size);
	return 0;
}

/* One that the server does not copy, since it is empty or might be another one
 * by then. */

struct putting {
	struct copying *copying;
	struct loaded loaded;
	char *lines[S3_HEADERS_MAX + 1];
};

static int send_put(void *arg, const char *condition, struct error *err)
{
	struct putting *putting = arg;
	const char *headers[S3_HEADERS_MAX + 1];
	size_t n = 0;

	for (; putting->lines[n]; n++)
		headers[n] = putting->lines[n];
	headers[n++] = condition;
	headers[n] = NULL;
	return s3_put(&putting->copying->upload, headers,
		      &putting->loaded.payload, putting->copying->info, err);
}

static int put_whole(void *arg, size_t i, struct error *err)
{
	struct copying *c = arg;
	struct putting putting = { .copying = c };
	int ret = -1;

	c->upload.is_copy = true;
	c->sources[0] = (size_t)(first_piece(c) - c->plan.pieces);
	/* What is fetched is pinned; nothing is fetched of an empty one. */
	if (!s3_target_ask(&c->target, err) &&
	    !describe(c, putting.lines, err) &&
	    (first_piece(c)->length || !check_source(c, 0, err)) &&
	    !load_part(c, 0, &putting.loaded, err)) {
		ret = s3_target_publish(&c->target, S3_PUT_NEW, S3_PUT_MATCH,
					send_put, &putting, err);
		unload_part(c, &putting.loaded);
	}
	s3_describe_free(putting.lines);
	return ret;
}

/* Small objects of pieces, by way of a sink. */
static int read_range(struct store *store, struct compose *compose,
		      const struct store_piece *piece, struct sink *sink,
		      struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	size_t size = (size_t)min_u64(piece->length, store->request_bytes);
	AUTO_FREE char *buf = malloc(size + 1);

	if (!buf)
		return error_nomem(err);
	for (uint64_t at = 0; at < piece->length;) {
		size_t n = (size_t)min_u64(piece->length - at, size);

		if (fetch(self, piece, at, buf, n, NULL, err) ||
		    sink_write(sink, buf, n, err) ||
		    compose_step(compose, n, err))
			return -1;
		at += n;
	}
	return 0;
}

/* CopyObject is one step: where the server does not care whether the source
 * is still the same, what it replaced could not be had back. No object is
 * copied to itself so. And radosgw (16) decodes the name of a part's source
 * twice. */
static int make_plan(struct copying *c, struct error *err)
{
	const struct compose *compose = c->compose;
	struct copy_limits limits = s3_copy_limits;

	if (!s3_client_is_aws(c->store->bucket.client)) {
		limits.odd = "%";
		limits.whole_max = c->args->replace ? 0 : limits.whole_max;
	}
	if (compose->count && compose->pieces->key &&
	    !strcmp(compose->pieces->key, c->store_key))
		limits.whole_max = 0;
	return copy_plan_make(&c->plan, compose->pieces, compose->count,
			      &limits, err);
}

static int make_object(struct copying *c, struct error *err)
{
	bool is_one = c->plan.way == COPY_WHOLE ||
		      (c->plan.way == COPY_PUT && is_whole(c));

	if (is_one) {
		c->sources = calloc(1, sizeof(*c->sources));
		if (!c->sources)
			return error_nomem(err);
	}
	switch (c->plan.way) {
	case COPY_WHOLE:
		return run_one(c, copy_whole, err);
	case COPY_PARTS:
		return make_of_parts(c, err);
	case COPY_PUT:
		break;
	}
	s3_client_count_copy(c->store->bucket.client, false, c->plan.sent);
	if (is_one)
		return run_one(c, put_whole, err);
	return compose_by_sink(&c->store->store, c->store_key, c->args,
			       c->compose, read_range, c->info, err);
}

int s3_compose(struct store *store, const char *key,
	       const struct sink_args *args, struct compose *compose,
	       struct object_info *info, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	struct copying c = {
		.store = self,
		.store_key = key,
		.compose = compose,
		.args = args,
		.info = info,
	};
	int ret;

	if (s3_full_key(self, key, c.key, err))
		return -1;
	if (compose->total > S3_OBJECT_MAX)
		return error_set(err, ERR_LIMIT, "objects in S3 have at most "
				 "%llu bytes, not %llu", S3_OBJECT_MAX,
				 (unsigned long long)compose->total);
	if (make_plan(&c, err))
		return -1;
	log_debug("%s: %zu parts, %llu bytes fetched, %llu sent", key,
		  c.plan.count, (unsigned long long)c.plan.fetched,
		  (unsigned long long)c.plan.sent);
	s3_parallel_init(&c.parallel, self->bucket.client, compose_goes_on,
			 &c);
	c.target = (struct s3_target){ &self->bucket, c.key, args->replace,
				       args->if_match, &c.parallel.stop };
	c.upload = (struct s3_upload){ .bucket = &self->bucket, .key = c.key,
				       .cancelled = &c.parallel.stop };
	ret = make_object(&c, err);
	s3_parallel_destroy(&c.parallel);
	copy_plan_free(&c.plan);
	free(c.sources);
	free(c.parts);
	return ret;
}
