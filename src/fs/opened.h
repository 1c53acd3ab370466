/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * An open container, or an object opened for its own bytes, with the engine's
 * disks for its parts: what open files read from. Counted; pinned to the ETag
 * it was opened with.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_OPENED_H
#define VMIEFS_OPENED_H

#include <stdbool.h>
#include <stddef.h>

#include "disk/container.h"
#include "disk/engine.h"
#include "store/store.h"

struct opened;

/* Takes the container over, also on failure. */
int opened_from_container(struct opened **out, struct engine *engine,
			  struct container *container, struct error *err);

/* The object's own bytes as its only part. Blocks on the store. */
int opened_from_object(struct opened **out, struct engine *engine,
		       struct store *store, const char *key,
		       const struct object_info *known, struct error *err);

/* A disk in an object that nobody else knows: of this format, by that name in
 * messages. Takes the object over, on success only. */
int opened_from_sealed(struct opened **out, struct engine *engine,
		       const struct store *store, const char *name,
		       const char *format, struct object *object,
		       struct error *err);

struct opened *opened_ref(struct opened *opened);

/* True if that was the last one: then opened_close() follows. */
MUST_CHECK bool opened_unref(struct opened *opened);

/* Close its files. Waits for what the engine still reads from them. */
void opened_close(struct opened *opened);

/* Nobody but the caller holds it (as of now). */
bool opened_is_idle(const struct opened *opened);

/* NULL for an object. */
struct container *opened_container(const struct opened *opened);

/* The part as a disk: parts as in struct known (disks, then files). Borrowed,
 * lives as long as opened. */
int opened_disk(struct disk **out, struct opened *opened, size_t part,
		struct error *err);

#endif
