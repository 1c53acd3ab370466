/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Where the bytes of WRITE requests land. libfuse reads a request into one
 * buffer of each loop thread, from which its bytes have to be copied before
 * the next one. Here a thread that has seen a write of BATCH_BYTES (that is,
 * a writer of large blocks) gets a buffer of its own for such bytes, which a
 * pipeline can keep: pack_try_give() leaves another in its place. There are as
 * many as loop threads, at most, beside the budget.
 *
 * Threads: all but init and destroy belong to the loop thread that handles
 * the request. */
#ifndef VMIEFS_LANDING_H
#define VMIEFS_LANDING_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

struct error;

struct landings {
	pthread_key_t key; /* of each thread's */
};

int landings_init(struct landings *landings, struct error *err);

/* When the loop threads have ended. */
void landings_destroy(struct landings *landings);

/* read() of a request; the bytes of a WRITE may be elsewhere. */
ssize_t landing_read(const struct landings *landings, int fd, void *buf,
		     size_t size);

/* Where they are, by where libfuse says. */
const char *landing_data(const struct landings *landings, const char *data);

/* The place of the buffer that the bytes of this write fill, all of it: it may
 * be exchanged for another one of its kind. NULL: not this time. */
void **landing_of(const struct landings *landings, size_t size);

#endif
