/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The checked entry points of all stores, and the choice by URL. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/log.h"
#include "store/retry.h"
#include "store/sink.h"
#include "store/store.h"

/* What comes from a network is tried again when that fails. */
typedef int open_fn(struct store **out, const char *source,
		    const struct store_options *options, struct error *err);

static int open_remote(struct store **out, open_fn *open_inner,
		       const char *source, const struct store_options *options,
		       struct error *err)
{
	struct retry_options retry = {
		.timeout_ms = options ? options->timeout_ms : 0,
	};
	struct store *inner;

	if (open_inner(&inner, source, options, err))
		return -1;
	if (!retry_store_new(out, inner, &retry, err))
		return 0;
	store_close(inner);
	return -1;
}

static bool has_scheme(const char *source, const char *scheme)
{
	return !strncmp(source, scheme, strlen(scheme));
}

static int open_file_url(struct store **out, const char *path,
			 struct error *err)
{
	if (*path == '/')
		return file_store_open(out, path, err);
	return error_set(err, ERR_ARG, "file://%s: a file URL holds an "
			 "absolute path and no host: file:///%s", path, path);
}

int store_open(struct store **out, const char *source,
	       const struct store_options *options, struct error *err)
{
	const char *scheme_end = strstr(source, "://");
	int len = scheme_end ? (int)(scheme_end - source) : 0;

	*out = NULL;
	if (has_scheme(source, "file://"))
		return open_file_url(out, source + strlen("file://"), err);
	if (has_scheme(source, "s3://"))
		return open_remote(out, s3_store_open, source, options, err);
	if (has_scheme(source, "https://") || has_scheme(source, "http://"))
		return open_remote(out, https_store_open, source, options,
				   err);
	/* The rest of such a source may hold a password. */
	if (len && !memchr(source, '/', (size_t)len))
		return error_set(err, ERR_UNSUPPORTED, "%.*s:// is not "
				 "supported; give a directory, s3://BUCKET or "
				 "https://HOST/FILE", len, source);
	return file_store_open(out, source, err);
}

int store_open_bucket(struct store **out, struct store *service,
		      const char *name, struct error *err)
{
	AUTO_FREE char *url = NULL;

	*out = NULL;
	if (service->ops->open_bucket)
		return service->ops->open_bucket(out, service, name, err);
	if (asprintf(&url, "%s/%s", service->url, name) < 0) {
		url = NULL;
		return error_nomem(err);
	}
	return store_open(out, url, NULL, err);
}

int store_start(struct store *store, struct error *err)
{
	return store->ops->start ? store->ops->start(store, err) : 0;
}

int store_check(struct store *store, struct error *err)
{
	return store->ops->check ? store->ops->check(store, err) : 0;
}

void store_cancel(struct store *store)
{
	if (store->ops->cancel)
		store->ops->cancel(store);
}

int store_stats(struct store *store, struct json_t *object, struct error *err)
{
	return store->ops->stats ? store->ops->stats(store, object, err) : 0;
}

void store_close(struct store *store)
{
	char *url;

	if (!store)
		return;
	url = store->url;
	store->ops->close(store);
	free(url);
}

int store_list(struct store *store, const struct list_args *args,
	       store_list_fn *fn, void *arg, char **continuation,
	       struct error *err)
{
	*continuation = NULL;
	log_debug("list %s prefix '%s'", store->url, args->prefix);
	return store->ops->list(store, args, fn, arg, continuation, err);
}

int store_check_key(const char *key, struct error *err)
{
	if (!*key)
		return error_set(err, ERR_NOT_FOUND, "'' is no key");
	if (strlen(key) > STORE_KEY_MAX)
		return error_set(err, ERR_NOT_FOUND,
				 "a key of %zu bytes is above the limit of %d",
				 strlen(key), STORE_KEY_MAX);
	return 0;
}

int store_stat(struct store *store, const char *key, struct object_info *info,
	       struct error *err)
{
	if (store_check_key(key, err))
		return -1;
	return store->ops->stat(store, key, info, err);
}

/* Any key below the prefix will do. */
static int found_one(void *arg, const struct store_entry *entry,
		     struct error *err)
{
	*(bool *)arg = true;
	return error_set(err, ERR_CANCELLED, "one is enough");
}

static int has_key_below(struct store *store, const char *prefix, bool *found,
			 struct error *err)
{
	struct list_args args = { .prefix = prefix, .max_keys = 1 };
	AUTO_FREE char *continuation = NULL;
	struct error own = { 0 };
	int ret = store_list(store, &args, found_one, found, &continuation,
			     &own);

	if (!ret || *found)
		return 0;
	if (err)
		*err = own;
	return -1;
}

int store_has_prefix(struct store *store, const char *prefix, bool *found,
		     struct error *err)
{
	*found = false;
	if (store->ops->has_prefix)
		return store->ops->has_prefix(store, prefix, found, err);
	return has_key_below(store, prefix, found, err);
}

int object_open(struct object **out, struct store *store, const char *key,
		const struct object_info *known, struct error *err)
{
	*out = NULL;
	if (store_check_key(key, err))
		return -1;
	log_debug("open %s/%s", store->url, key);
	return store->ops->open(out, store, key, known, err);
}

void object_close(struct object *object)
{
	if (object)
		object->ops->close(object);
}

int object_readv(struct object *object, uint64_t offset,
		 const struct iovec *iov, int iovcnt, unsigned int flags,
		 struct error *err)
{
	uint64_t length = 0, filled = 0;

	for (int i = 0; i < iovcnt; i++)
		length += iov[i].iov_len;
	if (!in_range(offset, length, object->info.size))
		return error_set(err, ERR_CORRUPT, "ends before byte %llu",
				 (unsigned long long)(offset + length));
	return object->ops->readv(object, offset, iov, iovcnt, flags, &filled,
				  err);
}

int store_create(struct sink **out, struct store *store, const char *key,
		 const struct sink_args *args, struct error *err)
{
	*out = NULL;
	if (store_check_key(key, err))
		return -1;
	if (!store->ops->create)
		return error_set(err, ERR_UNSUPPORTED,
				 "%s cannot be written to", store->url);
	if (args->head_bytes > SINK_HEAD_MAX)
		return error_set(err, ERR_BUG, "a head of %u bytes is above "
				 "the limit of %u", args->head_bytes,
				 SINK_HEAD_MAX);
	log_debug("create %s/%s", store->url, key);
	if (store->ops->create(out, store, key, args, err))
		return -1;
	(*out)->head_bytes = args->head_bytes;
	return 0;
}

static int no_change(const struct store *store, struct error *err)
{
	return error_set(err, ERR_UNSUPPORTED, "%s cannot be changed in this "
			 "way", store->url);
}

int store_remove(struct store *store, const char *key, const char *if_match,
		 struct error *err)
{
	if (store_check_key(key, err))
		return -1;
	log_debug("remove %s/%s", store->url, key);
	if (!store->ops->remove)
		return no_change(store, err);
	return store->ops->remove(store, key, if_match, err);
}

int store_rename(struct store *store, const char *from, const char *to,
		 const struct rename_args *args, struct error *err)
{
	if (store_check_key(from, err) || store_check_key(to, err))
		return -1;
	log_debug("rename %s/%s to %s", store->url, from, to);
	if (!store->ops->rename)
		return no_change(store, err);
	return store->ops->rename(store, from, to, args, err);
}

int store_make_prefix(struct store *store, const char *prefix,
		      struct error *err)
{
	if (store_check_key(prefix, err))
		return -1;
	if (!store->ops->make_prefix)
		return no_change(store, err);
	return store->ops->make_prefix(store, prefix, err);
}

int store_remove_prefix(struct store *store, const char *prefix,
			struct error *err)
{
	if (store_check_key(prefix, err))
		return -1;
	if (!store->ops->remove_prefix)
		return no_change(store, err);
	return store->ops->remove_prefix(store, prefix, err);
}

static int no_uploads(const struct store *store, struct error *err)
{
	return error_set(err, ERR_UNSUPPORTED, "%s has no uploads of parts: "
			 "only buckets have", store->url);
}

int store_list_uploads(struct store *store, store_upload_fn *fn, void *arg,
		       struct error *err)
{
	if (!store->ops->list_uploads)
		return no_uploads(store, err);
	return store->ops->list_uploads(store, fn, arg, err);
}

int store_abort_upload(struct store *store, const char *key, const char *id,
		       struct error *err)
{
	if (store_check_key(key, err))
		return -1;
	if (!store->ops->abort_upload)
		return no_uploads(store, err);
	log_debug("abort %s/%s %s", store->url, key, id);
	return store->ops->abort_upload(store, key, id, err);
}
