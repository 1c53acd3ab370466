/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a probe found out about one container, kept long after the container
 * itself was closed: enough for stat, listings and xattrs. Immutable and
 * counted.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_KNOWN_H
#define VMIEFS_KNOWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "store/store.h"

struct container;

/* A disk, or a file in an OVA that is shown as it is. */
struct known_part {
	char *name;            /* as users see it: "app-disk1.vmdk.raw" */
	uint64_t size;         /* bytes; 0 where kind is set */
	uint64_t stored;       /* bytes of the store behind it */
	bool can_have_holes;
	const char *format;    /* "vmdk"; static; NULL = a file as it is */
	const char *subformat; /* "streamOptimized"; static; may be NULL */
	enum error_kind kind;  /* why it cannot be opened; ERR_NONE = it can */
	char *why;             /* the sentence for it, or NULL */
};

struct known {
	atomic_uint refs;
	bool is_ova;
	bool is_glance;            /* opening it may find more: damage */
	bool may_heal;             /* a part cannot be opened for a reason that
				    * may pass (a device's error) */
	char identity[65];         /* over all objects that it reads */
	struct object_info info;   /* of the container's own object */
	enum error_kind kind; /* the whole container cannot be opened */
	char *why;
	struct error_remote *remote; /* the server's part in it, or NULL */
	size_t count;
	struct known_part parts[];
};

/* From an open container: its disks in their order, then, for an OVA, its
 * other files. */
int known_from_container(struct known **out, const struct container *container,
			 struct error *err);

/* Of a container that cannot be opened; its identity is made of key and
 * ETag. */
int known_from_error(struct known **out, const char *key,
		     const struct object_info *info, bool is_ova,
		     const struct error *why, struct error *err);

/* Why the container cannot be opened, as an error. Returns -1. */
int known_fail(const struct known *known, struct error *err);

struct known *known_ref(struct known *known);
void known_unref(struct known *known); /* NULL is legal */

/* st_blocks (of 512 bytes) of a file of size bytes, so many of them stored:
 * cp looks for holes only where this is less than the size. */
uint64_t known_blocks(uint64_t size, uint64_t stored, bool can_have_holes);

#endif
