/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Scratch space of a mount (-o scratch=DIR): nameless files below one limit
 * (-o scratch-size=). They vanish with the process, so nothing is ever left
 * to be cleaned up.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_SCRATCH_H
#define VMIEFS_SCRATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct scratch;

/* Nothing is made before it is needed. dir NULL: /var/tmp/vmiefs-UID. */
int scratch_new(struct scratch **out, const char *dir, uint64_t limit_bytes,
		struct error *err);
void scratch_free(struct scratch *scratch); /* NULL is legal */

/* The directory's name, and a descriptor of it or -1. Without may_make it is
 * ERR_NOT_FOUND where the default is not there yet. */
const char *scratch_dir(const struct scratch *scratch);
int scratch_open_dir(const struct scratch *scratch, bool may_make,
		     struct error *err);

/* A new nameless file, or -1. */
int scratch_open_file(struct scratch *scratch, struct error *err);

/* Before writing so many bytes. ENOSPC, with the limit and its option. */
int scratch_reserve(struct scratch *scratch, uint64_t bytes,
		    struct error *err);
void scratch_release(struct scratch *scratch, uint64_t bytes);

struct scratch_stats {
	uint64_t limit, used, peak; /* bytes */
};
struct scratch_stats scratch_stats(struct scratch *scratch);

#endif
