/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A source with a list of writes applied in memory: how a container with
 * unfinished business (a dirty log) is read without being changed. */
#ifndef VMIEFS_OVERLAY_H
#define VMIEFS_OVERLAY_H

#include <stddef.h>
#include <stdint.h>

struct budget;
struct error;
struct source;

struct overlay_write {
	uint64_t offset, length; /* length > 0; their sum does not overflow */
	const uint8_t *data;     /* NULL = zeroes */
};

/* below with n writes applied in order, size bytes long (zeroes behind
 * below's end). Keeps a reference to below and copies of what can be seen of
 * the writes, for which it takes room from budget (may be NULL) until the
 * last reference is gone. While it works it needs up to 64 bytes a write. */
int source_overlay(struct source **out, struct source *below, uint64_t size,
		   const struct overlay_write *writes, size_t n,
		   struct budget *budget, struct error *err);

#endif
