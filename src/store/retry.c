/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The store decorator that tries again.
 *
 * Each kind of call is a struct call with its arguments behind it and a
 * function that makes one try. */
#include "config.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "store/compose.h"
#include "store/retry-internal.h"
#include "store/retry.h"
#include "store/sink.h"

/* Somebody waits for a check, and a name that was mistyped stays so. */
#define CHECK_TIMEOUT_MS 25000
#define CHECK_ATTEMPTS   4

enum call_kind {
	CALL_LIST, CALL_STAT, CALL_PREFIX, CALL_OPEN, CALL_READ, CALL_CHECK,
	CALL_KINDS,
};

static const char *const kind_names[CALL_KINDS + 1] = {
	[CALL_LIST] = "list",
	[CALL_STAT] = "stat",
	[CALL_PREFIX] = "prefix",
	[CALL_OPEN] = "open",
	[CALL_READ] = "read",
	[CALL_CHECK] = "check",
};

struct retry_store {
	struct store store;
	struct store_ops ops;    /* of what the store below can do */
	struct store *inner;
	struct retrier *retrier; /* a bucket has its service's */
};

struct retry_object {
	struct object object;
	struct object *inner;
	struct retry_store *store;
	char key[];
};

/* First member of those with arguments. */
struct call {
	struct retry_call retry;
	struct retry_store *self;
};

static struct store *inner_of(const struct retry_call *base)
{
	return ((const struct call *)base)->self->inner;
}

static int run(struct call *call, struct error *err)
{
	return retrier_run(call->self->retrier, &call->retry, err);
}

static struct call new_call(struct retry_store *self, enum call_kind kind,
			    const char *key,
			    int (*make_try)(struct retry_call *,
					    struct error *))
{
	return (struct call){
		.retry = {
			.make_try = make_try,
			.kind = kind,
			.url = self->store.url,
			.key = key,
		},
		.self = self,
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

	call->call.retry.is_final = true;
	return call->fn(call->arg, entry, err);
}

static int try_list(struct retry_call *base, struct error *err)
{
	struct list_call *call = (struct list_call *)base;
	int ret = store_list(inner_of(base), call->args, retry_entry, call,
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

static int try_stat(struct retry_call *base, struct error *err)
{
	struct stat_call *call = (struct stat_call *)base;

	return store_stat(inner_of(base), base->key, call->info, err);
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

static int try_has_prefix(struct retry_call *base, struct error *err)
{
	struct prefix_call *call = (struct prefix_call *)base;

	return store_has_prefix(inner_of(base), base->key, call->found,
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

static int try_read(struct retry_call *base, struct error *err)
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

static int try_open(struct retry_call *base, struct error *err)
{
	struct open_call *call = (struct open_call *)base;

	return object_open(call->out, inner_of(base), base->key,
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

/* Each request of it is tried again by itself. */
static int retry_compose(struct store *store, const char *key,
			 const struct sink_args *args,
			 struct compose *compose, struct object_info *info,
			 struct error *err)
{
	struct store *inner = ((struct retry_store *)store)->inner;

	if (inner->ops->compose)
		return inner->ops->compose(inner, key, args, compose, info,
					   err);
	return compose_by_sink(store, key, args, compose, compose_read_range,
			       info, err);
}

/* The store itself. */

static const struct store_ops retry_store_ops;

struct bucket_call {
	struct call call;
	struct store **out;
};

static int try_open_bucket(struct retry_call *base, struct error *err)
{
	struct bucket_call *call = (struct bucket_call *)base;

	return store_open_bucket(call->out, inner_of(base), base->key, err);
}

/* Who asks a store what it can do gets the answer of the one below. */
static void drop_ops(struct store_ops *ops, const struct store_ops *inner)
{
	if (!inner->create)
		ops->create = NULL;
	if (!inner->remove)
		ops->remove = NULL;
	if (!inner->rename)
		ops->rename = NULL;
	if (!inner->make_prefix)
		ops->make_prefix = NULL;
	if (!inner->remove_prefix)
		ops->remove_prefix = NULL;
	if (!inner->list_uploads)
		ops->list_uploads = NULL;
	if (!inner->abort_upload)
		ops->abort_upload = NULL;
}

/* References the retrier. */
static int new_store(struct store **out, struct store *inner,
		     struct retrier *retrier, struct error *err)
{
	struct retry_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->ops = retry_store_ops;
	drop_ops(&self->ops, inner->ops);
	self->store = (struct store){ &self->ops, strdup(inner->url),
				      inner->fetch_bytes,
				      inner->request_bytes };
	if (!self->store.url) {
		free(self);
		return error_nomem(err);
	}
	self->inner = inner;
	self->retrier = retrier_ref(retrier);
	*out = &self->store;
	return 0;
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
	if (!new_store(out, inner, self->retrier, err))
		return 0;
	store_close(inner);
	return -1;
}

static int retry_start(struct store *store, struct error *err)
{
	return store_start(((struct retry_store *)store)->inner, err);
}

static int try_check(struct retry_call *base, struct error *err)
{
	return store_check(inner_of(base), err);
}

static int retry_check(struct store *store, struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	const struct retry_options *options = retrier_options(self->retrier);
	struct call call = new_call(self, CALL_CHECK, "", try_check);

	call.retry.timeout_ms = (unsigned int)min_u64(options->timeout_ms,
						      CHECK_TIMEOUT_MS);
	call.retry.attempts = (unsigned int)min_u64(options->attempts,
						    CHECK_ATTEMPTS);
	return run(&call, err);
}

static void retry_cancel(struct store *store)
{
	struct retry_store *self = (struct retry_store *)store;

	retrier_cancel(self->retrier);
	store_cancel(self->inner);
}

/* "calls": what was tried here, and what the store below tries by itself. */
static int retry_stats(struct store *store, struct json_t *object,
		       struct error *err)
{
	struct retry_store *self = (struct retry_store *)store;
	json_t *calls = json_object();

	if (json_object_set_new(object, "calls", calls))
		return error_nomem(err);
	if (retrier_stats(self->retrier, calls, err))
		return -1;
	return store_stats(self->inner, object, err);
}

static void retry_close(struct store *store)
{
	struct retry_store *self = (struct retry_store *)store;

	store_close(self->inner);
	retrier_unref(self->retrier);
	free(self);
}

/* Writing: through as it is. */

static struct store *below(struct store *store)
{
	return ((struct retry_store *)store)->inner;
}

static int retry_create(struct sink **out, struct store *store,
			const char *key, const struct sink_args *args,
			struct error *err)
{
	return store_create(out, below(store), key, args, err);
}

static int retry_remove(struct store *store, const char *key,
			const char *if_match, struct error *err)
{
	return store_remove(below(store), key, if_match, err);
}

static int retry_rename(struct store *store, const char *from, const char *to,
			const struct rename_args *args, struct error *err)
{
	return store_rename(below(store), from, to, args, err);
}

static int retry_make_prefix(struct store *store, const char *prefix,
			     struct error *err)
{
	return store_make_prefix(below(store), prefix, err);
}

static int retry_remove_prefix(struct store *store, const char *prefix,
			       struct error *err)
{
	return store_remove_prefix(below(store), prefix, err);
}

static int retry_list_uploads(struct store *store, store_upload_fn *fn,
			      void *arg, struct error *err)
{
	return store_list_uploads(below(store), fn, arg, err);
}

static int retry_abort_upload(struct store *store, const char *key,
			      const char *id, struct error *err)
{
	return store_abort_upload(below(store), key, id, err);
}

static const struct store_ops retry_store_ops = {
	.list = retry_list,
	.stat = retry_stat,
	.has_prefix = retry_has_prefix,
	.open = retry_open,
	.create = retry_create,
	.compose = retry_compose,
	.remove = retry_remove,
	.rename = retry_rename,
	.make_prefix = retry_make_prefix,
	.remove_prefix = retry_remove_prefix,
	.list_uploads = retry_list_uploads,
	.abort_upload = retry_abort_upload,
	.open_bucket = retry_open_bucket,
	.start = retry_start,
	.check = retry_check,
	.cancel = retry_cancel,
	.stats = retry_stats,
	.close = retry_close,
};

int retry_store_new_with_clock(struct store **out, struct store *inner,
			       const struct retry_options *options,
			       const struct retry_clock *clock,
			       struct error *err)
{
	struct retrier *retrier;
	int ret;

	*out = NULL;
	if (retrier_new(&retrier, options, kind_names, clock, err))
		return -1;
	ret = new_store(out, inner, retrier, err);
	retrier_unref(retrier);
	return ret;
}

int retry_store_new(struct store **out, struct store *inner,
		    const struct retry_options *options, struct error *err)
{
	return retry_store_new_with_clock(out, inner, options, NULL, err);
}
