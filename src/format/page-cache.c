/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The metadata cache: pages of sources, found by hash, dropped least recently
 * used first when the budget asks.
 *
 * Threads: one lock guards the table, the list and all pages' contents; it is
 * never held while a source is read or memory is reserved. A page that is
 * being read is in the table with `loading` set: whoever needs it waits for
 * `loaded`, so a page is fetched once however many want it. */
#include "config.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/pool.h"
#include "format/source.h"

#define BUCKETS        1024
#define PAGE_BYTES_MIN 4096
#define PAGE_BYTES_MAX (256 << 10)
#define RUN_MAX        16 /* pages fetched by one read */

struct cached_source;

struct page {
	struct page *chain;       /* next in the bucket */
	struct page *newer, *older;
	struct cached_source *owner;
	uint64_t index;           /* offset / owner->page_bytes */
	uint32_t length;          /* valid bytes */
	bool loading;
	char data[];
};

struct page_cache {
	struct budget *budget;
	pthread_mutex_t lock;
	pthread_cond_t loaded;
	struct page *buckets[BUCKETS];
	struct page *newest, *oldest; /* without those loading */
};

struct cached_source {
	struct source source;
	struct source *below;
	struct page_cache *cache;
	uint32_t page_bytes;
};

static struct page **bucket_of(struct page_cache *cache,
			       const struct cached_source *owner,
			       uint64_t index)
{
	uint64_t h = ((uint64_t)(uintptr_t)owner >> 4) + index;

	h *= 0x9e3779b97f4a7c15ull;
	return &cache->buckets[(h >> 32) % BUCKETS];
}

static struct page *find_page(struct page_cache *cache,
			      const struct cached_source *owner,
			      uint64_t index)
{
	struct page *page = *bucket_of(cache, owner, index);

	while (page && (page->owner != owner || page->index != index))
		page = page->chain;
	return page;
}

static void lru_add(struct page_cache *cache, struct page *page)
{
	page->newer = NULL;
	page->older = cache->newest;
	if (cache->newest)
		cache->newest->newer = page;
	else
		cache->oldest = page;
	cache->newest = page;
}

static void lru_remove(struct page_cache *cache, struct page *page)
{
	if (page->newer)
		page->newer->older = page->older;
	else
		cache->newest = page->older;
	if (page->older)
		page->older->newer = page->newer;
	else
		cache->oldest = page->newer;
}

static void table_remove(struct page_cache *cache, struct page *page)
{
	struct page **link = bucket_of(cache, page->owner, page->index);

	while (*link != page)
		link = &(*link)->chain;
	*link = page->chain;
}

static uint64_t page_cost(const struct cached_source *owner)
{
	return sizeof(struct page) + owner->page_bytes;
}

static void free_page(struct page_cache *cache, struct page *page)
{
	budget_release(cache->budget, page_cost(page->owner));
	free(page);
}

/* The budget's reclaimer. */
static uint64_t evict(void *arg, uint64_t bytes)
{
	struct page_cache *cache = arg;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&cache->lock);
	uint64_t freed = 0;

	(void)held;
	while (freed < bytes && cache->oldest) {
		struct page *page = cache->oldest;

		freed += page_cost(page->owner);
		lru_remove(cache, page);
		table_remove(cache, page);
		free_page(cache, page);
	}
	return freed;
}

int page_cache_new(struct page_cache **out, struct budget *budget,
		   struct error *err)
{
	struct page_cache *cache = calloc(1, sizeof(*cache));

	*out = cache;
	if (!cache)
		return error_nomem(err);
	cache->budget = budget;
	pthread_mutex_init(&cache->lock, NULL);
	pthread_cond_init(&cache->loaded, NULL);
	budget_add_reclaimer(budget, evict, cache);
	return 0;
}

void page_cache_free(struct page_cache *cache)
{
	if (!cache)
		return;
	assert(!cache->oldest);
	pthread_mutex_destroy(&cache->lock);
	pthread_cond_destroy(&cache->loaded);
	free(cache);
}

/* Make the page with this index, in the table and loading; NULL when it is
 * there already or memory is short. */
static struct page *new_page(struct cached_source *self, uint64_t index)
{
	struct page_cache *cache = self->cache;
	struct page *page, **bucket;

	if (!budget_try(cache->budget, page_cost(self)))
		return NULL;
	page = malloc(page_cost(self));
	if (!page) {
		budget_release(cache->budget, page_cost(self));
		return NULL;
	}
	page->owner = self;
	page->index = index;
	page->length = (uint32_t)min_u64(self->page_bytes,
					 self->source.size -
						 index * self->page_bytes);
	page->loading = true;
	pthread_mutex_lock(&cache->lock);
	if (find_page(cache, self, index)) {
		pthread_mutex_unlock(&cache->lock);
		free_page(cache, page);
		return NULL;
	}
	bucket = bucket_of(cache, self, index);
	page->chain = *bucket;
	*bucket = page;
	pthread_mutex_unlock(&cache->lock);
	return page;
}

/* Publish pages that were read, or forget them again. */
static void end_loading(struct page_cache *cache, struct page **pages, int n,
			bool good)
{
	pthread_mutex_lock(&cache->lock);
	for (int i = 0; i < n; i++) {
		pages[i]->loading = false;
		if (good)
			lru_add(cache, pages[i]);
		else
			table_remove(cache, pages[i]);
	}
	pthread_cond_broadcast(&cache->loaded);
	pthread_mutex_unlock(&cache->lock);
	for (int i = 0; i < n && !good; i++)
		free_page(cache, pages[i]);
}

/* Fetch the pages from `first` to at most `last` that nobody has yet, in one
 * read. 1: some were fetched; 0: none could be made; -1 error. */
static int load_run(struct cached_source *self, uint64_t first, uint64_t last,
		    unsigned int flags, struct error *err)
{
	struct page *pages[RUN_MAX];
	struct iovec iov[RUN_MAX];
	int n = 0, ret;

	for (; n < RUN_MAX && first + (uint64_t)n <= last; n++) {
		pages[n] = new_page(self, first + (uint64_t)n);
		if (!pages[n])
			break;
		iov[n].iov_base = pages[n]->data;
		iov[n].iov_len = pages[n]->length;
	}
	if (!n)
		return 0;
	ret = source_readv(self->below, first * self->page_bytes, iov, n,
			   flags, err);
	end_loading(self->cache, pages, n, ret == 0);
	return ret ? -1 : 1;
}

enum lookup { HIT, MISS, BUSY };

/* Copy from the page that holds offset, if it is there; waits for one that is
 * loading unless told not to. *n becomes the number of bytes copied. */
static enum lookup copy_out(struct cached_source *self, uint64_t offset,
			    char *buf, size_t *n, bool wait)
{
	struct page_cache *cache = self->cache;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&cache->lock);
	uint32_t within = (uint32_t)(offset % self->page_bytes);
	struct page *page;

	for (;;) {
		page = find_page(cache, self, offset / self->page_bytes);
		if (!page)
			return MISS;
		if (!page->loading)
			break;
		if (!wait)
			return BUSY;
		pool_blocking_begin();
		pthread_cond_wait(&cache->loaded, held);
		pool_blocking_end();
	}
	*n = min_u64(*n, page->length - within);
	memcpy(buf, page->data + within, *n);
	if (page != cache->newest) {
		lru_remove(cache, page);
		lru_add(cache, page);
	}
	return HIT;
}

static int read_through(struct cached_source *self, uint64_t offset, char *buf,
			size_t len, unsigned int flags, struct error *err)
{
	bool wait = !(flags & SOURCE_NOWAIT);

	while (len) {
		size_t n = len;
		int loaded;

		switch (copy_out(self, offset, buf, &n, wait)) {
		case HIT:
			offset += n;
			buf += n;
			len -= n;
			continue;
		case BUSY:
			return error_set(err, ERR_AGAIN, "being read");
		case MISS:
			break;
		}
		loaded = load_run(self, offset / self->page_bytes,
				  (offset + len - 1) / self->page_bytes, flags,
				  err);
		if (loaded < 0)
			return -1;
		/* No memory for a page: read past the cache, slow but sure. */
		if (loaded == 0 && copy_out(self, offset, buf, &n, wait) != HIT)
			return source_read(self->below, offset, buf, len,
					   flags, err);
	}
	return 0;
}

static int cached_readv(struct source *source, uint64_t offset,
			const struct iovec *iov, int iovcnt,
			unsigned int flags, struct error *err)
{
	struct cached_source *self = (struct cached_source *)source;

	for (int i = 0; i < iovcnt; i++) {
		if (read_through(self, offset, iov[i].iov_base,
				 iov[i].iov_len, flags, err))
			return -1;
		offset += iov[i].iov_len;
	}
	return 0;
}

/* Unlink every page of this source. */
static struct page *unlink_pages(struct page_cache *cache,
				 const struct cached_source *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&cache->lock);
	struct page *gone = NULL, *page, *next;

	(void)held;
	for (page = cache->oldest; page; page = next) {
		next = page->newer;
		if (page->owner != self)
			continue;
		lru_remove(cache, page);
		table_remove(cache, page);
		page->chain = gone;
		gone = page;
	}
	return gone;
}

static void cached_close(struct source *source)
{
	struct cached_source *self = (struct cached_source *)source;
	struct page *page = unlink_pages(self->cache, self);

	while (page) {
		struct page *next = page->chain;

		free_page(self->cache, page);
		page = next;
	}
	source_unref(self->below);
	free(self);
}

static const struct source_ops cached_ops = {
	.readv = cached_readv,
	.close = cached_close,
};

int source_cached(struct source **out, struct source *below,
		  struct page_cache *cache, struct error *err)
{
	AUTO_FREE struct cached_source *self = NULL;

	*out = NULL;
	if (!cache) {
		*out = source_ref(below);
		return 0;
	}
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_nomem(err);
	if (source_init(&self->source, &cached_ops, below->name, below->size,
			below, err))
		return -1;
	self->below = source_ref(below);
	self->cache = cache;
	self->page_bytes = PAGE_BYTES_MIN;
	while (self->page_bytes < below->fetch_bytes &&
	       self->page_bytes < PAGE_BYTES_MAX)
		self->page_bytes *= 2;
	*out = &take_ptr(self)->source;
	return 0;
}
