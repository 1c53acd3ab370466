/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a new object may replace, and what one that is removed must be.
 *
 * S3 compares at the moment at which the object appears (If-None-Match: *,
 * If-Match). Other servers do so for some requests, ignore the condition, or
 * refuse it; some take an ETag in quotes for another one. So all but AWS are
 * also asked by HEAD right before, which leaves a window where the condition
 * has no effect; and where the server refuses a condition although HEAD says
 * that it holds, it is not sent again.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_S3_TARGET_H
#define VMIEFS_S3_TARGET_H

#include "store/s3-send.h"

struct s3_target {
	struct s3_bucket *bucket;
	const char *key;      /* as the server knows it */
	bool replace;         /* as in struct sink_args */
	const char *if_match;
	const atomic_bool *cancelled; /* or NULL */
};

/* Ask what is there. ERR_EXISTS; ERR_STALE, also where if_match is given and
 * nothing is there. */
int s3_target_ask(const struct s3_target *target, struct error *err);

/* The request that makes the object appear, with a header or NULL. */
typedef int s3_publish_fn(void *arg, const char *condition,
			  struct error *err);

/* Call publish with the condition that target needs. `creates` and `matches`
 * are the conditions' bits of enum s3_condition. ERR_EXISTS and ERR_STALE
 * where the target is not what it has to be. */
int s3_target_publish(const struct s3_target *target,
		      enum s3_condition creates, enum s3_condition matches,
		      s3_publish_fn *publish, void *arg, struct error *err);

#endif
