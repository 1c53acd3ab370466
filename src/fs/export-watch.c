/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Watching files being written: once a second their progress is measured, and
 * who waits for one whose store has done nothing at all for too long is told.
 * A directory that hangs cannot be interrupted, so the operation itself stays
 * where it is until the kernel lets it go.
 *
 * Threads: the watcher, which begins with the first file and never waits for a
 * store. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/clock.h"
#include "fs/export-internal.h"

/* Is somebody waiting, and nothing happens? Its lock is held. */
static bool is_stalled(struct export *export, int64_t now, int64_t patience_ns)
{
	uint64_t life = export->in;

	if (export->live)
		life += pack_life(export->live);
	if (!export->current || !export->live || !export->can_hang ||
	    life != export->life) {
		export->life = life;
		export->life_ns = now;
	}
	return !export->is_hung && now - export->life_ns >= patience_ns;
}

static void look_at(struct export *export, int64_t now)
{
	unsigned int stall_ms = export->exports->options.stall_ms;
	struct error err = { 0 };
	bool is_late;

	pthread_mutex_lock(&export->lock);
	export_sample(export);
	is_late = is_stalled(export, now, stall_ms * NS_PER_MS);
	pthread_mutex_unlock(&export->lock);
	if (!is_late)
		return;
	error_errno(&err, ETIMEDOUT, "the store has taken nothing for %g s "
		    "(-o store-timeout=)", stall_ms / 1000.0);
	export_give_up(export, &err);
}

/* A reference to the export behind `before` (NULL: the first), whose reference
 * is given up; NULL behind the last. One that has ended meanwhile ends the
 * round. */
static struct export *next_of(struct exports *exports, struct export *before)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);
	struct ring *at = before ? before->in_all.next : exports->all.next;
	struct export *next = NULL;

	(void)held;
	if (at != &exports->all && !(before && before->is_gone))
		next = export_ref(ring_item(at, struct export, in_all));
	return next;
}

static void look_at_all(struct exports *exports)
{
	struct export *export = next_of(exports, NULL), *next;
	int64_t now = clock_ns();

	while (export) {
		look_at(export, now);
		next = next_of(exports, export);
		export_unref(export);
		export = next;
	}
}

static void *watch(void *arg)
{
	struct exports *exports = arg;
	int64_t next = clock_ns() + NS_PER_S;

	pthread_mutex_lock(&exports->lock);
	while (!exports->is_ending) {
		struct timespec until = timespec_of_ns(next);

		if (ring_is_empty(&exports->all))
			pthread_cond_wait(&exports->begun, &exports->lock);
		else
			pthread_cond_clockwait(&exports->begun,
					       &exports->lock,
					       CLOCK_MONOTONIC, &until);
		if (clock_ns() < next)
			continue;
		next = clock_ns() + NS_PER_S;
		pthread_mutex_unlock(&exports->lock);
		look_at_all(exports);
		pthread_mutex_lock(&exports->lock);
	}
	pthread_mutex_unlock(&exports->lock);
	return NULL;
}

int exports_watch(struct exports *exports, struct error *err)
{
	int errnum;

	pthread_cond_signal(&exports->begun);
	if (exports->has_watcher)
		return 0;
	errnum = pthread_create(&exports->watcher, NULL, watch, exports);
	if (errnum)
		return error_errno(err, errnum, "cannot start a thread");
	exports->has_watcher = true;
	return 0;
}

void exports_stop_watching(struct exports *exports)
{
	pthread_mutex_lock(&exports->lock);
	exports->is_ending = true;
	pthread_cond_signal(&exports->begun);
	pthread_mutex_unlock(&exports->lock);
	if (exports->has_watcher)
		pthread_join(exports->watcher, NULL);
}
