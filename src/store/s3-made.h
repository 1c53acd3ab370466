/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Prefixes that exist only in this mount: S3 has keys alone, so a directory
 * that was made, or whose last key was removed, is remembered here until it is
 * removed or a listing shows it. Prefixes end in '/'.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_S3_MADE_H
#define VMIEFS_S3_MADE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "store/store.h"

#define S3_MADE_MAX 10000

struct s3_made {
	pthread_mutex_t lock; /* of all */
	char **prefixes;      /* sorted */
	size_t count, room;
};

void s3_made_init(struct s3_made *made);
void s3_made_destroy(struct s3_made *made);

/* ERR_EXISTS where it is there, ERR_LIMIT where there are too many. */
int s3_made_add(struct s3_made *made, const char *prefix, struct error *err);

/* Remember the prefix that key is in, if there is one and room for it. */
void s3_made_keep_parent(struct s3_made *made, const char *key);

/* Whether it was there. */
bool s3_made_forget(struct s3_made *made, const char *prefix);

/* Is it, or one below it, there; and is one below it? */
bool s3_made_has(struct s3_made *made, const char *prefix);
bool s3_made_has_below(struct s3_made *made, const char *prefix);

/* Tell of those that a listing of one level shows: that begin with `prefix`
 * and have but one '/' behind it. */
int s3_made_list(struct s3_made *made, const char *prefix, store_list_fn *fn,
		 void *arg, struct error *err);

#endif
