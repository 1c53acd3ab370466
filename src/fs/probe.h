/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One probe: open a container, or an object for its own bytes, and tell what
 * it is or why it cannot be opened. */
#ifndef VMIEFS_PROBE_H
#define VMIEFS_PROBE_H

#include <stdbool.h>

#include "fs/bucket.h"
#include "fs/known.h"
#include "fs/opened.h"

/* What is asked about: an object as it was listed. */
struct target {
	struct bucket *bucket;
	const char *key;
	struct object_info info; /* as it was listed */
	bool is_plain; /* for its own bytes: no probe, never `known` */
	bool is_ova;   /* by its name */
};

struct prober {
	struct engine *engine;
	bool vhd_chs;
	bool needs_open; /* false: to know about it may be enough */
	bool (*keep_going)(void *arg); /* as in struct container_options */
	void *keep_going_arg;
};

/* What a probe brings home. */
struct finding {
	struct known *known;   /* a reference; NULL for a plain target */
	struct opened *opened; /* a reference; NULL where it did not open, and
				* after a glance (known->is_glance) */
	bool is_alone;         /* it consists of one object */
	struct error err;      /* set: passing trouble; nothing else then */
};

/* Fill *found, which is zero. Blocks on the store. */
void probe_target(const struct prober *prober, const struct target *target,
		  struct finding *found);

#endif
