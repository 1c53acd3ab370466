/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The newest failures that users met, for control/errors.
 *
 * Threads: everything may be called from any thread; nothing blocks. */
#ifndef VMIEFS_FAILURES_H
#define VMIEFS_FAILURES_H

#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"

#define FAILURES_MAX 1000 /* older ones are dropped */

struct failures;

int failures_new(struct failures **out, struct error *err);
void failures_free(struct failures *failures); /* NULL is legal */

/* An operation ("open", "read") on path failed, and its caller got errnum.
 * The same failure again only counts up. Writes one line to the log as well. */
void failures_add(struct failures *failures, const char *operation,
		  const char *path, const struct error *err, int errnum);

uint64_t failures_count(struct failures *failures); /* since mounting */

/* One JSON object per line, oldest first: time, operation, path, kind, errno,
 * count, error; and, where a server is behind it, status, code, request_id,
 * attempts. */
void failures_print(struct failures *failures, struct strbuf *out);

#endif
