/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The buckets of a mount: one, or those of a service (-o service), opened
 * when first asked for and kept until unmounting.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_BUCKET_H
#define VMIEFS_BUCKET_H

#include <stdbool.h>

#include "store/store.h"

/* Keys at and below it are the daemon's own and never shown. */
#define STATE_PREFIX ".vmiefs"

struct bucket {
	char *name; /* the last part of the source's path */
	struct store *store;
	struct bucket *next;
};

struct buckets;

/* Takes the store over, also on failure. is_service: its first level holds
 * the buckets. */
int buckets_new(struct buckets **out, struct store *store, bool is_service,
		struct error *err);
void buckets_free(struct buckets *buckets); /* NULL is legal */

bool buckets_is_service(const struct buckets *buckets);

/* The store of a mount of one bucket, or of the service's first level. */
struct store *buckets_store(const struct buckets *buckets);

/* The only bucket of a mount of one. */
struct bucket *buckets_only(const struct buckets *buckets);

/* A bucket of the service by its name in a listing, which decides what is one
 * (it hides, for one, links that lead out of a directory). Opened if needed;
 * lives as long as buckets. */
int buckets_find(struct bucket **out, struct buckets *buckets,
		 const char *name, struct error *err);

/* Is this key, or prefix, the state prefix or below it? */
bool is_state_key(const char *key);

#endif
