/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Manifests: DSP0243 ("OVF"), "OVF package", says `ALGORITHM(FILE)= HEX`.
 * Writers vary: blanks around every token, lower-case algorithms, upper-case
 * digits, CRLF, a byte order mark, and the output of sha1sum or sha256sum. */
#include "config.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "format/manifest.h"
#include "format/source.h"

#define READ_BYTES (1u << 20) /* of one read while hashing */

static const struct {
	const char *name;
	size_t digest_len;
} algorithms[] = {
	{ "SHA1", 20 },
	{ "SHA256", 32 },
	{ "SHA384", 48 },
	{ "SHA512", 64 },
};

#define N_ALGORITHMS (sizeof(algorithms) / sizeof(algorithms[0]))

/* Part of a line; not terminated. */
struct piece {
	const char *at;
	size_t len;
};

static struct piece trimmed(const char *at, const char *end)
{
	while (at < end && isspace((unsigned char)*at))
		at++;
	while (at < end && isspace((unsigned char)end[-1]))
		end--;
	return (struct piece){ at, (size_t)(end - at) };
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hex(struct piece hex, uint8_t *digest, size_t *digest_len)
{
	if (hex.len % 2 || hex.len > 2 * MANIFEST_DIGEST_MAX)
		return false;
	for (size_t i = 0; i < hex.len; i += 2) {
		int high = hex_digit(hex.at[i]), low = hex_digit(hex.at[i + 1]);

		if (high < 0 || low < 0)
			return false;
		digest[i / 2] = (uint8_t)(high << 4 | low);
	}
	*digest_len = hex.len / 2;
	return true;
}

/* The algorithm of that name (NULL: any) and digest length, or NULL. */
static const char *find_algorithm(const struct piece *name, size_t digest_len)
{
	for (size_t i = 0; i < N_ALGORITHMS; i++) {
		const char *known = algorithms[i].name;

		if (algorithms[i].digest_len == digest_len &&
		    (!name || (name->len == strlen(known) &&
			       !strncasecmp(name->at, known, name->len))))
			return known;
	}
	return NULL;
}

static const char *find_last(struct piece in, char c)
{
	return in.len ? memrchr(in.at, c, in.len) : NULL;
}

/* ALGORITHM ( NAME ) = HEX. The name may itself hold brackets and '='. */
static bool parse_ovf_line(struct piece line, struct piece *name,
			   struct manifest_entry *entry)
{
	const char *end = line.at + line.len, *equals = find_last(line, '=');
	const char *open = memchr(line.at, '(', line.len);
	struct piece algorithm, head;

	if (!equals || !open || open > equals)
		return false;
	head = trimmed(line.at, equals);
	if (head.len == 0 || head.at[head.len - 1] != ')' ||
	    !parse_hex(trimmed(equals + 1, end), entry->digest,
		       &entry->digest_len))
		return false;
	algorithm = trimmed(line.at, open);
	*name = trimmed(open + 1, head.at + head.len - 1);
	entry->algorithm = find_algorithm(&algorithm, entry->digest_len);
	return entry->algorithm != NULL;
}

/* HEX NAME, or HEX *NAME: what sha1sum prints. The length of the digits tells
 * the algorithm. */
static bool parse_sum_line(struct piece line, struct piece *name,
			   struct manifest_entry *entry)
{
	size_t n = 0;

	while (n < line.len && hex_digit(line.at[n]) >= 0)
		n++;
	if (n == line.len || !isspace((unsigned char)line.at[n]) ||
	    !parse_hex((struct piece){ line.at, n }, entry->digest,
		       &entry->digest_len))
		return false;
	*name = trimmed(line.at + n, line.at + line.len);
	if (name->len && name->at[0] == '*')
		*name = (struct piece){ name->at + 1, name->len - 1 };
	entry->algorithm = find_algorithm(NULL, entry->digest_len);
	return entry->algorithm != NULL;
}

static bool parse_line(struct piece line, struct piece *name,
		       struct manifest_entry *entry)
{
	if (!parse_ovf_line(line, name, entry) &&
	    !parse_sum_line(line, name, entry))
		return false;
	while (name->len > 2 && name->at[0] == '.' && name->at[1] == '/')
		*name = (struct piece){ name->at + 2, name->len - 2 };
	return name->len > 0;
}

static int add_entry(struct manifest *manifest,
		     const struct manifest_entry *entry, struct piece name,
		     struct error *err)
{
	struct manifest_entry *entries, *last;
	size_t n = manifest->count;

	/* Grow at 0, 1, 2, 4, 8, ... entries. */
	if (n == 0 || is_power_of_two(n)) {
		entries = reallocarray(manifest->entries, n ? 2 * n : 1,
				       sizeof(*entries));
		if (!entries)
			return error_nomem(err);
		manifest->entries = entries;
	}
	last = &manifest->entries[n];
	*last = *entry;
	last->name = strndup(name.at, name.len);
	if (!last->name)
		return error_nomem(err);
	manifest->count++;
	return 0;
}

static int parse_lines(struct manifest *manifest, const char *text,
		       const char *end,
		       void (*bad_line)(void *arg, unsigned int line),
		       void *arg, struct error *err)
{
	unsigned int number = 1;

	for (; text < end; number++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *line_end = newline ? newline : end;
		struct manifest_entry entry = { .line = number };
		struct piece line = trimmed(text, line_end), name;

		text = newline ? newline + 1 : end;
		if (line.len == 0)
			continue;
		if (!parse_line(line, &name, &entry)) {
			if (bad_line)
				bad_line(arg, number);
		} else if (add_entry(manifest, &entry, name, err)) {
			return -1;
		}
	}
	return 0;
}

int manifest_parse(struct manifest **out, const char *text, size_t len,
		   void (*bad_line)(void *arg, unsigned int line), void *arg,
		   struct error *err)
{
	struct manifest *manifest = calloc(1, sizeof(*manifest));
	const char *end = text + len;

	*out = NULL;
	if (!manifest)
		return error_nomem(err);
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		text += 3;
	if (parse_lines(manifest, text, end, bad_line, arg, err)) {
		manifest_free(manifest);
		return -1;
	}
	*out = manifest;
	return 0;
}

void manifest_free(struct manifest *manifest)
{
	if (!manifest)
		return;
	for (size_t i = 0; i < manifest->count; i++)
		free(manifest->entries[i].name);
	free(manifest->entries);
	free(manifest);
}

static int hash_source(EVP_MD_CTX *context, struct source *source,
		       bool (*progress)(void *arg, uint64_t bytes), void *arg,
		       struct error *err)
{
	AUTO_FREE char *buf = malloc(READ_BYTES);
	uint64_t at = 0;

	if (!buf)
		return error_nomem(err);
	while (at < source->size) {
		size_t n = min_u64(READ_BYTES, source->size - at);

		if (source_read(source, at, buf, n, 0, err))
			return -1;
		if (!EVP_DigestUpdate(context, buf, n))
			return error_set(err, ERR_BUG, "hashing failed");
		at += n;
		if (progress && !progress(arg, n))
			return error_set(err, ERR_CANCELLED, "stopped");
	}
	return 0;
}

int manifest_verify(const struct manifest_entry *entry, struct source *source,
		    bool (*progress)(void *arg, uint64_t bytes), void *arg,
		    bool *matches, struct error *err)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	const EVP_MD *md = EVP_get_digestbyname(entry->algorithm);
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	int ret = -1;

	if (!context)
		error_nomem(err);
	else if (!md || !EVP_DigestInit_ex(context, md, NULL))
		error_set(err, ERR_UNSUPPORTED, "libcrypto has no %s",
			  entry->algorithm);
	else if (!hash_source(context, source, progress, arg, err))
		ret = EVP_DigestFinal_ex(context, digest, &len) ? 0 :
		      error_set(err, ERR_BUG, "hashing failed");
	EVP_MD_CTX_free(context);
	*matches = !ret && len == entry->digest_len &&
		   !memcmp(digest, entry->digest, len);
	return ret;
}
