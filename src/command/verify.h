/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reading all that a disk has stored, through the engine, many reads at a
 * time, and finding out which places do not read. */
#ifndef VMIEFS_VERIFY_H
#define VMIEFS_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "disk/container.h"

struct verifier {
	struct engine *engine;
	/* A place that does not read. They come in ascending order. */
	void (*damage)(void *arg, uint64_t offset, uint64_t length,
		       const char *why);
	/* Bytes that were read or given up since the last call, perhaps 0. */
	void (*progress)(void *arg, uint64_t bytes);
	/* Asked often; true ends the work with ERR_CANCELLED. */
	bool (*is_stopped)(void *arg);
	void *arg;
};

/* Bytes of the disk that are stored: what verify_disk() will read. */
MUST_CHECK int verify_count(struct map *map, uint64_t *bytes,
			    struct error *err);

/* Read them. 0 also where there was damage. -1: the work could not be done or
 * was stopped; what was found before has been told. After ERR_CANCELLED the
 * disk stays open, because closing waits for reads that may hang: leave with
 * _exit() then. */
MUST_CHECK int verify_disk(const struct verifier *verifier,
			   const struct container_disk *disk,
			   struct error *err);

#endif
