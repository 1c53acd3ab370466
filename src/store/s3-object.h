/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reading an object of S3. */
#ifndef VMIEFS_S3_OBJECT_H
#define VMIEFS_S3_OBJECT_H

#include "store/s3-client.h"
#include "store/store.h"

/* Asks nothing. key is the whole one; bucket is borrowed, info copied and has
 * an ETag. */
int s3_object_new(struct object **out, struct s3_bucket *bucket,
		  const char *key, const struct object_info *info,
		  struct error *err);

#endif
