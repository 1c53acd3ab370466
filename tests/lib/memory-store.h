/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A store whose objects are bytes in memory, for unit tests: no files, exact
 * ETags, and objects can be replaced and removed at any moment. Readers of a
 * replaced or removed object get ERR_STALE, as the interface promises. Sinks
 * obey their rules without a lock: for one writer of a key at a time.
 *
 * Threads: everything here may be called from any thread, in parallel. */
#ifndef VMIEFS_TESTS_MEMORY_STORE_H
#define VMIEFS_TESTS_MEMORY_STORE_H

#include "store/store.h"

int memory_store_new(struct store **out, struct error *err);

/* Create or replace an object with a copy of data. */
int memory_store_put(struct store *store, const char *key, const void *data,
		     size_t size, struct error *err);

/* Remove an object. ERR_NOT_FOUND where there is none. */
int memory_store_remove(struct store *store, const char *key,
			struct error *err);

#endif
