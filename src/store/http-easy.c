/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One request as libcurl's easy handle, and where its answer goes. All of it
 * runs in the client's thread. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/checked.h"
#include "store/http-internal.h"

#define RECEIVE_BYTES (128 << 10) /* a buffer a connection */
#define SEND_BYTES    (256 << 10)
#define IDLE_MAX_S    60L /* an older connection is not used again */

/* The final header block is whole. */
static int end_headers(struct transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200) {
		strbuf_free(&t->response->headers);
		return 0;
	}
	t->has_headers = true;
	t->response->status = (int)status;
	if (!t->request->on_headers)
		return 0;
	return t->request->on_headers(t->request->arg, t->response, &t->error);
}

static size_t http_on_header(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct strbuf *headers = &t->response->headers;

	/* Trailers count, too, and so does an endless row of 1xx. */
	t->header_bytes += n;
	if (t->header_bytes > HTTP_HEADERS_MAX) {
		http_explain_headers(t);
		return 0;
	}
	if (t->has_headers)
		return n;
	if (data[0] == '\r' || data[0] == '\n')
		return end_headers(t) ? 0 : n;
	strbuf_add(headers, data, n);
	if (headers->failed) {
		error_nomem(&t->error);
		return 0;
	}
	return n;
}

static bool is_success(const struct transfer *t)
{
	return t->response->status >= 200 && t->response->status < 300;
}

bool http_fills_iov(const struct transfer *t)
{
	return t->request->iov && is_success(t);
}

static size_t fill_iov(struct transfer *t, const char *data, size_t n)
{
	size_t left = n;

	if (n > t->want - t->response->filled) {
		http_explain_length(t, true);
		return 0;
	}
	t->response->filled += n;
	while (left) {
		const struct iovec *v = &t->request->iov[t->iov_index];
		size_t part = min_u64(left, v->iov_len - t->iov_used);

		if (part) /* an empty piece may be NULL */
			memcpy((char *)v->iov_base + t->iov_used, data, part);
		data += part;
		left -= part;
		t->iov_used += part;
		if (t->iov_used == v->iov_len) {
			t->iov_index++;
			t->iov_used = 0;
		}
	}
	return n;
}

static size_t http_on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct strbuf *text = t->request->text;

	if (http_fills_iov(t))
		return fill_iov(t, data, n);
	if (!text)
		return n;
	if (n > text->max - text->len) {
		error_set(&t->error, ERR_LIMIT, "an answer of more than %zu "
			  "bytes is above the limit", text->max);
		return 0;
	}
	strbuf_add(text, data, n);
	if (text->failed) {
		error_nomem(&t->error);
		return 0;
	}
	return n;
}

static size_t read_file(struct transfer *t, char *data, size_t n)
{
	size_t length = min_u64(n, t->body_bytes - t->body_taken);
	ssize_t done = 0;

	if (length)
		done = pread(t->request->body_file, data, length,
			     (off_t)t->body_taken);
	if (done < 0 || (length && !done)) {
		error_errno(&t->error, done ? errno : EIO, "cannot read what "
			    "is to be sent");
		return CURL_READFUNC_ABORT;
	}
	t->body_taken += (uint64_t)done;
	return (size_t)done;
}

static size_t http_on_read(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	const struct http_request *request = t->request;
	size_t done = 0;

	if (!request->body && request->file_bytes)
		return read_file(t, data, n);

	while (done < n && t->body_index < request->body_count) {
		const struct iovec *v = &request->body[t->body_index];
		size_t part = min_u64(n - done, v->iov_len - t->body_used);

		if (part)
			memcpy(data + done, (char *)v->iov_base + t->body_used,
			       part);
		done += part;
		t->body_used += part;
		if (t->body_used == v->iov_len) {
			t->body_index++;
			t->body_used = 0;
		}
	}
	t->body_taken += done;
	return done;
}

void http_rewind(struct transfer *t)
{
	t->body_index = 0;
	t->body_used = 0;
	t->body_taken = 0;
}

/* libcurl repeats a request by itself, too, and always from the start. */
static int http_on_seek(void *arg, curl_off_t offset, int origin)
{
	if (offset || origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	http_rewind(arg);
	return CURL_SEEKFUNC_OK;
}

static int http_on_connected(void *arg, char *ip, char *local_ip, int port,
			     int local_port)
{
	struct transfer *t = arg;

	/* libcurl, too, repeats what it lost with a pooled connection. */
	if (t->is_sending)
		t->response->is_repeated = true;
	t->is_sending = true;
	t->slot_ns = t->good_ns = http_now_ns();
	t->slot_bytes = 0;
	return CURL_PREREQFUNC_OK;
}

/* An easy handle has options that never change, and some of each request. */
CURL *http_easy_new(const struct http_options *options)
{
	CURL *easy = curl_easy_init();
	unsigned int bad = 0;

	if (!easy)
		return NULL;
	bad |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	bad |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
				(long)CURL_HTTP_VERSION_1_1);
	bad |= curl_easy_setopt(easy, CURLOPT_SSLVERSION,
				(long)CURL_SSLVERSION_TLSv1_2);
	if (options->ca_bundle)
		bad |= curl_easy_setopt(easy, CURLOPT_CAINFO,
					options->ca_bundle);
	/* A key may be "a/../b". */
	bad |= curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_USERAGENT,
				"vmiefs/" PACKAGE_VERSION);
	bad |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
				(long)options->connect_ms);
	/* A name server that hangs must not hold up the other transfers:
	 * without it, libcurl joins the thread that waits for it. */
	bad |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_MAX_S);
	bad |= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
	bad |= curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE,
				(long)SEND_BYTES);
	bad |= curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	bad |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_on_header);
	bad |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_on_body);
	bad |= curl_easy_setopt(easy, CURLOPT_READFUNCTION, http_on_read);
	bad |= curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, http_on_seek);
	bad |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION,
				http_on_connected);
	if (!bad)
		return easy;
	curl_easy_cleanup(easy);
	return NULL;
}

/* libcurl's own idea of a method decides how it frames the request and where
 * the answer ends; the word that goes out is the caller's. */
static unsigned int set_method(CURL *easy, const struct transfer *t)
{
	const struct http_request *request = t->request;
	const char *method = request->method;
	bool sends = t->body_bytes || !strcmp(method, "PUT") ||
		     !strcmp(method, "POST");
	unsigned int bad = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);

	if (!strcmp(method, "HEAD")) {
		bad |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	} else if (sends) {
		bad |= curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		bad |= curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
					(curl_off_t)t->body_bytes);
	}
	bad |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	return bad;
}

unsigned int http_easy_set(CURL *easy, struct transfer *t)
{
	unsigned int bad = set_method(easy, t);

	bad |= curl_easy_setopt(easy, CURLOPT_URL, t->request->url);
	bad |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	/* NULL: by the environment; "": none at all. */
	bad |= curl_easy_setopt(easy, CURLOPT_PROXY,
				t->request->no_proxy ? "" : NULL);
	bad |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 0L);
	bad |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_READDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_SEEKDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
	bad |= curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	bad |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_text);
	return bad;
}
