/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * AWS's profile files. No packaged library reads real ones: inih (200) and
 * iniparser (1024) cut lines that are shorter than a session token, ding-libs
 * mixes up profiles that differ by case, and GKeyFile takes nested lines for
 * the profile's own and refuses ';'. So this is the smallest reader that
 * does: one copy of the file, cut into strings in place. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "store/ini.h"

struct entry {
	const char *section, *parent, *key, *value; /* key NULL: the section
						     * itself */
};

struct ini {
	char *text;
	size_t size; /* of text, with its NUL */
	struct entry *entries;
	size_t count, capacity;
};

struct parser {
	struct ini *ini;
	unsigned int line;
	const char *section; /* NULL: before the first */
	const char *key;     /* what deeper lines belong to */
	size_t indent;       /* of key */
};

static const char blanks[] = " \t\r\v\f";

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, blanks);
	len = strlen(text);
	while (len && strchr(blanks, text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

static int add_entry(struct parser *parser, struct entry entry,
		     struct error *err)
{
	struct ini *ini = parser->ini;

	if (ini->count == INI_ENTRIES_MAX)
		return error_set(err, ERR_LIMIT,
				 "line %u: more than %u sections and keys",
				 parser->line, INI_ENTRIES_MAX);
	if (ini->count == ini->capacity) {
		size_t capacity = ini->capacity ? 2 * ini->capacity : 64;
		struct entry *entries = reallocarray(
			ini->entries, capacity, sizeof(*entries));

		if (!entries)
			return error_nomem(err);
		ini->entries = entries;
		ini->capacity = capacity;
	}
	ini->entries[ini->count++] = entry;
	return 0;
}

/* [profile  "x y"] is made "profile x y"; in place. */
static char *section_name(char *name)
{
	char *rest;
	size_t len;

	name = trim(name);
	if (strncmp(name, "profile", 7) != 0 || !name[7] ||
	    !strchr(blanks, name[7]))
		return name;
	rest = trim(name + 7);
	len = strlen(rest);
	if (len >= 2 && (*rest == '"' || *rest == '\'') &&
	    rest[len - 1] == *rest) {
		rest++;
		len -= 2;
	}
	memmove(name + 8, rest, len);
	name[7] = ' ';
	name[8 + len] = '\0';
	return name;
}

static int parse_section(struct parser *parser, char *line, struct error *err)
{
	char *end = strchr(line, ']');

	if (!end)
		return error_set(err, ERR_ARG, "line %u: a section without ]",
				 parser->line);
	*end = '\0';
	parser->section = section_name(line + 1);
	parser->key = NULL;
	return add_entry(parser,
			 (struct entry){ .section = parser->section }, err);
}

static int parse_key(struct parser *parser, char *line, size_t indent,
		     struct error *err)
{
	bool is_nested = parser->key && indent > parser->indent;
	char *end = strpbrk(line, "=:");
	struct entry entry = { parser->section, NULL, NULL, NULL };

	if (is_nested && !end)
		return 0; /* more of a value that nobody here needs */
	if (!end || end == line)
		return error_set(err, ERR_ARG,
				 "line %u: neither [section] nor key = value",
				 parser->line);
	if (!parser->section)
		return error_set(err, ERR_ARG,
				 "line %u: a key before the first [section]",
				 parser->line);
	*end = '\0';
	entry.key = trim(line);
	entry.value = trim(end + 1);
	if (is_nested) {
		entry.parent = parser->key;
	} else {
		parser->key = entry.key;
		parser->indent = indent;
	}
	return add_entry(parser, entry, err);
}

static int parse_line(struct parser *parser, char *line, struct error *err)
{
	size_t indent = strspn(line, blanks);

	line += indent;
	parser->line++;
	if (!*line || *line == '#' || *line == ';')
		return 0;
	if (*line == '[')
		return parse_section(parser, line, err);
	return parse_key(parser, line, indent, err);
}

static int parse_text(struct ini *ini, struct error *err)
{
	struct parser parser = { .ini = ini };
	char *line = ini->text;

	if (!strncmp(line, "\xef\xbb\xbf", 3))
		line += 3;
	if (memchr(ini->text, '\0', ini->size - 1))
		return error_set(err, ERR_ARG, "NUL in it: not a text");
	while (line) {
		char *next = strchr(line, '\n');

		if (next)
			*next++ = '\0';
		if (parse_line(&parser, line, err) < 0)
			return -1;
		line = next;
	}
	return 0;
}

/* Takes text over, also on failure. */
static int parse_owned(struct ini **out, char *text, size_t len,
		       struct error *err)
{
	struct ini *ini = calloc(1, sizeof(*ini));

	if (!ini) {
		OPENSSL_cleanse(text, len);
		free(text);
		return error_nomem(err);
	}
	text[len] = '\0';
	ini->text = text;
	ini->size = len + 1;
	if (parse_text(ini, err) < 0) {
		ini_free(ini);
		return -1;
	}
	*out = ini;
	return 0;
}

int ini_parse(struct ini **out, const char *text, size_t len,
	      struct error *err)
{
	char *copy;

	if (len > INI_FILE_MAX)
		return error_set(err, ERR_LIMIT, "more than %u bytes",
				 INI_FILE_MAX);
	copy = malloc(len + 1);
	if (!copy)
		return error_nomem(err);
	if (len)
		memcpy(copy, text, len);
	return parse_owned(out, copy, len, err);
}

/* The file in one buffer that never moves, so that no copy is left behind. */
static char *read_whole(int fd, size_t *len, struct error *err)
{
	char *text = malloc(INI_FILE_MAX + 2);
	ssize_t got = 1;

	*len = 0;
	if (!text) {
		error_nomem(err);
		return NULL;
	}
	while (got > 0 && *len <= INI_FILE_MAX) {
		got = read(fd, text + *len, INI_FILE_MAX + 1 - *len);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			*len += (size_t)got;
	}
	if (got < 0)
		error_errno(err, errno, "read");
	else if (*len > INI_FILE_MAX)
		error_set(err, ERR_LIMIT, "more than %u bytes", INI_FILE_MAX);
	else
		return text;
	OPENSSL_cleanse(text, *len);
	free(text);
	return NULL;
}

int ini_load(struct ini **out, const char *path, struct error *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *text;
	size_t len;

	if (fd < 0)
		return error_errno(err, errno, "%s", path);
	text = read_whole(fd, &len, err);
	if (!text || parse_owned(out, text, len, err) < 0)
		return error_prefix(err, "%s", path);
	return 0;
}

void ini_free(struct ini *ini)
{
	if (!ini)
		return;
	OPENSSL_cleanse(ini->text, ini->size);
	free(ini->text);
	free(ini->entries);
	free(ini);
}

bool ini_has_section(const struct ini *ini, const char *section)
{
	for (size_t i = 0; ini && i < ini->count; i++)
		if (!strcmp(ini->entries[i].section, section))
			return true;
	return false;
}

/* Is it "key", or "parent.key"? */
static bool has_name(const struct entry *entry, const char *name)
{
	size_t len = entry->parent ? strlen(entry->parent) : 0;

	if (!entry->key)
		return false;
	if (!entry->parent)
		return !strcasecmp(entry->key, name);
	return !strncasecmp(entry->parent, name, len) && name[len] == '.' &&
	       !strcasecmp(entry->key, name + len + 1);
}

const char *ini_get(const struct ini *ini, const char *section,
		    const char *key)
{
	for (size_t i = ini ? ini->count : 0; i > 0; i--) {
		const struct entry *entry = &ini->entries[i - 1];

		if (!strcmp(entry->section, section) && has_name(entry, key))
			return entry->value;
	}
	return NULL;
}
