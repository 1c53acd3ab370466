/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What map_ops.check() finds, as sentences, no more of them than one reads. */
#ifndef VMIEFS_FINDINGS_H
#define VMIEFS_FINDINGS_H

#include <stdint.h>

struct findings {
	void (*problem)(void *arg, const char *text);
	void *arg;
	uint64_t count;
};

/* Report a finding; from the 101st on they are only counted. */
void findings_add(struct findings *findings, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Say how many were not shown. */
void findings_finish(struct findings *findings);

#endif
