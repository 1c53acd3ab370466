/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Buckets of a mount. */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "fs/bucket.h"

#define BUCKETS_MAX 1000 /* opened at one time, as an S3 account may have */

struct buckets {
	struct store *store;
	bool is_service;
	pthread_mutex_t lock; /* of what follows */
	struct bucket *first;
	unsigned int count;
};

bool is_state_key(const char *key)
{
	size_t len = strlen(STATE_PREFIX);

	return !strncmp(key, STATE_PREFIX, len) &&
	       (key[len] == '\0' || key[len] == '/');
}

/* Takes store over on success. */
static int add_bucket(struct bucket **out, struct buckets *buckets,
		      const char *name, struct store *store,
		      struct error *err)
{
	struct bucket *bucket = calloc(1, sizeof(*bucket));

	if (!bucket)
		return error_nomem(err);
	bucket->name = strdup(name);
	if (!bucket->name) {
		free(bucket);
		return error_nomem(err);
	}
	bucket->store = store;
	bucket->next = buckets->first;
	buckets->first = bucket;
	buckets->count++;
	*out = bucket;
	return 0;
}

int buckets_new(struct buckets **out, struct store *store, bool is_service,
		struct error *err)
{
	struct buckets *buckets = calloc(1, sizeof(*buckets));
	const char *slash = strrchr(store->url, '/');
	struct bucket *only;

	*out = NULL;
	if (!buckets) {
		store_close(store);
		return error_nomem(err);
	}
	buckets->store = store;
	buckets->is_service = is_service;
	pthread_mutex_init(&buckets->lock, NULL);
	if (!is_service &&
	    add_bucket(&only, buckets, slash ? slash + 1 : store->url, store,
		       err)) {
		buckets_free(buckets);
		return -1;
	}
	*out = buckets;
	return 0;
}

void buckets_free(struct buckets *buckets)
{
	if (!buckets)
		return;
	while (buckets->first) {
		struct bucket *bucket = buckets->first;

		buckets->first = bucket->next;
		if (bucket->store != buckets->store)
			store_close(bucket->store);
		free(bucket->name);
		free(bucket);
	}
	store_close(buckets->store);
	pthread_mutex_destroy(&buckets->lock);
	free(buckets);
}

bool buckets_is_service(const struct buckets *buckets)
{
	return buckets->is_service;
}

struct store *buckets_store(const struct buckets *buckets)
{
	return buckets->store;
}

struct bucket *buckets_only(const struct buckets *buckets)
{
	return buckets->is_service ? NULL : buckets->first;
}

static struct bucket *find_open(struct buckets *buckets, const char *name)
{
	struct bucket *bucket = buckets->first;

	while (bucket && strcmp(bucket->name, name) != 0)
		bucket = bucket->next;
	return bucket;
}

static int open_bucket(struct store **out, struct buckets *buckets,
		       const char *name, struct error *err)
{
	*out = NULL;
	if (buckets->count >= BUCKETS_MAX)
		return error_set(err, ERR_LIMIT, "more than %d buckets are "
				 "open; mount them one by one", BUCKETS_MAX);
	return store_open_bucket(out, buckets->store, name, err);
}

int buckets_find(struct bucket **out, struct buckets *buckets,
		 const char *name, struct error *err)
{
	struct store *store;

	if (is_state_key(name))
		return error_set(err, ERR_NOT_FOUND, "no such bucket");
	{
		AUTO_UNLOCK pthread_mutex_t *held =
			mutex_locked(&buckets->lock);

		(void)held;
		*out = find_open(buckets, name);
		if (*out)
			return 0;
		if (open_bucket(&store, buckets, name, err))
			return -1;
		if (!add_bucket(out, buckets, name, store, err))
			return 0;
	}
	store_close(store);
	return -1;
}
