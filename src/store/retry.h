/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A store over another one, which tries again what failed for a passing
 * reason (ERR_NETWORK, and ERR_TIMEOUT of a single try): at most so many
 * times and until a deadline for the whole call, with full jitter and never
 * sooner than the server asked for. A read goes on where it broke off. The
 * last cause is the text of the final error, with the number of tries.
 *
 * Threads: as any store. STORE_NOWAIT calls are never repeated. */
#ifndef VMIEFS_RETRY_H
#define VMIEFS_RETRY_H

#include "store/store.h"

struct retry_options {
	unsigned int timeout_ms; /* of a call with all its tries; 0 = 60 s */
	unsigned int attempts;   /* 0 = 10 */
	unsigned int base_ms;    /* the first pause is 0..base; 0 = 200 */
	unsigned int pause_max_ms; /* 0 = 20 s */
};

/* Takes inner over on success only. */
int retry_store_new(struct store **out, struct store *inner,
		    const struct retry_options *options, struct error *err);

/* Milliseconds that the calling thread's current try may take: what is left
 * of its deadline. For stores below; a large number outside of one. */
unsigned int retry_time_left_ms(void);

#endif
