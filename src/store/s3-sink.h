/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects in S3. What fits into one part is put at the end, all else is a
 * multipart upload whose parts are sent while bytes still come.
 *
 * Not to replace anything is asked of the server by If-None-Match, and to
 * replace only what is known by If-Match, with the request that makes the
 * object appear. Many servers know neither, or only for PutObject: which, is
 * noticed and remembered. So the key is also looked at, when the sink is made
 * and right before it is completed. Where the server does not help, an object
 * that somebody else makes between that look and the end, the time of one
 * request, is replaced. */
#ifndef VMIEFS_S3_SINK_H
#define VMIEFS_S3_SINK_H

#include "store/s3-client.h"
#include "store/sink.h"

/* key is the whole one, and copied; bucket outlives the sink. As for
 * store_create(). Asks for the key, and waits for memory. */
int s3_sink_new(struct sink **out, struct s3_bucket *bucket, const char *key,
		const struct sink_args *args, struct error *err);

#endif
