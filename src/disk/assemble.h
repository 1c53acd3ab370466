/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * An OVA from disks that lie in a store: what closes the directory
 * NAME.ova.part/.
 *
 * Threads: any; the calls block while the store is asked, read and written. A
 * job of a pool says so around them (pool_blocking_begin()). */
#ifndef VMIEFS_ASSEMBLE_H
#define VMIEFS_ASSEMBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/budget.h"
#include "common/error.h"

struct budget;
struct object_info;
struct page_cache;
struct scratch;
struct store;

/* Zero is the default of each member. */
struct assemble_args {
	bool replace;             /* as in sink_args */
	const char *if_match;     /* as in sink_args */
	struct budget *budget;    /* NULL: unbounded */
	struct scratch *scratch;  /* as in sink_args */
	struct patience patience; /* as in sink_args */
	struct page_cache *cache; /* for the disks' tables; NULL: uncached */
	/* So many bytes are done, of `total` to be hashed and put together;
	 * false stops with ERR_CANCELLED. NULL: nobody asks. */
	bool (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
	uint64_t *hashed; /* gets the bytes that had to be read; may be NULL */
};

/* Keys of the objects directly below prefix ("vms/x.ova.part/"), in the order
 * of their names, which is the order of the disks. ERR_ARG where there is
 * anything but VMDKs of names that an OVA can have, ERR_LIMIT for too many,
 * ERR_NOT_FOUND for none. */
int assemble_list(char ***keys, size_t *count, struct store *store,
		  const char *prefix, struct error *err);
void assemble_list_free(char **keys, size_t count); /* NULL is legal */

/* Make the OVA `key` of the objects keys[0..count). The store copies them
 * (store/compose.h), and what it keeps no digest of is read once before
 * (store/parts.h). Each stays pinned (ERR_STALE when it is replaced meanwhile),
 * and none is removed. The OVA appears when it is whole, or not at all; info
 * (may be NULL) says what the store has then. */
int assemble_ova(struct store *store, const char *key, char *const *keys,
		 size_t count, const struct assemble_args *args,
		 struct object_info *info, struct error *err);

#endif
