/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What S3 copies itself: whole objects, and ranges as parts of an upload.
 * Each request is tried again by itself, and an error inside of an answer of
 * 200 is one.
 *
 * Not every server heeds the condition on the source (radosgw 16 does for
 * objects, where it has a name of its own, and does not for parts): who asks
 * for it looks at the source again when all is copied. */
#ifndef VMIEFS_S3_COPY_H
#define VMIEFS_S3_COPY_H

#include "store/s3-multipart.h"

/* A range of an object, by keys as the server knows them. */
struct s3_range {
	const char *key;
	const struct object_info *info; /* what the whole object is */
	uint64_t offset, length;
};

/* UploadPartCopy. ERR_STALE where the source is not what info says. */
int s3_copy_part(const struct s3_upload *upload, unsigned int number,
		 const struct s3_range *source, struct s3_part *part,
		 struct error *err);

/* CopyObject, of all of source, within its bucket, with its metadata. headers
 * (NULL-ended, at most S3_COPY_HEADERS) are conditions on the new object and
 * what it is to be besides. etag is the new object's, "" where the server does
 * not say. Errors are what the server says: 412 may be for either object. */
#define S3_COPY_HEADERS 4
int s3_copy_object(struct s3_bucket *bucket, const char *key,
		   const struct s3_range *source, const char *const *headers,
		   const atomic_bool *cancelled, char etag[STORE_ETAG_MAX],
		   struct error *err);

/* Ask again for an object that was copied from. ERR_STALE unless it is what
 * info says. */
int s3_copy_check(struct s3_bucket *bucket, const struct s3_range *source,
		  const atomic_bool *cancelled, struct error *err);

#endif
