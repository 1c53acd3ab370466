/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * How long containers stay known, and open where nobody reads them. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "fs/containers-internal.h"

/* Work that ends elsewhere: an opened to be closed. */
struct closing {
	struct job job;
	struct opened *opened;
};

unsigned int containers_slot(const struct target *target)
{
	uint64_t hash = 0xcbf29ce484222325ull ^ target->is_plain;

	for (const char *c = target->key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3ull;
	return (unsigned int)(hash ^ hash >> 32) & (SLOTS - 1);
}

static void run_close(struct job *job)
{
	struct closing *closing = (struct closing *)job;

	opened_close(closing->opened);
	free(closing);
}

void containers_release(struct containers *containers, struct opened *opened)
{
	struct closing *closing;

	if (!opened || !opened_unref(opened))
		return;
	closing = malloc(sizeof(*closing));
	if (!closing) {
		opened_close(opened);
		return;
	}
	closing->job.run = run_close;
	closing->opened = opened;
	pool_add(containers->closer, &closing->job, JOB_URGENT);
}

void containers_drop_opened(struct containers *self, struct record *record)
{
	if (!record->opened)
		return;
	ring_remove(&record->open_ones);
	containers_release(self, take_ptr(record->opened));
	self->open_count--;
}

void record_free(struct record *record)
{
	known_unref(record->known);
	free(record->key);
	free(record);
}

void containers_drop_record(struct containers *self, struct record *record)
{
	const struct target target = record_target(record);
	struct record **at = &self->slots[containers_slot(&target)];

	while (*at != record)
		at = &(*at)->next;
	*at = record->next;
	ring_remove(&record->by_age);
	self->count--;
	containers_drop_opened(self, record);
	record_free(record);
}

static bool is_busy(const struct record *record)
{
	return record->is_running || !ring_is_empty(&record->wants) ||
	       (record->opened && !opened_is_idle(record->opened));
}

void containers_trim(struct containers *self)
{
	struct ring *at, *next;

	for (at = self->open_ones.next; at != &self->open_ones &&
	     self->open_count > OPEN_IDLE_MAX; at = next) {
		struct record *record = ring_item(at, struct record,
						  open_ones);

		next = at->next;
		if (!is_busy(record))
			containers_drop_opened(self, record);
	}
	for (at = self->by_age.next; at != &self->by_age &&
	     self->count > RECORDS_MAX; at = next) {
		struct record *record = ring_item(at, struct record, by_age);

		next = at->next;
		if (!is_busy(record))
			containers_drop_record(self, record);
	}
}

/* Somebody lacks memory: let go of what nobody uses. It is closed in another
 * thread, since closing may wait for the very one that asks; who lacks the
 * memory finds it a little later. */
uint64_t containers_reclaim(void *arg, uint64_t bytes)
{
	struct containers *self = arg;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);
	struct ring *at, *next;

	(void)held;
	(void)bytes;
	for (at = self->open_ones.next; at != &self->open_ones; at = next) {
		struct record *record = ring_item(at, struct record,
						  open_ones);

		next = at->next;
		if (!is_busy(record))
			containers_drop_opened(self, record);
	}
	return 0;
}

/* Those of one slot. */
static void forget_in(struct containers *self, const struct target *target)
{
	struct record *record = self->slots[containers_slot(target)], *next;

	for (; record; record = next) {
		next = record->next;
		if (record->bucket != target->bucket ||
		    strcmp(record->key, target->key) != 0)
			continue;
		/* Who still reads it closes it. */
		if (!record->is_running)
			containers_drop_opened(self, record);
		if (!is_busy(record))
			containers_drop_record(self, record);
	}
}

void containers_forget(struct containers *containers, struct bucket *bucket,
		       const char *key)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&containers->lock);
	struct target target = { .bucket = bucket, .key = key };

	(void)held;
	forget_in(containers, &target);
	target.is_plain = true;
	forget_in(containers, &target);
}
