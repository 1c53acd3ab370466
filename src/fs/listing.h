/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One level of a bucket as it was at one moment: about 100 bytes per key,
 * counted in the memory budget, sorted. Immutable and counted.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_LISTING_H
#define VMIEFS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/names.h"
#include "store/store.h"

struct budget;
struct listing;

struct listing_entry {
	const char *segment; /* of the key or prefix, without slashes; lives as
			      * long as the listing */
	bool is_prefix;
	const char *etag;    /* "" for a prefix */
	uint64_t size;
	int64_t mtime_ns;
};

/* List the level below prefix ("" or "a/b/"), without the state prefix.
 * Blocks on the store. ERR_NOMEM where the budget has no room. */
int listing_load(struct listing **out, struct store *store,
		 const char *prefix, struct budget *budget, struct error *err);

struct listing *listing_ref(struct listing *listing);
void listing_unref(struct listing *listing); /* NULL is legal */

size_t listing_count(const struct listing *listing);

/* CLOCK_MONOTONIC, when loading began. */
int64_t listing_time_ns(const struct listing *listing);

void listing_entry(const struct listing *listing, size_t i,
		   struct listing_entry *entry);

/* The index of the object or prefix with this segment; SIZE_MAX if absent. */
size_t listing_find(const struct listing *listing, const char *segment,
		    bool is_prefix);

/* The name of entry i; false where the view does not show it. */
bool listing_name(const struct listing *listing, size_t i, enum view view,
		  char name[NAME_SIZE]);

/* The index of the entry with this name in the view; SIZE_MAX if absent. */
size_t listing_find_name(const struct listing *listing, enum view view,
			 const char *name);

#endif
