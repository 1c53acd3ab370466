/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * S3 as a store: what its reading and its writing share. Internal to the
 * driver. */
#ifndef VMIEFS_S3_INTERNAL_H
#define VMIEFS_S3_INTERNAL_H

#include "store/s3-client.h"
#include "store/s3-made.h"
#include "store/store.h"

#define S3_KEY_SIZE (2 * STORE_KEY_MAX + 1)

struct s3_store {
	struct store store;
	struct s3_bucket bucket;        /* its name is "": a service */
	char prefix[STORE_KEY_MAX + 1]; /* "" or with '/' at its end */
	struct s3_made made;
	struct s3_clear *clear;         /* once it was checked; or NULL */
};

/* The key as the server knows it. ERR_NOT_FOUND where S3 cannot have it, and
 * for a service. */
int s3_full_key(const struct s3_store *self, const char *key,
		char full[S3_KEY_SIZE], struct error *err);

#endif
