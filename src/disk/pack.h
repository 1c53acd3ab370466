/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A disk being written: bytes and holes in, a container out. The bytes are cut
 * into the writer's units, units of zeroes are left out, the others are packed
 * by all cores and emitted in their order. Memory is bounded: who writes
 * faster than packing and the store has to wait.
 *
 * Threads: write, hole and the ending calls come from one thread at a time;
 * pack_cancel() and pack_progress() from any. Errors of packing and storing
 * come with the next call, at the latest with the end. */
#ifndef VMIEFS_PACK_H
#define VMIEFS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct budget;
struct object_info;
struct pack;
struct patience;
struct pool;
struct sink;
struct writer;

/* How much of the budget pack_new() takes, whoever is the sink. */
uint64_t pack_least(struct pool *pool, struct budget *budget,
		    struct writer *writer);

/* Takes writer and sink over, on success only. Emits the head, which may
 * block. ERR_NOMEM when the budget does not even allow the least, for which it
 * waits with that patience (NULL: not at all). */
int pack_new(struct pack **out, struct pool *pool, struct budget *budget,
	     struct writer *writer, struct sink *sink,
	     const struct patience *patience, struct error *err);

/* Append bytes; waits while there is no room. */
int pack_write(struct pack *pack, const void *data, size_t length,
	       struct error *err);

/* Append what fits without waiting; *taken says how much. */
int pack_try_write(struct pack *pack, const void *data, size_t length,
		   size_t *taken, struct error *err);

/* Append a whole batch by keeping its buffer (disk/batch.h), which is exchanged
 * for another one. False where that is not possible, or not now: then nothing
 * has happened, and pack_try_write() takes the bytes. */
bool pack_try_give(struct pack *pack, void **buffer, size_t length);

/* Call fn once, as soon as pack_try_write() would take something or fail:
 * perhaps at once in this thread, else in a thread of the pool, where it must
 * not block. At most one such call may be outstanding. */
void pack_when_room(struct pack *pack, void (*fn)(void *arg), void *arg);

/* Append zeroes that cost nothing. Never waits. */
int pack_hole(struct pack *pack, uint64_t length, struct error *err);

/* Bytes appended so far, of the disk and to the sink. */
struct pack_progress {
	uint64_t in, out;
};
struct pack_progress pack_progress(struct pack *pack);

/* Grows as long as anything at all is done: to tell what is slow from what
 * hangs. Legal as pack_cancel(). */
uint64_t pack_life(struct pack *pack);

/* The end: info is set where the object has appeared, else err. Called
 * exactly once, from a thread of the pool, when writer, sink and the memory
 * taken from the budget are released; when it returns, nothing of pack may be
 * used any more. Must not block for long. */
typedef void pack_done_fn(void *arg, const struct object_info *info,
			  const struct error *err);

/* Complete the container and publish it, or drop everything. Both return at
 * once and end the pack's life. */
void pack_finish(struct pack *pack, pack_done_fn *done, void *arg);
void pack_discard(struct pack *pack, pack_done_fn *done, void *arg);

/* Complete the container, but publish nothing: where done() has no error,
 * *kept is the sink, sealed, and the caller's (store/sink.h). */
void pack_seal(struct pack *pack, struct sink **kept, pack_done_fn *done,
	       void *arg);

/* The same, waiting. Not from a thread of the pool. */
int pack_finish_wait(struct pack *pack, struct object_info *info,
		     struct error *err);
void pack_discard_wait(struct pack *pack); /* NULL is legal */

/* Whatever waits for the store ends soon, with ERR_CANCELLED. Legal until
 * done() returns: who calls it from elsewhere shares a lock with done(). */
void pack_cancel(struct pack *pack);

#endif
