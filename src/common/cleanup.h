/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Scope-bound release: AUTO_FREE char *p; AUTO_CLOSE int fd = -1; and
 * AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&m). take_ptr() hands the
 * value over and disarms the variable. */
#ifndef VMIEFS_CLEANUP_H
#define VMIEFS_CLEANUP_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void cleanup_unlock(pthread_mutex_t **mutex)
{
	if (*mutex)
		pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *mutex_locked(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

#define AUTO_FREE   __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE  __attribute__((cleanup(cleanup_close)))
#define AUTO_FILE   __attribute__((cleanup(cleanup_file)))
#define AUTO_UNLOCK __attribute__((cleanup(cleanup_unlock), unused))
#define MUST_CHECK  __attribute__((warn_unused_result))

#define take_ptr(p)                                                            \
	__extension__({                                                        \
		__typeof__(p) taken_ = (p);                                    \
		(p) = NULL;                                                    \
		taken_;                                                        \
	})

#endif
