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
#include "store/https-url.h"
#include "store/retry.h"
#include "store/s3-error.h"
#include "store/store.h"

/* Web servers are as far away as S3 is: see s3.c. */
#define FETCH_BYTES    (256u << 10)
#define REQUEST_BYTES  (4u << 20)
#define CHECK_MS       30000
#define TIMEOUT_MS     60000
#define HOPS_MAX       3
#define ERROR_TEXT_MAX (64u << 10)

struct https_store {
	struct store store;
	struct http *http;
	struct https_url url;
	atomic_bool has_warned;
};

struct https_object {
	struct object object;
	struct https_store *store;
	atomic_bool is_gone;
};

/* A GET or HEAD of the file. */
struct ask {
	const char *method;
	const char *const *headers;
	unsigned int timeout_ms;
	int (*on_headers)(void *arg, const struct http_response *response,
			  struct error *err);
	void *arg;
	const struct iovec *iov;
	int iovcnt;
	struct strbuf text;
};

static int perform(struct https_store *self, const struct https_url *url,
		   struct ask *ask, struct http_response *response,
		   struct error *err)
{
	unsigned int left = retry_time_left_ms();
	unsigned int own = ask->timeout_ms ? ask->timeout_ms : TIMEOUT_MS;
	struct http_request request = {
		.method = ask->method,
		.url = url->url,
		.headers = ask->headers,
		.timeout_ms = left && left < own ? left : own,
		.on_headers = ask->on_headers,
		.arg = ask->arg,
		.iov = ask->iov,
		.iovcnt = ask->iovcnt,
		.text = &ask->text,
	};
	struct error why = { 0 };
	int ret;

	ask->text.len = 0;
	ask->text.failed = false;
	ret = http_perform(self->http, &request, response, &why);
	/* A page about an error is of no use, however long it is. */
	if (ret && why.kind == ERR_LIMIT && response->status >= 300)
		return 0;
	if (ret && err) {
		*err = why;
		if (response->status)
			err->remote.http_status = response->status;
	}
	return ret;
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 ||
	       status == 307 || status == 308;
}

/* Follow redirects to an answer that is none. */
static int ask_following(struct https_store *self, struct ask *ask,
			 struct http_response *response, struct error *err)
{
	struct https_url at = { 0 }, next;
	const struct https_url *now = &self->url;
	char location[8192];
	int ret;

	memset(response, 0, sizeof(*response));
	for (int hops = 0;; hops++) {
		http_response_free(response);
		ret = perform(self, now, ask, response, err);
		if (ret || !is_redirect(response->status))
			break;
		http_header(response, "Location", location, sizeof(location));
		ret = hops < HOPS_MAX ?
			      https_url_follow(&next, now, location, err) :
			      error_set(err, ERR_ARG, "more than %d redirects",
					HOPS_MAX);
		explicit_bzero(location, sizeof(location));
		if (ret)
			break;
		https_url_free(&at);
		at = next;
		now = &at;
	}
	https_url_free(&at);
	return ret;
}

static const struct {
	int status;
	enum error_kind kind;
	const char *text;
} answers[] = {
	{ 400, ERR_DENIED, "the server refuses: is the URL complete?" },
	{ 401, ERR_DENIED, "the server wants a user and password" },
	{ 403, ERR_DENIED, "the server denies access: has the URL expired?" },
	{ 404, ERR_NOT_FOUND, "the server does not have it" },
	{ 405, ERR_UNSUPPORTED, "the server does not allow to read it" },
	{ 407, ERR_DENIED, "the proxy wants a password" },
	{ 408, ERR_NETWORK, "the server waited too long for the request" },
	{ 410, ERR_NOT_FOUND, "the server does not have it any more" },
	{ 412, ERR_STALE, "was replaced while open" },
	{ 416, ERR_STALE, "was replaced while open" },
	{ 425, ERR_NETWORK, "the server is busy" },
	{ 429, ERR_NETWORK, "the server is busy" },
	{ 501, ERR_UNSUPPORTED, "the server does not support this" },
	{ 503, ERR_NETWORK, "the server is busy" },
};

/* What the server says in its page is not repeated: it may quote the URL. */
static int fail(const struct ask *ask, const struct http_response *response,
		struct error *err)
{
	int status = response->status;
	enum error_kind kind = status >= 500 ? ERR_NETWORK : ERR_DENIED;
	const char *text = status >= 500 ? "the server failed" :
					   "the server refuses";
	struct s3_fault fault;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		if (answers[i].status == status) {
			kind = answers[i].kind;
			text = answers[i].text;
		}
	}
	s3_fault_read(&fault, response, ask->text.data, ask->text.len);
	error_set(err, kind, "%s (%s%s" "HTTP %d)", text, fault.code,
		  *fault.code ? ", " : "", status);
	if (!err)
		return -1;
	err->remote.http_status = status;
	err->remote.retry_after_ms = fault.retry_after_ms;
	snprintf(err->remote.code, sizeof(err->remote.code), "%s", fault.code);
	snprintf(err->remote.request_id, sizeof(err->remote.request_id), "%s",
		 fault.request_id);
	return -1;
}

/* Send; 0 for a 2xx answer. */
static int send_ask(struct https_store *self, struct ask *ask,
		    struct http_response *response, struct error *err)
{
	int ret;

	ask->text.max = ERROR_TEXT_MAX;
	ret = ask_following(self, ask, response, err);
	if (!ret && (response->status < 200 || response->status > 299))
		ret = fail(ask, response, err);
	strbuf_free(&ask->text);
	return ret;
}

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
	struct ask ask = { .method = "GET", .headers = headers,
			   .on_headers = need_range,
			   .timeout_ms = timeout_ms };
	struct http_response response;
	bool is_weak = false;
	int ret = send_ask(self, &ask, &response, err);

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
	struct ask ask = { .method = "HEAD" };
	struct http_response response;
	char ranges[16];
	bool is_weak;
	int ret = send_ask(self, &ask, &response, err);

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
	struct store_entry entry = { .key = self->url.key };

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
	if (!strcmp(key, self->url.key))
		return 0;
	return error_set(err, ERR_NOT_FOUND, "the only key is '%s'",
			 self->url.key);
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
	struct ask ask = {
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
	ret = send_ask(self->store, &ask, &response, err);
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
	return http_start(((struct https_store *)store)->http, err);
}

/* One byte tells more than HEAD: whether ranges are there. */
static int https_check(struct store *store, struct error *err)
{
	struct object_info info;

	return ask_one_byte((struct https_store *)store, &info, CHECK_MS, err);
}

static int https_stats(struct store *store, struct json_t *object,
		       struct error *err)
{
	return http_stats_json(((struct https_store *)store)->http, object,
			       err);
}

static void https_close(struct store *store)
{
	struct https_store *self = (struct https_store *)store;

	http_unref(self->http);
	https_url_free(&self->url);
	free(self);
}

static const struct store_ops https_store_ops = {
	.list = https_list,
	.stat = https_stat,
	.has_prefix = https_has_prefix,
	.open = https_open,
	.start = https_start,
	.check = https_check,
	.stats = https_stats,
	.close = https_close,
};

int https_store_open(struct store **out, const char *source,
		     const struct store_options *options, struct error *err)
{
	struct http_options http = {
		.ca_bundle = options ? options->ca_bundle : NULL,
	};
	struct https_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	if (https_url_parse(&self->url, source, err))
		goto fail;
	if (!*self->url.key) {
		error_set(err, ERR_ARG, "%s names no file", self->url.shown);
		goto fail;
	}
	if (http_new(&self->http, &http, err))
		goto fail;
	self->store.url = strdup(self->url.shown);
	if (!self->store.url) {
		error_nomem(err);
		goto fail;
	}
	self->store.ops = &https_store_ops;
	self->store.fetch_bytes = FETCH_BYTES;
	self->store.request_bytes = REQUEST_BYTES;
	*out = &self->store;
	return 0;
fail:
	https_close(&self->store);
	return -1;
}
