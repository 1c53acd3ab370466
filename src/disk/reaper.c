/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The reaper: one thread, started with the first read that has to wait, that
 * ends reads whose deadline has passed or that were cancelled, and forgets
 * blocks that failed for a passing reason. While nothing waits it sleeps. */
#include "config.h"

#include <pthread.h>
#include <time.h>

#include "common/log.h"
#include "disk/internal.h"

#define TICK_MS 500

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Lock held, as for the next two. */
void read_unlist(struct disk_read *read)
{
	if (!read->link)
		return;
	*read->link = read->next;
	if (read->next)
		read->next->link = read->link;
	read->link = NULL;
}

void read_unlist_starved(struct disk_read *read)
{
	struct engine *engine = read->disk->engine;
	struct disk_read **link = &engine->starved_head;

	while (*link && *link != read)
		link = &(*link)->next_starved;
	if (!*link)
		return;
	*link = read->next_starved;
	if (!*link)
		engine->starved_tail = link;
}

/* Stop waiting for blocks that are still loading. */
static void unlink_waiters(struct disk_read *read)
{
	for (unsigned int i = 0; i < read->count; i++) {
		struct waiter **link = &read->blocks[i]->waiters;

		while (*link && (*link)->read != read)
			link = &(*link)->next;
		if (*link)
			*link = (*link)->next;
	}
}

/* Take the first read whose time is up. Lock held. */
static struct disk_read *find_overdue(struct engine *engine, int64_t now,
				      struct error *why)
{
	struct disk_read *read = engine->reads;

	while (read && !read->cancelled && read->deadline_ms > now)
		read = read->next;
	if (!read)
		return NULL;
	if (read->cancelled) {
		count(engine, COUNT_CANCELLED, 1);
		error_set(why, ERR_CANCELLED, "interrupted");
	} else {
		count(engine, COUNT_TIMEOUTS, 1);
		error_set(why, ERR_TIMEOUT, "no answer from the store within "
			  "%u s", engine->timeout_ms / 1000);
	}
	read_unlist(read);
	read_unlist_starved(read);
	unlink_waiters(read);
	read->state = READ_DONE;
	return read;
}

static void reap_failed_blocks(struct engine *engine)
{
	struct block *gone;

	gone = blocks_remove_expired(engine->blocks, &engine->have_failed);
	pthread_mutex_unlock(&engine->lock);
	blocks_free_chain(gone);
	pthread_mutex_lock(&engine->lock);
}

static void reaper_wait(struct engine *engine)
{
	struct timespec until;

	if (!engine->reads && !engine->have_failed) {
		engine->reaper_asleep = true;
		pthread_cond_wait(&engine->reap, &engine->lock);
		engine->reaper_asleep = false;
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TICK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&engine->reap, &engine->lock, &until);
}

static void *reaper(void *arg)
{
	struct engine *engine = arg;

	pthread_mutex_lock(&engine->lock);
	while (!engine->closing) {
		struct disk_read *read;
		struct error why;

		reaper_wait(engine);
		while ((read = find_overdue(engine, now_ms(), &why))) {
			pthread_mutex_unlock(&engine->lock);
			read_finish(read, &why);
			pthread_mutex_lock(&engine->lock);
		}
		if (engine->have_failed)
			reap_failed_blocks(engine);
	}
	pthread_mutex_unlock(&engine->lock);
	return NULL;
}

void reaper_wake(struct engine *engine)
{
	if (!engine->reaper_started) {
		if (pthread_create(&engine->reaper, NULL, reaper, engine)) {
			log_error("cannot start a thread; reads have no "
				  "deadline");
			return;
		}
		pthread_setname_np(engine->reaper, "reaper");
		engine->reaper_started = true;
	} else if (engine->reaper_asleep) {
		pthread_cond_signal(&engine->reap);
	}
}

void reaper_watch_failed(struct engine *engine)
{
	engine->have_failed = true;
	reaper_wake(engine);
}

void reaper_stop(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->closing = true;
	pthread_cond_signal(&engine->reap);
	pthread_mutex_unlock(&engine->lock);
	if (engine->reaper_started)
		pthread_join(engine->reaper, NULL);
}

void disk_read_cancel(struct disk_read *read)
{
	struct engine *engine = read->disk->engine;

	pthread_mutex_lock(&engine->lock);
	if (read->state != READ_DONE) {
		read->cancelled = true;
		pthread_cond_signal(&engine->reap);
	}
	pthread_mutex_unlock(&engine->lock);
}
