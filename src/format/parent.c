/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The search for a parent: names first, then every sibling of the right
 * ending. A sibling that cannot be a parent (damaged, forbidden) is passed
 * over, but trouble that may go away (network, memory) ends the search, as
 * "not found" would be a lie then. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/strbuf.h"
#include "format/parent.h"

#define SIBLINGS_MAX 10000 /* opened in one search */
#define ROUND        16u   /* of them expected at once */

/* Append one code point; false for none that text may hold. */
static bool add_code_point(struct strbuf *out, uint32_t c)
{
	char utf8[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if ((c >= 0xd800 && c < 0xe000) || c < 0x20)
		return false;
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		utf8[i] = (char)(0x80 | (c & 0x3f));
	utf8[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xf0) | c);
	strbuf_add(out, utf8, n);
	return true;
}

char *utf16_text(const uint8_t *text, size_t bytes, bool big_endian)
{
	struct strbuf out = { .max = bytes / 2 * 3 };
	uint32_t high = 0;

	for (size_t i = 0; i + 2 <= bytes; i += 2) {
		uint32_t c = big_endian ? be16_get(text + i) :
					  le16_get(text + i);

		if (c == 0)
			break;
		if (c >= 0xd800 && c < 0xdc00 && !high) {
			high = c;
			continue;
		}
		if (high && c >= 0xdc00 && c < 0xe000)
			c = 0x10000 + ((high - 0xd800) << 10) + (c - 0xdc00);
		else if (high)
			c = high;
		high = 0;
		if (!add_code_point(&out, c)) {
			strbuf_free(&out);
			return strdup("");
		}
	}
	return strbuf_take(&out);
}

void parent_add_path(struct parent_names *names, const char *path,
		     size_t bytes)
{
	size_t len = strnlen(path, bytes), start = len;
	char *name;

	while (start > 0 && !strchr("/\\", path[start - 1]))
		start--;
	len -= start;
	if (len == 0 || len >= PARENT_NAME_MAX ||
	    names->count == PARENT_NAMES_MAX)
		return;
	name = names->names[names->count];
	memcpy(name, path + start, len);
	name[len] = '\0';
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->names[i], name))
			return;
	names->count++;
}

void parent_add_utf16(struct parent_names *names, const uint8_t *path,
		      size_t bytes, bool big_endian)
{
	AUTO_FREE char *text = utf16_text(path, bytes, big_endian);

	/* Without memory a name is not tried, and the search by id finds the
	 * parent or fails for the same reason. */
	if (text)
		parent_add_path(names, text, strlen(text));
}

/* Errors that only say "this sibling is not it". */
static bool is_no_match(const struct error *err)
{
	switch (err->kind) {
	case ERR_NOT_FOUND:
	case ERR_DENIED:
	case ERR_CORRUPT:
	case ERR_UNSUPPORTED:
	case ERR_ARG:
	case ERR_IO:
		return true;
	default:
		return false;
	}
}

struct search_state {
	const struct parent_search *search;
	const struct open_args *args;
	const char *format;    /* of child and parent */
	struct source *found;
	struct source *tables; /* of found: keeps what was read of it */
	char *found_name;      /* plain; owned */
	const char *other;     /* a hinted name that exists with another id */
};

static int take_found(struct search_state *state, struct source *source,
		      struct source *tables, const char *name,
		      struct error *err)
{
	state->found_name = strdup(name);
	if (!state->found_name)
		return error_nomem(err);
	state->found = source_ref(source);
	state->tables = source_ref(tables);
	return 1;
}

/* 1 and state->found if the source has the id; 0 if not. */
static int try_source(struct search_state *state, struct source *source,
		      const char *name, struct error *err)
{
	struct source *tables;
	int match;

	if (source_cached(&tables, source, state->args->cache, err))
		return -1;
	format_prefetch(source, state->format, state->args);
	match = state->search->matches(state->search->arg, tables, err);
	if (match > 0)
		match = take_found(state, source, tables, name, err);
	source_unref(tables);
	return match;
}

/* 1 and state->found if the sibling `name` has the id; 0 if not. */
static int try_sibling(struct search_state *state, const char *name,
		       bool hinted, struct error *err)
{
	struct siblings *siblings = state->args->siblings;
	struct error why = { 0 };
	struct source *source;
	int match;

	if (siblings->open(siblings, name, &source, &why)) {
		match = -1;
	} else {
		match = try_source(state, source, name, &why);
		source_unref(source);
		if (match > 0)
			return 1;
		if (match == 0 && hinted)
			state->other = name;
	}
	if (match == 0 || is_no_match(&why))
		return 0;
	if (err)
		*err = why;
	return error_prefix(err, "parent %s", name);
}

static bool has_ending(const char *name, const char *const *endings)
{
	size_t len = strlen(name);

	for (; *endings; endings++) {
		size_t n = strlen(*endings);

		if (len > n && !strcasecmp(name + len - n, *endings))
			return true;
	}
	return false;
}

/* Candidates of the search by id. */
struct candidates {
	const struct search_state *state;
	char **names;
	size_t count, size;
	bool is_cut; /* there are more than SIBLINGS_MAX */
};

/* siblings->each callback; stops the listing by an error once it is cut. */
static int add_candidate(void *arg, const char *name, struct error *err)
{
	struct candidates *all = arg;
	const struct search_state *state = all->state;

	if (!has_ending(name, state->search->endings) ||
	    !strcmp(name, state->args->file_name))
		return 0;
	all->is_cut = all->count == SIBLINGS_MAX;
	if (all->is_cut)
		return error_set(err, ERR_CANCELLED, "enough");
	if (all->count == all->size) {
		size_t size = all->size ? 2 * all->size : 64;
		char **names = reallocarray(all->names, size, sizeof(*names));

		if (!names)
			return error_nomem(err);
		all->names = names;
		all->size = size;
	}
	all->names[all->count] = strdup(name);
	return all->names[all->count++] ? 0 : error_nomem(err);
}

static void expect(const struct search_state *state, char *const *names,
		   size_t n, const char *const *endings)
{
	struct siblings *siblings = state->args->siblings;
	struct open_args args = *state->args;

	args.format = state->format;
	if (siblings->expect_parents)
		siblings->expect_parents(siblings, (const char *const *)names,
					 n, endings, &args);
}

static int try_candidates(struct search_state *state,
			  const struct candidates *all, struct error *err)
{
	for (size_t i = 0; i < all->count && !state->found; i++) {
		if (i % ROUND == 0)
			expect(state, all->names + i,
			       min_u64(ROUND, all->count - i), NULL);
		if (open_goes_on(state->args, err) ||
		    try_sibling(state, all->names[i], false, err) < 0)
			return -1;
	}
	if (!state->found && all->is_cut)
		return error_set(err, ERR_LIMIT, "parent %s is not among the "
				 "first %d files beside it",
				 state->search->id, SIBLINGS_MAX);
	return 0;
}

static int find_by_id(struct search_state *state, struct error *err)
{
	struct siblings *siblings = state->args->siblings;
	struct candidates all = { .state = state };
	struct error why = { 0 };
	int ret = siblings->each(siblings, add_candidate, &all, &why);

	if (!ret || all.is_cut)
		ret = try_candidates(state, &all, err);
	else if (err)
		*err = why;
	while (all.count)
		free(all.names[--all.count]);
	free(all.names);
	return ret;
}

/* A parent with such a name has a parent itself. */
static bool is_middle(const struct parent_names *names)
{
	static const char *const endings[] = { ".avhd", ".avhdx", NULL };

	for (size_t i = 0; i < names->count; i++)
		if (has_ending(names->names[i], endings))
			return true;
	return false;
}

static void expect_named(const struct search_state *state,
			 const struct parent_names *names)
{
	bool is_chain = state->args->depth || is_middle(names);
	char *hints[PARENT_NAMES_MAX];

	for (size_t i = 0; i < names->count; i++)
		hints[i] = (char *)names->names[i];
	expect(state, hints, names->count,
	       is_chain ? state->search->endings : NULL);
}

static int find(struct search_state *state, const struct parent_names *names,
		struct error *err)
{
	const char *const *endings = state->search->endings;

	expect_named(state, names);
	for (size_t i = 0; i < names->count && !state->found; i++)
		if (strcmp(names->names[i], state->args->file_name) != 0 &&
		    try_sibling(state, names->names[i], true, err) < 0)
			return -1;
	if (state->found || !endings[0])
		return 0;
	return find_by_id(state, err);
}

static int fail_not_found(const struct search_state *state,
			  const struct parent_names *names, struct error *err)
{
	const char *name = names->count ? names->names[0] : "unknown name";

	if (state->other)
		return error_set(err, ERR_CORRUPT, "the file %s beside this "
				 "differencing disk is not its parent, or was "
				 "changed since: the parent has id %s",
				 state->other, state->search->id);
	return error_set(err, ERR_CORRUPT, "differencing disk: its parent "
			 "(%s, id %s) is not beside it", name,
			 state->search->id);
}

/* The parent's warnings, told apart from the child's. */
struct parent_warn {
	const struct open_args *args;
	const char *name;
};

static void warn_of_parent(void *arg, const char *text)
{
	const struct parent_warn *warn = arg;

	open_warn(warn->args, "parent %s: %s", warn->name, text);
}

int parent_open(struct map *child, const struct parent_names *names,
		const struct parent_search *search,
		const struct open_args *args, struct error *err)
{
	struct search_state state = { .search = search, .args = args,
				      .format = child->format->name };
	struct open_args sub = *args;
	struct parent_warn warn = { .args = args };
	AUTO_FREE char *name = NULL;
	int ret;

	if (!args->siblings)
		return fail_not_found(&state, names, err);
	if (args->size_only) {
		format_prefetch(child->source, state.format, args);
		expect_named(&state, names);
		return error_set(err, ERR_AGAIN, "has a parent");
	}
	if (find(&state, names, err))
		return -1;
	name = state.found_name;
	if (!state.found)
		return fail_not_found(&state, names, err);
	sub.format = child->format->name;
	sub.file_name = warn.name = name;
	sub.warn = warn_of_parent;
	sub.warn_arg = &warn;
	sub.depth++;
	ret = format_open(&child->parent, state.found, NULL, &sub, err);
	/* Thirty-two names in front would hide what a loop is refused for. */
	if (ret && err && !(err->kind == ERR_LIMIT && args->depth))
		error_prefix(err, "parent %s", name);
	source_unref(state.tables);
	source_unref(state.found);
	return ret;
}
