/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The store decorator that tries again.
 *
 * Each kind of call is a struct call with its arguments behind it and a
 * function that makes one try; run() is the one loop around them all. */
#include "config.h"

#include <assert.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/checked.h"
#include "common/log.h"
#include "common/pool.h"
#include "store/retry-internal.h"
#include "store/retry.h"

#define DEFAULT_TIMEOUT_MS   60000
#define DEFAULT_ATTEMPTS     10
#define DEFAULT_BASE_MS      200
#define DEFAULT_PAUSE_MAX_MS 20000

/* Somebody waits for a check, and a name that was mistyped stays so. */
#define CHECK_TIMEOUT_MS 25000
#define CHECK_ATTEMPTS   4

enum call_kind {
	CALL_LIST, CALL_STAT, CALL_PREFIX, CALL_OPEN, CALL_READ, CALL_CHECK,
	CALL_KINDS,
};

static const char *const kind_names[CALL_KINDS] = {
	[CALL_LIST] = "list",
	[CALL_STAT] = "stat",
	[CALL_PREFIX] = "prefix",
	[CALL_OPEN] = "open",
	[CALL_READ] = "read",
	[CALL_CHECK] = "check",
};

/* What a service has in common with its buckets. */
struct shared {
	/* For control/stats. */
	atomic_ullong calls[CALL_KINDS];
	atomic_ullong retries[CALL_KINDS]; /* tries behind the first */
	atomic_ullong failed[CALL_KINDS];

	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;  /* to those who pause */
	bool is_cancelled;
};

struct retry_store {
	struct store store;
	struct store *inner;
	struct shared own, *shared;   /* a bucket has its service's */
	struct retry_options options; /* without zeroes */
	struct retry_clock clock;
};

struct retry_object {
	struct object object;
	struct object *inner;
	struct retry_store *store;
	char key[];
};

/* One call with all its tries; first member of those with arguments. */
struct call {
	struct retry_store *self;
	int (*make_try)(struct call *call, struct error *err);
	enum call_kind kind;
	const char *key; /* for the log */
	unsigned int timeout_ms, attempts;
	bool is_final; /* no more tries, whatever the error */

	uint64_t begun_ms, deadline_ms;
	unsigned int tries;
	const struct call *outer; /* of a decorator above this one */
};

/* The call in which this thread makes a try. */
static __thread const struct call *current;

static uint64_t real_now_ms(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t real_random(void *arg, uint64_t max)
{
	uint64_t number;

	/* Without entropy, the longest pause. */
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) !=
	    sizeof(number))
		return max;
	return number % (max + 1);
}

static const struct retry_clock real_clock = {
	.now_ms = real_now_ms,
	.random = real_random,
};

static uint64_t now_ms(const struct call *call)
{
	const struct retry_clock *clock = &call->self->clock;

	return clock->now_ms(clock->arg);
}

static uint64_t left_ms(const struct call *call)
{
	uint64_t now = now_ms(call);

	return now < call->deadline_ms ? call->deadline_ms - now : 0;
}

unsigned int retry_time_left_ms(void)
{
	return current ? (unsigned int)min_u64(left_ms(current), UINT_MAX) :
			 UINT_MAX;
}

/* How long the pause after the last try may be: base, 2 base, 4 base, ..., and
 * at most half of the time that is left, so that the next try has some. */
static uint64_t longest_pause(const struct call *call, uint64_t left)
{
	const struct retry_options *options = &call->self->options;
	uint64_t pause = options->base_ms;

	for (unsigned int i = 1; i < call->tries; i++)
		pause = min_u64(pause * 2, options->pause_max_ms);
	return min_u64(min_u64(pause, options->pause_max_ms), left / 2);
}

static bool is_passing(const struct error *err)
{
	return err->kind == ERR_NETWORK || err->kind == ERR_TIMEOUT;
}

__attribute__((format(printf, 3, 4)))
static bool give_up(const struct call *call, struct error *err,
		    const char *fmt, ...)
{
	size_t len = strlen(err->text);
	uint64_t took = now_ms(call) - call->begun_ms;
	char suffix[160];
	va_list args;
	int used;

	used = snprintf(suffix, sizeof(suffix),
			" (gave up after %u %s in %llu.%llu s",
			call->tries, call->tries == 1 ? "try" : "tries",
			(unsigned long long)(took / 1000),
			(unsigned long long)(took % 1000 / 100));
	va_start(args, fmt);
	vsnprintf(suffix + used, sizeof(suffix) - (size_t)used, fmt, args);
	va_end(args);
	/* A long cause is cut, not the count. */
	len = min_u64(len, sizeof(err->text) - 1 - strlen(suffix));
	memcpy(err->text + len, suffix, strlen(suffix) + 1);
	return false;
}

/* False: the store was cancelled. */
static bool sleep_ms(const struct call *call, uint64_t ms)
{
	const struct retry_clock *clock = &call->self->clock;
	struct shared *shared = call->self->shared;
	uint64_t until = real_now_ms(NULL) + ms;
	struct timespec ts = { (time_t)(until / 1000),
			       (long)(until % 1000 * 1000000) };
	bool is_cancelled;
	int ret = 0;

	pool_blocking_begin();
	if (clock->sleep_ms)
		clock->sleep_ms(clock->arg, ms);
	pthread_mutex_lock(&shared->lock);
	while (!clock->sleep_ms && !shared->is_cancelled && !ret)
		ret = pthread_cond_clockwait(&shared->wake, &shared->lock,
					     CLOCK_MONOTONIC, &ts);
	is_cancelled = shared->is_cancelled;
	pthread_mutex_unlock(&shared->lock);
	pool_blocking_end();
	return !is_cancelled;
}

/* After a failed try: wait for the next one. False = that was the last. */
static bool wait_for_next(struct call *call, struct error *err)
{
	const struct retry_clock *clock = &call->self->clock;
	uint64_t left = left_ms(call), asked = err->remote.retry_after_ms;
	uint64_t pause;

	err->remote.attempts = call->tries;
	if (call->is_final || !is_passing(err))
		return false;
	if (left <= call->self->options.base_ms) {
		err->kind = ERR_TIMEOUT;
		return give_up(call, err, ")");
	}
	if (call->tries >= call->attempts)
		return give_up(call, err, ")");
	if (asked >= left)
		return give_up(call, err, "; the server asks to wait %llu s)",
			       (unsigned long long)asked / 1000);
	pause = clock->random(clock->arg, longest_pause(call, left));
	pause = max_u64(pause, asked);
	log_debug("%s %s/%s: try %u: %s; again in %llu ms",
		  kind_names[call->kind],
		  call->self->store.url, call->key, call->tries, err->text,
		  (unsigned long long)pause);
	if (sleep_ms(call, pause))
		return true;
	error_set(err, ERR_CANCELLED, "stopped");
	return false;
}

static void count(const struct call *call, int ret)
{
	struct shared *shared = call->self->shared;

	atomic_fetch_add(&shared->calls[call->kind], 1);
	atomic_fetch_add(&shared->retries[call->kind], call->tries - 1);
	if (ret)
		atomic_fetch_add(&shared->failed[call->kind], 1);
}

static int run(struct call *call, struct error *err)
{
	struct error own = { 0 };
	int ret;

	call->outer = current;
	call->begun_ms = now_ms(call);
	call->deadline_ms = call->begun_ms + call->timeout_ms;
	if (call->outer)
		call->deadline_ms = call->begun_ms +
				    min_u64(call->timeout_ms,
					    left_ms(call->outer));
	do {
		call->tries++;
		error_clear(&own);
		current = call;
		ret = call->make_try(call, &own);
		current = call->outer;
	} while (ret && wait_for_next(call, &own));
	count(call, ret);
	if (ret && err)
		*err = own;
	return ret;
}

static struct call new_call(struct retry_store *self, enum call_kind kind,
			    const char *key,
			    int (*make_try)(struct call *, struct error *))
{
	return (struct call){
		.self = self,
		.make_try = make_try,
		.kind = kind,
		.key = key,
		.timeout_ms = self->options.timeout_ms,
		.attempts = self->options.attempts,
	};
}

struct list_call {
	struct call call;
	const struct list_args *args;
	store_list_fn *fn;
	void *arg;
	char **continuation;
};

/* Who has seen an entry must not see it again. */
static int retry_entry(void *arg, const struct store_entry *entry,
		       struct error *err)
{
	struct list_call *call = arg;

	call->call.is_final = true;
	return call->fn(call->arg, entry, err);
}

static int try_list(struct call *base, struct error *err)
{
	struct list_call *call = (struct list_call *)base;
	int ret = store_list(base->self->inner, call->args, retry_entry, call,
			     call->continuation, err);

	if (ret) {
		free(*call->continuation);
		*call->continuation = NULL;
	}
	return ret;
}

static int retry_list(struct store *store, const struct list_args *args,
		      store_list_fn *fn, void *arg, char **continuation,
		      struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	struct list_call call = { new_call(self, CALL_LIST, args->prefix,
					   try_list),
				  args, fn, arg, continuation };

	return run(&call.call, err);
}

struct stat_call {
	struct call call;
	struct object_info *info;
};

static int try_stat(struct call *base, struct error *err)
{
	struct stat_call *call = (struct stat_call *)base;

	return store_stat(base->self->inner, base->key, call->info, err);
}

static int retry_stat(struct store *store, const char *key,
		      struct object_info *info, struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	struct stat_call call = { new_call(self, CALL_STAT, key, try_stat),
				  info };

	return run(&call.call, err);
}

struct prefix_call {
	struct call call;
	bool *found;
};

static int try_has_prefix(struct call *base, struct error *err)
{
	struct prefix_call *call = (struct prefix_call *)base;

	return store_has_prefix(base->self->inner, base->key, call->found,
				err);
}

static int retry_has_prefix(struct store *store, const char *prefix,
			    bool *found, struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	struct prefix_call call = { new_call(self, CALL_PREFIX, prefix,
					     try_has_prefix), found };

	return run(&call.call, err);
}

/* Objects. */

struct read_call {
	struct call call;
	struct object *inner;
	uint64_t offset, left;
	uint64_t done;           /* of all tries */
	const struct iovec *iov; /* the rest: in `copy` once a try broke off */
	int iovcnt;
	struct iovec *copy;
};

/* Skip the first n bytes of what is still to be read. */
static int skip_read(struct read_call *call, uint64_t n, struct error *err)
{
	struct iovec *rest = call->copy;
	size_t bytes = sizeof(*rest) * (size_t)call->iovcnt;

	call->offset += n;
	call->left -= n;
	call->done += n;
	if (!call->copy) {
		rest = call->copy = malloc(bytes);
		if (!rest)
			return error_nomem(err);
	}
	memmove(rest, call->iov, bytes);
	while (call->iovcnt && n >= rest->iov_len) {
		n -= rest->iov_len;
		rest++;
		call->iovcnt--;
	}
	if (n) {
		rest->iov_base = (char *)rest->iov_base + n;
		rest->iov_len -= n;
	}
	call->iov = rest;
	return 0;
}

static int try_read(struct call *base, struct error *err)
{
	struct read_call *call = (struct read_call *)base;
	uint64_t filled = 0;
	int ret = call->inner->ops->readv(call->inner, call->offset,
					  call->iov, call->iovcnt, 0, &filled,
					  err);

	assert(filled <= call->left);
	if (!ret || filled == call->left) {
		call->done += call->left;
		return 0;
	}
	/* Without memory for the rest, that is the error. */
	if (filled)
		(void)skip_read(call, filled, err);
	return -1;
}

static int retry_readv(struct object *object, uint64_t offset,
		       const struct iovec *iov, int iovcnt,
		       unsigned int flags, uint64_t *filled, struct error *err)
{
	struct retry_object *self = (struct retry_object *)object;
	struct read_call call = {
		.call = new_call(self->store, CALL_READ, self->key, try_read),
		.inner = self->inner,
		.offset = offset,
		.iov = iov,
		.iovcnt = iovcnt,
	};
	int ret;

	if (flags & STORE_NOWAIT)
		return self->inner->ops->readv(self->inner, offset, iov,
					       iovcnt, flags, filled, err);
	for (int i = 0; i < iovcnt; i++)
		call.left += iov[i].iov_len;
	ret = run(&call.call, err);
	*filled = call.done;
	free(call.copy);
	return ret;
}

static void retry_object_close(struct object *object)
{
	struct retry_object *self = (struct retry_object *)object;

	object_close(self->inner);
	free(self);
}

static const struct object_ops retry_object_ops = {
	.readv = retry_readv,
	.close = retry_object_close,
};

struct open_call {
	struct call call;
	struct object **out;
	const struct object_info *known;
};

static int try_open(struct call *base, struct error *err)
{
	struct open_call *call = (struct open_call *)base;

	return object_open(call->out, base->self->inner, base->key,
			   call->known, err);
}

static int retry_open(struct object **out, struct store *store,
		      const char *key, const struct object_info *known,
		      struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	AUTO_FREE struct retry_object *object =
		calloc(1, sizeof(*object) + strlen(key) + 1);
	struct open_call call = { new_call(self, CALL_OPEN, key, try_open),
				  NULL, known };

	if (!object)
		return error_nomem(err);
	call.out = &object->inner;
	if (run(&call.call, err))
		return -1;
	object->object.ops = &retry_object_ops;
	object->object.info = object->inner->info;
	object->store = self;
	memcpy(object->key, key, strlen(key) + 1);
	*out = &take_ptr(object)->object;
	return 0;
}

/* The store itself. */

struct bucket_call {
	struct call call;
	struct store **out;
};

static int try_open_bucket(struct call *base, struct error *err)
{
	struct bucket_call *call = (struct bucket_call *)base;

	return store_open_bucket(call->out, base->self->inner, base->key, err);
}

static int retry_open_bucket(struct store **out, struct store *service,
			     const char *name, struct error *err)
{
	struct retry_store *self = (struct retry_store *)service;
	struct store *inner;
	struct bucket_call call = { new_call(self, CALL_OPEN, name,
					     try_open_bucket), &inner };

	if (run(&call.call, err))
		return -1;
	if (!retry_store_new_with_clock(out, inner, &self->options,
					&self->clock, err)) {
		((struct retry_store *)*out)->shared = self->shared;
		return 0;
	}
	store_close(inner);
	return -1;
}

static int retry_start(struct store *store, struct error *err)
{
	return store_start(((struct retry_store *)store)->inner, err);
}

static int try_check(struct call *base, struct error *err)
{
	return store_check(base->self->inner, err);
}

static int retry_check(struct store *store, struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	struct call call = new_call(self, CALL_CHECK, "", try_check);

	call.timeout_ms = (unsigned int)min_u64(call.timeout_ms,
						CHECK_TIMEOUT_MS);
	call.attempts = (unsigned int)min_u64(call.attempts, CHECK_ATTEMPTS);
	return run(&call, err);
}

static void retry_cancel(struct store *store)
{
	struct retry_store *self = (struct retry_store *)store;

	pthread_mutex_lock(&self->shared->lock);
	self->shared->is_cancelled = true;
	pthread_cond_broadcast(&self->shared->wake);
	pthread_mutex_unlock(&self->shared->lock);
	store_cancel(self->inner);
}

/* "calls": {"read": {"calls": 7, "retries": 1, "failed": 0}, ...} */
static int retry_stats(struct store *store, struct json_t *object,
		       struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	const struct shared *shared = self->shared;
	json_t *calls = json_object();

	if (json_object_set_new(object, "calls", calls))
		return error_nomem(err);
	for (size_t i = 0; i < CALL_KINDS; i++) {
		json_t *kind = json_pack(
			"{s:I, s:I, s:I}",
			"calls", (json_int_t)shared->calls[i],
			"retries", (json_int_t)shared->retries[i],
			"failed", (json_int_t)shared->failed[i]);

		if (json_object_set_new(calls, kind_names[i], kind))
			return error_nomem(err);
	}
	return store_stats(self->inner, object, err);
}

static void retry_close(struct store *store)
{
	struct retry_store *self = (struct retry_store *)store;

	store_close(self->inner);
	pthread_mutex_destroy(&self->own.lock);
	pthread_cond_destroy(&self->own.wake);
	free(self);
}

static const struct store_ops retry_store_ops = {
	.list = retry_list,
	.stat = retry_stat,
	.has_prefix = retry_has_prefix,
	.open = retry_open,
	.open_bucket = retry_open_bucket,
	.start = retry_start,
	.check = retry_check,
	.cancel = retry_cancel,
	.stats = retry_stats,
	.close = retry_close,
};

static unsigned int or_default(unsigned int value, unsigned int fallback)
{
	return value ? value : fallback;
}

int retry_store_new_with_clock(struct store **out, struct store *inner,
			       const struct retry_options *options,
			       const struct retry_clock *clock,
			       struct error *err)
{
	struct retry_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->store = (struct store){ &retry_store_ops, strdup(inner->url),
				      inner->fetch_bytes,
				      inner->request_bytes };
	if (!self->store.url) {
		free(self);
		return error_nomem(err);
	}
	self->inner = inner;
	self->shared = &self->own;
	pthread_mutex_init(&self->own.lock, NULL);
	pthread_cond_init(&self->own.wake, NULL);
	self->clock = *clock;
	self->options = (struct retry_options){
		.timeout_ms = or_default(options->timeout_ms,
					 DEFAULT_TIMEOUT_MS),
		.attempts = or_default(options->attempts, DEFAULT_ATTEMPTS),
		.base_ms = or_default(options->base_ms, DEFAULT_BASE_MS),
		.pause_max_ms = or_default(options->pause_max_ms,
					   DEFAULT_PAUSE_MAX_MS),
	};
	*out = &self->store;
	return 0;
}

int retry_store_new(struct store **out, struct store *inner,
		    const struct retry_options *options, struct error *err)
{
	return retry_store_new_with_clock(out, inner, options, &real_clock,
					  err);
}
