/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The buffer pool: one free list a size class. Buffers are mapped, not
 * malloc()ed, so that giving one back to the system is exact. */
#include "config.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/budget.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "disk/bufpool.h"

#define CLASS_MIN 12 /* log2 of the smallest buffer: 4 KiB */
#define CLASS_MAX 22 /* log2 of BUFFER_BYTES_MAX */
#define CLASSES   (CLASS_MAX - CLASS_MIN + 1)

/* A free buffer's first bytes. */
struct free_buffer {
	struct free_buffer *next;
};

struct bufpool {
	struct budget *budget;
	uint64_t (*recycle)(void *arg, uint64_t bytes);
	void *recycle_arg;
	pthread_mutex_t lock;
	struct free_buffer *free[CLASSES]; /* most recently used first */
};

static unsigned int class_of(size_t size)
{
	unsigned int class = 0;

	assert(size > 0 && size <= BUFFER_BYTES_MAX);
	while (((size_t)1 << (class + CLASS_MIN)) < size)
		class++;
	return class;
}

static size_t class_bytes(unsigned int class)
{
	return (size_t)1 << (class + CLASS_MIN);
}

static struct free_buffer *pop(struct bufpool *pool, unsigned int class)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&pool->lock);
	struct free_buffer *buffer = pool->free[class];

	(void)held;
	if (buffer)
		pool->free[class] = buffer->next;
	return buffer;
}

/* The budget's reclaimer: unmap free buffers, large ones first. */
static uint64_t give_back(void *arg, uint64_t bytes)
{
	struct bufpool *pool = arg;
	uint64_t freed = 0;

	for (unsigned int class = CLASSES; class-- > 0 && freed < bytes;) {
		struct free_buffer *buffer;

		while (freed < bytes && (buffer = pop(pool, class))) {
			munmap(buffer, class_bytes(class));
			budget_release(pool->budget, class_bytes(class));
			freed += class_bytes(class);
		}
	}
	return freed;
}

int bufpool_new(struct bufpool **out, struct budget *budget,
		struct error *err)
{
	struct bufpool *pool = calloc(1, sizeof(*pool));

	*out = pool;
	if (!pool)
		return error_nomem(err);
	pool->budget = budget;
	pthread_mutex_init(&pool->lock, NULL);
	budget_add_reclaimer(budget, give_back, pool);
	return 0;
}

void bufpool_free(struct bufpool *pool)
{
	if (!pool)
		return;
	give_back(pool, UINT64_MAX);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void bufpool_set_recycler(struct bufpool *pool,
			  uint64_t (*fn)(void *arg, uint64_t bytes),
			  void *arg)
{
	pool->recycle = fn;
	pool->recycle_arg = arg;
}

/* A free buffer, or the right to map a new one: recycling comes before
 * reclaiming, which would unmap what is mapped again at once. */
static bool find_memory(struct bufpool *pool, unsigned int class,
			void **buffer)
{
	*buffer = pop(pool, class);
	if (*buffer || budget_try_free(pool->budget, class_bytes(class)))
		return true;
	if (pool->recycle && pool->recycle(pool->recycle_arg,
					   class_bytes(class))) {
		*buffer = pop(pool, class);
		if (*buffer)
			return true;
	}
	return budget_try(pool->budget, class_bytes(class));
}

void *buffer_get(struct bufpool *pool, size_t size)
{
	unsigned int class = class_of(size);
	void *buffer;

	if (!find_memory(pool, class, &buffer))
		return NULL;
	if (buffer)
		return buffer;
	buffer = mmap(NULL, class_bytes(class), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer != MAP_FAILED)
		return buffer;
	budget_release(pool->budget, class_bytes(class));
	return NULL;
}

void buffer_put(struct bufpool *pool, void *buffer, size_t size)
{
	struct free_buffer *back = buffer;
	unsigned int class;

	if (!buffer)
		return;
	class = class_of(size);
	pthread_mutex_lock(&pool->lock);
	back->next = pool->free[class];
	pool->free[class] = back;
	pthread_mutex_unlock(&pool->lock);
}

int spare_init(struct spare *spare, struct bufpool *pool, size_t size,
	       struct error *err)
{
	pthread_mutex_init(&spare->lock, NULL);
	spare->size = size;
	spare->buffer = buffer_get(pool, size);
	return spare->buffer ? 0 : error_nomem(err);
}

void spare_destroy(struct spare *spare, struct bufpool *pool)
{
	if (!spare->size)
		return; /* never set up */
	buffer_put(pool, spare->buffer, spare->size);
	pthread_mutex_destroy(&spare->lock);
}

void *spare_get(struct spare *spare, struct bufpool *pool, size_t size)
{
	void *buffer = buffer_get(pool, size);

	assert(size <= spare->size);
	if (buffer)
		return buffer;
	pthread_mutex_lock(&spare->lock);
	return spare->buffer;
}

void spare_put(struct spare *spare, struct bufpool *pool, void *buffer,
	       size_t size)
{
	if (buffer == spare->buffer)
		pthread_mutex_unlock(&spare->lock);
	else
		buffer_put(pool, buffer, size);
}
