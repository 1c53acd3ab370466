/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sentences for what goes wrong between us and a server. libcurl's own text
 * is used where it names a cause that nothing else does, and never where it
 * could quote the URL: its query may be a secret. */
#include "config.h"

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#include "store/http-internal.h"

#define HOST_SIZE 300

char *http_host(const char *url, char *text, size_t size)
{
	CURLU *parts = curl_url();
	char *host = NULL, *port = NULL;

	snprintf(text, size, "(no host)");
	if (parts && !curl_url_set(parts, CURLUPART_URL, url, 0) &&
	    !curl_url_get(parts, CURLUPART_HOST, &host, 0)) {
		curl_url_get(parts, CURLUPART_PORT, &port, 0);
		snprintf(text, size, "%s%s%s", host, port ? ":" : "",
			 port ? port : "");
	}
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(parts);
	return text;
}

/* How far the answer came: "after 7 of 9 bytes"; before its headers, how far
 * the body of the request did, or "" where it has none. */
static char *progress(const struct transfer *t, char *text, size_t size)
{
	curl_off_t length = -1, got = 0;

	*text = '\0';
	if (t->easy && !t->has_headers && t->body_bytes)
		snprintf(text, size, " after %llu of %llu bytes were sent",
			 (unsigned long long)t->body_taken,
			 (unsigned long long)t->body_bytes);
	if (!t->has_headers || !t->easy)
		return text;
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &got);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (length < 0 && t->want && t->response->status < 300)
		length = (curl_off_t)t->want;
	if (length < 0)
		snprintf(text, size, " after %lld bytes", (long long)got);
	else
		snprintf(text, size, " after %lld of %lld bytes",
			 (long long)got, (long long)length);
	return text;
}

static void explain_reset(struct transfer *t, const char *host,
			  const char *what)
{
	char came[80];

	progress(t, came, sizeof(came));
	error_set(&t->error, ERR_NETWORK, "%s: %s%s", host, what,
		  *came ? came : " before it answered");
}

static void explain_certificate(struct transfer *t, const char *host)
{
	long result = X509_V_OK;

	curl_easy_getinfo(t->easy, CURLINFO_SSL_VERIFYRESULT, &result);
	switch (result) {
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		error_set(&t->error, ERR_DENIED, "%s: the server's certificate "
			  "is signed by an unknown authority; if that is "
			  "right, name its certificates with ca-bundle=FILE",
			  host);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		error_set(&t->error, ERR_DENIED, "%s: the server's certificate "
			  "has expired; it has to be renewed there, or this "
			  "machine's clock is wrong", host);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		error_set(&t->error, ERR_DENIED, "%s: the server's certificate "
			  "is not valid yet; is this machine's clock right?",
			  host);
		break;
	case X509_V_OK:
	case X509_V_ERR_UNSPECIFIED: /* libcurl compares names itself */
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		error_set(&t->error, ERR_DENIED, "%s: the server's certificate "
			  "is for another host name; use the name that it is "
			  "for in endpoint= or the URL", host);
		break;
	default:
		error_set(&t->error, ERR_DENIED, "%s: the server's certificate "
			  "is not accepted: %s", host,
			  X509_verify_cert_error_string(result));
	}
}

/* Who refuses may be a proxy: libcurl tells of it in words only. "" if it is
 * none. */
static const char *refusing_proxy(const struct transfer *t, const char *host,
				  char *text, size_t size)
{
	char name[200], whom[220];
	unsigned int port;

	*text = '\0';
	if (*host == '[' || sscanf(t->curl_text, "Failed to connect to %199s "
				   "port %u", name, &port) != 2)
		return text;
	snprintf(whom, sizeof(whom), "%s:%u", name, port);
	if (strcmp(host, strchr(host, ':') ? whom : name) != 0)
		snprintf(text, size, " to its proxy %s", whom);
	return text;
}

static void explain_connect(struct transfer *t, const char *host)
{
	char proxy[HOST_SIZE];
	long errnum = 0;

	refusing_proxy(t, host, proxy, sizeof(proxy));
	curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &errnum);
	if (errnum)
		error_errno(&t->error, (int)errnum, "%s: cannot connect%s",
			    host, proxy);
	else
		error_set(&t->error, ERR_NETWORK, "%s: cannot connect%s", host,
			  proxy);
	t->error.kind = ERR_NETWORK;
}

static void explain_slow_connect(struct transfer *t, enum error_kind kind,
				 const char *host, unsigned int limit_ms)
{
	curl_off_t resolved = 0;

	curl_easy_getinfo(t->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	error_set(&t->error, kind, "%s: %s within %u ms", host,
		  resolved ? "no connection" : "the name was not resolved",
		  limit_ms);
}

static void explain_broken(struct transfer *t, const char *host)
{
	long errnum = 0, connect_status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &errnum);
	if (connect_status >= 300)
		error_set(&t->error, connect_status == 407 ? ERR_DENIED :
							     ERR_NETWORK,
			  "%s: the proxy refuses to connect, with status %ld",
			  host, connect_status);
	else if (errnum == ECONNRESET || errnum == EPIPE)
		explain_reset(t, host, "the connection was reset");
	else
		explain_reset(t, host, "the connection broke");
}

static void explain_handshake(struct transfer *t, const char *host)
{
	static const char noise[] = "SSL routines::";
	const char *cause = strstr(t->curl_text, noise);

	cause = cause ? cause + strlen(noise) : t->curl_text;
	if (strstr(cause, "wrong version number")) {
		error_set(&t->error, ERR_NETWORK, "%s: what answers there is "
			  "not TLS; is it http:// and not https://?", host);
		return;
	}
	error_set(&t->error, ERR_NETWORK, "%s: no agreement on TLS: %s", host,
		  cause);
}

static void explain_other(struct transfer *t, CURLcode code, const char *host)
{
	if (code == CURLE_SSL_CONNECT_ERROR)
		explain_handshake(t, host);
	else if (code == CURLE_SSL_CACERT_BADFILE)
		error_set(&t->error, ERR_DENIED, "%s: cannot use the "
			  "certificates of ca-bundle %s", host,
			  t->options->ca_bundle ? t->options->ca_bundle :
						  "of the system");
	else if (t->is_sending)
		error_set(&t->error, ERR_NETWORK, "%s: the answer is not "
			  "HTTP/1.1: %s", host, curl_easy_strerror(code));
	else
		error_set(&t->error, ERR_NETWORK, "%s: %s", host,
			  curl_easy_strerror(code));
}

void http_explain(struct transfer *t, CURLcode code)
{
	char host[HOST_SIZE];

	http_host(t->request->url, host, sizeof(host));
	if (code == CURLE_COULDNT_RESOLVE_HOST)
		error_set(&t->error, ERR_NETWORK,
			  "%s: the name cannot be resolved", host);
	else if (code == CURLE_COULDNT_RESOLVE_PROXY)
		error_set(&t->error, ERR_NETWORK,
			  "%s: the proxy's name cannot be resolved", host);
	else if (code == CURLE_COULDNT_CONNECT)
		explain_connect(t, host);
	else if (code == CURLE_OPERATION_TIMEDOUT)
		explain_slow_connect(t, ERR_NETWORK, host,
				     t->options->connect_ms);
	else if (code == CURLE_PEER_FAILED_VERIFICATION)
		explain_certificate(t, host);
	else if (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR)
		explain_broken(t, host);
	else if (code == CURLE_GOT_NOTHING)
		explain_reset(t, host, "the connection was closed");
	else if (code == CURLE_PARTIAL_FILE)
		explain_reset(t, host, "the answer was cut off");
	else if (code == CURLE_OUT_OF_MEMORY && t->is_sending &&
		 !t->has_headers)
		http_explain_headers(t); /* one line above libcurl's limit */
	else if (code == CURLE_OUT_OF_MEMORY)
		error_nomem(&t->error);
	else if (!t->is_sending && (code == CURLE_URL_MALFORMAT ||
				    code == CURLE_UNSUPPORTED_PROTOCOL))
		error_set(&t->error, ERR_ARG, "%s: no URL of HTTP or HTTPS",
			  host);
	else
		explain_other(t, code, host);
}

void http_explain_headers(struct transfer *t)
{
	char host[HOST_SIZE];

	error_set(&t->error, ERR_LIMIT, "%s: the headers of an answer are "
		  "above the limit of %u bytes",
		  http_host(t->request->url, host, sizeof(host)),
		  HTTP_HEADERS_MAX);
}

void http_explain_timeout(struct transfer *t)
{
	unsigned int timeout_ms = http_timeout_ms(t->request);
	char host[HOST_SIZE], came[80];

	http_host(t->request->url, host, sizeof(host));
	if (!t->easy)
		error_set(&t->error, ERR_TIMEOUT, "%s: all %u connections were "
			  "busy for %u ms", host, t->options->connections_max,
			  timeout_ms);
	else if (!t->is_sending)
		explain_slow_connect(t, ERR_TIMEOUT, host, timeout_ms);
	else
		error_set(&t->error, ERR_TIMEOUT, "%s: no complete answer "
			  "within %u ms%s", host, timeout_ms,
			  progress(t, came, sizeof(came)));
}

void http_explain_stall(struct transfer *t)
{
	char host[HOST_SIZE], came[80];

	error_set(&t->error, ERR_NETWORK, "%s: stalled below %d bytes/s for "
		  "%u ms%s", http_host(t->request->url, host, sizeof(host)),
		  STALL_BYTES_PER_SECOND, http_stall_ms(t),
		  progress(t, came, sizeof(came)));
}

/* Nothing of a body that is longer than what was asked for can be trusted. */
void http_explain_length(struct transfer *t, bool is_longer)
{
	char host[HOST_SIZE];

	error_set(&t->error, ERR_NETWORK, is_longer ?
		  "%s: the answer is longer than the %llu bytes asked for" :
		  "%s: the answer ends before the %llu bytes asked for",
		  http_host(t->request->url, host, sizeof(host)),
		  (unsigned long long)t->want);
	if (is_longer)
		t->response->filled = 0;
}
