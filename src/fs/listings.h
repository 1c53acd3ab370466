/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Recent listings, so that what readdir and lookups ask within a short time
 * is asked of the store once.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_LISTINGS_H
#define VMIEFS_LISTINGS_H

#include "fs/bucket.h"
#include "fs/listing.h"

struct listings;

int listings_new(struct listings **out, struct budget *budget,
		 unsigned int ttl_ms, struct error *err);
void listings_free(struct listings *listings); /* NULL is legal */

/* A reference to the listing of a prefix, not older than the TTL, or than
 * twice the time that it took. Blocks on the store. */
int listings_get(struct listing **out, struct listings *listings,
		 struct store *store, const char *prefix, struct error *err);

/* The same if it is there already, else NULL; never blocks. */
struct listing *listings_peek(struct listings *listings,
			      const struct store *store, const char *prefix);

/* A name is to be asked for: is listing again cheaper than asking the store
 * name by name? So it is where the last listing was not long and several names
 * have been asked for since. */
bool listings_is_worthwhile(struct listings *listings,
			    const struct store *store, const char *prefix);

/* Something was found to have changed: forget the prefix. */
void listings_drop(struct listings *listings, const struct store *store,
		   const char *prefix);

#endif
