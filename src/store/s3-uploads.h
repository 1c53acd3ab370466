/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Pages of the lists that s3-multipart.h has, from XML. Pure functions. */
#ifndef VMIEFS_S3_UPLOADS_H
#define VMIEFS_S3_UPLOADS_H

#include "store/s3-multipart.h"

/* Where the next page of uploads begins; key NULL: there is none. */
struct s3_marker {
	char *key, *id;
};
void s3_marker_free(struct s3_marker *marker);

/* Tell fn of each upload of a page. ERR_CORRUPT for what is none. *next is to
 * be freed after success. */
int s3_uploads_parse(struct s3_marker *next, const char *text, size_t len,
		     s3_pending_fn *fn, void *arg, struct error *err);

/* The same of parts; the bucket says what its ETags are. *next, NULL or to be
 * freed, is decimal. */
int s3_parts_parse(char **next, const struct s3_bucket *bucket,
		   const char *text, size_t len, s3_part_fn *fn, void *arg,
		   struct error *err);

#endif
