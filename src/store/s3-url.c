/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Addresses of S3. What a host name is made of is checked here, character by
 * character: bucket and region come from users and from servers' answers. */
#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "store/s3-url.h"
#include "store/sigv4.h"

static const char scheme[] = "s3://";

/* AWS has domains of its own for some groups of regions. */
static const struct {
	const char *region_prefix, *domain;
} domains[] = {
	{ "cn-", "amazonaws.com.cn" },
	{ "eusc-", "amazonaws.eu" },
	{ "", "amazonaws.com" },
};

#define DOMAINS (sizeof(domains) / sizeof(domains[0]))

static bool has_prefix(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t len = strlen(text), end = strlen(suffix);

	return len >= end && !strcmp(text + len - end, suffix);
}

/* "1.2.3.4" */
static bool is_ipv4(const char *text)
{
	struct in_addr address;

	return inet_pton(AF_INET, text, &address) == 1;
}

int s3_bucket_check(const char *name, struct error *err)
{
	size_t len = strlen(name);

	if (strchr(name, '@'))
		return error_set(err, ERR_ARG, "no name of a bucket has an "
				 "'@'; keys come from the environment or a "
				 "profile, never from the URL");
	if (has_prefix(name, "arn:"))
		return error_set(err, ERR_UNSUPPORTED, "ARNs are not "
				 "supported; an access point can be mounted by "
				 "its alias, s3://NAME-...-s3alias");
	if (has_suffix(name, "--x-s3"))
		return error_set(err, ERR_UNSUPPORTED, "%s: directory buckets "
				 "(S3 Express One Zone) are not supported",
				 name);
	if (len < 3 || len >= S3_BUCKET_MAX)
		return error_set(err, ERR_ARG, "'%.80s' is no name of a "
				 "bucket: it has %zu characters, 3 to %d are "
				 "allowed", name, len, S3_BUCKET_MAX - 1);
	for (const char *at = name; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr("-._", *at))
			return error_set(err, ERR_ARG, "'%s' is no name of a "
					 "bucket: only letters, digits, '-', "
					 "'.' and '_' are allowed", name);
	if (!isalnum((unsigned char)name[0]) ||
	    !isalnum((unsigned char)name[len - 1]) || strstr(name, "..") ||
	    is_ipv4(name))
		return error_set(err, ERR_ARG, "'%s' is no name of a bucket: "
				 "it begins and ends with a letter or digit, "
				 "has no '..' and is no IP address", name);
	return 0;
}

int s3_source_parse(struct s3_source *out, const char *source,
		    struct error *err)
{
	char bucket[2 * S3_BUCKET_MAX];
	size_t len, rest;

	memset(out, 0, sizeof(*out));
	if (!has_prefix(source, scheme))
		return error_set(err, ERR_ARG, "not an s3:// URL");
	source += strlen(scheme);
	len = strcspn(source, "/");
	if (len == 0 && !*source)
		return 0;
	if (len == 0)
		return error_set(err, ERR_ARG, "the name of a bucket is "
				 "missing: s3://BUCKET/PREFIX, or s3:// for "
				 "all buckets");
	snprintf(bucket, sizeof(bucket), "%.*s", (int)len, source);
	if (s3_bucket_check(bucket, err))
		return -1;
	memcpy(out->bucket, bucket, len + 1);
	source += len;
	if (*source == '/')
		source++;
	rest = strlen(source);
	if (rest == 0)
		return 0;
	/* A '/' and one character of a key have to fit behind it. */
	if (rest > STORE_KEY_MAX - 2)
		return error_set(err, ERR_ARG, "the prefix has %zu bytes, "
				 "%d are allowed", rest, STORE_KEY_MAX - 2);
	snprintf(out->prefix, sizeof(out->prefix), "%s%s", source,
		 source[rest - 1] == '/' ? "" : "/");
	return 0;
}

bool s3_region_is_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= S3_REGION_MAX || name[0] == '-' ||
	    name[len - 1] == '-')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("-_", *name))
			return false;
	return true;
}

/* A part of the URL, "" where it is absent. Freed by curl_free(). */
static char *part_of(CURLU *url, CURLUPart part)
{
	char *text = NULL;

	return curl_url_get(url, part, &text, 0) ? NULL : text;
}

static int copy_host(struct s3_endpoint *out, CURLU *url, struct error *err)
{
	char *host = part_of(url, CURLUPART_HOST);
	char *port = part_of(url, CURLUPART_PORT);
	unsigned long number = port ? strtoul(port, NULL, 10) : 0;
	int len = -1;

	if (host) {
		out->is_ip = host[0] == '[' || is_ipv4(host);
		if (number && number != (out->is_tls ? 443 : 80))
			len = snprintf(out->host, sizeof(out->host), "%s:%lu",
				       host, number);
		else
			len = snprintf(out->host, sizeof(out->host), "%s",
				       host);
	}
	curl_free(host);
	curl_free(port);
	if (len <= 0 || (size_t)len >= sizeof(out->host))
		return error_set(err, ERR_ARG, "it has no host, or one with "
				 "too long a name");
	return 0;
}

static int copy_path(struct s3_endpoint *out, CURLU *url, struct error *err)
{
	char *path = part_of(url, CURLUPART_PATH);
	size_t len = path ? strlen(path) : 0;
	int ret = 0;

	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len >= sizeof(out->path))
		ret = error_set(err, ERR_ARG, "its path is too long");
	else if (len > 0)
		memcpy(out->path, path, len);
	curl_free(path);
	return ret;
}

static int parse_endpoint(struct s3_endpoint *out, CURLU *url,
			  const char *text, struct error *err)
{
	CURLUPart unwanted[] = { CURLUPART_USER, CURLUPART_PASSWORD,
				 CURLUPART_QUERY, CURLUPART_FRAGMENT };

	out->is_tls = has_prefix(text, "https://");
	if (!out->is_tls && !has_prefix(text, "http://"))
		return error_set(err, ERR_ARG, "it has to begin with https:// "
				 "or http://");
	for (const char *at = text; *at; at++)
		if (*at <= ' ' || *at > '~')
			return error_set(err, ERR_ARG, "it has a blank or a "
					 "character that is none of ASCII");
	if (curl_url_set(url, CURLUPART_URL, text, 0))
		return error_set(err, ERR_ARG, "it is no URL");
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++) {
		char *part = part_of(url, unwanted[i]);
		bool is_there = part != NULL;

		curl_free(part);
		if (is_there)
			return error_set(err, ERR_ARG, "only https://HOST, a "
					 "port and a path are allowed: no "
					 "password, '?' or '#'");
	}
	return copy_host(out, url, err) || copy_path(out, url, err) ? -1 : 0;
}

int s3_endpoint_parse(struct s3_endpoint *out, const char *text,
		      struct error *err)
{
	CURLU *url;
	int ret;

	memset(out, 0, sizeof(*out));
	if (!text || !*text) {
		out->is_tls = out->is_aws = true;
		return 0;
	}
	url = curl_url();
	if (!url)
		return error_nomem(err);
	ret = parse_endpoint(out, url, text, err);
	curl_url_cleanup(url);
	/* Not the text itself: it may hold a password. */
	return ret ? error_prefix(err, "the endpoint makes no sense") : 0;
}

/* Can it be a label or more of a host's name? */
static bool is_host_name(const char *bucket)
{
	for (; *bucket; bucket++)
		if (isupper((unsigned char)*bucket) || *bucket == '_')
			return false;
	return true;
}

void s3_endpoint_name(const struct s3_endpoint *endpoint,
		      char name[S3_URL_MAX])
{
	if (endpoint->is_aws)
		snprintf(name, S3_URL_MAX, "AWS");
	else
		snprintf(name, S3_URL_MAX, "%s://%s%s",
			 endpoint->is_tls ? "https" : "http", endpoint->host,
			 endpoint->path);
}

bool s3_is_path_style(const struct s3_endpoint *endpoint,
		      enum s3_addressing addressing, const char *bucket)
{
	if (addressing != S3_ADDRESSING_AUTO)
		return addressing == S3_PATH_STYLE;
	if (!endpoint->is_aws || !is_host_name(bucket))
		return true;
	/* No certificate fits a.b.s3.amazonaws.com. */
	return endpoint->is_tls && strchr(bucket, '.');
}

static void add_host(const struct s3_endpoint *endpoint, const char *region,
		     struct strbuf *host)
{
	size_t i = 0;

	if (!endpoint->is_aws) {
		strbuf_puts(host, endpoint->host);
		return;
	}
	while (!has_prefix(region, domains[i].region_prefix))
		i++;
	strbuf_printf(host, "s3.%s.%s", region, domains[i].domain);
}

int s3_address(const struct s3_endpoint *endpoint,
	       enum s3_addressing addressing, const char *region,
	       const char *bucket, const char *key, struct strbuf *host,
	       struct strbuf *path, struct error *err)
{
	bool in_path = s3_is_path_style(endpoint, addressing, bucket);

	strbuf_puts(path, endpoint->path);
	strbuf_puts(path, "/");
	if (*bucket && in_path) {
		strbuf_puts(path, bucket);
		if (*key)
			strbuf_puts(path, "/");
	} else if (*bucket) {
		if (endpoint->is_ip || !is_host_name(bucket))
			return error_set(err, ERR_ARG, "bucket %s of endpoint "
					 "%s cannot be addressed as a host: "
					 "use path style", bucket,
					 endpoint->is_aws ? "AWS" :
					 endpoint->host);
		strbuf_printf(host, "%s.", bucket);
	}
	uri_encode(path, key, true);
	add_host(endpoint, region, host);
	return host->failed || path->failed ? error_nomem(err) : 0;
}

/* Is host the endpoint's, or "x.y." in front of it? */
static bool is_within(const char *host, const char *endpoint)
{
	size_t len = strlen(host), end = strlen(endpoint);

	return len >= end && !strcasecmp(host + len - end, endpoint) &&
	       (len == end || (host[len - end - 1] == '.' && *host != '.'));
}

bool s3_redirect(const struct s3_endpoint *endpoint, const char *bucket,
		 const char *host, struct s3_endpoint *there,
		 enum s3_addressing *addressing)
{
	size_t len = strlen(bucket);

	if (endpoint->is_aws || endpoint->is_ip ||
	    strlen(host) >= sizeof(there->host) ||
	    !is_within(host, endpoint->host))
		return false;
	*there = *endpoint;
	*addressing = S3_PATH_STYLE;
	if (len && !strncmp(host, bucket, len) && host[len] == '.' &&
	    is_within(host + len + 1, endpoint->host)) {
		*addressing = S3_VIRTUAL_HOSTED;
		host += len + 1;
	}
	memcpy(there->host, host, strlen(host) + 1);
	return true;
}

/* Where AWS' domain begins in host, with its dot; NULL if it is another. */
static const char *aws_domain(const char *host)
{
	for (size_t i = 0; i < DOMAINS; i++) {
		size_t len = strlen(host), end = strlen(domains[i].domain);

		if (len > end && host[len - end - 1] == '.' &&
		    !strcmp(host + len - end, domains[i].domain))
			return host + len - end - 1;
	}
	return NULL;
}

bool s3_is_aws_host(const char *host)
{
	return aws_domain(host) != NULL;
}

/* "eu-west-1": at least one '-' and a digit at the end. */
static bool looks_like_region(const char *text)
{
	return s3_region_is_valid(text) && strchr(text, '-') &&
	       isdigit((unsigned char)text[strlen(text) - 1]);
}

bool s3_region_of_host(const char *host, char region[S3_REGION_MAX])
{
	const char *end = aws_domain(host), *label = end;
	size_t len;

	*region = '\0';
	if (!end)
		return false;
	while (label > host && label[-1] != '.')
		label--;
	if (has_prefix(label, "s3-")) /* the old form: s3-eu-west-1 */
		label += strlen("s3-");
	len = (size_t)(end - label);
	if (len >= S3_REGION_MAX)
		return false;
	memcpy(region, label, len);
	region[len] = '\0';
	if (looks_like_region(region))
		return true;
	*region = '\0';
	return false;
}
