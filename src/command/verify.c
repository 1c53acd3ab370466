/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Threads: one thread asks and reports; the engine's threads answer in
 * read_done(), which only marks the slot. The asking thread waits for the
 * oldest slot, so that damage is told in order, and never holds the lock
 * while it asks.
 *
 * A read of up to 1 MiB that fails is narrowed down: units are read one by
 * one, plain data is halved until the damage is known to a page. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command/verify.h"
#include "command/walk.h"
#include "common/checked.h"

#define SLOTS_MAX  16
#define PAGE_BYTES 4096
#define WAIT_MS    100

struct verify;

enum slot_state {
	SLOT_FREE,
	SLOT_BUSY,
	SLOT_DONE,
};

struct slot {
	struct verify *verify;
	enum slot_state state;    /* under the lock */
	struct error error;
	uint64_t offset;
	uint32_t length;
	struct disk_read *handle; /* the asking thread's */
};

struct verify {
	const struct verifier *verifier;
	struct map *map;
	struct disk *disk;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct slot slots[SLOTS_MAX]; /* a ring, in the disk's order */
	size_t oldest;
	uint64_t next, end;    /* collected, not yet asked for */
	uint64_t bad, bad_end; /* found, not yet told */
	char why[sizeof(((struct error *)0)->text)];
};

static bool is_damage(const struct error *err)
{
	return err->kind == ERR_CORRUPT || err->kind == ERR_IO;
}

static void tell_damage(struct verify *verify)
{
	const struct verifier *to = verify->verifier;

	if (verify->bad_end > verify->bad)
		to->damage(to->arg, verify->bad, verify->bad_end - verify->bad,
			   verify->why);
	verify->bad_end = verify->bad = 0;
}

/* Neighbours with the same reason are told as one. */
static void add_damage(struct verify *verify, uint64_t offset,
		       uint64_t length, const char *why)
{
	if (verify->bad_end == offset && verify->bad_end > verify->bad &&
	    !strcmp(verify->why, why)) {
		verify->bad_end += length;
		return;
	}
	tell_damage(verify);
	verify->bad = offset;
	verify->bad_end = offset + length;
	snprintf(verify->why, sizeof(verify->why), "%s", why);
}

static void read_done(void *arg, const struct iovec *iov, int iovcnt,
		      const struct error *err)
{
	struct slot *slot = arg;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&slot->verify->lock);

	memset(&slot->error, 0, sizeof(slot->error));
	if (err)
		slot->error = *err;
	slot->state = SLOT_DONE;
	pthread_cond_signal(&slot->verify->changed);
}

static void ask(struct slot *slot, uint64_t offset, uint32_t length)
{
	slot->offset = offset;
	slot->length = length;
	slot->state = SLOT_BUSY;
	disk_read_async(slot->verify->disk, offset, length, read_done, slot,
			&slot->handle);
}

/* Wait a little for any slot to be done. */
static void wait_changed(struct verify *verify)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += WAIT_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&verify->changed, &verify->lock, &until);
}

static enum slot_state state_of(struct slot *slot)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&slot->verify->lock);

	return slot->state;
}

static int check_stop(struct verify *verify, struct error *err)
{
	const struct verifier *verifier = verify->verifier;

	verifier->progress(verifier->arg, 0);
	if (verifier->is_stopped(verifier->arg))
		return error_set(err, ERR_CANCELLED, "interrupted");
	return 0;
}

/* Read one range and wait for it; the error is the read's own. */
static int read_alone(struct verify *verify, uint64_t offset, uint64_t length,
		      struct error *err)
{
	struct slot slot = { .verify = verify };
	bool cancelled = false;

	assert(length <= DISK_READ_MAX);
	ask(&slot, offset, (uint32_t)length);
	pthread_mutex_lock(&verify->lock);
	while (slot.state == SLOT_BUSY) {
		wait_changed(verify);
		pthread_mutex_unlock(&verify->lock);
		if (!cancelled && check_stop(verify, NULL)) {
			disk_read_cancel(slot.handle);
			cancelled = true;
		}
		pthread_mutex_lock(&verify->lock);
	}
	pthread_mutex_unlock(&verify->lock);
	disk_read_release(slot.handle);
	if (slot.error.kind == ERR_NONE)
		return 0;
	*err = slot.error;
	return -1;
}

/* Find the damaged pages of a range that does not read, by halves. */
static int bisect(struct verify *verify, uint64_t offset, uint64_t length,
		  struct error *err)
{
	struct error why = { 0 };
	uint64_t half;

	if (length <= DISK_READ_MAX) {
		if (read_alone(verify, offset, length, &why) == 0)
			return 0;
		if (!is_damage(&why)) {
			*err = why;
			return -1;
		}
		if (length <= PAGE_BYTES) {
			add_damage(verify, offset, length, why.text);
			return 0;
		}
	}
	half = max_u64(round_down(length / 2, PAGE_BYTES), PAGE_BYTES);
	if (bisect(verify, offset, half, err))
		return -1;
	return bisect(verify, offset + half, length - half, err);
}

static int narrow_piece(void *arg, const struct extent *piece,
			struct error *err)
{
	struct verify *verify = arg;
	struct error why = { 0 };

	if (piece->kind == EXTENT_ZERO || piece->kind == EXTENT_BAD)
		return 0;
	if (piece->kind == EXTENT_DATA)
		return bisect(verify, piece->offset, piece->length, err);
	if (read_alone(verify, piece->offset, piece->length, &why) == 0)
		return 0;
	if (is_damage(&why)) {
		add_damage(verify, piece->offset, piece->length, why.text);
		return 0;
	}
	*err = why;
	return -1;
}

/* Take the answer of a slot that is done. */
static int collect(struct verify *verify, struct slot *slot,
		   struct error *err)
{
	const struct verifier *verifier = verify->verifier;
	struct error why = slot->error;

	disk_read_release(slot->handle);
	slot->handle = NULL;
	slot->state = SLOT_FREE;
	verifier->progress(verifier->arg, slot->length);
	if (why.kind == ERR_NONE)
		return 0;
	if (is_damage(&why))
		return walk_range(verify->map, slot->offset, slot->length,
				  narrow_piece, verify, err);
	*err = why;
	return -1;
}

/* Make the oldest slot free, waiting for it if need be. */
static int free_oldest(struct verify *verify, struct error *err)
{
	struct slot *slot = &verify->slots[verify->oldest];

	while (state_of(slot) == SLOT_BUSY) {
		if (check_stop(verify, err))
			return -1;
		pthread_mutex_lock(&verify->lock);
		if (slot->state == SLOT_BUSY)
			wait_changed(verify);
		pthread_mutex_unlock(&verify->lock);
	}
	if (slot->state == SLOT_DONE && collect(verify, slot, err))
		return -1;
	return check_stop(verify, err);
}

/* Collect all answers, in order. */
static int finish(struct verify *verify, struct error *err)
{
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		if (free_oldest(verify, err))
			return -1;
		verify->oldest = (verify->oldest + 1) % SLOTS_MAX;
	}
	return 0;
}

/* End all reads without looking at them. */
static void abandon(struct verify *verify)
{
	for (size_t i = 0; i < SLOTS_MAX; i++)
		if (verify->slots[i].handle)
			disk_read_cancel(verify->slots[i].handle);
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		struct slot *slot = &verify->slots[i];

		pthread_mutex_lock(&verify->lock);
		while (slot->state == SLOT_BUSY)
			wait_changed(verify);
		pthread_mutex_unlock(&verify->lock);
		disk_read_release(slot->handle);
		slot->handle = NULL;
	}
}

static int flush(struct verify *verify, struct error *err)
{
	while (verify->next < verify->end) {
		uint64_t length = min_u64(verify->end - verify->next,
					  DISK_READ_MAX -
					  verify->next % DISK_READ_MAX);

		if (free_oldest(verify, err))
			return -1;
		ask(&verify->slots[verify->oldest], verify->next,
		    (uint32_t)length);
		verify->oldest = (verify->oldest + 1) % SLOTS_MAX;
		verify->next += length;
	}
	return 0;
}

/* Stored pieces are collected into runs, runs asked for in large reads. */
static int take_piece(void *arg, const struct extent *piece,
		      struct error *err)
{
	struct verify *verify = arg;

	if (piece->kind == EXTENT_ZERO)
		return 0;
	if (piece->kind == EXTENT_BAD) {
		if (flush(verify, err) || finish(verify, err))
			return -1;
		add_damage(verify, piece->offset, piece->length,
			   piece->why ? piece->why : "the table is damaged");
		return 0;
	}
	if (piece->offset != verify->end) {
		if (flush(verify, err))
			return -1;
		verify->next = piece->offset;
	}
	verify->end = piece->offset + piece->length;
	if (verify->end - verify->next < DISK_READ_MAX)
		return 0;
	return flush(verify, err);
}

static int read_all(struct verify *verify, struct error *err)
{
	if (walk_map(verify->map, take_piece, verify, err) ||
	    flush(verify, err) || finish(verify, err)) {
		abandon(verify);
		return -1;
	}
	return 0;
}

int verify_disk(const struct verifier *verifier,
		const struct container_disk *disk, struct error *err)
{
	struct verify *verify = calloc(1, sizeof(*verify));
	int ret;

	if (!verify)
		return error_nomem(err);
	verify->verifier = verifier;
	verify->map = disk->map;
	pthread_mutex_init(&verify->lock, NULL);
	pthread_cond_init(&verify->changed, NULL);
	for (size_t i = 0; i < SLOTS_MAX; i++)
		verify->slots[i].verify = verify;
	ret = disk_open(&verify->disk, verifier->engine, disk->map, disk->name,
			err);
	if (!ret) {
		ret = read_all(verify, err);
		tell_damage(verify);
		if (!ret || err->kind != ERR_CANCELLED)
			disk_close(verify->disk);
	}
	pthread_cond_destroy(&verify->changed);
	pthread_mutex_destroy(&verify->lock);
	free(verify);
	return ret;
}

static int count_piece(void *arg, const struct extent *piece,
		       struct error *err)
{
	uint64_t *bytes = arg;

	if (piece->kind == EXTENT_DATA || piece->kind == EXTENT_PACKED)
		*bytes += piece->length;
	return 0;
}

int verify_count(struct map *map, uint64_t *bytes, struct error *err)
{
	*bytes = 0;
	return walk_map(map, count_piece, bytes, err);
}
