/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * URLs of single files, by libcurl's parser, so that what is checked is what
 * is asked for. */
#include "config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "store/http-fields.h"
#include "store/https-url.h"

#define URL_MAX 8192

/* Loopback and link-local, where clouds keep credentials. */
static bool is_local_ipv4(const char *host)
{
	struct in_addr address;
	uint32_t number;

	if (inet_pton(AF_INET, host, &address) != 1)
		return false;
	number = ntohl(address.s_addr);
	return number >> 24 == 127 || number >> 16 == 0xa9fe || number == 0;
}

static bool is_local_ipv6(const char *host)
{
	struct in6_addr address;
	char text[INET6_ADDRSTRLEN];
	size_t len = strcspn(host + 1, "]%");

	if (host[0] != '[' || len >= sizeof(text))
		return false;
	memcpy(text, host + 1, len);
	text[len] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1 &&
	       (IN6_IS_ADDR_LOOPBACK(&address) ||
		IN6_IS_ADDR_LINKLOCAL(&address) ||
		IN6_IS_ADDR_UNSPECIFIED(&address) ||
		IN6_IS_ADDR_V4MAPPED(&address));
}

static bool is_local_name(const char *host)
{
	static const char end[] = ".localhost";
	size_t len = strlen(host);

	return !strcasecmp(host, "localhost") ||
	       (len >= strlen(end) &&
		!strcasecmp(host + len - strlen(end), end));
}

/* Freed by curl_free(); NULL where it is absent. */
static char *part_of(CURLU *url, CURLUPart part)
{
	char *text = NULL;

	return curl_url_get(url, part, &text, 0) ? NULL : text;
}

static bool has_part(CURLU *url, CURLUPart part)
{
	char *text = part_of(url, part);

	curl_free(text);
	return text != NULL;
}

static bool read_host(struct https_url *out, CURLU *url)
{
	char *scheme = part_of(url, CURLUPART_SCHEME);
	char *host = part_of(url, CURLUPART_HOST);
	bool ok = scheme && host;

	if (ok) {
		out->is_tls = !strcmp(scheme, "https");
		ok = out->is_tls || !strcmp(scheme, "http");
		out->is_local = is_local_ipv4(host) || is_local_ipv6(host) ||
				is_local_name(host);
	}
	curl_free(scheme);
	curl_free(host);
	return ok;
}

/* The last segment of the path as a name: an encoded '/' must not make two
 * segments of it. */
static void read_key(struct https_url *out, CURLU *url)
{
	char *path = part_of(url, CURLUPART_PATH);
	char *name = path ? strrchr(path, '/') : NULL;

	out->key[0] = '\0';
	if (name && strlen(name + 1) <= STORE_KEY_MAX) {
		snprintf(out->key, sizeof(out->key), "%s", name + 1);
		if (!field_unescape(out->key, false))
			snprintf(out->key, sizeof(out->key), "%s", name + 1);
		for (char *at = out->key; *at; at++)
			if (*at == '/')
				*at = '_';
	}
	if (!strcmp(out->key, ".") || !strcmp(out->key, ".."))
		out->key[0] = '\0';
	curl_free(path);
}

/* Copy the URL; query and fragment of the handle are lost. */
static int copy_url(struct https_url *out, CURLU *url, struct error *err)
{
	char *text;

	curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
	text = part_of(url, CURLUPART_URL);
	out->url = text ? strdup(text) : NULL;
	curl_free(text);
	curl_url_set(url, CURLUPART_QUERY, NULL, 0);
	text = part_of(url, CURLUPART_URL);
	out->shown = text ? strdup(text) : NULL;
	curl_free(text);
	if (out->url && out->shown)
		return 0;
	https_url_free(out);
	return error_nomem(err);
}

static int read_url(struct https_url *out, CURLU *url, struct error *err)
{
	if (!read_host(out, url))
		return error_set(err, ERR_ARG, "is no https:// URL");
	if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
		return error_set(err, ERR_ARG, "user and password in a URL are "
				 "not accepted: everybody can see them; use a "
				 "presigned URL");
	if (!out->is_tls && !out->is_local)
		return error_set(err, ERR_ARG, "http:// is accepted for this "
				 "machine only: use https://");
	read_key(out, url);
	return copy_url(out, url, err);
}

static int check_text(const char *text, struct error *err)
{
	if (strlen(text) > URL_MAX)
		return error_set(err, ERR_ARG, "a URL of %zu bytes is above "
				 "the limit of %d", strlen(text), URL_MAX);
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return error_set(err, ERR_ARG, "a URL has to be "
					 "percent-encoded where it has blanks "
					 "or characters that are none of "
					 "ASCII");
	return 0;
}

int https_url_parse(struct https_url *out, const char *text,
		    struct error *err)
{
	CURLU *url = curl_url();
	int ret;

	memset(out, 0, sizeof(*out));
	if (!url)
		return error_nomem(err);
	ret = check_text(text, err);
	if (!ret && curl_url_set(url, CURLUPART_URL, text, 0))
		ret = error_set(err, ERR_ARG, "is no URL");
	if (!ret)
		ret = read_url(out, url, err);
	curl_url_cleanup(url);
	return ret;
}

static int check_redirect(const struct https_url *from,
			  const struct https_url *to, struct error *err)
{
	if (from->is_tls && !to->is_tls)
		return error_set(err, ERR_DENIED, "is redirected from https to "
				 "http, which is not followed");
	if (to->is_local && !from->is_local)
		return error_set(err, ERR_DENIED, "is redirected to this "
				 "machine, which is not followed");
	return 0;
}

int https_url_follow(struct https_url *out, const struct https_url *from,
		     const char *location, struct error *err)
{
	CURLU *url = curl_url();
	int ret;

	memset(out, 0, sizeof(*out));
	if (!url)
		return error_nomem(err);
	ret = check_text(location, err);
	/* Setting a second URL resolves it against the first. */
	if (!ret && (!*location ||
		     curl_url_set(url, CURLUPART_URL, from->url, 0) ||
		     curl_url_set(url, CURLUPART_URL, location, 0)))
		ret = error_set(err, ERR_ARG, "is no URL");
	if (!ret)
		ret = read_url(out, url, err);
	curl_url_cleanup(url);
	if (ret)
		return error_prefix(err, "where it is redirected to");
	if (check_redirect(from, out, err)) {
		https_url_free(out);
		return -1;
	}
	return 0;
}

void https_url_free(struct https_url *url)
{
	if (url->url)
		explicit_bzero(url->url, strlen(url->url));
	free(url->url);
	free(url->shown);
	url->url = url->shown = NULL;
}
