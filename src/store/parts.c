/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The store decorator for NAME.ova.part/: which key is where, and all calls
 * but listings. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "store/compose.h"
#include "store/parts-internal.h"

#define TRIES 8 /* against others who remove directories */

/* Names. */

static bool is_part_segment(const char *segment, size_t len)
{
	size_t n = strlen(PARTS_ENDING);

	return len > n && !strncasecmp(segment + len - n, PARTS_ENDING, n);
}

bool parts_is_name(const char *name)
{
	return !strchr(name, '/') && is_part_segment(name, strlen(name));
}

/* Is it below such a directory? With is_prefix also if it is one; a slash at
 * the end does not matter then. */
bool parts_is_key(const char *key, bool is_prefix)
{
	const char *slash;

	for (; (slash = strchr(key, '/')); key = slash + 1)
		if (is_part_segment(key, (size_t)(slash - key)))
			return true;
	return is_prefix && is_part_segment(key, strlen(key));
}

bool parts_is_sum_key(const char *key)
{
	size_t len = strlen(key), n = strlen(PARTS_SUM_ENDING);

	return len > n && !strcmp(key + len - n, PARTS_SUM_ENDING);
}

static bool is_vmdk(const char *key)
{
	size_t len = strlen(key);

	return len > 5 && !strcasecmp(key + len - 5, ".vmdk");
}

static int too_long(struct error *err)
{
	return error_errno(err, ENAMETOOLONG, "a key in NAME.ova.part/ has at "
			   "most %d bytes", STORE_KEY_MAX -
			   (int)strlen(PARTS_PREFIX) -
			   (int)strlen(PARTS_SUM_ENDING));
}

/* Where key is below the state prefix. */
int parts_state_key(char state[STATE_KEY_BYTES], const char *key,
		     struct error *err)
{
	size_t len = strlen(PARTS_PREFIX) + strlen(key);

	if (len + strlen(PARTS_SUM_ENDING) > STORE_KEY_MAX)
		return too_long(err);
	snprintf(state, STATE_KEY_BYTES, "%s%s", PARTS_PREFIX, key);
	return 0;
}

/* Objects. */

/* Is it there? What is there under neither key is nowhere. */
static int is_there(struct parts_store *self, const char *key,
		    struct object_info *info, bool *there, struct error *err)
{
	struct error own = { 0 };

	*there = !store_stat(self->inner, key, info, &own);
	if (*there || own.kind == ERR_NOT_FOUND)
		return 0;
	if (err)
		*err = own;
	return -1;
}

/* The key of the inner store that key has now; for one that is new, which it
 * is to have. */
static int locate(struct parts_store *self, const char *key, bool is_new,
		  char where[STATE_KEY_BYTES], struct error *err)
{
	struct object_info info;
	bool there = false;

	if (!parts_is_key(key, false)) {
		snprintf(where, STATE_KEY_BYTES, "%s", key);
		return 0;
	}
	if (parts_state_key(where, key, is_new ? err : NULL)) {
		if (is_new)
			return -1;
	} else if (is_there(self, where, &info, &there, err)) {
		return -1;
	}
	if (there)
		return 0;
	if (is_new && (is_there(self, key, &info, &there, err) || !there))
		return there ? -1 : 0;
	snprintf(where, STATE_KEY_BYTES, "%s", key);
	return 0;
}

static int parts_stat(struct store *store, const char *key,
		      struct object_info *info, struct error *err)
{
	struct parts_store *self = parts_of(store);
	char state[STATE_KEY_BYTES];
	bool there = false;

	if (parts_is_key(key, false) && !parts_state_key(state, key, NULL) &&
	    is_there(self, state, info, &there, err))
		return -1;
	return there ? 0 : store_stat(self->inner, key, info, err);
}

static int parts_open(struct object **out, struct store *store,
		      const char *key, const struct object_info *known,
		      struct error *err)
{
	struct parts_store *self = parts_of(store);
	char where[STATE_KEY_BYTES];

	if (locate(self, key, false, where, err))
		return -1;
	return object_open(out, self->inner, where, known, err);
}

static int check_new(const char *key, struct error *err)
{
	if (parts_is_key(key, false) && parts_is_sum_key(key))
		return error_set(err, ERR_ARG, "in NAME.ova.part/ names that "
				 "end in " PARTS_SUM_ENDING " are the "
				 "daemon's own");
	return 0;
}

static int parts_create(struct sink **out, struct store *store,
			const char *key, const struct sink_args *args,
			struct error *err)
{
	struct parts_store *self = parts_of(store);
	char where[STATE_KEY_BYTES];
	struct sink *inner;

	if (check_new(key, err) || locate(self, key, true, where, err) ||
	    store_create(&inner, self->inner, where, args, err))
		return -1;
	*out = inner;
	if (!strcmp(where, key))
		return 0;
	parts_note(self);
	if (!is_vmdk(key) ||
	    !parts_sum_sink_new(out, inner, self->inner, where, args, err))
		return 0;
	sink_discard(inner);
	return -1;
}

static void remove_sum(struct parts_store *self, const char *where)
{
	char sum[STATE_KEY_BYTES];

	if (strncmp(where, PARTS_PREFIX, strlen(PARTS_PREFIX)) != 0 ||
	    !is_vmdk(where))
		return;
	snprintf(sum, sizeof(sum), "%.*s%s", STORE_KEY_MAX, where,
		 PARTS_SUM_ENDING);
	store_remove(self->inner, sum, NULL, NULL);
}

static int parts_remove(struct store *store, const char *key,
			const char *if_match, struct error *err)
{
	struct parts_store *self = parts_of(store);
	char where[STATE_KEY_BYTES];

	if (locate(self, key, false, where, err) ||
	    store_remove(self->inner, where, if_match, err))
		return -1;
	remove_sum(self, where);
	return 0;
}

/* Directories. */

static size_t parent_len(const char *prefix, size_t len)
{
	while (len && prefix[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

/* A directory below the state prefix, with those above it. */
static int make_state_prefix(struct parts_store *self, const char *state,
			     struct error *err)
{
	struct error own = { 0 };
	size_t len;

	for (int i = 0; i < TRIES; i++) {
		if (!store_make_prefix(self->inner, state, &own))
			return 0;
		if (own.kind != ERR_NOT_FOUND)
			break;
		for (len = strcspn(state, "/"); state[len];
		     len += 1 + strcspn(state + len + 1, "/")) {
			AUTO_FREE char *above = strndup(state, len);

			if (!above)
				return error_nomem(err);
			store_make_prefix(self->inner, above, NULL);
		}
	}
	if (err)
		*err = own;
	return -1;
}

/* The directories above a prefix below the state prefix that are empty now,
 * and the state prefix itself if nothing is in it. */
static void tidy(struct parts_store *self, const char *state)
{
	for (size_t len = parent_len(state, strlen(state)); len;
	     len = parent_len(state, len)) {
		AUTO_FREE char *above = strndup(state, len);

		if (!above || store_remove_prefix(self->inner, above, NULL))
			return;
	}
}

static int parts_rename(struct store *store, const char *from, const char *to,
			const struct rename_args *args, struct error *err)
{
	struct parts_store *self = parts_of(store);
	char old[STATE_KEY_BYTES], new[STATE_KEY_BYTES];
	struct error own = { 0 };

	if (check_new(to, err) || locate(self, from, false, old, err) ||
	    locate(self, to, true, new, err))
		return -1;
	if (strcmp(new, to) != 0) {
		AUTO_FREE char *dir = strndup(new, parent_len(new,
							     strlen(new)));

		if (!dir)
			return error_nomem(err);
		if (make_state_prefix(self, dir, &own) &&
		    own.kind != ERR_EXISTS) {
			if (err)
				*err = own;
			return -1;
		}
		parts_note(self);
	}
	if (store_rename(self->inner, old, new, args, err))
		return -1;
	remove_sum(self, old);
	return 0;
}

static int parts_make_prefix(struct store *store, const char *prefix,
			     struct error *err)
{
	struct parts_store *self = parts_of(store);
	char state[STATE_KEY_BYTES], plain[STORE_KEY_MAX + 2];
	bool found;

	if (!parts_is_key(prefix, true))
		return store_make_prefix(self->inner, prefix, err);
	snprintf(plain, sizeof(plain), "%s/", prefix);
	if (parts_state_key(state, prefix, err) ||
	    store_has_prefix(self->inner, plain, &found, err))
		return -1;
	if (found)
		return error_errno(err, EEXIST, "'%s'", prefix);
	if (make_state_prefix(self, state, err))
		return -1;
	parts_note(self);
	return 0;
}

/* Digests whose disks somebody else has removed. */
static int remove_sums(void *arg, const struct store_entry *entry,
		       struct error *err)
{
	(void)err;
	if (!entry->is_prefix && parts_is_sum_key(entry->key))
		store_remove(arg, entry->key, NULL, NULL);
	return 0;
}

static void sweep(struct parts_store *self, const char *state)
{
	char below[STATE_KEY_BYTES + 1];
	struct list_args args = { .prefix = below, .delimiter = '/' };
	AUTO_FREE char *continuation = NULL;

	snprintf(below, sizeof(below), "%s/", state);
	store_list(self->inner, &args, remove_sums, self->inner,
		   &continuation, NULL);
}

/* What is below the state prefix for it. *gone: it was there. */
static int remove_state_prefix(struct parts_store *self, const char *prefix,
			       bool *gone, struct error *err)
{
	char state[STATE_KEY_BYTES];
	struct error own = { 0 };

	*gone = false;
	if (parts_state_key(state, prefix, NULL))
		return 0;
	if (parts_is_key(prefix, true))
		sweep(self, state);
	*gone = !store_remove_prefix(self->inner, state, &own);
	if (*gone)
		tidy(self, state);
	if (*gone || own.kind == ERR_NOT_FOUND)
		return 0;
	if (err)
		*err = own;
	return -1;
}

static int parts_remove_prefix(struct store *store, const char *prefix,
			       struct error *err)
{
	struct parts_store *self = parts_of(store);
	struct error own = { 0 };
	bool has = true, gone = false;

	if (!parts_is_key(prefix, true) && parts_ask(self, &has, err))
		return -1;
	if (has && remove_state_prefix(self, prefix, &gone, err))
		return -1;
	if (!store_remove_prefix(self->inner, prefix, &own) ||
	    (gone && own.kind == ERR_NOT_FOUND))
		return 0;
	if (err)
		*err = own;
	return -1;
}

/* Composing. */

static int locate_pieces(struct parts_store *self,
			 struct store_piece *pieces, char **keys, size_t count,
			 struct error *err)
{
	char where[STATE_KEY_BYTES];

	for (size_t i = 0; i < count; i++) {
		if (pieces[i].data || !pieces[i].length ||
		    !parts_is_key(pieces[i].key, false))
			continue;
		if (locate(self, pieces[i].key, false, where, err))
			return -1;
		pieces[i].key = keys[i] = strdup(where);
		if (!keys[i])
			return error_nomem(err);
	}
	return 0;
}

static int compose_inner(struct store *inner, const char *key,
			 const struct sink_args *args, struct compose *compose,
			 struct object_info *info, struct error *err)
{
	if (inner->ops->compose)
		return inner->ops->compose(inner, key, args, compose, info,
					   err);
	return compose_by_sink(inner, key, args, compose, compose_read_range,
			       info, err);
}

static int parts_compose(struct store *store, const char *key,
			 const struct sink_args *args, struct compose *compose,
			 struct object_info *info, struct error *err)
{
	struct parts_store *self = parts_of(store);
	size_t count = compose->count;
	AUTO_FREE struct store_piece *pieces = calloc(count + 1,
						      sizeof(*pieces));
	AUTO_FREE char **keys = calloc(count + 1, sizeof(*keys));
	struct compose own = *compose;
	char where[STATE_KEY_BYTES];
	int ret = -1;

	if (!pieces || !keys)
		return error_nomem(err);
	memcpy(pieces, compose->pieces, count * sizeof(*pieces));
	own.pieces = pieces;
	if (!check_new(key, err) && !locate(self, key, true, where, err) &&
	    !locate_pieces(self, pieces, keys, count, err))
		ret = compose_inner(self->inner, where, args, &own, info, err);
	if (!ret && strcmp(where, key) != 0)
		parts_note(self);
	for (size_t i = 0; i < count; i++)
		free(keys[i]);
	return ret;
}

/* The store itself. */

static int parts_open_bucket(struct store **out, struct store *service,
			     const char *name, struct error *err)
{
	struct store *inner;

	if (store_open_bucket(&inner, parts_of(service)->inner, name, err))
		return -1;
	if (!parts_store_new(out, inner, false, err))
		return 0;
	store_close(inner);
	return -1;
}

static int parts_start(struct store *store, struct error *err)
{
	return store_start(parts_of(store)->inner, err);
}

/* Who waits for the mount waits for the first answer, too. */
static int parts_check(struct store *store, struct error *err)
{
	bool has;

	if (store_check(parts_of(store)->inner, err))
		return -1;
	(void)!parts_ask(parts_of(store), &has, NULL);
	return 0;
}

static void parts_cancel(struct store *store)
{
	store_cancel(parts_of(store)->inner);
}

static int parts_stats(struct store *store, struct json_t *object,
		       struct error *err)
{
	return store_stats(parts_of(store)->inner, object, err);
}

static void parts_close(struct store *store)
{
	struct parts_store *self = parts_of(store);

	store_close(self->inner);
	pthread_mutex_destroy(&self->lock);
	free(self);
}

static const struct store_ops parts_store_ops = {
	.list = parts_list,
	.stat = parts_stat,
	.has_prefix = parts_has_prefix,
	.open = parts_open,
	.create = parts_create,
	.compose = parts_compose,
	.remove = parts_remove,
	.rename = parts_rename,
	.make_prefix = parts_make_prefix,
	.remove_prefix = parts_remove_prefix,
	.open_bucket = parts_open_bucket,
	.start = parts_start,
	.check = parts_check,
	.cancel = parts_cancel,
	.stats = parts_stats,
	.close = parts_close,
};

int parts_store_new(struct store **out, struct store *inner, bool is_service,
		    struct error *err)
{
	struct parts_store *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->store = (struct store){ &parts_store_ops, strdup(inner->url),
				      inner->fetch_bytes,
				      inner->request_bytes };
	if (!self->store.url) {
		free(self);
		return error_nomem(err);
	}
	self->inner = inner;
	self->is_service = is_service;
	pthread_mutex_init(&self->lock, NULL);
	*out = &self->store;
	return 0;
}

bool parts_digest(struct store *store, const char *key,
		  const struct object_info *info,
		  uint8_t digest[PARTS_DIGEST_BYTES])
{
	char state[STATE_KEY_BYTES];

	return store->ops == &parts_store_ops && parts_is_key(key, false) &&
	       !parts_state_key(state, key, NULL) &&
	       parts_sum_read(parts_of(store)->inner, state, info, digest);
}
