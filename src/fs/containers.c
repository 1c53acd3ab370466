/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of containers and the probes that fill it.
 *
 * Threads: probes run in `probes`, at most PROBES at a time, and PROBE_THREADS
 * where the store hangs or is far, unless memory is less; plain objects are
 * opened in `openers`, so that they need not wait for hanging probes; closing
 * runs in `closer`, since a disk is closed only when its reads have ended.
 * `timer` answers the wants whose deadline passed. The lock is never held
 * while a store is asked, a container closed or a want answered. */
#include "config.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/pool.h"
#include "fs/clock.h"
#include "fs/containers-internal.h"

#define PROBES        32
#define PROBE_THREADS 512
#define PROBE_BYTES   (1u << 20) /* pages that a probe may need at once */
#define OPEN_THREADS  64
#define CLOSE_THREADS 4


static bool is_of(const struct record *record, const struct target *target)
{
	return record->bucket == target->bucket &&
	       record->is_plain == target->is_plain &&
	       !strcmp(record->key, target->key) &&
	       !strcmp(record->info.etag, target->info.etag);
}

static struct record *find(const struct containers *self,
			   const struct target *target)
{
	struct record *record = self->slots[containers_slot(target)];

	while (record && !is_of(record, target))
		record = record->next;
	return record;
}

/* Lock held. */
static void touch(struct containers *self, struct record *record)
{
	ring_remove(&record->by_age);
	ring_append(&self->by_age, &record->by_age);
	if (!record->opened)
		return;
	ring_remove(&record->open_ones);
	ring_append(&self->open_ones, &record->open_ones);
}

static struct record *add_record(struct containers *self,
				 const struct target *target)
{
	struct record *record = calloc(1, sizeof(*record));
	struct record **slot = &self->slots[containers_slot(target)];

	if (!record)
		return NULL;
	record->owner = self;
	record->bucket = target->bucket;
	record->is_plain = target->is_plain;
	record->is_ova = target->is_ova;
	record->key = strdup(target->key);
	record->info = target->info;
	if (!record->key) {
		record_free(record);
		return NULL;
	}
	ring_init(&record->open_ones);
	ring_init(&record->wants);
	ring_append(&self->by_age, &record->by_age);
	record->next = *slot;
	*slot = record;
	self->count++;
	record->is_running = true; /* trimming must spare it */
	containers_trim(self);
	record->is_running = false;
	return record;
}

/* The record of target, made if needed, now the newest. Lock held. */
static struct record *get_record(struct containers *self,
				 const struct target *target)
{
	struct record *record = find(self, target);

	if (!record)
		return add_record(self, target);
	touch(self, record);
	return record;
}

/* Is what is known still to be trusted? A sound container of one object is
 * tied to its ETag; with several, and for failures, the world may change. */
static bool is_fresh(const struct containers *self,
		     const struct record *record)
{
	int64_t age = clock_ns() - record->known_ns;

	if (!record->known)
		return false;
	if (record->is_doubtful)
		return false;
	if (record->is_alone && record->known->kind == ERR_NONE &&
	    !record->known->may_heal)
		return true;
	return age <= self->options.ttl_ms * NS_PER_MS;
}

/* Can the want be answered from the record as it is? Lock held. */
static bool is_satisfied(const struct containers *self,
			 const struct record *record, const struct want *want)
{
	if (record->is_plain)
		return record->opened;
	if (!is_fresh(self, record))
		return false;
	return !want->needs_open || record->known->kind != ERR_NONE ||
	       record->opened;
}

static bool keep_going(void *arg)
{
	struct containers *self = arg;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	return !self->closing;
}

/* The open container has become old: are the objects beside it the same? */
static bool is_current(struct opened *opened)
{
	struct error err = { 0 };

	return container_is_current(opened_container(opened), &err) == 1;
}

/* Lock held. */
static bool is_to_be_opened(const struct record *record)
{
	const struct ring *at = record->wants.next;

	while (at != &record->wants &&
	       !ring_item(at, struct want, by_record)->needs_open)
		at = at->next;
	return at != &record->wants;
}

static void probe(struct containers *self, struct record *record,
		  struct finding *found)
{
	struct prober prober = {
		.engine = self->options.engine,
		.vhd_chs = self->options.vhd_chs,
		.keep_going = keep_going,
		.keep_going_arg = self,
	};
	const struct target target = record_target(record);
	struct opened *opened = NULL;
	struct known *known = NULL;

	pthread_mutex_lock(&self->lock);
	if (record->opened && record->known) {
		opened = opened_ref(record->opened);
		known = known_ref(record->known);
	}
	prober.needs_open = is_to_be_opened(record);
	pthread_mutex_unlock(&self->lock);
	if (opened && !known->may_heal && is_current(opened)) {
		found->opened = opened;
		found->known = known;
		return;
	}
	containers_release(self, opened);
	known_unref(known);
	probe_target(&prober, &target, found);
}

static void unlink_want(struct want *want)
{
	ring_remove(&want->by_record);
	ring_remove(&want->by_deadline);
}

static void link_want(struct containers *self, struct record *record,
		      struct want *want)
{
	want->deadline_ns = clock_ns() +
			    self->options.deadline_ms * NS_PER_MS;
	ring_append(&record->wants, &want->by_record);
	ring_append(&self->waiting, &want->by_deadline);
}

/* Store what was found. Lock held. */
static void accept(struct containers *self, struct record *record,
		   struct finding *found)
{
	record->is_running = false;
	self->probe_count++;
	if (found->err.kind != ERR_NONE) {
		self->failure_count++;
		return;
	}
	if (found->known) {
		known_unref(record->known);
		record->known = known_ref(found->known);
		record->known_ns = clock_ns();
		record->is_doubtful = false;
		record->is_alone = record->is_alone || found->is_alone;
	}
	if (found->opened != record->opened) {
		containers_drop_opened(self, record);
		if (found->opened) {
			record->opened = opened_ref(found->opened);
			ring_append(&self->open_ones, &record->open_ones);
			self->open_count++;
		}
	}
	containers_trim(self);
}

/* Who has waited for what was found. Those that came during a glance and need
 * the container open are not among them. Lock held. */
static void take_answered(struct record *record, const struct finding *found,
			  struct ring *answers)
{
	bool is_glance = found->known && found->known->is_glance;
	struct ring *at, *next;

	for (at = record->wants.next; at != &record->wants; at = next) {
		struct want *want = ring_item(at, struct want, by_record);

		next = at->next;
		if (is_glance && want->needs_open)
			continue;
		unlink_want(want);
		ring_append(answers, &want->by_record);
	}
}

static void start_probe(struct containers *self, struct record *record,
			enum job_priority priority);

static void run_probe(struct job *job)
{
	struct record *record = ring_item(job, struct record, job);
	struct containers *self = record->owner;
	struct finding found = { 0 };
	struct ring answers;

	ring_init(&answers);
	probe(self, record, &found);
	pthread_mutex_lock(&self->lock);
	take_answered(record, &found, &answers);
	accept(self, record, &found);
	if (!ring_is_empty(&record->wants))
		start_probe(self, record, JOB_URGENT);
	pthread_mutex_unlock(&self->lock);
	/* From here on the record may be gone. */
	while (!ring_is_empty(&answers)) {
		struct want *want = ring_item(answers.next, struct want,
					      by_record);

		ring_remove(&want->by_record);
		want->done(want, found.known, found.opened,
			   found.err.kind == ERR_NONE ? NULL : &found.err);
	}
	containers_release(self, found.opened);
	known_unref(found.known);
}

/* Lock held. */
static void start_probe(struct containers *self, struct record *record,
			enum job_priority priority)
{
	if (record->is_running)
		return;
	record->is_running = true;
	record->job.run = run_probe;
	pool_add(record->is_plain ? self->openers : self->probes,
		 &record->job, priority);
}

static void answer_error(struct want *want, enum error_kind kind,
			 const char *text)
{
	struct error err = { 0 };

	error_set(&err, kind, "%s", text);
	want->done(want, NULL, NULL, &err);
}

static struct want *first_waiting(const struct containers *self)
{
	return ring_is_empty(&self->waiting) ? NULL :
	       ring_item(self->waiting.next, struct want, by_deadline);
}

/* Lock held; gives it back while answering. */
static void answer_late(struct containers *self, struct want *want)
{
	unlink_want(want);
	self->timeout_count++;
	pthread_mutex_unlock(&self->lock);
	answer_error(want, ERR_TIMEOUT, "not understood in time; it is still "
		     "being read, so try again (-o probe-timeout=)");
	pthread_mutex_lock(&self->lock);
}

static void *run_timer(void *arg)
{
	struct containers *self = arg;

	pthread_mutex_lock(&self->lock);
	while (!self->closing) {
		struct want *first = first_waiting(self);
		struct timespec until;

		if (!first) {
			pthread_cond_wait(&self->wake, &self->lock);
			continue;
		}
		if (first->deadline_ns <= clock_ns()) {
			answer_late(self, first);
			continue;
		}
		until = timespec_of_ns(first->deadline_ns);
		pthread_cond_timedwait(&self->wake, &self->lock, &until);
	}
	pthread_mutex_unlock(&self->lock);
	return NULL;
}

/* The timer starts with the first want, thus after daemonising. Lock held. */
static void wake_timer(struct containers *self)
{
	if (self->timer_runs)
		pthread_cond_signal(&self->wake);
	else
		self->timer_runs = !pthread_create(&self->timer, NULL,
						   run_timer, self);
}

void containers_want(struct containers *containers,
		     const struct target *target, struct want *want)
{
	struct known *known = NULL;
	struct opened *opened = NULL;
	struct record *record;
	bool satisfied, closing;

	pthread_mutex_lock(&containers->lock);
	closing = containers->closing;
	record = closing ? NULL : get_record(containers, target);
	satisfied = record && is_satisfied(containers, record, want);
	if (satisfied) {
		known = record->known ? known_ref(record->known) : NULL;
		opened = record->opened ? opened_ref(record->opened) : NULL;
	} else if (record) {
		link_want(containers, record, want);
		start_probe(containers, record, JOB_URGENT);
		if (first_waiting(containers) == want)
			wake_timer(containers);
	}
	pthread_mutex_unlock(&containers->lock);
	if (!record)
		answer_error(want, closing ? ERR_CANCELLED : ERR_NOMEM,
			     closing ? "unmounting" : "out of memory");
	else if (satisfied)
		want->done(want, known, opened, NULL);
	known_unref(known);
	containers_release(containers, opened);
}

void containers_prefetch(struct containers *containers,
			 const struct target *target)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&containers->lock);
	struct record *record;

	(void)held;
	record = containers->closing ? NULL : get_record(containers, target);
	if (record && !is_fresh(containers, record))
		start_probe(containers, record, JOB_BACKGROUND);
}

struct known *containers_peek(struct containers *containers,
			      const struct target *target)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&containers->lock);
	struct record *record = find(containers, target);

	(void)held;
	if (!record || !is_fresh(containers, record))
		return NULL;
	return known_ref(record->known);
}

void containers_doubt(struct containers *containers,
		      const struct target *target)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&containers->lock);
	struct record *record = find(containers, target);

	(void)held;
	if (record)
		record->is_doubtful = true;
}

/* As many probes as find room for what they read: else they would push out
 * each other's pages and fetch them again. */
static unsigned int probe_threads(struct engine *engine)
{
	uint64_t limit = budget_stats(engine_budget(engine)).limit;

	return (unsigned int)max_u64(2 * PROBES, min_u64(limit / PROBE_BYTES,
							 PROBE_THREADS));
}

int containers_new(struct containers **out,
		   const struct containers_options *options,
		   struct error *err)
{
	struct containers *self = calloc(1, sizeof(*self));
	pthread_condattr_t attr;

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->options = *options;
	ring_init(&self->by_age);
	ring_init(&self->open_ones);
	ring_init(&self->waiting);
	pthread_mutex_init(&self->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&self->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pool_new(&self->probes, "probe", PROBES,
		     probe_threads(options->engine), err) ||
	    pool_new(&self->openers, "open", OPEN_THREADS, OPEN_THREADS,
		     err) ||
	    pool_new(&self->closer, "close", CLOSE_THREADS, CLOSE_THREADS,
		     err)) {
		containers_free(self);
		return -1;
	}
	budget_add_reclaimer(engine_budget(options->engine),
			      containers_reclaim, self);
	*out = self;
	return 0;
}

void containers_stop(struct containers *containers)
{
	bool had_timer;

	pthread_mutex_lock(&containers->lock);
	containers->closing = true;
	had_timer = containers->timer_runs;
	containers->timer_runs = false;
	pthread_cond_signal(&containers->wake);
	pthread_mutex_unlock(&containers->lock);
	if (had_timer)
		pthread_join(containers->timer, NULL);
	for (;;) {
		struct want *want;

		pthread_mutex_lock(&containers->lock);
		want = first_waiting(containers);
		if (want)
			unlink_want(want);
		pthread_mutex_unlock(&containers->lock);
		if (!want)
			break;
		answer_error(want, ERR_CANCELLED, "unmounting");
	}
}

void containers_free(struct containers *containers)
{
	if (!containers)
		return;
	pool_free(containers->probes);
	pool_free(containers->openers);
	while (!ring_is_empty(&containers->by_age))
		containers_drop_record(containers,
				       ring_item(containers->by_age.next,
						 struct record, by_age));
	pool_free(containers->closer);
	pthread_mutex_destroy(&containers->lock);
	pthread_cond_destroy(&containers->wake);
	free(containers);
}

int containers_stats(struct containers *containers, json_t *object,
		     struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&containers->lock);
	json_t *stats = json_pack(
		"{s:I, s:I, s:I, s:I, s:I}",
		"probes", (json_int_t)containers->probe_count,
		"probes_failed", (json_int_t)containers->failure_count,
		"probes_late", (json_int_t)containers->timeout_count,
		"containers_known", (json_int_t)containers->count,
		"containers_open", (json_int_t)containers->open_count);

	(void)held;
	if (!stats)
		return error_nomem(err);
	if (json_object_update_new(object, stats))
		return error_nomem(err);
	return 0;
}
