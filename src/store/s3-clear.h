/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Part uploads that were left behind are aborted in the background: those in
 * journals of mounts that have died, and those of this one that could not be
 * ended. Where the store does not answer, again later.
 *
 * An upload whose id the journal has is aborted by it. Where the mount died
 * before it learned the id, it is one of those of the same key that the server
 * says began at that time, and that nobody claims who is alive and has his
 * journal in the same place.
 *
 * Threads: one of its own, from new to free. */
#ifndef VMIEFS_S3_CLEAR_H
#define VMIEFS_S3_CLEAR_H

#include "store/s3-client.h"

struct s3_clear;

/* Begin. bucket, borrowed, is the only one that is cleared, or the service:
 * then all are. Its client has a journal. */
int s3_clear_new(struct s3_clear **out, struct s3_bucket *bucket,
		 struct error *err);

/* End, and wait for that: requests on their way are cancelled first
 * (s3_client_cancel()). NULL is legal. */
void s3_clear_free(struct s3_clear *clear);

#endif
