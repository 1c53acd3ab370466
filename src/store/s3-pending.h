/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Uploads of parts that were begun and have not ended, as a store's. */
#ifndef VMIEFS_S3_PENDING_H
#define VMIEFS_S3_PENDING_H

#include "store/store.h"

/* store_ops. */
int s3_list_uploads(struct store *store, store_upload_fn *fn, void *arg,
		    struct error *err);
int s3_abort_upload(struct store *store, const char *key, const char *id,
		    struct error *err);

#endif
