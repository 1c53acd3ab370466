/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The store decorator that injects faults. */
#include "config.h"

#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/pool.h"
#include "tests/lib/faulty-store.h"

#define POLL_MS 10 /* how often a hanging call looks for its file */

struct faulty_store {
	struct store store;
	struct store *inner;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t released;
	struct faults faults;
	bool hang;
	uint64_t matched;      /* calls counted for fail_every */
	uint64_t rate_free_ns; /* when the next byte may pass */
	unsigned int in_flight;
	struct faulty_stats stats;
	struct faulty_record *records;
	size_t record_count;
};

struct faulty_object {
	struct object object;
	struct object *inner;
	struct faulty_store *store;
	char key[STORE_KEY_MAX + 1];
};

/* One call on its way through. */
struct passage {
	struct faulty_store *store;
	enum faulty_call call;
	const char *key;
	uint64_t offset, length;
	struct faults faults; /* as they were when the call began */
	bool begun, fails;
	size_t record; /* SIZE_MAX = not recorded */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000),
			       (long)(ns % 1000000000) };

	pool_blocking_begin();
	while (nanosleep(&ts, &ts))
		;
	pool_blocking_end();
}

static bool faults_match(const struct faults *faults, enum faulty_call call,
			 const char *key)
{
	if (faults->calls && !(faults->calls & 1u << call))
		return false;
	return !*faults->key || !fnmatch(faults->key, key, 0);
}

static bool file_exists(const char *path)
{
	return *path && !access(path, F_OK);
}

static void write_log(const struct passage *p)
{
	static const char *const names[] = { "list", "stat", "open", "read" };
	FILE *file = fopen(p->faults.log_file, "ae");

	if (!file)
		return;
	/* One write() each, so that lines of several threads do not mix. */
	fprintf(file, "%s %s %llu %llu%s\n", names[p->call], p->key,
		(unsigned long long)p->offset, (unsigned long long)p->length,
		p->fails ? " fails" : "");
	fclose(file);
}

/* Under the lock: count and record the call that begins. */
static void note_begin(struct faulty_store *self, struct passage *p)
{
	struct faulty_record *record;

	self->stats.calls[p->call]++;
	if (p->call == FAULTY_READ) {
		self->stats.bytes += p->length;
		if (++self->in_flight > self->stats.in_flight_max)
			self->stats.in_flight_max = self->in_flight;
	}
	p->begun = true;
	p->record = SIZE_MAX;
	if (self->record_count == FAULTY_RECORDS_MAX)
		return;
	p->record = self->record_count++;
	record = &self->records[p->record];
	*record = (struct faulty_record){ .call = p->call,
					  .offset = p->offset,
					  .length = p->length,
					  .begin_ns = now_ns(),
					  .in_flight = self->in_flight };
}

static bool touches_bad(const struct passage *p)
{
	const struct faults *faults = &p->faults;

	return p->call == FAULTY_READ && faults->bad_length &&
	       p->offset < faults->bad_offset + faults->bad_length &&
	       p->offset + p->length > faults->bad_offset;
}

/* Under the lock: wait until nothing makes the call hang any more. */
static void hang(struct faulty_store *self, const struct passage *p)
{
	if (!self->hang && !file_exists(p->faults.hang_file))
		return;
	self->stats.hanging++;
	pool_blocking_begin();
	while (self->hang || file_exists(p->faults.hang_file)) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += POLL_MS * 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&self->released, &self->lock, &until);
	}
	pool_blocking_end();
	self->stats.hanging--;
}

/* Under the lock: how long this call has to be held up, in all. */
static uint64_t delay_ns(struct faulty_store *self, const struct passage *p)
{
	uint64_t delay = p->faults.delay_ms * 1000000ull, now = now_ns();

	if (!p->faults.bytes_per_second || p->call != FAULTY_READ)
		return delay;
	if (self->rate_free_ns < now)
		self->rate_free_ns = now;
	self->rate_free_ns +=
		p->length * 1000000000 / p->faults.bytes_per_second;
	return delay + (self->rate_free_ns - now);
}

static bool would_wait(const struct faulty_store *self, const struct faults *f)
{
	return f->delay_ms || f->bytes_per_second || self->hang ||
	       file_exists(f->hang_file);
}

/* Hold the call up and decide its fate: -1 with err set when it is to fail
 * without reaching the inner store. */
static int passage_begin(struct passage *p, unsigned int flags,
			 struct error *err)
{
	struct faulty_store *self = p->store;
	bool matches;
	uint64_t delay = 0;

	pthread_mutex_lock(&self->lock);
	p->faults = self->faults;
	matches = faults_match(&p->faults, p->call, p->key);
	if (matches && flags & STORE_NOWAIT && would_wait(self, &p->faults)) {
		self->stats.refused++;
		pthread_mutex_unlock(&self->lock);
		return error_set(err, ERR_AGAIN, "the store is slow by order");
	}
	note_begin(self, p);
	if (matches) {
		self->matched++;
		p->fails = touches_bad(p) ||
			   (p->faults.fail_every &&
			    self->matched % p->faults.fail_every == 0);
		self->stats.failed += p->fails;
		delay = delay_ns(self, p);
		hang(self, p);
	}
	pthread_mutex_unlock(&self->lock);
	if (*p->faults.log_file)
		write_log(p);
	if (delay)
		sleep_ns(delay);
	if (!p->fails)
		return 0;
	return error_set(err, p->faults.fail_kind ? p->faults.fail_kind :
			 ERR_IO, "failed on purpose");
}

static void passage_end(const struct passage *p)
{
	struct faulty_store *self = p->store;

	if (!p->begun)
		return; /* was answered ERR_AGAIN */
	pthread_mutex_lock(&self->lock);
	if (p->call == FAULTY_READ)
		self->in_flight--;
	if (p->record < self->record_count)
		self->records[p->record].end_ns = now_ns();
	pthread_mutex_unlock(&self->lock);
}

static int faulty_readv(struct object *object, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, uint64_t *filled,
			struct error *err)
{
	struct faulty_object *self = (struct faulty_object *)object;
	struct passage p = { self->store, FAULTY_READ, self->key, offset };
	int ret;

	for (int i = 0; i < iovcnt; i++)
		p.length += iov[i].iov_len;
	ret = passage_begin(&p, flags, err);
	if (!ret)
		ret = self->inner->ops->readv(self->inner, offset, iov,
					      iovcnt, flags, filled, err);
	passage_end(&p);
	return ret;
}

static void faulty_object_close(struct object *object)
{
	struct faulty_object *self = (struct faulty_object *)object;

	object_close(self->inner);
	free(self);
}

static const struct object_ops faulty_object_ops = {
	.readv = faulty_readv,
	.close = faulty_object_close,
};

static int open_inner(struct object **out, struct faulty_store *store,
		      const char *key, const struct object_info *known,
		      struct error *err)
{
	AUTO_FREE struct faulty_object *self = calloc(1, sizeof(*self));

	if (!self)
		return error_nomem(err);
	if (object_open(&self->inner, store->inner, key, known, err))
		return -1;
	self->object.ops = &faulty_object_ops;
	self->object.info = self->inner->info;
	self->store = store;
	snprintf(self->key, sizeof(self->key), "%s", key);
	*out = &take_ptr(self)->object;
	return 0;
}

static int faulty_open(struct object **out, struct store *store,
		       const char *key, const struct object_info *known,
		       struct error *err)
{
	struct passage p = { (struct faulty_store *)store, FAULTY_OPEN, key };
	int ret;

	if (known && p.store->faults.fetch_bytes)
		return open_inner(out, p.store, key, known, err);
	ret = passage_begin(&p, 0, err);

	if (!ret)
		ret = open_inner(out, p.store, key, known, err);
	passage_end(&p);
	return ret;
}

static int faulty_stat(struct store *store, const char *key,
		       struct object_info *info, struct error *err)
{
	struct passage p = { (struct faulty_store *)store, FAULTY_STAT, key };
	int ret = passage_begin(&p, 0, err);

	if (!ret)
		ret = store_stat(p.store->inner, key, info, err);
	passage_end(&p);
	return ret;
}

static int faulty_list(struct store *store, const struct list_args *args,
		       store_list_fn *fn, void *arg, char **continuation,
		       struct error *err)
{
	struct passage p = { (struct faulty_store *)store, FAULTY_LIST,
			     args->prefix };
	int ret = passage_begin(&p, 0, err);

	if (!ret)
		ret = store_list(p.store->inner, args, fn, arg, continuation,
				 err);
	passage_end(&p);
	return ret;
}

static int faulty_start(struct store *store, struct error *err)
{
	return store_start(((struct faulty_store *)store)->inner, err);
}

static int faulty_check(struct store *store, struct error *err)
{
	return store_check(((struct faulty_store *)store)->inner, err);
}

static int faulty_stats_json(struct store *store, struct json_t *object,
			     struct error *err)
{
	return store_stats(((struct faulty_store *)store)->inner, object, err);
}

/* A bucket of a service has no faults. */
static int faulty_open_bucket(struct store **out, struct store *service,
			      const char *name, struct error *err)
{
	return store_open_bucket(out, ((struct faulty_store *)service)->inner,
				 name, err);
}

static void faulty_close(struct store *store)
{
	struct faulty_store *self = (struct faulty_store *)store;

	store_close(self->inner);
	pthread_mutex_destroy(&self->lock);
	pthread_cond_destroy(&self->released);
	free(self->records);
	free(self);
}

static const struct store_ops faulty_store_ops = {
	.list = faulty_list,
	.stat = faulty_stat,
	.open = faulty_open,
	.open_bucket = faulty_open_bucket,
	.start = faulty_start,
	.check = faulty_check,
	.stats = faulty_stats_json,
	.close = faulty_close,
};

int faulty_store_new(struct store **out, struct store *inner,
		     const struct faults *faults, struct error *err)
{
	struct faulty_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->records = calloc(FAULTY_RECORDS_MAX, sizeof(*self->records));
	self->store.url = strdup(inner->url);
	if (!self->records || !self->store.url) {
		free(self->records);
		free(self->store.url);
		free(self);
		return error_nomem(err);
	}
	self->store.ops = &faulty_store_ops;
	self->store.fetch_bytes = inner->fetch_bytes;
	self->store.request_bytes = inner->request_bytes;
	self->inner = inner;
	if (faults)
		self->faults = *faults;
	if (self->faults.fetch_bytes)
		self->store.fetch_bytes = self->faults.fetch_bytes;
	if (self->faults.request_bytes)
		self->store.request_bytes = self->faults.request_bytes;
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->released, NULL);
	*out = &self->store;
	return 0;
}

void faulty_store_set(struct store *store, const struct faults *faults)
{
	struct faulty_store *self = (struct faulty_store *)store;

	pthread_mutex_lock(&self->lock);
	self->faults = *faults;
	self->matched = 0;
	self->rate_free_ns = 0;
	pthread_mutex_unlock(&self->lock);
}

void faulty_store_hang(struct store *store, bool hang_now)
{
	struct faulty_store *self = (struct faulty_store *)store;

	pthread_mutex_lock(&self->lock);
	self->hang = hang_now;
	pthread_cond_broadcast(&self->released);
	pthread_mutex_unlock(&self->lock);
}

struct faulty_stats faulty_store_stats(struct store *store)
{
	struct faulty_store *self = (struct faulty_store *)store;
	struct faulty_stats stats;

	pthread_mutex_lock(&self->lock);
	stats = self->stats;
	pthread_mutex_unlock(&self->lock);
	return stats;
}

struct faulty_record *faulty_store_log(struct store *store, size_t *n)
{
	struct faulty_store *self = (struct faulty_store *)store;
	struct faulty_record *copy = NULL;

	pthread_mutex_lock(&self->lock);
	*n = self->record_count;
	if (*n)
		copy = calloc(*n, sizeof(*copy));
	if (copy)
		memcpy(copy, self->records, *n * sizeof(*copy));
	else
		*n = 0;
	pthread_mutex_unlock(&self->lock);
	return copy;
}

void faulty_store_reset(struct store *store)
{
	struct faulty_store *self = (struct faulty_store *)store;

	pthread_mutex_lock(&self->lock);
	memset(&self->stats, 0, sizeof(self->stats));
	self->record_count = 0;
	pthread_mutex_unlock(&self->lock);
}
