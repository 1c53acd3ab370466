/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A file being written: bytes come at any place, a container (or a plain
 * object) goes to the store, and appears there when it is published.
 *
 * What comes in ascending order streams into the pipeline (disk/pack.h) at
 * once and cannot be seen again. What is ahead of that waits in a spool, in
 * case the gap is filled. A file that is read before it streams, or that
 * starts from the bytes of an existing disk, stays in the spool and is
 * converted when it is published. So is one whose streamed bytes are needed
 * again: what was made of them is what it starts from, then.
 *
 * Threads: everything may be called from any thread, and nothing blocks on
 * I/O but export_new(). Operations on one file run in their order, one at a
 * time, in a pool of the exports' own; what they wait for can be interrupted.
 * export_try_write() is the short way for a stream. */
#ifndef VMIEFS_EXPORT_H
#define VMIEFS_EXPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/budget.h"
#include "fs/bucket.h"
#include "fs/ring.h"
#include "store/store.h"

struct disk;
struct export;
struct exports;
struct format;

/* Texts are borrowed for the call. */
struct export_args {
	struct bucket *bucket;
	const char *key;
	const char *path;     /* below the mount point, for messages */
	const struct format *format; /* what is made; raw for plain objects */
	bool is_plain;        /* below objects/: the object's own bytes */
	bool is_readable;     /* O_RDWR */
	bool replaces;        /* the key is taken, by what follows */
	bool keeps_bytes;     /* start from its disk's bytes ... */
	bool is_blank;        /* ... which are all zeroes */
	struct object_info base;
	uint64_t base_bytes;  /* of its disk */
	int opener;           /* process that opened it; 0: not known */
	struct patience patience; /* of the caller, for memory */
};

enum export_op_kind {
	EXPORT_WRITE,
	EXPORT_READ,
	EXPORT_COPY,     /* from a disk; as EXPORT_WRITE, perhaps not all */
	EXPORT_RESIZE,   /* to offset bytes; with grows: at least */
	EXPORT_ZERO,     /* make a range zero */
	EXPORT_CHECK,    /* has anything failed so far? */
	EXPORT_PUBLISH,  /* if anything has changed since the last time */
	EXPORT_ABORT,    /* drop what is not published */
};

/* The object that a disk is all of: no parent, no other file. */
struct export_origin {
	struct opened *opened;      /* borrowed */
	const struct bucket *bucket;
	char key[STORE_KEY_MAX + 2];
	struct object_info info;    /* as it was opened */
	uint64_t offset, stored;    /* of this the disk's container */
	const char *format, *subformat; /* "raw" twice for plain bytes */
};

/* In the caller's own struct; borrowed until done() was called. */
struct export_op {
	enum export_op_kind kind;
	uint64_t offset, length;
	bool grows;             /* EXPORT_ZERO: the file, where it ends before;
				 * otherwise what is within it is zeroed */
	char *data;             /* EXPORT_WRITE, EXPORT_READ: length bytes */
	uint64_t taken;         /* EXPORT_WRITE, _COPY: bytes done so far;
				 * EXPORT_READ: filled */
	struct disk *source;    /* EXPORT_COPY: borrowed */
	uint64_t source_offset; /* the range lies within it */
	/* EXPORT_COPY: which object the source's disk is; false where it is
	 * not one as a whole. Called before done(). NULL = it is not. */
	bool (*origin)(struct export_op *op, struct export_origin *origin);
	/* Called once, in a thread of the pool or of export_submit(). */
	void (*done)(struct export_op *op, const struct error *err);
	/* Optional: the store hangs, and nobody knows when it will be done()
	 * with that. Called at most once; locks are held. */
	void (*late)(struct export_op *op, const struct error *err);

	/* The module's own. */
	struct ring queued;
	atomic_bool is_cancelled;
};

/* Blocks on the store, and with patience while others have all memory. One
 * reference is the caller's, who ends it with export_close(). ERR_EXISTS,
 * ERR_LIMIT, ... as store_create(). */
int export_new(struct export **out, struct exports *exports,
	       const struct export_args *args, struct error *err);

struct export *export_ref(struct export *export);
void export_unref(struct export *export); /* NULL is legal */

/* The writer is gone: publish (or drop) what has not been, later, then end.
 * Of what fails then only exports_options.failed() hears. Gives the caller's
 * reference up. */
void export_close(struct export *export, bool publish);

/* Give the pipeline what it takes at once of a stream; how much that was. 0
 * where it has to go by export_submit(). Where the data is all of *buffer
 * (fs/landing.h), that may be kept, and exchanged for another one. */
size_t export_try_write(struct export *export, uint64_t offset,
			const void *data, size_t length, void **buffer);

void export_submit(struct export *export, struct export_op *op);

/* Its caller gave up: an operation ends soon with what was taken, or
 * ERR_CANCELLED. One that publishes then drops everything. */
void export_cancel(struct export *export, struct export_op *op);

/* The caller of an operation was told that it failed, whatever it does. */
void export_disown(struct export *export);

/* Removed, or the mount ends: drop everything; whoever writes on gets an
 * error that says why. */
void export_abort(struct export *export, const char *why);

uint64_t export_size(struct export *export);
int64_t export_mtime_ns(struct export *export); /* of the last change */

/* Has it changed since it was opened, or last published? */
bool export_is_dirty(struct export *export);

/* Is there something under its name that only this mount knows? */
bool export_is_visible(struct export *export);

int export_opener(const struct export *export);
const char *export_key(const struct export *export);
const char *export_path(const struct export *export);
const struct bucket *export_bucket(const struct export *export);
bool export_is_plain(const struct export *export);
bool export_is_replacing(const struct export *export); /* when it began */

/* A text that no other file of this mount has. */
const char *export_identity(const struct export *export);

#endif
