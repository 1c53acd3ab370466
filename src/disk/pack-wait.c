/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Waiting for the end of a disk being written. */
#include "config.h"

#include <pthread.h>

#include "disk/pack.h"
#include "store/store.h"

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool is_done;
	struct object_info info;
	struct error error;
};

static void wait_done(void *arg, const struct object_info *info,
		      const struct error *err)
{
	struct waiter *waiter = arg;

	pthread_mutex_lock(&waiter->lock);
	if (info)
		waiter->info = *info;
	if (err)
		waiter->error = *err;
	waiter->is_done = true;
	pthread_cond_signal(&waiter->ended);
	pthread_mutex_unlock(&waiter->lock);
}

static void wait_end(struct waiter *waiter)
{
	pthread_mutex_lock(&waiter->lock);
	while (!waiter->is_done)
		pthread_cond_wait(&waiter->ended, &waiter->lock);
	pthread_mutex_unlock(&waiter->lock);
}

int pack_finish_wait(struct pack *pack, struct object_info *info,
		     struct error *err)
{
	struct waiter waiter = { PTHREAD_MUTEX_INITIALIZER,
				 PTHREAD_COND_INITIALIZER };

	pack_finish(pack, wait_done, &waiter);
	wait_end(&waiter);
	if (waiter.error.kind == ERR_NONE) {
		if (info)
			*info = waiter.info;
		return 0;
	}
	if (err)
		*err = waiter.error;
	return -1;
}

void pack_discard_wait(struct pack *pack)
{
	struct waiter waiter = { PTHREAD_MUTEX_INITIALIZER,
				 PTHREAD_COND_INITIALIZER };

	if (!pack)
		return;
	pack_discard(pack, wait_done, &waiter);
	wait_end(&waiter);
}
