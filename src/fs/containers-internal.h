/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of containers: containers.c fills it, containers-keep.c decides
 * what stays in it. Its lock is held where nothing else is said. */
#ifndef VMIEFS_CONTAINERS_INTERNAL_H
#define VMIEFS_CONTAINERS_INTERNAL_H

#include <pthread.h>

#include "common/pool.h"
#include "fs/containers.h"

#define OPEN_IDLE_MAX 64    /* containers kept open that nobody reads */
#define RECORDS_MAX   16384 /* containers known */
#define SLOTS         4096  /* a power of two */

struct record {
	struct containers *owner;
	struct bucket *bucket;
	char *key;
	struct object_info info;
	bool is_plain, is_ova;

	/* Under the owner's lock. */
	struct record *next;   /* in its slot */
	struct ring by_age;    /* of all, by last use */
	struct ring open_ones; /* of those with `opened`, by last use */
	struct job job;
	bool is_running;       /* the job is queued or runs */
	struct ring wants;
	struct known *known;
	int64_t known_ns;      /* when it was last found true */
	bool is_doubtful;      /* it no longer is, whenever that was */
	bool is_alone;         /* consists of one object */
	struct opened *opened;
};

struct containers {
	struct containers_options options;
	struct pool *probes, *openers, *closer;
	pthread_mutex_t lock;
	struct record *slots[SLOTS];
	struct ring by_age, open_ones; /* least recently used first */
	unsigned int count, open_count;
	struct ring waiting;           /* wants by deadline */
	pthread_cond_t wake;           /* the timer */
	pthread_t timer;
	bool timer_runs, closing;
	uint64_t probe_count, failure_count, timeout_count;
};

unsigned int containers_slot(const struct target *target);

static inline struct target record_target(const struct record *record)
{
	return (struct target){
		.bucket = record->bucket,
		.key = record->key,
		.info = record->info,
		.is_plain = record->is_plain,
		.is_ova = record->is_ova,
	};
}

void record_free(struct record *record);

/* Take it out of the table, and free it. It is not busy. */
void containers_drop_record(struct containers *self, struct record *record);

/* Take the open container away from its record. */
void containers_drop_opened(struct containers *self, struct record *record);

/* Close what is idle and forget what is old, above the bounds; what is busy
 * stays and is not counted against them. */
void containers_trim(struct containers *self);

/* For a budget; lock not held. */
uint64_t containers_reclaim(void *arg, uint64_t bytes);

#endif
