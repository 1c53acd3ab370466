/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * S3 as a store. A store is a bucket, or a part of one below a prefix, which
 * keys are given without; or a service, whose only entries are its buckets.
 * Buckets of a service share its client. */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xml.h"
#include "store/http-fields.h"
#include "store/journal.h"
#include "store/retrier.h"
#include "store/s3-change.h"
#include "store/s3-clear.h"
#include "store/s3-compose.h"
#include "store/s3-internal.h"
#include "store/s3-list.h"
#include "store/s3-object.h"
#include "store/s3-pending.h"
#include "store/s3-send.h"
#include "store/s3-sink.h"
#include "store/store.h"

/* What follows from a round trip of 20-30 ms and 80-100 MB/s a connection: in
 * the time of a quarter MiB hardly more than the round trip passes, and with
 * 4 MiB two thirds of the time go into the transfer; what a sequential reader
 * needs beyond that comes from requests in parallel. */
#define FETCH_BYTES   (256u << 10)
#define REQUEST_BYTES (4u << 20)
#define CHECK_MS      30000

static bool is_service(const struct s3_store *self)
{
	return !*self->bucket.name;
}

/* False where S3 cannot have such a key. */
static bool full_key(const struct s3_store *self, const char *key,
		     char full[S3_KEY_SIZE])
{
	int len = snprintf(full, S3_KEY_SIZE, "%s%s", self->prefix, key);

	return len >= 0 && len <= STORE_KEY_MAX;
}

static int no_such_key(const struct s3_store *self, struct error *err)
{
	if (is_service(self))
		return error_set(err, ERR_NOT_FOUND, "a service has buckets, "
				 "no objects");
	return error_set(err, ERR_NOT_FOUND, "prefix and key are above the "
			 "limit of %d bytes", STORE_KEY_MAX);
}

int s3_full_key(const struct s3_store *self, const char *key,
		char full[S3_KEY_SIZE], struct error *err)
{
	if (is_service(self) || !full_key(self, key, full))
		return no_such_key(self, err);
	return 0;
}

/* Send a request for text. A check has less time. */
static int get_text(struct s3_store *self, const char *query, bool is_check,
		    struct strbuf *text, struct error *err)
{
	struct s3_request request = {
		.method = "GET",
		.key = "",
		.query = query,
		.text = text,
		.timeout_ms = is_check ? CHECK_MS : 0,
	};
	struct http_response response;
	int ret = s3_send(&self->bucket, &request, &response, err);

	http_response_free(&response);
	return ret;
}

/* The answer is no listing. Where listings were had before, something in
 * between gave it, and the next one may be right; a check tells what it is. */
static int fail_misread(bool is_check, struct error *err)
{
	if (!is_check && err &&
	    (err->kind == ERR_CORRUPT || err->kind == ERR_ARG))
		err->kind = ERR_NETWORK;
	return -1;
}

static int get_page(struct s3_store *self, const struct list_args *args,
		    bool is_check, struct s3_page *page, struct error *err)
{
	struct strbuf text = { .max = XML_TEXT_MAX };
	struct strbuf query = { .max = XML_TEXT_MAX };
	char prefix[S3_KEY_SIZE];
	int ret = -1;

	memset(page, 0, sizeof(*page));
	if (!full_key(self, args->prefix, prefix))
		return 0; /* nothing can be there */
	s3_list_query(&query, args, prefix);
	if (query.failed)
		error_nomem(err);
	else
		ret = get_text(self, query.data, is_check, &text, err);
	if (!ret && s3_list_parse(page, text.data, text.len, self->prefix,
				  prefix, err))
		ret = fail_misread(is_check, err);
	strbuf_free(&query);
	strbuf_free(&text);
	return ret;
}

static int get_buckets(struct s3_store *self, const char *continuation,
		       bool is_check, struct s3_page *page, struct error *err)
{
	struct strbuf text = { .max = XML_TEXT_MAX };
	struct strbuf query = { .max = XML_TEXT_MAX };
	int ret = -1;

	memset(page, 0, sizeof(*page));
	if (continuation) {
		strbuf_puts(&query, "continuation-token=");
		uri_encode(&query, continuation, false);
	}
	if (query.failed)
		error_nomem(err);
	else
		ret = get_text(self, query.data, is_check, &text, err);
	if (!ret && s3_buckets_parse(page, text.data, text.len, err))
		ret = fail_misread(is_check, err);
	strbuf_free(&query);
	strbuf_free(&text);
	return ret;
}

static int tell(struct s3_store *self, const struct store_entry *entry,
		store_list_fn *fn, void *arg, struct error *err)
{
	if (entry->is_prefix)
		s3_made_forget(&self->made, entry->key);
	return fn(arg, entry, err);
}

static int s3_list(struct store *store, const struct list_args *args,
		   store_list_fn *fn, void *arg, char **continuation,
		   struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	size_t len = strlen(args->prefix);
	struct s3_page page;
	int ret;

	if (is_service(self))
		ret = get_buckets(self, args->continuation, false, &page, err);
	else
		ret = get_page(self, args, false, &page, err);
	for (size_t i = 0; !ret && i < page.count; i++)
		if (!strncmp(page.entries[i].key, args->prefix, len))
			ret = tell(self, &page.entries[i], fn, arg, err);
	if (!ret && !page.token && args->delimiter)
		ret = s3_made_list(&self->made, args->prefix, fn, arg, err);
	if (!ret)
		*continuation = take_ptr(page.token);
	s3_page_free(&page);
	return ret;
}

static int s3_stat(struct store *store, const char *key,
		   struct object_info *info, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	char full[S3_KEY_SIZE];
	struct s3_head head;

	if (s3_full_key(self, key, full, err) ||
	    s3_ask_once(&self->bucket, full, &head, err))
		return -1;
	if (s3_is_marker(key, head.info.size))
		return no_such_key(self, err);
	*info = head.info;
	return 0;
}

static int has_bucket(struct s3_store *self, const char *prefix, bool *found,
		      struct error *err)
{
	size_t len = strcspn(prefix, "/");
	struct s3_page page;
	int ret = 0;

	AUTO_FREE char *token = NULL;

	do {
		ret = get_buckets(self, token, false, &page, err);
		for (size_t i = 0; i < page.count; i++)
			if (!strncmp(page.entries[i].key, prefix, len + 1))
				*found = true;
		free(token);
		token = take_ptr(page.token);
		s3_page_free(&page);
	} while (!ret && !*found && token);
	return ret;
}

static int s3_has_prefix(struct store *store, const char *prefix, bool *found,
			 struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	struct list_args args = { .prefix = prefix, .max_keys = 1 };
	struct s3_page page;
	int ret;

	if (is_service(self))
		return has_bucket(self, prefix, found, err);
	if (s3_made_has(&self->made, prefix)) {
		*found = true;
		return 0;
	}
	ret = get_page(self, &args, false, &page, err);
	*found = !ret && page.seen > 0;
	s3_page_free(&page);
	return ret;
}

static int s3_open(struct object **out, struct store *store, const char *key,
		   const struct object_info *known, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	struct object_info info;
	char full[S3_KEY_SIZE];

	if (s3_full_key(self, key, full, err))
		return -1;
	if (known && *known->etag) {
		info = *known;
	} else {
		if (s3_stat(store, key, &info, err))
			return -1;
		if (!*info.etag)
			return error_set(err, ERR_UNSUPPORTED, "the server "
					 "gives it no ETag: two versions could "
					 "get mixed");
	}
	return s3_object_new(out, &self->bucket, full, &info, err);
}

static int s3_create(struct sink **out, struct store *store, const char *key,
		     const struct sink_args *args, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	char full[S3_KEY_SIZE];

	if (s3_full_key(self, key, full, err))
		return -1;
	return s3_sink_new(out, &self->bucket, full, args, err);
}

static const struct store_ops s3_store_ops;

/* References client. */
static int new_store(struct s3_store **out, struct s3_client *client,
		     const struct s3_source *source, bool region_binds,
		     struct error *err)
{
	struct s3_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	if (asprintf(&self->store.url, "s3://%s%s%.*s", source->bucket,
		     *source->prefix ? "/" : "",
		     *source->prefix ? (int)strlen(source->prefix) - 1 : 0,
		     source->prefix) < 0) {
		free(self);
		return error_nomem(err);
	}
	self->store.ops = &s3_store_ops;
	self->store.fetch_bytes = FETCH_BYTES;
	self->store.request_bytes = REQUEST_BYTES;
	memcpy(self->prefix, source->prefix, sizeof(self->prefix));
	s3_made_init(&self->made);
	s3_bucket_init(&self->bucket, client, source->bucket, region_binds);
	*out = self;
	return 0;
}

static int s3_open_bucket(struct store **out, struct store *service,
			  const char *name, struct error *err)
{
	struct s3_store *self = (struct s3_store *)service, *bucket;
	struct s3_source source = { .bucket = "" };

	if (!is_service(self))
		return error_set(err, ERR_BUG, "%s is no service",
				 service->url);
	if (s3_bucket_check(name, err))
		return -1;
	snprintf(source.bucket, sizeof(source.bucket), "%s", name);
	if (new_store(&bucket, self->bucket.client, &source, false, err))
		return -1;
	*out = &bucket->store;
	return 0;
}

static int s3_start(struct store *store, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;

	return s3_client_start(self->bucket.client, err);
}

/* One listing tells all: name, TLS, keys, region, bucket, permission. */
static int s3_check(struct store *store, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	struct list_args args = { .prefix = "", .max_keys = 1 };
	struct s3_page page;
	int ret;

	if (is_service(self))
		ret = get_buckets(self, NULL, true, &page, err);
	else
		ret = get_page(self, &args, true, &page, err);
	s3_page_free(&page);
	if (ret)
		return s3_explain(&self->bucket, err);
	if (self->clear || !s3_client_journal(self->bucket.client))
		return 0;
	return s3_clear_new(&self->clear, &self->bucket, err);
}

static void s3_cancel(struct store *store)
{
	s3_client_cancel(((struct s3_store *)store)->bucket.client);
}

static int s3_stats(struct store *store, struct json_t *object,
		    struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;

	struct s3_client *client = self->bucket.client;
	json_t *calls = json_object_get(object, "calls");

	if (!calls) {
		calls = json_object();
		if (json_object_set_new(object, "calls", calls))
			return error_nomem(err);
	}
	if (retrier_stats(s3_client_retrier(client), calls, err))
		return -1;
	if (s3_client_copies_json(client, object, err) ||
	    http_stats_json(s3_client_http(client), object, err))
		return -1;
	if (!s3_client_journal(client))
		return 0;
	return journal_stats(s3_client_journal(client), object, err);
}

static void s3_close(struct store *store)
{
	struct s3_store *self = (struct s3_store *)store;

	s3_clear_free(self->clear);
	s3_bucket_destroy(&self->bucket);
	s3_made_destroy(&self->made);
	free(self);
}

static const struct store_ops s3_store_ops = {
	.list = s3_list,
	.stat = s3_stat,
	.has_prefix = s3_has_prefix,
	.open = s3_open,
	.create = s3_create,
	.compose = s3_compose,
	.remove = s3_remove,
	.rename = s3_rename,
	.make_prefix = s3_make_prefix,
	.remove_prefix = s3_remove_prefix,
	.list_uploads = s3_list_uploads,
	.abort_upload = s3_abort_upload,
	.open_bucket = s3_open_bucket,
	.start = s3_start,
	.check = s3_check,
	.cancel = s3_cancel,
	.stats = s3_stats,
	.close = s3_close,
};

int s3_store_open(struct store **out, const char *source,
		  const struct store_options *options, struct error *err)
{
	static const struct store_options defaults;
	struct s3_source parsed;
	struct s3_client *client;
	struct s3_store *self;
	int ret;

	*out = NULL;
	if (s3_source_parse(&parsed, source, err) ||
	    s3_client_new(&client, options ? options : &defaults, err))
		return -1;
	ret = new_store(&self, client, &parsed, *parsed.bucket != '\0', err);
	s3_client_unref(client);
	if (!ret)
		*out = &self->store;
	return ret;
}
