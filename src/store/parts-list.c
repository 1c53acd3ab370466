/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Listings with NAME.ova.part/ in them. Every level has to show what lies below
 * the state prefix, too: so that this does not cost a request for each, it is
 * asked once in a while whether there is anything. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "store/parts-internal.h"

#define KNOWN_NS  5000000000ll /* so long the answer is good */
#define LEVEL_MAX 10000        /* entries below the state prefix */

/* Is there anything? */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec + 1;
}

void parts_note(struct parts_store *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	self->has_parts = true;
	self->asked_ns = now_ns();
}

/* A remembered answer, if it is not older than that. */
static bool know_parts(struct parts_store *self, int64_t max_ns,
		       int64_t *asked_ns, bool *has)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	*has = self->has_parts;
	*asked_ns = self->asked_ns;
	return *asked_ns && now_ns() - *asked_ns < max_ns;
}

static int ask(struct parts_store *self, int64_t max_ns, bool *has,
	       struct error *err)
{
	struct error own = { 0 };
	int64_t before, start = now_ns();

	*has = false;
	if (self->is_service || know_parts(self, max_ns, &before, has))
		return 0;
	*has = false;
	/* Who may not look there has put nothing there. */
	if (store_has_prefix(self->inner, PARTS_PREFIX, has, &own) &&
	    own.kind != ERR_DENIED) {
		if (err)
			*err = own;
		return -1;
	}
	pthread_mutex_lock(&self->lock);
	if (self->asked_ns == before) { /* else something came meanwhile */
		self->asked_ns = start;
		self->has_parts = *has;
	}
	pthread_mutex_unlock(&self->lock);
	return 0;
}

int parts_ask(struct parts_store *self, bool *has, struct error *err)
{
	return ask(self, KNOWN_NS, has, err);
}

/* Many names are looked up, and each should cost no more than one question
 * about itself: so an old answer will do, until a listing brings a new one. */
int parts_has_prefix(struct store *store, const char *prefix,
			    bool *found, struct error *err)
{
	struct parts_store *self = parts_of(store);
	bool is_part = parts_is_key(prefix, true), has = is_part;
	char state[STATE_KEY_BYTES];

	if (store_has_prefix(self->inner, prefix, found, err))
		return -1;
	if (*found || (!is_part && ask(self, INT64_MAX, &has, err)))
		return *found ? 0 : -1;
	if (!has || parts_state_key(state, prefix, NULL))
		return 0;
	return store_has_prefix(self->inner, state, found, err);
}

/* Listings. */

/* What one level, or all, has below the state prefix, by the keys that users
 * of this store know; ordered by them. */
struct level {
	struct store_entry *entries;
	size_t count, room;
	store_list_fn *fn;
	void *arg;
};

static void free_level(struct level *level)
{
	while (level->count)
		free((char *)level->entries[--level->count].key);
	free(level->entries);
}

static int add_entry(void *arg, const struct store_entry *entry,
		     struct error *err)
{
	const char *key = entry->key + strlen(PARTS_PREFIX);
	struct level *level = arg;
	struct store_entry *copy;

	if (!entry->is_prefix &&
	    (!parts_is_key(key, false) || parts_is_sum_key(key)))
		return 0;
	if (level->count == LEVEL_MAX)
		return error_set(err, ERR_LIMIT, "more than %d entries are "
				 "below %s", LEVEL_MAX, PARTS_PREFIX);
	if (level->count == level->room) {
		size_t room = level->room ? 2 * level->room : 16;

		copy = reallocarray(level->entries, room, sizeof(*copy));
		if (!copy)
			return error_nomem(err);
		level->entries = copy;
		level->room = room;
	}
	copy = &level->entries[level->count];
	*copy = *entry;
	copy->key = strdup(key);
	if (!copy->key)
		return error_nomem(err);
	level->count++;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct store_entry *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int load_level(struct level *level, struct parts_store *self,
		      const struct list_args *args, struct error *err)
{
	char prefix[STATE_KEY_BYTES];
	struct list_args own = { .prefix = prefix,
				 .delimiter = args->delimiter };
	char *next = NULL;
	int ret;

	if (parts_state_key(prefix, args->prefix, NULL))
		return 0;
	do {
		AUTO_FREE char *from = take_ptr(next);

		own.continuation = from;
		ret = store_list(self->inner, &own, add_entry, level, &next,
				 err);
	} while (!ret && next);
	free(next);
	if (level->count)
		qsort(level->entries, level->count, sizeof(*level->entries),
		      compare);
	return ret;
}

/* Of the store itself, but for what the level has already. */
static int pass_entry(void *arg, const struct store_entry *entry,
		      struct error *err)
{
	const struct level *level = arg;

	if (level->count &&
	    bsearch(entry, level->entries, level->count,
		    sizeof(*level->entries), compare))
		return 0;
	return level->fn(level->arg, entry, err);
}

int parts_list(struct store *store, const struct list_args *args,
		      store_list_fn *fn, void *arg, char **continuation,
		      struct error *err)
{
	struct parts_store *self = parts_of(store);
	struct level level = { .fn = fn, .arg = arg };
	bool has;
	int ret;

	if (parts_ask(self, &has, err))
		return -1;
	if (!has || !strncmp(args->prefix, PARTS_PREFIX, strlen(PARTS_PREFIX)))
		return store_list(self->inner, args, fn, arg, continuation,
				  err);
	ret = load_level(&level, self, args, err);
	for (size_t i = 0; !ret && !args->continuation && i < level.count; i++)
		ret = fn(arg, &level.entries[i], err);
	if (!ret)
		ret = store_list(self->inner, args, pass_entry, &level,
				 continuation, err);
	free_level(&level);
	return ret;
}
