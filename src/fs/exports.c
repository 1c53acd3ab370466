/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of files being written. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/scratch.h"
#include "fs/clock.h"
#include "fs/export-internal.h"

#define POOL_THREADS 64 /* writers that wait for their store at one time */

int exports_new(struct exports **out, const struct exports_options *options,
		struct error *err)
{
	struct exports *exports = calloc(1, sizeof(*exports));

	*out = NULL;
	if (!exports)
		return error_nomem(err);
	exports->options = *options;
	pthread_mutex_init(&exports->lock, NULL);
	pthread_cond_init(&exports->empty, NULL);
	pthread_cond_init(&exports->begun, NULL);
	ring_init(&exports->all);
	ring_init(&exports->ended);
	if (scratch_new(&exports->scratch, options->scratch_dir,
			options->scratch_bytes, err) ||
	    pool_new(&exports->pool, "export", POOL_THREADS, POOL_THREADS,
		     err)) {
		exports_free(exports);
		return -1;
	}
	*out = exports;
	return 0;
}

void exports_stop(struct exports *exports)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);

	for (struct ring *at = exports->all.next; at != &exports->all;
	     at = at->next) {
		struct export *export = ring_item(at, struct export, in_all);

		if (!export_is_busy(export) || export->is_closing)
			continue;
		log_warning("%s/%s was not complete at unmounting and is "
			    "dropped", export->bucket->store->url,
			    export->key);
		export_abort(export, "the file system was unmounted");
	}
}

static void free_blanks(struct exports *exports)
{
	struct blank *blank;

	while ((blank = exports->blanks)) {
		exports->blanks = blank->next;
		free(blank->key);
		free(blank);
	}
}

void exports_free(struct exports *exports)
{
	if (!exports)
		return;
	pthread_mutex_lock(&exports->lock);
	while (!ring_is_empty(&exports->all))
		pthread_cond_wait(&exports->empty, &exports->lock);
	pthread_mutex_unlock(&exports->lock);
	exports_stop_watching(exports);
	exports_forget_ended(exports);
	pool_free(exports->pool);
	scratch_free(exports->scratch);
	free_blanks(exports);
	pthread_mutex_destroy(&exports->lock);
	pthread_cond_destroy(&exports->empty);
	pthread_cond_destroy(&exports->begun);
	free(exports);
}

struct scratch *exports_scratch(struct exports *exports)
{
	return exports->scratch;
}

static bool is_same(const struct export *export, const struct bucket *bucket,
		    const char *key)
{
	return export->bucket == bucket && !strcmp(export->key, key);
}

/* Lock held. */
static struct export *find_busy(struct exports *exports,
				const struct bucket *bucket, const char *key)
{
	for (struct ring *at = exports->all.next; at != &exports->all;
	     at = at->next) {
		struct export *export = ring_item(at, struct export, in_all);

		if (is_same(export, bucket, key) && export_is_busy(export))
			return export;
	}
	return NULL;
}

int exports_add(struct exports *exports, struct export *export,
		struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);

	if (find_busy(exports, export->bucket, export->key))
		return error_errno(err, EBUSY, "is being written");
	if (exports_watch(exports, err))
		return -1;
	snprintf(export->identity, sizeof(export->identity), "new-%llu",
		 (unsigned long long)++exports->serial);
	ring_append(&exports->all, &export->in_all);
	return 0;
}

void exports_remove(struct exports *exports, struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);

	pthread_mutex_lock(&export->lock);
	export->is_gone = true;
	pthread_mutex_unlock(&export->lock);
	exports_note_ended(exports, export);
	exports->bytes_in += export->in;
	exports->bytes_out += export->out;
	ring_remove(&export->in_all);
	if (ring_is_empty(&exports->all))
		pthread_cond_broadcast(&exports->empty);
}

struct export *exports_find(struct exports *exports,
			    const struct bucket *bucket, const char *key)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);

	for (struct ring *at = exports->all.next; at != &exports->all;
	     at = at->next) {
		struct export *export = ring_item(at, struct export, in_all);

		if (is_same(export, bucket, key) &&
		    export_is_visible(export))
			return export_ref(export);
	}
	return NULL;
}

bool exports_is_busy(struct exports *exports, const struct bucket *bucket,
		     const char *key)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);

	return find_busy(exports, bucket, key);
}

void exports_each(struct exports *exports, const struct bucket *bucket,
		  const char *prefix,
		  void (*fn)(void *arg, const char *segment), void *arg)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);
	size_t len = strlen(prefix);

	for (struct ring *at = exports->all.next; at != &exports->all;
	     at = at->next) {
		struct export *export = ring_item(at, struct export, in_all);

		if (export->bucket == bucket &&
		    !strncmp(export->key, prefix, len) &&
		    !strchr(export->key + len, '/') &&
		    export_is_visible(export))
			fn(arg, export->key + len);
	}
}

/* Blanks. */

/* The oldest ones, behind the newest BLANKS_MAX / 2. Lock held. */
static void forget_blanks(struct exports *exports)
{
	struct blank **at = &exports->blanks;

	for (unsigned int i = 0; *at && i < BLANKS_MAX / 2; i++)
		at = &(*at)->next;
	while (*at) {
		struct blank *old = *at;

		*at = old->next;
		free(old->key);
		free(old);
		exports->blank_count--;
	}
}

void exports_note_blank(struct exports *exports, const struct export *export,
			const char *etag)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);
	struct blank *blank = calloc(1, sizeof(*blank));

	if (!blank || !(blank->key = strdup(export->key))) {
		free(blank); /* then it is no blank */
		return;
	}
	blank->bucket = export->bucket;
	snprintf(blank->etag, sizeof(blank->etag), "%s", etag);
	blank->next = exports->blanks;
	exports->blanks = blank;
	if (++exports->blank_count > BLANKS_MAX)
		forget_blanks(exports);
}

bool exports_is_blank(struct exports *exports, const struct bucket *bucket,
		      const char *key, const char *etag)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);

	for (const struct blank *b = exports->blanks; b; b = b->next)
		if (b->bucket == bucket && !strcmp(b->key, key) &&
		    !strcmp(b->etag, etag))
			return true;
	return false;
}
