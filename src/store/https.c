/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One file of a web server as a store with one object, named by the last
 * segment of its URL. Nothing is signed by us; a presigned URL carries its
 * permission in its query, which is never shown.
 *
 * An object is pinned to its ETag, or, where the server has no strong one, to
 * the time of its last modification: such an `etag` has a blank, which no real
 * one has. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "store/http-fields.h"
#include "store/http.h"
#include "store/https-ask.h"
#include "store/https-url.h"
#include "store/store.h"

/* Web servers are as far away as S3 is: see s3.c. */
#define FETCH_BYTES   (256u << 10)
#define REQUEST_BYTES (4u << 20)
#define CHECK_MS      30000

struct https_store {
	struct store store;
	struct https_file file;
	atomic_bool has_warned;
};

struct https_object {
	struct object object;
	struct https_store *store;
	atomic_bool is_gone;
};

/* What the object is pinned by. */
static int choose_pin(struct https_store *self, struct object_info *info,
		      bool etag_is_weak, struct error *err)
{
	time_t seconds = (time_t)(info->mtime_ns / 1000000000);
	struct tm tm;

	if (*info->etag && !etag_is_weak)
		return 0;
	if (info->mtime_ns == 0)
		return error_set(err, ERR_UNSUPPORTED, "the server gives "
				 "neither an ETag nor Last-Modified: two "
				 "versions could get mixed");
	gmtime_r(&seconds, &tm);
	strftime(info->etag, sizeof(info->etag), "modified %FT%TZ", &tm);
	if (!atomic_exchange(&self->has_warned, true))
		log_warning("%s has no strong ETag: a change is noticed by the "
			    "time of its last modification and its size only",
			    self->store.url);
	return 0;
}

/* The answer to a GET of one byte: nothing is gained by a whole file. */
static int need_range(void *arg, const struct http_response *response,
		      struct error *err)
{
	struct object_info info;
	bool is_weak;

	(void)arg;
	if (response->status != 200)
		return 0;
	if (!field_object_info(response, &info, &is_weak, NULL) &&
	    info.size <= 1)
		return 0;
	return error_set(err, ERR_UNSUPPORTED, "the server does not support "
			 "ranges: it can only send the whole file");
}

/* There is no first byte to be had. */
static bool is_empty_file(const struct http_response *response)
{
	char value[32];

	http_header(response, "Content-Range", value, sizeof(value));
	return response->status == 416 && !strcmp(value, "bytes */0");
}

static int ask_one_byte(struct https_store *self, struct object_info *info,
			unsigned int timeout_ms, struct error *err)
{
	static const char *const headers[] = { "Range: bytes=0-0", NULL };
	struct https_ask ask = { .method = "GET", .headers = headers,
			   .on_headers = need_range,
			   .timeout_ms = timeout_ms };
	struct http_response response;
	bool is_weak = false;
	int ret = https_ask(&self->file, &ask, &response, err);

	if (ret && is_empty_file(&response)) {
		memset(info, 0, sizeof(*info));
		snprintf(info->etag, sizeof(info->etag), "empty file");
		ret = 0;
	} else if (!ret) {
		ret = field_object_info(&response, info, &is_weak, err);
		if (!ret)
			ret = choose_pin(self, info, is_weak, err);
	}
	http_response_free(&response);
	return ret;
}

static int ask_head(struct https_store *self, struct object_info *info,
		    struct error *err)
{
	struct https_ask ask = { .method = "HEAD" };
	struct http_response response;
	char ranges[16];
	bool is_weak;
	int ret = https_ask(&self->file, &ask, &response, err);

	if (!ret)
		ret = field_object_info(&response, info, &is_weak, err);
	if (!ret)
		ret = choose_pin(self, info, is_weak, err);
	http_header(&response, "Accept-Ranges", ranges, sizeof(ranges));
	if (!ret && !strcmp(ranges, "none"))
		ret = error_set(err, ERR_UNSUPPORTED, "the server does not "
				"support ranges (Accept-Ranges: none)");
	http_response_free(&response);
	return ret;
}

/* HEAD costs least, but a URL that is presigned for GET does not allow it,
 * and some servers leave out what matters. */
static int get_info(struct https_store *self, struct object_info *info,
		    struct error *err)
{
	struct error why = { 0 };

	if (!ask_head(self, info, &why))
		return 0;
	if (why.kind != ERR_DENIED && why.kind != ERR_UNSUPPORTED) {
		if (err)
			*err = why;
		return -1;
	}
	return ask_one_byte(self, info, 0, err);
}

static int https_list(struct store *store, const struct list_args *args,
		      store_list_fn *fn, void *arg, char **continuation,
		      struct error *err)
{
	struct https_store *self = (struct https_store *)store;
	struct store_entry entry = { .key = self->file.url.key };

	(void)continuation; /* there is one page */
	if (strncmp(entry.key, args->prefix, strlen(args->prefix)) != 0)
		return 0;
	if (get_info(self, &entry.info, err))
		return -1;
	return fn(arg, &entry, err);
}

static int check_key(const struct https_store *self, const char *key,
		     struct error *err)
{
	if (!strcmp(key, self->file.url.key))
		return 0;
	return error_set(err, ERR_NOT_FOUND, "the only key is '%s'",
			 self->file.url.key);
}

static int https_stat(struct store *store, const char *key,
		      struct object_info *info, struct error *err)
{
	struct https_store *self = (struct https_store *)store;

	return check_key(self, key, err) || get_info(self, info, err) ? -1 : 0;
}

static int https_has_prefix(struct store *store, const char *prefix,
			    bool *found, struct error *err)
{
	(void)store;
	(void)prefix;
	(void)err;
	*found = false;
	return 0;
}

static bool is_pinned_by_time(const struct object_info *info)
{
	return strchr(info->etag, ' ') != NULL;
}

/* The condition of a read, as a header. */
static void format_condition(const struct object_info *info, char *out,
			     size_t size)
{
	time_t seconds = (time_t)(info->mtime_ns / 1000000000);
	char date[64] = "";
	struct tm tm;

	if (!is_pinned_by_time(info)) {
		snprintf(out, size, "If-Match: \"%s\"", info->etag);
		return;
	}
	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %T GMT", &tm);
	snprintf(out, size, "If-Unmodified-Since: %s", date);
}

static int https_on_headers(void *arg, const struct http_response *response,
			    struct error *err)
{
	if (response->status < 200 || response->status >= 300)
		return 0;
	return field_check_range(response, arg, err);
}

static int get_range(struct https_object *self,
		     const struct range_wanted *wanted,
		     const struct iovec *iov, int iovcnt, uint64_t *filled,
		     struct error *err)
{
	char range[64], condition[STORE_ETAG_MAX + 32];
	const char *headers[] = { range, condition, NULL };
	struct https_ask ask = {
		.method = "GET",
		.headers = headers,
		.on_headers = https_on_headers,
		.arg = (void *)wanted,
		.iov = iov,
		.iovcnt = iovcnt,
	};
	struct http_response response;
	int ret;

	snprintf(range, sizeof(range), "Range: bytes=%llu-%llu",
		 (unsigned long long)wanted->offset,
		 (unsigned long long)(wanted->offset + wanted->length - 1));
	format_condition(wanted->info, condition, sizeof(condition));
	ret = https_ask(&self->store->file, &ask, &response, err);
	*filled = response.filled;
	http_response_free(&response);
	return ret;
}

static int https_readv(struct object *object, uint64_t offset,
		       const struct iovec *iov, int iovcnt, unsigned int flags,
		       uint64_t *filled, struct error *err)
{
	struct https_object *self = (struct https_object *)object;
	struct range_wanted wanted = {
		.offset = offset,
		.info = &object->info,
		.by_time = is_pinned_by_time(&object->info),
	};
	struct error why = { 0 };

	for (int i = 0; i < iovcnt; i++)
		wanted.length += iov[i].iov_len;
	if (wanted.length == 0)
		return 0;
	if (flags & STORE_NOWAIT)
		return error_set(err, ERR_AGAIN, "not in memory");
	if (atomic_load(&self->is_gone))
		return error_set(err, ERR_STALE,
				 "was deleted or replaced while open");
	if (!get_range(self, &wanted, iov, iovcnt, filled, &why))
		return 0;
	if (why.kind == ERR_NOT_FOUND) {
		struct error_remote remote = why.remote;

		error_set(&why, ERR_STALE, "was deleted while open");
		why.remote = remote;
	}
	if (why.kind == ERR_STALE)
		atomic_store(&self->is_gone, true);
	if (err)
		*err = why;
	return -1;
}

static void https_object_close(struct object *object)
{
	free(object);
}

static const struct object_ops https_object_ops = {
	.readv = https_readv,
	.close = https_object_close,
};

static int https_open(struct object **out, struct store *store,
		      const char *key, const struct object_info *known,
		      struct error *err)
{
	struct https_store *self = (struct https_store *)store;
	AUTO_FREE struct https_object *object = calloc(1, sizeof(*object));

	if (!object)
		return error_nomem(err);
	if (check_key(self, key, err))
		return -1;
	object->object.ops = &https_object_ops;
	object->store = self;
	if (known && *known->etag)
		object->object.info = *known;
	else if (get_info(self, &object->object.info, err))
		return -1;
	*out = &take_ptr(object)->object;
	return 0;
}

static int https_start(struct store *store, struct error *err)
{
	return http_start(((struct https_store *)store)->file.http, err);
}

/* One byte tells more than HEAD: whether ranges are there. */
static int https_check(struct store *store, struct error *err)
{
	struct object_info info;

	return ask_one_byte((struct https_store *)store, &info, CHECK_MS, err);
}

static void https_cancel(struct store *store)
{
	http_cancel(((struct https_store *)store)->file.http);
}

static int https_stats(struct store *store, struct json_t *object,
		       struct error *err)
{
	return http_stats_json(((struct https_store *)store)->file.http, object,
			       err);
}

static void https_close(struct store *store)
{
	struct https_store *self = (struct https_store *)store;

	https_file_destroy(&self->file);
	free(self);
}

static const struct store_ops https_store_ops = {
	.list = https_list,
	.stat = https_stat,
	.has_prefix = https_has_prefix,
	.open = https_open,
	.start = https_start,
	.check = https_check,
	.cancel = https_cancel,
	.stats = https_stats,
	.close = https_close,
};

/* Takes url over on success. */
static int new_store(struct store **out, struct https_url *url,
		     const struct store_options *options, struct error *err)
{
	struct http_options http = {
		.ca_bundle = options ? options->ca_bundle : NULL,
	};
	AUTO_FREE struct https_store *self = calloc(1, sizeof(*self));
	AUTO_FREE char *shown = strdup(url->shown);

	if (!self || !shown)
		return error_nomem(err);
	if (!*url->key)
		return error_set(err, ERR_ARG, "%s names no file", shown);
	if (https_file_init(&self->file, url, &http, err))
		return -1;
	self->store.ops = &https_store_ops;
	self->store.url = take_ptr(shown);
	self->store.fetch_bytes = FETCH_BYTES;
	self->store.request_bytes = REQUEST_BYTES;
	*out = &take_ptr(self)->store;
	return 0;
}

int https_store_open(struct store **out, const char *source,
		     const struct store_options *options, struct error *err)
{
	struct https_url url;
	int ret;

	*out = NULL;
	if (https_url_parse(&url, source, err))
		return -1;
	ret = new_store(out, &url, options, err);
	https_url_free(&url);
	return ret;
}
