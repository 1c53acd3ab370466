/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests for one file of a web server. A redirect may lead to a URL that
 * holds for some minutes only: when that is refused, the way begins anew. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/https-ask.h"
#include "store/retry.h"
#include "store/s3-error.h"

#define TIMEOUT_MS     60000
#define HOPS_MAX       3
#define LOCATION_SIZE  8192
#define ERROR_TEXT_MAX (64u << 10)

/* Where a redirect has led: immutable, counted. */
struct https_target {
	atomic_uint refs;
	struct https_url url;
};

static void unref_target(struct https_target *target)
{
	if (!target || atomic_fetch_sub(&target->refs, 1) > 1)
		return;
	https_url_free(&target->url);
	free(target);
}

static struct https_target *get_target(struct https_file *file)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&file->lock);

	if (file->target)
		atomic_fetch_add(&file->target->refs, 1);
	return file->target;
}

/* Takes target over. */
static void set_target(struct https_file *file, struct https_target *target)
{
	struct https_target *old;

	pthread_mutex_lock(&file->lock);
	old = file->target;
	file->target = target;
	pthread_mutex_unlock(&file->lock);
	unref_target(old);
}

/* Takes url over. Without memory nothing is kept. */
static void keep_target(struct https_file *file, struct https_url *url)
{
	struct https_target *target = calloc(1, sizeof(*target));

	if (!target)
		return;
	atomic_init(&target->refs, 1);
	target->url = *url;
	memset(url, 0, sizeof(*url));
	set_target(file, target);
}

int https_file_init(struct https_file *file, struct https_url *url,
		    const struct http_options *options, struct error *err)
{
	memset(file, 0, sizeof(*file));
	if (http_new(&file->http, options, err))
		return -1;
	file->url = *url;
	memset(url, 0, sizeof(*url));
	pthread_mutex_init(&file->lock, NULL);
	return 0;
}

void https_file_destroy(struct https_file *file)
{
	http_unref(file->http);
	unref_target(file->target);
	https_url_free(&file->url);
	pthread_mutex_destroy(&file->lock);
}

static unsigned int time_for_try(const struct https_ask *ask)
{
	unsigned int own = ask->timeout_ms ? ask->timeout_ms : TIMEOUT_MS;
	unsigned int left = retry_time_left_ms();

	if (left < own)
		own = left;
	return own ? own : 1;
}

/* One request. 0: there is an answer, of any status. */
static int perform(struct https_file *file, const struct https_ask *ask,
		   const char *url, struct strbuf *text,
		   struct http_response *response, struct error *err)
{
	struct http_request request = {
		.method = ask->method,
		.url = url,
		.headers = ask->headers,
		.timeout_ms = time_for_try(ask),
		.on_headers = ask->on_headers,
		.arg = ask->arg,
		.iov = ask->iov,
		.iovcnt = ask->iovcnt,
		.text = text,
	};
	struct error why = { 0 };

	text->len = 0;
	text->failed = false;
	http_response_free(response);
	if (!http_perform(file->http, &request, response, &why))
		return 0;
	/* A page about an error is of no use, however long it is. */
	if (why.kind == ERR_LIMIT && response->status >= 300) {
		text->len = 0;
		return 0;
	}
	if (response->status && !why.remote.http_status)
		why.remote.http_status = response->status;
	if (err)
		*err = why;
	return -1;
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 ||
	       status == 307 || status == 308;
}

/* Replace *at by where the answer leads. */
static int follow(struct https_url *at, const struct https_url *from,
		  const struct http_response *response, struct error *err)
{
	char location[LOCATION_SIZE];
	struct https_url next;
	int ret;

	http_header(response, "Location", location, sizeof(location));
	ret = https_url_follow(&next, from, location, err);
	explicit_bzero(location, sizeof(location));
	if (ret)
		return -1;
	https_url_free(at);
	*at = next;
	return 0;
}

/* Ask at url and wherever it leads; that URL is in *at, if it is another. */
static int ask_from(struct https_file *file, const struct https_ask *ask,
		    const struct https_url *url, struct https_url *at,
		    struct strbuf *text, struct http_response *response,
		    struct error *err)
{
	for (int hops = 0;; hops++) {
		if (perform(file, ask, url->url, text, response, err))
			return -1;
		if (!is_redirect(response->status))
			return 0;
		if (hops == HOPS_MAX)
			return error_set(err, ERR_ARG, "is redirected more "
					 "than %d times", HOPS_MAX);
		if (follow(at, url, response, err))
			return -1;
		url = at;
	}
}

static bool is_refused(int status)
{
	return status == 400 || status == 401 || status == 403 ||
	       status == 404 || status == 410;
}

static int ask_anywhere(struct https_file *file, const struct https_ask *ask,
			struct strbuf *text, struct http_response *response,
			struct error *err)
{
	bool is_head = !strcmp(ask->method, "HEAD");
	struct https_target *target = is_head ? NULL : get_target(file);
	struct https_url at = { 0 };
	int ret;

	if (target) {
		ret = ask_from(file, ask, &target->url, &at, text, response,
			       err);
		unref_target(target);
		https_url_free(&at);
		if (ret || !is_refused(response->status))
			return ret;
	}
	set_target(file, NULL);
	ret = ask_from(file, ask, &file->url, &at, text, response, err);
	/* What is presigned for HEAD is of no use to GET. */
	if (!ret && !is_head && at.url && response->status < 300)
		keep_target(file, &at);
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
static int fail(const struct http_response *response,
		const struct strbuf *page, struct error *err)
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
	s3_fault_read(&fault, response, page->data, page->len);
	error_set(err, kind, "%s (%s%s" "HTTP %d)", text, fault.code,
		  *fault.code ? ", " : "", status);
	s3_fault_remote(&fault, err);
	return -1;
}

int https_ask(struct https_file *file, const struct https_ask *ask,
	      struct http_response *response, struct error *err)
{
	struct strbuf text = { .max = ERROR_TEXT_MAX };
	int ret;

	memset(response, 0, sizeof(*response));
	ret = ask_anywhere(file, ask, &text, response, err);
	if (!ret && (response->status < 200 || response->status > 299))
		ret = fail(response, &text, err);
	strbuf_free(&text);
	return ret;
}
