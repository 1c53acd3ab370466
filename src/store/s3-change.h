/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Changing what a bucket holds, other than by writing: objects are removed and
 * renamed, prefixes made and removed. */
#ifndef VMIEFS_S3_CHANGE_H
#define VMIEFS_S3_CHANGE_H

#include "store/s3-client.h"
#include "store/store.h"

/* Remove an object, by its key as the server knows it. ERR_NOT_FOUND where
 * there is none; ERR_STALE unless it has the ETag if_match (NULL: any). */
int s3_delete(struct s3_bucket *bucket, const char *key, const char *if_match,
	      struct error *err);

/* store_ops. An object is renamed by copying it and removing the old one;
 * when that fails, both are there, and the error says so. */
int s3_remove(struct store *store, const char *key, const char *if_match,
	      struct error *err);
int s3_rename(struct store *store, const char *from, const char *to,
	      const struct rename_args *args, struct error *err);
int s3_make_prefix(struct store *store, const char *prefix,
		   struct error *err);
int s3_remove_prefix(struct store *store, const char *prefix,
		     struct error *err);

#endif
