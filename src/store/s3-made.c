/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Prefixes that exist only in this mount. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/s3-made.h"

void s3_made_init(struct s3_made *made)
{
	memset(made, 0, sizeof(*made));
	pthread_mutex_init(&made->lock, NULL);
}

void s3_made_destroy(struct s3_made *made)
{
	while (made->count)
		free(made->prefixes[--made->count]);
	free(made->prefixes);
	pthread_mutex_destroy(&made->lock);
}

/* Lock held: the first that is not before it. */
static size_t find(const struct s3_made *made, const char *prefix)
{
	size_t low = 0, high = made->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(made->prefixes[middle], prefix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct s3_made *made, size_t i, const char *prefix)
{
	return i < made->count && !strcmp(made->prefixes[i], prefix);
}

static bool begins_at(const struct s3_made *made, size_t i,
		      const char *prefix)
{
	return i < made->count &&
	       !strncmp(made->prefixes[i], prefix, strlen(prefix));
}

/* Lock held. */
static int make_room(struct s3_made *made, struct error *err)
{
	size_t room = 2 * made->room + 16;
	char **prefixes;

	if (made->count == S3_MADE_MAX)
		return error_set(err, ERR_LIMIT, "more than %d empty "
				 "directories are not kept", S3_MADE_MAX);
	if (made->count < made->room)
		return 0;
	prefixes = reallocarray(made->prefixes, room, sizeof(*prefixes));
	if (!prefixes)
		return error_nomem(err);
	made->prefixes = prefixes;
	made->room = room;
	return 0;
}

int s3_made_add(struct s3_made *made, const char *prefix, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&made->lock);
	size_t i = find(made, prefix);
	char *copy;

	(void)held;
	if (is_at(made, i, prefix))
		return error_set(err, ERR_EXISTS, "'%s' exists", prefix);
	if (make_room(made, err))
		return -1;
	copy = strdup(prefix);
	if (!copy)
		return error_nomem(err);
	memmove(&made->prefixes[i + 1], &made->prefixes[i],
		(made->count - i) * sizeof(*made->prefixes));
	made->prefixes[i] = copy;
	made->count++;
	return 0;
}

void s3_made_keep_parent(struct s3_made *made, const char *key)
{
	AUTO_FREE char *parent = strdup(key);
	char *slash = parent ? strrchr(parent, '/') : NULL;

	if (!slash)
		return;
	slash[1] = '\0';
	(void)s3_made_add(made, parent, NULL);
}

bool s3_made_forget(struct s3_made *made, const char *prefix)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&made->lock);
	size_t i = find(made, prefix);

	(void)held;
	if (!is_at(made, i, prefix))
		return false;
	free(made->prefixes[i]);
	made->count--;
	memmove(&made->prefixes[i], &made->prefixes[i + 1],
		(made->count - i) * sizeof(*made->prefixes));
	return true;
}

bool s3_made_has(struct s3_made *made, const char *prefix)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&made->lock);

	(void)held;
	return begins_at(made, find(made, prefix), prefix);
}

bool s3_made_has_below(struct s3_made *made, const char *prefix)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&made->lock);
	size_t i = find(made, prefix);

	(void)held;
	return begins_at(made, is_at(made, i, prefix) ? i + 1 : i, prefix);
}

/* Copies of those that are to be told: *out is NULL-ended. */
static int collect(struct s3_made *made, const char *prefix, char ***out,
		   struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&made->lock);
	size_t len = strlen(prefix), n = 0;

	(void)held;
	*out = calloc(made->count + 1, sizeof(**out));
	if (!*out)
		return error_nomem(err);
	for (size_t i = find(made, prefix); begins_at(made, i, prefix); i++) {
		const char *slash = strchr(made->prefixes[i] + len, '/');

		if (!slash || slash[1])
			continue;
		(*out)[n] = strdup(made->prefixes[i]);
		if (!(*out)[n++])
			return error_nomem(err);
	}
	return 0;
}

int s3_made_list(struct s3_made *made, const char *prefix, store_list_fn *fn,
		 void *arg, struct error *err)
{
	char **found;
	int ret = collect(made, prefix, &found, err);

	for (size_t i = 0; found && found[i]; i++) {
		struct store_entry entry = { .key = found[i],
					     .is_prefix = true };

		if (!ret)
			ret = fn(arg, &entry, err);
		free(found[i]);
	}
	free(found);
	return ret;
}
