/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A store over another one, whose calls are tried again (retrier.h). A read
 * goes on where it broke off. What writes goes through untouched, but for
 * stats: which of its requests may be sent twice, the store below knows.
 *
 * Threads: as any store. STORE_NOWAIT calls are never repeated. */
#ifndef VMIEFS_RETRY_H
#define VMIEFS_RETRY_H

#include "store/retrier.h"
#include "store/store.h"

/* Takes inner over on success only. */
int retry_store_new(struct store **out, struct store *inner,
		    const struct retry_options *options, struct error *err);

#endif
