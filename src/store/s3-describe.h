/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What an object is besides its bytes, for a copy that is made of parts: these
 * have none of it from their source. */
#ifndef VMIEFS_S3_DESCRIBE_H
#define VMIEFS_S3_DESCRIBE_H

#include "store/s3-multipart.h"

/* Ask for key. lines, NULL-ended then, are the headers that make an object like
 * it: content type, encoding, language and disposition, caching, metadata;
 * fewer than S3_HEADERS_MAX, so that a condition can join them.
 * Freed by s3_describe_free(), also after a failure. */
int s3_describe(struct s3_bucket *bucket, const char *key,
		const atomic_bool *cancelled, char *lines[S3_HEADERS_MAX + 1],
		struct error *err);
void s3_describe_free(char *lines[S3_HEADERS_MAX + 1]);

#endif
