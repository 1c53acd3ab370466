/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The containers that the mount has met: what is known about them, and those
 * that are open. One probe runs per container however many ask; who asks does
 * not block a thread but is called back, at the latest when the deadline has
 * passed (the probe then goes on, so that the next one to ask finds it done).
 *
 * Threads: everything may be called from any thread; nothing blocks on I/O
 * except containers_free(). Probes run in a pool of this module's own. */
#ifndef VMIEFS_CONTAINERS_H
#define VMIEFS_CONTAINERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/probe.h"
#include "fs/ring.h"

struct containers;
struct want;

struct containers_options {
	struct engine *engine;
	unsigned int deadline_ms; /* of one who waits */
	unsigned int ttl_ms;      /* how long a failure, and what lies beside
				   * the container, are trusted */
	bool vhd_chs;
};

/* Answer to a want: known is set unless the target is plain, opened if it was
 * asked for and known->kind is ERR_NONE. Both are borrowed. Or err is set:
 * something passing that says nothing about the container. Must not block. */
typedef void wanted_fn(struct want *want, struct known *known,
		       struct opened *opened, const struct error *err);

/* In the caller's own struct, which must live until done() is called. */
struct want {
	wanted_fn *done;
	bool needs_open;

	/* The module's own. */
	int64_t deadline_ns;
	struct ring by_record, by_deadline;
};

int containers_new(struct containers **out,
		   const struct containers_options *options,
		   struct error *err);

/* Every want is answered ERR_CANCELLED now; no further ones may come. */
void containers_stop(struct containers *containers);

/* After containers_stop() and with no opened left in other hands. Waits for
 * probes that run. The engine, whose memory it helps to find, serves nobody
 * any more. NULL is legal. */
void containers_free(struct containers *containers);

/* done() is called exactly once, perhaps before this returns. */
void containers_want(struct containers *containers,
		     const struct target *target, struct want *want);

/* Start a probe in the background where nothing is known. */
void containers_prefetch(struct containers *containers,
			 const struct target *target);

/* A reference to what is known now, or NULL. */
struct known *containers_peek(struct containers *containers,
			      const struct target *target);

/* Somebody met ERR_STALE: what lies beside the container is to be looked at
 * again by the next probe, however fresh it seems. */
void containers_doubt(struct containers *containers,
		      const struct target *target);

/* The key has another object now, or none: what of the old one is open, and
 * that nobody reads, is closed, so that a directory gives its room back. */
void containers_forget(struct containers *containers, struct bucket *bucket,
		       const char *key);

/* Release what opened_ref() took; closing happens in another thread. */
void containers_release(struct containers *containers, struct opened *opened);

/* Counters for control/stats. */
int containers_stats(struct containers *containers, json_t *object,
		     struct error *err);

#endif
