/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * AWS Signature Version 4. What is signed is a text, the canonical request;
 * servers rebuild it from what they received and compare signatures:
 *
 *   method \n path \n sorted query \n header:value \n ... \n names \n hash
 *
 * Servers decode the query before they encode it anew, so it is done here,
 * too: whatever way the caller escaped it, both sides get the same text. */
#include "config.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "store/sigv4.h"

#define TEXT_MAX   (128u << 10) /* bytes of a canonical request */
#define SECRET_MAX 1024         /* bytes of a secret key */

/* Parameters of the query or headers: what they are sorted by. */
struct pair {
	char *name, *value;
	size_t index; /* headers of one name stay in their order */
};

struct pairs {
	struct pair *list;
	size_t count;
};

/* A growing text tells no difference between the two. */
static int fail_growing(struct error *err)
{
	return error_set(err, ERR_LIMIT,
			 "the request to sign is above %u bytes, or memory is"
			 " out", TEXT_MAX);
}

static void add_hex(char *hex, const unsigned char *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		hex[2 * i] = digits[data[i] >> 4];
		hex[2 * i + 1] = digits[data[i] & 15];
	}
	hex[2 * len] = '\0';
}

void sigv4_hash(char hex[SIGV4_HASH_SIZE], const void *data, size_t len)
{
	/* Out of memory leaves zeros, a hash that every server refuses. */
	unsigned char digest[SHA256_DIGEST_LENGTH] = { 0 };

	SHA256(data, len, digest);
	add_hex(hex, digest, sizeof(digest));
}

void sigv4_hex(char hex[SIGV4_HASH_SIZE], const unsigned char *digest)
{
	add_hex(hex, digest, SHA256_DIGEST_LENGTH);
}

void sigv4_date(char text[17], int64_t when)
{
	time_t seconds = (time_t)when;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) ||
	    strftime(text, 17, "%Y%m%dT%H%M%SZ", &tm) != 16)
		memcpy(text, "19700101T000000Z", 17);
}

/* Not isalnum(): that follows the locale. */
static bool is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	       c == '~';
}

static void encode_bytes(struct strbuf *out, const char *text, size_t len,
			 bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		char escape[3] = { '%', digits[c >> 4], digits[c & 15] };

		if (is_unreserved(c) || (c == '/' && keep_slash))
			strbuf_add(out, &c, 1);
		else
			strbuf_add(out, escape, sizeof(escape));
	}
}

void uri_encode(struct strbuf *out, const char *text, bool keep_slash)
{
	encode_bytes(out, text, strlen(text), keep_slash);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A part of a query as it is decoded by servers; '%' without two digits
 * stands for itself. */
static char *recode(const char *text, size_t len)
{
	struct strbuf out = { .max = TEXT_MAX };

	for (size_t i = 0; i < len; i++) {
		char c = text[i] == '+' ? ' ' : text[i];

		if (c == '%' && i + 2 < len && hex_value(text[i + 1]) >= 0 &&
		    hex_value(text[i + 2]) >= 0) {
			c = (char)(hex_value(text[i + 1]) << 4 |
				   hex_value(text[i + 2]));
			i += 2;
		}
		encode_bytes(&out, &c, 1, false);
	}
	return strbuf_take(&out);
}

static void pairs_free(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		free(pairs->list[i].name);
		free(pairs->list[i].value);
	}
	free(pairs->list);
}

/* Takes both texts over, also on failure. */
static int pairs_add(struct pairs *pairs, char *name, char *value,
		     struct error *err)
{
	struct pair *list = NULL;

	if (name && value)
		list = reallocarray(pairs->list, pairs->count + 1,
				    sizeof(*list));
	if (!list) {
		free(name);
		free(value);
		return fail_growing(err);
	}
	pairs->list = list;
	list[pairs->count] = (struct pair){ name, value, pairs->count };
	pairs->count++;
	return 0;
}

static int compare_parameters(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->value, y->value);
}

static int compare_headers(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static void pairs_sort(struct pairs *pairs,
		       int (*compare)(const void *, const void *))
{
	if (pairs->count)
		qsort(pairs->list, pairs->count, sizeof(*pairs->list),
		      compare);
}

static int parse_query(struct pairs *pairs, const char *query,
		       struct error *err)
{
	while (*query) {
		size_t len = strcspn(query, "&");
		size_t name_len = strcspn(query, "&=");
		const char *value = query + name_len;
		size_t value_len = 0;

		if (*value == '=') {
			value++;
			value_len = len - name_len - 1;
		}
		/* "a&&b" has two parameters. */
		if (len && pairs_add(pairs, recode(query, name_len),
				     recode(value, value_len), err) < 0)
			return -1;
		query += len;
		if (*query == '&')
			query++;
	}
	return 0;
}

static int add_query(struct strbuf *out, const char *query, struct error *err)
{
	struct pairs pairs = { 0 };
	int ret = parse_query(&pairs, query ? query : "", err);

	pairs_sort(&pairs, compare_parameters);
	for (size_t i = 0; ret == 0 && i < pairs.count; i++)
		strbuf_printf(out, "%s%s=%s", i ? "&" : "", pairs.list[i].name,
			      pairs.list[i].value);
	pairs_free(&pairs);
	return ret;
}

/* "A", "a": names go by lower case, without regard to the locale. */
static char *lower_name(const char *name, size_t len)
{
	char *lower = strndup(name, len);

	for (size_t i = 0; lower && lower[i]; i++)
		if (lower[i] >= 'A' && lower[i] <= 'Z')
			lower[i] = (char)(lower[i] - 'A' + 'a');
	return lower;
}

/* Without outer blanks, inner ones made one space; folded lines, too. */
static char *plain_value(const char *text)
{
	struct strbuf out = { .max = TEXT_MAX };
	static const char blanks[] = " \t\r\n";

	text += strspn(text, blanks);
	while (*text) {
		size_t len = strcspn(text, blanks);

		strbuf_add(&out, text, len);
		text += len;
		text += strspn(text, blanks);
		if (*text)
			strbuf_puts(&out, " ");
	}
	return strbuf_take(&out);
}

static int parse_headers(struct pairs *pairs, const char *const *headers,
			 struct error *err)
{
	for (size_t i = 0; headers && headers[i]; i++) {
		const char *colon = strchr(headers[i], ':');
		size_t len = colon ? (size_t)(colon - headers[i]) : 0;

		if (!len)
			return error_set(err, ERR_ARG,
					 "a header to sign has no name");
		if (pairs_add(pairs, lower_name(headers[i], len),
			      plain_value(colon + 1), err) < 0)
			return -1;
	}
	pairs_sort(pairs, compare_headers);
	return 0;
}

static bool is_first_of_name(const struct pairs *headers, size_t i)
{
	return i == 0 ||
	       strcmp(headers->list[i - 1].name, headers->list[i].name) != 0;
}

static void add_headers(struct strbuf *out, const struct pairs *headers)
{
	for (size_t i = 0; i < headers->count; i++) {
		const struct pair *header = &headers->list[i];

		if (is_first_of_name(headers, i))
			strbuf_printf(out, "%s%s:", i ? "\n" : "",
				      header->name);
		else
			strbuf_puts(out, ",");
		strbuf_puts(out, header->value);
	}
	strbuf_puts(out, "\n");
}

static void add_header_names(struct strbuf *out, const struct pairs *headers)
{
	for (size_t i = 0; i < headers->count; i++)
		if (is_first_of_name(headers, i))
			strbuf_printf(out, "%s%s", i ? ";" : "",
				      headers->list[i].name);
}

/* RFC 3986, 5.2.4, and "//" is "/"; out starts empty. */
static void add_resolved(struct strbuf *out, const char *path)
{
	char last = '/';

	while (*path && !out->failed) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !memcmp(path, "..", 2)) {
			while (out->len && out->data[--out->len] != '/')
				;
		} else if (len && !(len == 1 && *path == '.')) {
			strbuf_puts(out, "/");
			strbuf_add(out, path, len);
		}
		path += len;
		last = *path ? '/' : path[-1];
		path += *path != '\0';
	}
	if (!out->len || last == '/')
		strbuf_puts(out, "/");
}

static int add_path(struct strbuf *out, const struct sigv4_request *request,
		    struct error *err)
{
	const char *path = request->path && *request->path ? request->path :
							     "/";
	struct strbuf resolved = { .max = TEXT_MAX };

	if (!request->normalise_path) {
		strbuf_puts(out, path);
		return 0;
	}
	add_resolved(&resolved, path);
	if (resolved.failed) {
		fail_growing(err);
		strbuf_free(&resolved);
		return -1;
	}
	encode_bytes(out, resolved.data, resolved.len, true);
	strbuf_free(&resolved);
	return 0;
}

static int build_canonical(const struct sigv4_request *request,
			   const struct pairs *headers, struct strbuf *out,
			   struct error *err)
{
	strbuf_printf(out, "%s\n", request->method);
	if (add_path(out, request, err) < 0)
		return -1;
	strbuf_puts(out, "\n");
	if (add_query(out, request->query, err) < 0)
		return -1;
	strbuf_puts(out, "\n");
	add_headers(out, headers);
	strbuf_puts(out, "\n");
	add_header_names(out, headers);
	strbuf_printf(out, "\n%s", request->payload_hash);
	return out->failed ? fail_growing(err) : 0;
}

int sigv4_canonical(const struct sigv4_request *request, struct strbuf *out,
		    struct error *err)
{
	struct pairs headers = { 0 };
	int ret = parse_headers(&headers, request->headers, err);

	if (ret == 0)
		ret = build_canonical(request, &headers, out, err);
	pairs_free(&headers);
	return ret;
}

/* One link of the chain that makes the signing key; in place is fine. */
static bool hmac(unsigned char out[SHA256_DIGEST_LENGTH], const void *key,
		 size_t key_len, const void *text, size_t len)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	bool is_good = HMAC(EVP_sha256(), key, (int)key_len, text, len, digest,
			    NULL) != NULL;

	memcpy(out, digest, is_good ? sizeof(digest) : 0);
	OPENSSL_cleanse(digest, sizeof(digest));
	return is_good;
}

static int sign(char signature[SIGV4_HASH_SIZE], const char *secret,
		const struct sigv4_request *request, const char *date,
		const struct strbuf *text, struct error *err)
{
	unsigned char key[SHA256_DIGEST_LENGTH] = { 0 };
	char first[4 + SECRET_MAX] = "AWS4";
	size_t secret_len = strlen(secret);
	bool is_good;

	if (secret_len > SECRET_MAX)
		return error_set(err, ERR_LIMIT,
				 "the secret key is longer than %d bytes",
				 SECRET_MAX);
	memcpy(first + 4, secret, secret_len);
	is_good = hmac(key, first, 4 + secret_len, date, 8) &&
		  hmac(key, key, sizeof(key), request->region,
		       strlen(request->region)) &&
		  hmac(key, key, sizeof(key), request->service,
		       strlen(request->service)) &&
		  hmac(key, key, sizeof(key), "aws4_request", 12) &&
		  hmac(key, key, sizeof(key), text->data, text->len);
	OPENSSL_cleanse(first, sizeof(first));
	add_hex(signature, key, sizeof(key));
	return is_good ? 0 : error_nomem(err);
}

static int authorize(const struct sigv4_request *request,
		     const struct sigv4_keys *keys,
		     const struct pairs *headers, struct strbuf *canonical,
		     struct strbuf *text, struct strbuf *out,
		     struct error *err)
{
	char date[17], hash[SIGV4_HASH_SIZE], signature[SIGV4_HASH_SIZE];

	if (build_canonical(request, headers, canonical, err) < 0)
		return -1;
	sigv4_date(date, request->time);
	sigv4_hash(hash, canonical->data, canonical->len);
	strbuf_printf(text, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s",
		      date, date, request->region, request->service, hash);
	if (text->failed)
		return fail_growing(err);
	if (sign(signature, keys->secret_key, request, date, text, err) < 0)
		return -1;
	strbuf_printf(out,
		      "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request,"
		      " SignedHeaders=",
		      keys->access_key, date, request->region,
		      request->service);
	add_header_names(out, headers);
	strbuf_printf(out, ", Signature=%s", signature);
	return out->failed ? fail_growing(err) : 0;
}

int sigv4_authorization(const struct sigv4_request *request,
			const struct sigv4_keys *keys, struct strbuf *out,
			struct error *err)
{
	struct strbuf canonical = { .max = TEXT_MAX };
	struct strbuf text = { .max = TEXT_MAX };
	struct pairs headers = { 0 };
	int ret = parse_headers(&headers, request->headers, err);

	if (ret == 0)
		ret = authorize(request, keys, &headers, &canonical, &text,
				out, err);
	pairs_free(&headers);
	strbuf_free(&text);
	strbuf_free(&canonical);
	return ret;
}
