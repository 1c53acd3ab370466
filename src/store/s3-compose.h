/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects of pieces in S3: planned (copy-plan.h), then copied by the
 * server in parts and in parallel; what cannot be copied is fetched and sent.
 * The sources are asked for again before the object appears. */
#ifndef VMIEFS_S3_COMPOSE_H
#define VMIEFS_S3_COMPOSE_H

#include "store/store.h"

/* store_ops.compose. */
int s3_compose(struct store *store, const char *key,
	       const struct sink_args *args, struct compose *compose,
	       struct object_info *info, struct error *err);

#endif
