/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Parsing of options by their table. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "options.h"

#define LIST_MAX_BYTES (64 << 10) /* one -o argument; one collected list */
#define NAMES_MAX      256        /* options of one command */

static void *member(const struct option_row *row, void *target)
{
	return (char *)target + row->offset;
}

/* As the user wrote it, for messages. */
static const char *prefix_of(const struct option_row *row)
{
	return row->form == OPTION_MOUNT ? "-o " : "--";
}

static int wrong_value(const struct option_row *row, const char *value,
		       const char *want, struct error *err)
{
	return error_set(err, ERR_ARG, "%s%s=%s: %s", prefix_of(row),
			 row->name, value, want);
}

/* Digits in this base at the start of *text, which moves behind them. */
static bool take_digits(const char **text, unsigned int base, uint64_t *n)
{
	const char *at = *text;

	*n = 0;
	for (; *at >= '0' && *at < '0' + (int)base; at++)
		if (!mul_u64(*n, base, n) ||
		    !add_u64(*n, (uint64_t)(*at - '0'), n))
			return false;
	if (at == *text)
		return false;
	*text = at;
	return true;
}

struct suffix {
	const char *text;
	uint64_t factor;
};

static const struct suffix byte_suffixes[] = {
	{ "", 1 },
	{ "K", 1ull << 10 },
	{ "M", 1ull << 20 },
	{ "G", 1ull << 30 },
	{ "T", 1ull << 40 },
	{ "P", 1ull << 50 },
	{ NULL, 0 },
};

static const struct suffix time_suffixes[] = {
	{ "", 1000 },
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 3600 * 1000 },
	{ NULL, 0 },
};

static const struct suffix age_suffixes[] = {
	{ "", 1 },
	{ "s", 1 },
	{ "m", 60 },
	{ "h", 3600 },
	{ "d", 86400 },
	{ NULL, 0 },
};

static const struct suffix no_suffixes[] = {
	{ "", 1 },
	{ NULL, 0 },
};

static bool apply_suffix(const struct suffix *suffixes, const char *text,
			 uint64_t *n)
{
	for (; suffixes->text; suffixes++)
		if (!strcasecmp(suffixes->text, text))
			return mul_u64(*n, suffixes->factor, n);
	return false;
}

/* What a number of this type looks like. */
static const struct number_kind {
	unsigned int base;
	const struct suffix *suffixes;
	uint64_t max; /* what the member holds */
	const char *want;
} number_kinds[] = {
	[OPTION_NUMBER] = { 10, no_suffixes, UINT_MAX, "a number" },
	[OPTION_OCTAL] = { 8, no_suffixes, UINT_MAX, "an octal number" },
	[OPTION_BYTES] = { 10, byte_suffixes, UINT64_MAX,
			   "a number of bytes such as 64M, with K, M, G, T or "
			   "P" },
	[OPTION_DURATION] = { 10, time_suffixes, UINT_MAX,
			      "a number of seconds such as 30, or 500ms, 5m, "
			      "1h" },
	[OPTION_AGE] = { 10, age_suffixes, UINT64_MAX,
			 "a number of seconds such as 30, or 5m, 2h, 7d" },
};

/* A limit in the words of the option: 1024 for 1K, seconds for durations. */
static void format_number(enum option_type type, uint64_t n, char *text,
			  size_t size)
{
	static const char units[] = "KMGTP";
	unsigned int power = 0;

	if (type == OPTION_DURATION) {
		snprintf(text, size, n % 1000 ? "%llums" : "%llus",
			 (unsigned long long)(n % 1000 ? n : n / 1000));
		return;
	}
	if (type == OPTION_AGE) {
		snprintf(text, size, "%llus", (unsigned long long)n);
		return;
	}
	while (type == OPTION_BYTES && n && n % 1024 == 0 && power < 5) {
		n /= 1024;
		power++;
	}
	snprintf(text, size, type == OPTION_OCTAL ? "%llo" : "%llu",
		 (unsigned long long)n);
	if (power) {
		size_t len = strlen(text);

		snprintf(text + len, size - len, "%c", units[power - 1]);
	}
}

static int set_number(const struct option_row *row, void *target,
		      const char *value, struct error *err)
{
	const struct number_kind *kind = &number_kinds[row->type];
	uint64_t max = row->max ? row->max : kind->max;
	const char *rest = value;
	char low[32], high[32];
	uint64_t n;

	if (!take_digits(&rest, kind->base, &n) ||
	    !apply_suffix(kind->suffixes, rest, &n))
		return error_set(err, ERR_ARG, "%s%s=%s: give %s",
				 prefix_of(row), row->name, value, kind->want);
	if (n < row->min || n > max) {
		format_number(row->type, row->min, low, sizeof(low));
		format_number(row->type, max, high, sizeof(high));
		return error_set(err, ERR_ARG,
				 "%s%s=%s: must lie between %s and %s",
				 prefix_of(row), row->name, value, low, high);
	}
	if (row->type == OPTION_BYTES || row->type == OPTION_AGE)
		*(uint64_t *)member(row, target) = n;
	else
		*(unsigned int *)member(row, target) = (unsigned int)n;
	return 0;
}

static int set_choice(const struct option_row *row, void *target,
		      const char *value, struct error *err)
{
	struct strbuf want = { .max = 1024 };
	unsigned int i;

	for (i = 0; row->choices[i]; i++) {
		if (!strcmp(row->choices[i], value)) {
			*(unsigned int *)member(row, target) = i;
			strbuf_free(&want);
			return 0;
		}
		strbuf_printf(&want, "%s%s", i ? ", " : "must be one of ",
			      row->choices[i]);
	}
	wrong_value(row, value, want.data ? want.data : "", err);
	strbuf_free(&want);
	return -1;
}

static int set_text(const struct option_row *row, void *target,
		    const char *value, struct error *err)
{
	char **text = member(row, target);
	char *copy = strdup(value);

	if (!copy)
		return error_nomem(err);
	free(*text);
	*text = copy;
	return 0;
}

static int append_to_list(const struct option_row *row, void *target,
			  const char *value, struct error *err)
{
	struct strbuf all = { .max = LIST_MAX_BYTES };
	char **list = member(row, target);
	char *text;

	if (*list)
		strbuf_printf(&all, "%s,", *list);
	strbuf_puts(&all, row->name);
	if (value)
		strbuf_printf(&all, "=%s", value);
	text = strbuf_take(&all);
	if (!text)
		return error_nomem(err);
	free(*list);
	*list = text;
	return 0;
}

static int set_row(const struct option_row *row, void *target,
		   const char *value, struct error *err)
{
	if (row->argument && !value && !row->optional_value)
		return error_set(err, ERR_ARG, "%s%s needs a value: %s=%s",
				 prefix_of(row), row->name, row->name,
				 row->argument);
	if (!row->argument && value && row->type != OPTION_IGNORED)
		return error_set(err, ERR_ARG, "%s%s takes no value, but was "
				 "given '%s'", prefix_of(row), row->name,
				 value);
	switch (row->type) {
	case OPTION_FLAG:
		*(bool *)member(row, target) = !row->clears;
		return 0;
	case OPTION_COUNT:
		++*(unsigned int *)member(row, target);
		return 0;
	case OPTION_TEXT:
		return set_text(row, target, value, err);
	case OPTION_NUMBER:
	case OPTION_OCTAL:
	case OPTION_BYTES:
	case OPTION_DURATION:
	case OPTION_AGE:
		return set_number(row, target, value, err);
	case OPTION_CHOICE:
		return set_choice(row, target, value, err);
	case OPTION_LIST:
		return append_to_list(row, target, value, err);
	case OPTION_IGNORED:
		return 0;
	case OPTION_REFUSED:
		break;
	}
	return error_set(err, ERR_BUG, "option %s has no type", row->name);
}

/* The same for what the user wrote; name may be longer than the row's. */
static int use_row(const struct option_row *row, void *target,
		   const char *name, const char *value, struct error *err)
{
	if (row->type == OPTION_REFUSED)
		return error_set(err, ERR_ARG, "%s%s: %s", prefix_of(row),
				 name, row->help);
	return set_row(row, target, value, err);
}

int options_init(const struct option_set *set, void *target,
		 struct error *err)
{
	memset(target, 0, set->target_size);
	for (const struct option_row *row = set->rows; row->name; row++) {
		if (!row->fallback)
			continue;
		if (set_row(row, target, row->fallback, err)) {
			options_free(set, target);
			return -1;
		}
	}
	return 0;
}

void options_free(const struct option_set *set, void *target)
{
	for (const struct option_row *row = set->rows; row->name; row++) {
		if (row->type == OPTION_TEXT || row->type == OPTION_LIST) {
			char **text = member(row, target);

			free(*text);
			*text = NULL;
		}
	}
	memset(target, 0, set->target_size);
}

/* A row name that ends in '*' stands for all names with that start. */
static bool name_matches(const struct option_row *row, const char *name,
			 size_t len)
{
	size_t row_len = strlen(row->name);

	if (row->name[row_len - 1] == '*')
		return len >= row_len - 1 &&
		       !strncmp(row->name, name, row_len - 1);
	return row_len == len && !strncmp(row->name, name, len);
}

static const struct option_row *find_row(const struct option_set *set,
					 enum option_form form,
					 const char *name, size_t len)
{
	for (const struct option_row *row = set->rows; row->name; row++)
		if (row->form == form && name_matches(row, name, len))
			return row;
	return NULL;
}

static const struct option_row *find_letter(const struct option_set *set,
					    char letter)
{
	for (const struct option_row *row = set->rows; row->name; row++)
		if (row->letter && row->letter == letter)
			return row;
	return NULL;
}

/* A word behind -o that belongs behind two dashes, or the other way round. */
static int other_form(const struct option_row *row, const char *dashes,
		      const char *name, struct error *err)
{
	if (row->type == OPTION_REFUSED)
		return error_set(err, ERR_ARG, "%s%s: %s", dashes, name,
				 row->help);
	return error_set(err, ERR_ARG, "unknown option %s%s; did you mean "
			 "%s%s%s%s?", dashes, name, prefix_of(row), row->name,
			 row->argument ? "=" : "",
			 row->argument ? row->argument : "");
}

static int unknown_option(const struct option_set *set, enum option_form form,
			  const char *name, struct error *err)
{
	const struct option_row *other = find_row(
		set, form == OPTION_MOUNT ? OPTION_LONG : OPTION_MOUNT, name,
		strlen(name));
	const char *dashes = form == OPTION_MOUNT ? "-o " : "--";
	const char *names[NAMES_MAX + 1];
	const char *near;
	size_t n = 0;

	if (other && other->type != OPTION_IGNORED)
		return other_form(other, dashes, name, err);
	for (const struct option_row *row = set->rows; row->name; row++)
		if (row->form == form && n < NAMES_MAX &&
		    row->type != OPTION_REFUSED)
			names[n++] = row->name;
	names[n] = NULL;
	near = nearest_name(name, names);
	if (near)
		return error_set(err, ERR_ARG, "unknown option %s%s; did you "
				 "mean %s%s?", dashes, name, dashes, near);
	return error_set(err, ERR_ARG, "unknown option %s%s", dashes, name);
}

int options_set(const struct option_set *set, void *target,
		enum option_form form, const char *name, const char *value,
		struct error *err)
{
	const struct option_row *row = find_row(set, form, name, strlen(name));

	if (!row)
		return unknown_option(set, form, name, err);
	return use_row(row, target, name, value, err);
}

/* "name" or "name=value", which is changed. An empty one is skipped. */
static int set_pair(const struct option_set *set, void *target,
		    enum option_form form, char *pair, struct error *err)
{
	char *value = strchr(pair, '=');

	if (!*pair)
		return 0;
	if (value)
		*value++ = '\0';
	return options_set(set, target, form, pair, value, err);
}

int options_set_list(const struct option_set *set, void *target,
		     const char *list, struct error *err)
{
	struct strbuf pair = { .max = LIST_MAX_BYTES };
	int ret = 0;

	for (const char *at = list; !ret; at++) {
		if (*at == '\\' && at[1] == ',') {
			strbuf_add(&pair, ++at, 1);
			continue;
		}
		if (*at && *at != ',') {
			strbuf_add(&pair, at, 1);
			continue;
		}
		if (pair.failed)
			ret = error_set(err, ERR_LIMIT, "an option is longer "
					"than %d bytes", LIST_MAX_BYTES);
		else if (pair.len)
			ret = set_pair(set, target, OPTION_MOUNT, pair.data,
				       err);
		pair.len = 0;
		if (!*at)
			break;
	}
	strbuf_free(&pair);
	return ret;
}

/* Where parsing stands in argv. */
struct cursor {
	int argc, i;
	char **argv;
};

/* The next word as the value of `what`. */
static char *next_word(struct cursor *at, const char *what, struct error *err)
{
	if (at->i + 1 < at->argc)
		return at->argv[++at->i];
	error_set(err, ERR_ARG, "%s needs a value behind it", what);
	return NULL;
}

static int parse_long(const struct option_set *set, void *target,
		      struct cursor *at, struct error *err)
{
	const char *name = at->argv[at->i] + 2;
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_row *row = find_row(set, OPTION_LONG, name, len);
	AUTO_FREE char *copy = strndup(name, len);
	const char *value = equals ? equals + 1 : NULL;

	if (!copy)
		return error_nomem(err);
	if (!row)
		return unknown_option(set, OPTION_LONG, copy, err);
	if (row->argument && !value && !row->optional_value) {
		value = next_word(at, at->argv[at->i], err);
		if (!value)
			return -1;
	}
	return use_row(row, target, copy, value, err);
}

/* A word such as -f, -fv, -oLIST or -o LIST. */
static int parse_short(const struct option_set *set, void *target,
		       struct cursor *at, struct error *err)
{
	for (const char *c = at->argv[at->i] + 1; *c; c++) {
		char word[3] = { '-', *c, '\0' };
		const struct option_row *row = find_letter(set, *c);
		/* Where no row has that form, it is said of each name. */
		bool is_list = *c == 'o' && !row;
		const char *value = c[1] ? c + 1 : NULL;

		if (!row && !is_list)
			return error_set(err, ERR_ARG, "unknown option %s",
					 word);
		if (!is_list && !row->argument) {
			if (set_row(row, target, NULL, err))
				return -1;
			continue;
		}
		if (!value)
			value = next_word(at, word, err);
		if (!value)
			return -1;
		return is_list ? options_set_list(set, target, value, err) :
				 set_row(row, target, value, err);
	}
	return 0;
}

static int check_count(const struct option_set *set, unsigned int count,
		       struct error *err)
{
	if (count < set->args_min)
		return error_set(err, ERR_ARG, "an argument is missing: %s",
				 set->synopsis);
	return 0;
}

int options_parse(const struct option_set *set, void *target, int argc,
		  char **argv, char **args, struct error *err)
{
	struct cursor at = { .argc = argc, .argv = argv };
	bool only_args = false;
	unsigned int count = 0;
	int ret = 0;

	for (at.i = 1; at.i < argc && !ret; at.i++) {
		char *word = argv[at.i];

		if (!only_args && !strcmp(word, "--")) {
			only_args = true;
		} else if (!only_args && !strncmp(word, "--", 2)) {
			ret = parse_long(set, target, &at, err);
		} else if (!only_args && word[0] == '-' && word[1]) {
			ret = parse_short(set, target, &at, err);
		} else if (count == set->args_max) {
			/* The query of a URL may be a secret. */
			ret = error_set(err, ERR_ARG,
					"'%.*s' is one argument too many: %s",
					(int)strcspn(word, "?"), word,
					set->synopsis);
		} else {
			args[count++] = word;
		}
	}
	args[count] = NULL;
	return ret ? ret : check_count(set, count, err);
}
