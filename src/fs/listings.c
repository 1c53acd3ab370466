/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The cache of listings: a few, with the time they were made. */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "fs/clock.h"
#include "fs/listings.h"

#define KEPT_MAX 16

/* When to list again (listings_is_worthwhile()). */
#define WORTH_USES 4
#define WORTH_KEYS 10000

struct kept {
	const struct store *store;
	char *prefix;            /* NULL: not in use */
	struct listing *listing; /* NULL: it was too old */
	int64_t until_ns;        /* when it becomes too old */
	size_t count;            /* entries that it has or had */
	unsigned int uses;       /* names asked for since it was made */
};

struct listings {
	struct budget *budget;
	int64_t ttl_ns;
	pthread_mutex_t lock; /* of what follows */
	struct kept kept[KEPT_MAX];
	unsigned int next; /* to be replaced */
};

int listings_new(struct listings **out, struct budget *budget,
		 unsigned int ttl_ms, struct error *err)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return error_nomem(err);
	(*out)->budget = budget;
	(*out)->ttl_ns = ttl_ms * NS_PER_MS;
	pthread_mutex_init(&(*out)->lock, NULL);
	return 0;
}

static void clear(struct kept *kept)
{
	listing_unref(kept->listing);
	free(kept->prefix);
	memset(kept, 0, sizeof(*kept));
}

void listings_free(struct listings *listings)
{
	if (!listings)
		return;
	for (size_t i = 0; i < KEPT_MAX; i++)
		clear(&listings->kept[i]);
	pthread_mutex_destroy(&listings->lock);
	free(listings);
}

/* Forget what is too old, so that it does not hold memory for ever. */
static void expire(struct listings *self)
{
	int64_t now = clock_ns();

	for (size_t i = 0; i < KEPT_MAX; i++) {
		struct kept *kept = &self->kept[i];

		if (kept->listing && kept->until_ns < now) {
			listing_unref(kept->listing);
			kept->listing = NULL;
		}
	}
}

static struct kept *find(struct listings *self, const struct store *store,
			 const char *prefix)
{
	for (size_t i = 0; i < KEPT_MAX; i++) {
		struct kept *kept = &self->kept[i];

		if (kept->prefix && kept->store == store &&
		    !strcmp(kept->prefix, prefix))
			return kept;
	}
	return NULL;
}

struct listing *listings_peek(struct listings *listings,
			      const struct store *store, const char *prefix)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&listings->lock);
	struct kept *kept;

	(void)held;
	expire(listings);
	kept = find(listings, store, prefix);
	if (!kept || !kept->listing)
		return NULL;
	kept->uses++;
	return listing_ref(kept->listing);
}

bool listings_is_worthwhile(struct listings *listings,
			    const struct store *store, const char *prefix)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&listings->lock);
	struct kept *kept = find(listings, store, prefix);

	(void)held;
	return kept && kept->uses++ >= WORTH_USES && kept->count <= WORTH_KEYS;
}

void listings_drop(struct listings *listings, const struct store *store,
		   const char *prefix)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&listings->lock);
	struct kept *kept = find(listings, store, prefix);

	(void)held;
	if (kept)
		clear(kept);
}

/* A store so slow that a listing is old when it arrives would be asked for
 * each name again: then it counts for as long as it took. */
static int64_t fresh_until(const struct listings *self,
			   const struct listing *listing)
{
	int64_t begin = listing_time_ns(listing);
	int64_t took = clock_ns() - begin;

	return begin + (self->ttl_ns && self->ttl_ns < 2 * took ? 2 * took :
								  self->ttl_ns);
}

static void keep(struct listings *self, const struct store *store,
		 const char *prefix, struct listing *listing)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	struct kept *kept = find(self, store, prefix);
	char *copy = strdup(prefix);
	unsigned int uses = 0;

	(void)held;
	if (!copy)
		return; /* then it is asked for again */
	if (!kept)
		kept = &self->kept[self->next++ % KEPT_MAX];
	else /* who has asked for many names goes on, for a while */
		uses = (unsigned int)min_u64(kept->uses, 2 * WORTH_USES) / 2;
	clear(kept);
	kept->uses = uses;
	kept->until_ns = fresh_until(self, listing);
	kept->store = store;
	kept->prefix = copy;
	kept->listing = listing_ref(listing);
	kept->count = listing_count(listing);
}

int listings_get(struct listing **out, struct listings *listings,
		 struct store *store, const char *prefix, struct error *err)
{
	*out = listings_peek(listings, store, prefix);
	if (*out)
		return 0;
	if (listing_load(out, store, prefix, listings->budget, err))
		return -1;
	keep(listings, store, prefix, *out);
	return 0;
}
