/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Probes: which errors are a verdict about a container, to be shown and kept,
 * and which say something about the moment only. */
#include "config.h"

#include <time.h>

#include "fs/clock.h"
#include "fs/probe.h"

#define MEMORY_TRIES 5
#define GLANCE_BYTES (32u << 10) /* where a request costs as much as so many
				  * bytes, the fewest requests count */

/* The container did not open: a verdict about it, or passing trouble. */
static void judge(const struct target *target, struct finding *found)
{
	struct error why = found->err;
	struct object_info info;

	if (error_is_passing(why.kind))
		return;
	/* Did the object itself vanish, or something that it needs? */
	if (why.kind == ERR_NOT_FOUND &&
	    store_stat(target->bucket->store, target->key, &info, NULL)) {
		error_set(&found->err, ERR_STALE, "was deleted");
		return;
	}
	error_clear(&found->err);
	known_from_error(&found->known, target->key, &target->info,
			 target->is_ova, &why, &found->err);
}

/* Tables may need memory that idle containers are just giving back. */
static int open_container(const struct prober *prober,
			  const struct target *target,
			  struct container **out, struct error *err)
{
	const struct timespec pause = { .tv_nsec = 50 * NS_PER_MS };
	struct container_options options = {
		.vhd_chs = prober->vhd_chs,
		.size_only = !prober->needs_open &&
			     target->bucket->store->fetch_bytes >=
				     GLANCE_BYTES,
		.keep_going = prober->keep_going,
		.keep_going_arg = prober->keep_going_arg,
	};

	for (int i = 1;; i++) {
		if (!container_open(out, prober->engine,
				    target->bucket->store, target->key,
				    &target->info, &options, err))
			return 0;
		if (err->kind != ERR_NOMEM || i == MEMORY_TRIES)
			return -1;
		nanosleep(&pause, NULL);
		error_clear(err);
	}
}

static void probe_container(const struct prober *prober,
			    const struct target *target,
			    struct finding *found)
{
	struct container *container;

	if (open_container(prober, target, &container, &found->err)) {
		judge(target, found);
		return;
	}
	if (known_from_container(&found->known, container, &found->err)) {
		container_unref(container);
		judge(target, found);
		return;
	}
	found->is_alone = container_object_count(container) == 1;
	if (found->known->is_glance) {
		container_unref(container);
		return;
	}
	if (opened_from_container(&found->opened, prober->engine,
				  container, &found->err)) {
		known_unref(found->known);
		found->known = NULL;
	}
}

void probe_target(const struct prober *prober, const struct target *target,
		  struct finding *found)
{
	if (target->is_plain)
		opened_from_object(&found->opened, prober->engine,
				   target->bucket->store, target->key,
				   &target->info, &found->err);
	else
		probe_container(prober, target, found);
}
