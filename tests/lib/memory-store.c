/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The store in memory. Objects are a plain list: tests have a handful. */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sink.h"
#include "tests/lib/memory-store.h"

struct item {
	struct item *next;
	struct object_info info;
	char *data;
	char key[]; /* with the NUL */
};

struct memory_store {
	struct store store;
	pthread_mutex_t lock; /* guards the list and all items */
	struct item *items;
	unsigned int generation; /* number of puts: the ETags */
};

struct memory_object {
	struct object object;
	struct memory_store *store;
	char key[];
};

/* The link that points at the item, or at the NULL where it would be. */
static struct item **find(struct memory_store *self, const char *key)
{
	struct item **link = &self->items;

	while (*link && strcmp((*link)->key, key) != 0)
		link = &(*link)->next;
	return link;
}

static int memory_readv(struct object *object, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, uint64_t *filled, struct error *err)
{
	struct memory_object *self = (struct memory_object *)object;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->store->lock);
	const struct item *item = *find(self->store, self->key);

	(void)held;
	if (!item || strcmp(item->info.etag, object->info.etag) != 0)
		return error_set(err, ERR_STALE, "has been replaced");
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, item->data + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
		*filled += iov[i].iov_len;
	}
	return 0;
}

static void memory_object_close(struct object *object)
{
	free(object);
}

static const struct object_ops memory_object_ops = {
	.readv = memory_readv,
	.close = memory_object_close,
};

static int memory_stat(struct store *store, const char *key,
		       struct object_info *info, struct error *err)
{
	struct memory_store *self = (struct memory_store *)store;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	const struct item *item = *find(self, key);

	(void)held;
	if (!item)
		return error_set(err, ERR_NOT_FOUND, "%s: no such object", key);
	*info = item->info;
	return 0;
}

static int memory_open(struct object **out, struct store *store,
		       const char *key, const struct object_info *known,
		       struct error *err)
{
	struct memory_object *object;
	struct object_info info;

	if (memory_stat(store, key, &info, err))
		return -1;
	if (known && strcmp(known->etag, info.etag) != 0)
		return error_set(err, ERR_STALE, "%s: has been replaced", key);
	object = calloc(1, sizeof(*object) + strlen(key) + 1);
	if (!object)
		return error_nomem(err);
	object->object.ops = &memory_object_ops;
	object->object.info = info;
	object->store = (struct memory_store *)store;
	memcpy(object->key, key, strlen(key) + 1);
	*out = &object->object;
	return 0;
}

/* Tell of item, or of the common prefix that it stands for. A prefix is told
 * once only if its keys were put in a row. */
static int list_item(const struct item *item, const struct list_args *args,
		     char *last, store_list_fn *fn, void *arg,
		     struct error *err)
{
	struct store_entry entry = { item->key, false, item->info };
	const char *rest = item->key + strlen(args->prefix);
	const char *cut = args->delimiter ? strchr(rest, args->delimiter) :
					    NULL;

	if (cut) {
		char prefix[STORE_KEY_MAX + 1];

		snprintf(prefix, sizeof(prefix), "%.*s",
			 (int)(cut + 1 - item->key), item->key);
		if (!strcmp(prefix, last))
			return 0;
		memcpy(last, prefix, sizeof(prefix));
		entry = (struct store_entry){ prefix, true };
		return fn(arg, &entry, err);
	}
	return fn(arg, &entry, err);
}

static int memory_list(struct store *store, const struct list_args *args,
		       store_list_fn *fn, void *arg, char **continuation,
		       struct error *err)
{
	struct memory_store *self = (struct memory_store *)store;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	char last[STORE_KEY_MAX + 1] = "";

	(void)held;
	for (const struct item *i = self->items; i; i = i->next)
		if (!strncmp(i->key, args->prefix, strlen(args->prefix)) &&
		    list_item(i, args, last, fn, arg, err))
			return -1;
	return 0;
}

/* Sinks. */

struct memory_sink {
	struct sink sink;
	struct memory_store *store;
	char *data;
	bool replace;
	char if_match[STORE_ETAG_MAX]; /* "" = any */
	char key[];
};

static int memory_write(struct sink *sink, const struct iovec *iov,
			int iovcnt, struct error *err)
{
	struct memory_sink *self = (struct memory_sink *)sink;
	size_t at = (size_t)sink->position;

	for (int i = 0; i < iovcnt; i++) {
		char *data = realloc(self->data, at + iov[i].iov_len + 1);

		if (!data)
			return error_nomem(err);
		self->data = data;
		memcpy(data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return 0;
}

static int memory_zeroes(struct sink *sink, uint64_t length,
			 struct error *err)
{
	AUTO_FREE char *zeroes = calloc(1, (size_t)length);
	struct iovec iov = { zeroes, (size_t)length };

	return zeroes ? memory_write(sink, &iov, 1, err) : error_nomem(err);
}

static int memory_patch(struct sink *sink, uint64_t offset, const void *data,
			size_t length, struct error *err)
{
	memcpy(((struct memory_sink *)sink)->data + offset, data, length);
	return 0;
}

static int check_target(struct memory_store *store, const char *key,
			bool replace, const char *if_match, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&store->lock);
	const struct item *item = *find(store, key);

	(void)held;
	if (item && !replace)
		return error_set(err, ERR_EXISTS, "'%s' exists", key);
	if (*if_match && (!item || strcmp(item->info.etag, if_match) != 0))
		return error_set(err, ERR_STALE, "was changed since it was "
				 "read");
	return 0;
}

static int memory_finish(struct sink *sink, struct object_info *info,
			 struct error *err)
{
	struct memory_sink *self = (struct memory_sink *)sink;
	struct store *store = &self->store->store;

	if (check_target(self->store, self->key, self->replace,
			 self->if_match, err) ||
	    memory_store_put(store, self->key, self->data ? self->data : "",
			     (size_t)sink->position, err))
		return -1;
	return store_stat(store, self->key, info, err);
}

static void memory_discard(struct sink *sink)
{
	free(((struct memory_sink *)sink)->data);
	free(sink);
}

static const struct sink_ops memory_sink_ops = {
	.write = memory_write,
	.zeroes = memory_zeroes,
	.patch = memory_patch,
	.finish = memory_finish,
	.discard = memory_discard,
};

static int memory_create(struct sink **out, struct store *store,
			 const char *key, const struct sink_args *args,
			 struct error *err)
{
	const char *if_match = args->if_match ? args->if_match : "";
	struct memory_sink *self;

	if (check_target((struct memory_store *)store, key, args->replace,
			 if_match, err))
		return -1;
	self = calloc(1, sizeof(*self) + strlen(key) + 1);
	if (!self)
		return error_nomem(err);
	self->sink.ops = &memory_sink_ops;
	self->store = (struct memory_store *)store;
	self->replace = args->replace;
	snprintf(self->if_match, sizeof(self->if_match), "%s", if_match);
	memcpy(self->key, key, strlen(key) + 1);
	*out = &self->sink;
	return 0;
}

static void memory_close(struct store *store)
{
	struct memory_store *self = (struct memory_store *)store;

	while (self->items) {
		struct item *item = self->items;

		self->items = item->next;
		free(item->data);
		free(item);
	}
	pthread_mutex_destroy(&self->lock);
	free(self);
}

static const struct store_ops memory_store_ops = {
	.list = memory_list,
	.stat = memory_stat,
	.open = memory_open,
	.create = memory_create,
	.close = memory_close,
};

int memory_store_new(struct store **out, struct error *err)
{
	struct memory_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->store.url = strdup("memory://");
	if (!self->store.url) {
		free(self);
		return error_nomem(err);
	}
	self->store.ops = &memory_store_ops;
	self->store.fetch_bytes = 4096;
	self->store.request_bytes = 512 << 10;
	pthread_mutex_init(&self->lock, NULL);
	*out = &self->store;
	return 0;
}

static struct item *new_item(const char *key, const void *data, size_t size)
{
	size_t key_size = strlen(key) + 1;
	struct item *item = calloc(1, sizeof(*item) + key_size);

	if (!item)
		return NULL;
	item->data = malloc(size + 1);
	if (!item->data) {
		free(item);
		return NULL;
	}
	memcpy(item->key, key, key_size);
	memcpy(item->data, data, size);
	item->info.size = size;
	return item;
}

int memory_store_put(struct store *store, const char *key, const void *data,
		     size_t size, struct error *err)
{
	struct memory_store *self = (struct memory_store *)store;
	struct item *item = new_item(key, data, size), **link, *old;

	if (!item)
		return error_nomem(err);
	pthread_mutex_lock(&self->lock);
	item->info.mtime_ns = ++self->generation * 1000000000ll;
	snprintf(item->info.etag, sizeof(item->info.etag), "%u",
		 self->generation);
	link = find(self, key);
	old = *link;
	item->next = old ? old->next : NULL;
	*link = item;
	pthread_mutex_unlock(&self->lock);
	if (old)
		free(old->data);
	free(old);
	return 0;
}

int memory_store_remove(struct store *store, const char *key,
			struct error *err)
{
	struct memory_store *self = (struct memory_store *)store;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	struct item **link = find(self, key), *item = *link;

	(void)held;
	if (!item)
		return error_set(err, ERR_NOT_FOUND, "%s: no such object", key);
	*link = item->next;
	free(item->data);
	free(item);
	return 0;
}
