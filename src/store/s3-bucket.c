/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Who uses a bucket in the background, and its end. */
#include "config.h"

#include "common/cleanup.h"
#include "store/s3-client.h"

void s3_bucket_begin(struct s3_bucket *bucket)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&bucket->lock);

	(void)held;
	bucket->background++;
}

void s3_bucket_end(struct s3_bucket *bucket)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&bucket->lock);

	(void)held;
	if (!--bucket->background)
		pthread_cond_broadcast(&bucket->is_idle);
}

void s3_bucket_destroy(struct s3_bucket *bucket)
{
	pthread_mutex_lock(&bucket->lock);
	while (bucket->background)
		pthread_cond_wait(&bucket->is_idle, &bucket->lock);
	pthread_mutex_unlock(&bucket->lock);
	pthread_cond_destroy(&bucket->is_idle);
	pthread_mutex_destroy(&bucket->lock);
	s3_client_unref(bucket->client);
}
