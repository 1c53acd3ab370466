/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Some requests at a time, in the threads of a pool, while the caller waits
 * and may give up. */
#ifndef VMIEFS_S3_PARALLEL_H
#define VMIEFS_S3_PARALLEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

struct s3_client;

struct s3_parallel {
	struct s3_client *client; /* whose pool it is */
	/* Asked by the caller's thread every 200 ms; false: give up. */
	bool (*goes_on)(void *arg);
	void *arg;
	atomic_bool stop;     /* ends requests that have it as `cancelled`: set
			       * by the first failure, or by giving up */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	int (*work)(void *arg, size_t i, struct error *err);
	size_t next, count;
	unsigned int running; /* threads that take work */
	struct error error;   /* the first */
};

void s3_parallel_init(struct s3_parallel *parallel, struct s3_client *client,
		      bool (*goes_on)(void *arg), void *arg);
void s3_parallel_destroy(struct s3_parallel *parallel);

/* Call work(arg, i) for each i below count, at most `threads` at a time. After
 * the first failure, which is the result, no more are begun. Once it has failed
 * it fails always. */
int s3_parallel_run(struct s3_parallel *parallel, unsigned int threads,
		    size_t count,
		    int (*work)(void *arg, size_t i, struct error *err),
		    struct error *err);

#endif
