/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * All files being written in a mount, and what they share.
 *
 * Threads: everything may be called from any thread; nothing blocks but
 * exports_free(). */
#ifndef VMIEFS_EXPORTS_H
#define VMIEFS_EXPORTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/packer.h"
#include "fs/export.h"

struct engine;
struct exports;
struct scratch;

struct exports_options {
	struct engine *engine;
	const char *scratch_dir;  /* NULL: the default */
	uint64_t scratch_bytes;
	enum packer_level level;
	const char *vhd, *vhdx;   /* subformats; NULL = dynamic */
	bool require_size;        /* publish only what was sized before */
	bool spools_all;          /* no file streams */
	unsigned int stall_ms;    /* how long a store may do nothing at all */
	/* An object has appeared: its prefix has another listing now. */
	void (*published)(void *arg, struct bucket *bucket,
			  const char *key);
	/* Publishing failed when nobody waited for it any more. */
	void (*failed)(void *arg, const char *path, const struct error *err);
	void *arg;
};

int exports_new(struct exports **out, const struct exports_options *options,
		struct error *err);

/* Drop what was not published, and log which; then no more may come. */
void exports_stop(struct exports *exports);

/* Waits for those that end. NULL is legal. */
void exports_free(struct exports *exports);

/* Borrowed. */
struct scratch *exports_scratch(struct exports *exports);

/* A reference to the visible file with this key, or NULL. */
struct export *exports_find(struct exports *exports,
			    const struct bucket *bucket, const char *key);

/* Is somebody writing this key? */
bool exports_is_busy(struct exports *exports, const struct bucket *bucket,
		     const char *key);

/* Call fn for each visible file whose key is prefix and one more segment. fn
 * must not call back. */
void exports_each(struct exports *exports, const struct bucket *bucket,
		  const char *prefix,
		  void (*fn)(void *arg, const char *segment), void *arg);

/* Did this mount publish the object, and does it hold nothing but zeroes? */
bool exports_is_blank(struct exports *exports, const struct bucket *bucket,
		      const char *key, const char *etag);

/* For control/stats: "scratch" and "writes". */
int exports_stats(struct exports *exports, json_t *object,
		  struct error *err);

#endif
