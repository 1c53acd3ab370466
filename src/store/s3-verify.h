/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Is an object the one that was sent? What answers were lost, and what the
 * server has made of it, HEAD tells.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_S3_VERIFY_H
#define VMIEFS_S3_VERIFY_H

#include "store/s3-send.h"

/* What the object is when it is the one that was sent. */
struct s3_expected {
	uint64_t size;
	char etag[STORE_ETAG_MAX]; /* "": not known */
	int64_t since_ns;          /* it is not older, by the server's clock;
				    * what is left where ETags are no MD5s */
};

/* A request that makes the object has failed with err: if it may have been
 * done all the same, look. 0: it is there, and *info is its. -1: it is not,
 * and err is what it was, or says that it is not known. */
int s3_find_lost(struct s3_bucket *bucket, const char *key,
		 const struct s3_expected *expected, struct object_info *info,
		 struct error *err);

/* The server has said that the object is stored. Not every one shows it at
 * once. ERR_CORRUPT where its size is another, ERR_STALE where somebody
 * else's object has replaced it since. */
int s3_verify(struct s3_bucket *bucket, const char *key,
	      const struct s3_expected *expected, struct object_info *info,
	      struct error *err);

#endif
