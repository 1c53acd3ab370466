/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects in S3.
 *
 * A part is filled by the writer, and then sent by a job of the client's pool,
 * which frees it. Each has its memory from a reserve of the sink's own, of
 * three parts, or where that is in use from what is free in the budget, which
 * gets it back with the end of the part. So writers never wait for each other
 * but when they begin: who waits has a part on its way. A reserve grows with
 * the schedule if there is room; if there is none, parts stay as they are.
 *
 * Memory is mapped anew for each part: zeroes that are appended are pages that
 * nobody touches, and cost nothing but their transfer.
 *
 * Threads: the lock guards what the jobs share with the writer. `stop` is set
 * by whoever ends the parts on their way: a failure, sink_cancel(), the end of
 * the sink. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/pool.h"
#include "common/scratch.h"
#include "store/retrier.h"
#include "store/s3-multipart.h"
#include "store/s3-part.h"
#include "store/s3-schedule.h"
#include "store/s3-sink.h"
#include "store/s3-target.h"

#define PARTS_MAX  8 /* of a sink on their way at one time */
#define SPOOLS_MAX 2 /* the same of those in scratch space */
#define RESERVE    3 /* parts: one is filled, others are on their way */

struct s3_sink {
	struct sink sink;
	struct s3_bucket *bucket;
	char *key, *if_match;
	struct budget *budget;     /* NULL: unbounded */
	struct scratch *scratch;   /* NULL: none */
	struct s3_schedule schedule;
	struct s3_target target;
	struct s3_upload upload;
	char *metadata[S3_METADATA_MAX + 1]; /* headers, NULL-ended */
	bool is_stored;

	/* The writer's. */
	struct s3_buffer *current; /* being filled, or NULL */
	struct s3_buffer *first;   /* held back, or NULL */
	unsigned int number;       /* of the last part that was begun */
	uint64_t part_bytes;       /* of a part in memory */
	uint64_t head_bytes;

	atomic_bool stop;
	pthread_mutex_t lock;      /* of what follows */
	pthread_cond_t changed;
	bool is_cancelled;
	struct error failure;      /* the first of a part */
	unsigned int on_way;       /* parts that are not stored yet */
	uint64_t reserved, held;   /* held: by parts, out of the reserve */
	struct s3_part *parts;     /* that are stored: [number - 1] */
	unsigned int room;
};

/* A part on its way. */
struct sending {
	struct job job; /* first: a job is cast to it */
	struct s3_sink *self;
	struct s3_buffer *buffer;
};

/* Memory. */

static bool take(struct s3_sink *self, uint64_t bytes)
{
	return !self->budget || budget_try(self->budget, bytes);
}

static void give_back(struct s3_sink *self, uint64_t bytes)
{
	if (self->budget && bytes)
		budget_release(self->budget, bytes);
}

static uint64_t reserve_bytes(const struct s3_sink *self, uint64_t part_bytes)
{
	/* The first part holds more than the others, for its head. */
	return RESERVE * part_bytes +
	       (self->head_bytes > part_bytes ? self->head_bytes - part_bytes :
						0);
}

/* For room in the budget, until the store ends. */
struct waiting {
	struct retrier *retrier;
	const struct patience *patience;
};

static bool goes_on(void *arg)
{
	const struct waiting *waiting = arg;
	const struct patience *patience = waiting->patience;

	return retrier_pause(waiting->retrier, 0, NULL) &&
	       (!patience->goes_on || patience->goes_on(patience->arg));
}

/* The reserve that a sink begins with, perhaps a small one, and never all that
 * there is: without what its writer needs besides nothing would come. */
static int reserve(struct s3_sink *self, const struct patience *patience,
		   uint64_t besides, struct error *err)
{
	bool is_spooled;
	uint64_t want = s3_schedule_part(&self->schedule, 1, &is_spooled);
	uint64_t least = self->schedule.equal ? want : S3_PART_MIN;
	struct waiting waiting = { s3_client_retrier(self->bucket->client),
				   patience };
	struct patience ours = { patience->wait_ms, goes_on, &waiting };

	/* A store that ends takes no new ones. */
	if (!retrier_pause(waiting.retrier, 0, NULL))
		return error_set(err, ERR_CANCELLED, "stopped");
	self->part_bytes = want;
	if (!take(self, reserve_bytes(self, want) + besides)) {
		self->part_bytes = least;
		if (budget_reserve_wait(self->budget, besides +
					reserve_bytes(self, least),
					"an upload", &ours, err))
			return -1;
	}
	self->reserved = reserve_bytes(self, self->part_bytes);
	give_back(self, besides);
	return 0;
}

/* The next parts are to be larger. */
static void grow_reserve(struct s3_sink *self, uint64_t part_bytes)
{
	uint64_t more = RESERVE * (part_bytes - self->part_bytes);

	if (!take(self, more))
		return;
	pthread_mutex_lock(&self->lock);
	self->reserved += more;
	pthread_mutex_unlock(&self->lock);
	self->part_bytes = part_bytes;
}

/* Failures. */

/* Lock held. */
static int check(const struct s3_sink *self, struct error *err)
{
	if (self->is_cancelled)
		return error_set(err, ERR_CANCELLED, "was cancelled");
	if (!self->failure.kind)
		return 0;
	if (err)
		*err = self->failure;
	return -1;
}

static int check_now(struct s3_sink *self, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	return check(self, err);
}

/* End what is on its way. */
static void stop(struct s3_sink *self)
{
	atomic_store(&self->stop, true);
	s3_client_wake(self->bucket->client);
}

/* Lock held: wait until something has changed. */
static void wait_change(struct s3_sink *self)
{
	pool_blocking_begin();
	pthread_cond_wait(&self->changed, &self->lock);
	pool_blocking_end();
}

/* Parts on their way. */

/* Lock held. */
static int keep_part(struct s3_sink *self, const struct s3_part *part,
		     struct error *err)
{
	if (part->number > self->room) {
		unsigned int room = part->number + self->room + 16;
		struct s3_part *parts = reallocarray(self->parts, room,
						     sizeof(*parts));

		if (!parts)
			return error_nomem(err);
		self->parts = parts;
		self->room = room;
	}
	self->parts[part->number - 1] = *part;
	return 0;
}

/* What a part has taken, it gives back where that came from. */
static void end_part(struct s3_sink *self, const struct s3_part *part,
		     uint64_t from_reserve, const struct error *err)
{
	struct error own = *err;

	pthread_mutex_lock(&self->lock);
	if (!own.kind)
		(void)keep_part(self, part, &own);
	if (own.kind && !self->failure.kind) {
		self->failure = own;
		atomic_store(&self->stop, true);
	}
	self->held -= from_reserve;
	self->on_way--;
	/* The sink may be gone when the lock is. */
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
}

static void send_part(struct job *job)
{
	struct sending *sending = (struct sending *)job;
	struct s3_sink *self = sending->self;
	struct s3_buffer *buffer = sending->buffer;
	struct s3_client *client = self->bucket->client;
	unsigned int number = buffer->number;
	uint64_t from_reserve = buffer->from_reserve;
	struct s3_payload payload;
	struct s3_part part = { 0 };
	struct error err = { 0 };
	struct iovec iov;

	if (!s3_buffer_payload(buffer, self->bucket, &iov, &payload, &err))
		(void)s3_upload_part(&self->upload, number, &payload, &part,
				     &err);
	give_back(self, buffer->from_budget);
	s3_buffer_free(buffer);
	free(sending);
	end_part(self, &part, from_reserve, &err);
	if (err.kind)
		s3_client_wake(client);
}

static const char *const *metadata_of(const struct s3_sink *self)
{
	return (const char *const *)self->metadata;
}

/* Takes the buffer over, also on failure. */
static int queue_part(struct s3_sink *self, struct s3_buffer *buffer,
		      struct error *err)
{
	struct sending *sending = malloc(sizeof(*sending));

	if (!sending || (!*self->upload.id &&
			 s3_upload_begin(&self->upload, metadata_of(self),
					 err))) {
		int ret = sending ? -1 : error_nomem(err);

		free(sending);
		give_back(self, buffer->from_budget);
		s3_buffer_free(buffer);
		return ret;
	}
	*sending = (struct sending){ { .run = send_part }, self, buffer };
	pthread_mutex_lock(&self->lock);
	self->on_way++;
	pthread_mutex_unlock(&self->lock);
	pool_add(s3_client_pool(self->bucket->client), &sending->job,
		 JOB_URGENT);
	return 0;
}

/* Filling parts. */

/* Lock held: is there memory for a part? */
static bool take_part(struct s3_sink *self, struct s3_buffer *buffer,
		      uint64_t bytes)
{
	if (self->held + bytes <= self->reserved) {
		self->held += bytes;
		buffer->from_reserve = bytes;
		return true;
	}
	if (self->budget && !budget_try_free(self->budget, bytes))
		return false;
	buffer->from_budget = self->budget ? bytes : 0;
	return true;
}

/* Wait until another part may be begun, and take its memory. */
static int wait_memory(struct s3_sink *self, struct s3_buffer *buffer,
		       uint64_t bytes, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	for (;;) {
		if (check(self, err))
			return -1;
		if (self->on_way < PARTS_MAX && take_part(self, buffer, bytes))
			return 0;
		assert(self->on_way);
		wait_change(self);
	}
}

/* The same with scratch space. Of that nothing is set aside: when others have
 * all of it, it ends. */
static int wait_scratch(struct s3_sink *self, struct s3_buffer *buffer,
			uint64_t bytes, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	for (;;) {
		if (check(self, err))
			return -1;
		if (self->on_way < SPOOLS_MAX &&
		    !s3_buffer_spool(buffer, self->scratch, bytes,
				     self->on_way ? NULL : err))
			return 0;
		if (!self->on_way)
			return -1;
		wait_change(self);
	}
}

/* How large the next part is to be; 0: there is none. */
static uint64_t next_bytes(struct s3_sink *self, bool *is_spooled)
{
	uint64_t bytes = s3_schedule_part(&self->schedule, self->number + 1,
					  is_spooled), fallback;

	if (!bytes || *is_spooled)
		return bytes;
	if (bytes > self->part_bytes)
		grow_reserve(self, bytes);
	bytes = min_u64(bytes, self->part_bytes);
	fallback = s3_schedule_fallback(&self->schedule, self->number + 1,
					bytes, self->sink.position);
	*is_spooled = fallback;
	if (fallback)
		return fallback;
	return self->number ? bytes : max_u64(bytes, self->head_bytes);
}

static int begin_part(struct s3_sink *self, struct error *err)
{
	bool is_spooled;
	uint64_t bytes = next_bytes(self, &is_spooled);
	struct s3_buffer *buffer;

	if (!bytes)
		return s3_schedule_ends(&self->schedule, self->sink.position,
					err);
	buffer = calloc(1, sizeof(*buffer));
	if (!buffer)
		return error_nomem(err);
	if (is_spooled ? wait_scratch(self, buffer, bytes, err) :
			 wait_memory(self, buffer, bytes, err)) {
		free(buffer);
		return -1;
	}
	self->current = buffer;
	self->number++;
	return s3_buffer_init(buffer, self->number, bytes,
			      s3_client_signs_bodies(self->bucket->client),
			      err);
}

/* The current part is full and more comes. */
static int pass_on(struct s3_sink *self, struct error *err)
{
	struct s3_buffer *buffer = take_ptr(self->current);

	if (buffer->number == 1 && self->head_bytes) {
		self->first = buffer;
		return 0;
	}
	return queue_part(self, buffer, err);
}

/* A part with room in it is the current one then. */
static int make_room(struct s3_sink *self, uint64_t done, struct error *err)
{
	if (self->sink.position + done >= S3_OBJECT_MAX)
		return s3_schedule_ends(&self->schedule, S3_OBJECT_MAX, err);
	if (self->current && self->current->used == self->current->size &&
	    pass_on(self, err))
		return -1;
	return self->current ? 0 : begin_part(self, err);
}

/* data NULL: zeroes. *done counts the bytes of the whole call. */
static int append(struct s3_sink *self, const char *data, uint64_t length,
		  uint64_t *done, struct error *err)
{
	while (length) {
		uint64_t n;

		if (make_room(self, *done, err))
			return -1;
		n = min_u64(length, self->current->size - self->current->used);
		n = min_u64(n, S3_OBJECT_MAX - self->sink.position - *done);
		if (s3_buffer_add(self->current, data, n, err))
			return -1;
		data = data ? data + n : NULL;
		length -= n;
		*done += n;
	}
	return 0;
}

static int s3_sink_write(struct sink *sink, const struct iovec *iov,
			 int iovcnt, struct error *err)
{
	struct s3_sink *self = (struct s3_sink *)sink;
	uint64_t done = 0;

	if (check_now(self, err))
		return -1;
	for (int i = 0; i < iovcnt; i++)
		if (append(self, iov[i].iov_base, iov[i].iov_len, &done, err))
			return -1;
	return 0;
}

static int s3_sink_zeroes(struct sink *sink, uint64_t length,
			  struct error *err)
{
	struct s3_sink *self = (struct s3_sink *)sink;
	uint64_t done = 0;

	return check_now(self, err) || append(self, NULL, length, &done, err) ?
		-1 : 0;
}

static int s3_sink_patch(struct sink *sink, uint64_t offset, const void *data,
			 size_t length, struct error *err)
{
	struct s3_sink *self = (struct s3_sink *)sink;
	struct s3_buffer *head = self->first ? self->first : self->current;

	assert(head && head->number == 1 && head->data &&
	       offset + length <= head->used);
	memcpy(head->data + offset, data, length);
	return 0;
}

/* The end. */

struct making {
	struct s3_sink *self;
	struct object_info *info;
};

/* All of it at once. */
static int make_small(void *arg, const char *condition, struct error *err)
{
	struct making *making = arg;
	struct s3_sink *self = making->self;
	const char *headers[S3_HEADERS_MAX + 1];
	struct s3_payload payload = { .iov = NULL };
	struct iovec iov = { NULL, 0 };
	struct s3_buffer empty = { .number = 1 };
	struct s3_buffer *buffer = self->current ? self->current : &empty;
	size_t n = 0;

	for (; self->metadata[n]; n++)
		headers[n] = self->metadata[n];
	headers[n++] = condition;
	headers[n] = NULL;
	if (s3_buffer_payload(buffer, self->bucket, &iov, &payload, err))
		return -1;
	return s3_put(&self->upload, headers, &payload, making->info, err);
}

static int make_large(void *arg, const char *condition, struct error *err)
{
	struct making *making = arg;
	struct s3_sink *self = making->self;

	return s3_upload_complete(&self->upload, condition, self->parts,
				  self->number, making->info, err);
}

/* Send what is left, and wait for all. */
static int send_rest(struct s3_sink *self, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = NULL;

	if (self->first && queue_part(self, take_ptr(self->first), err))
		return -1;
	if (self->current && queue_part(self, take_ptr(self->current), err))
		return -1;
	held = mutex_locked(&self->lock);
	while (self->on_way && !check(self, NULL))
		wait_change(self);
	return check(self, err);
}

static int s3_sink_finish(struct sink *sink, struct object_info *info,
			  struct error *err)
{
	struct s3_sink *self = (struct s3_sink *)sink;
	struct making making = { self, info };
	bool is_small = !self->first && !*self->upload.id;
	int ret = check_now(self, err);

	if (!ret && !is_small)
		ret = send_rest(self, err);
	if (!ret && is_small)
		ret = s3_target_publish(&self->target, S3_PUT_NEW,
					S3_PUT_MATCH, make_small, &making,
					err);
	else if (!ret)
		ret = s3_target_publish(&self->target, S3_COMPLETE_NEW,
					S3_COMPLETE_MATCH, make_large,
					&making, err);
	self->is_stored = !ret;
	return ret;
}

static void s3_sink_cancel(struct sink *sink)
{
	struct s3_sink *self = (struct s3_sink *)sink;

	pthread_mutex_lock(&self->lock);
	self->is_cancelled = true;
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
	stop(self);
}

static void free_buffer(struct s3_sink *self, struct s3_buffer *buffer)
{
	if (!buffer)
		return;
	give_back(self, buffer->from_budget);
	s3_buffer_free(buffer);
}

static void s3_sink_discard(struct sink *sink)
{
	struct s3_sink *self = (struct s3_sink *)sink;

	stop(self);
	pthread_mutex_lock(&self->lock);
	while (self->on_way)
		wait_change(self);
	pthread_mutex_unlock(&self->lock);
	/* Behind its last part, so that none is stored after it. */
	if (*self->upload.id && !self->is_stored)
		s3_upload_abort_later(&self->upload);
	free_buffer(self, self->first);
	free_buffer(self, self->current);
	give_back(self, self->reserved);
	pthread_cond_destroy(&self->changed);
	pthread_mutex_destroy(&self->lock);
	free(self->parts);
	s3_metadata_free(self->metadata);
	free(self->if_match);
	free(self->key);
	free(self);
}

static const struct sink_ops s3_sink_ops = {
	.write = s3_sink_write,
	.zeroes = s3_sink_zeroes,
	.patch = s3_sink_patch,
	.finish = s3_sink_finish,
	.cancel = s3_sink_cancel,
	.discard = s3_sink_discard,
};

static int copy_args(struct s3_sink *self, const char *key,
		     const struct sink_args *args, struct error *err)
{
	self->budget = args->budget;
	self->scratch = args->scratch;
	self->head_bytes = args->head_bytes;
	self->key = strdup(key);
	self->if_match = args->if_match ? strdup(args->if_match) : NULL;
	if (!self->key || (args->if_match && !self->if_match))
		return error_nomem(err);
	if (s3_client_headers(self->bucket->client)->has_metadata &&
	    s3_metadata(self->metadata, args->metadata, err))
		return -1;
	self->target = (struct s3_target){
		.bucket = self->bucket,
		.key = self->key,
		.replace = args->replace,
		.if_match = self->if_match,
		.cancelled = &self->stop,
	};
	self->upload = (struct s3_upload){
		.bucket = self->bucket,
		.key = self->key,
		.cancelled = &self->stop,
	};
	return s3_schedule_init(&self->schedule, args->size, args->budget ?
				budget_stats(args->budget).limit : UINT64_MAX,
				args->scratch ?
				scratch_stats(args->scratch).limit : 0, err);
}

int s3_sink_new(struct sink **out, struct s3_bucket *bucket, const char *key,
		const struct sink_args *args, struct error *err)
{
	struct s3_sink *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->sink.ops = &s3_sink_ops;
	self->bucket = bucket;
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->changed, NULL);
	if (copy_args(self, key, args, err) ||
	    s3_target_ask(&self->target, err) ||
	    reserve(self, &args->patience, args->besides, err)) {
		s3_sink_discard(&self->sink);
		return -1;
	}
	*out = &self->sink;
	return 0;
}
