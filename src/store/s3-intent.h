/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The journal's part in an upload (journal.h). Without a journal all of this
 * does nothing.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_S3_INTENT_H
#define VMIEFS_S3_INTENT_H

#include "store/s3-multipart.h"

/* Before the server is asked to begin it. */
int s3_intent_begin(struct s3_upload *upload, struct error *err);

/* It was begun. is_sure as for journal_know(). */
void s3_intent_know(const struct s3_upload *upload, bool is_sure);

/* The server was asked and has refused, or did not answer. */
void s3_intent_fail(const struct s3_upload *upload, unsigned int tries,
		    const struct error *why);

/* It is complete or aborted; or it could not be aborted. */
void s3_intent_end(const struct s3_upload *upload, bool is_left);

#endif
