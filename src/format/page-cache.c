/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The metadata cache: pages of sources, found by hash, dropped least recently
 * used first when the budget asks.
 *
 * Threads: one lock guards the table, the lists and all pages' contents; it is
 * never held while a source is read or memory is reserved. A page that is
 * being read is in the table with `loading` set: whoever needs it waits for
 * `loaded`, so a page is fetched once however many want it. What a prefetch
 * asked for is read in `fetchers`, or by the first who needs it if that comes
 * earlier: nobody ever waits for a thread to be free. */
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
#define PAGE_BYTES_MAX (64 << 10)
#define RUN_MAX        16 /* pages fetched by one read */
#define FETCH_THREADS  64

struct cached_source;
struct fetch;

struct page {
	struct page *chain;       /* next in the bucket */
	struct page *newer, *older;
	struct cached_source *owner;
	uint64_t index;           /* offset / owner->page_bytes */
	uint32_t length;          /* valid bytes */
	bool loading;
	struct fetch *fetch;      /* the prefetch in whose run it waits */
	char data[];
};

/* Neighbouring pages that are loading, to be fetched by one read. */
struct run {
	struct page *pages[RUN_MAX];
	int n;
};

/* A prefetch that waits for a thread. */
struct fetch {
	struct job job;
	struct cached_source *source; /* a reference */
	struct run run;               /* n == 0: somebody has taken it */
};

struct page_cache {
	struct budget *budget;
	struct pool *fetchers;
	pthread_mutex_t lock;
	pthread_cond_t loaded;
	struct cached_source *sources;
	struct page *buckets[BUCKETS];
	struct page *newest, *oldest; /* without those loading */
};

struct cached_source {
	struct source source;
	struct cached_source *next; /* in cache->sources */
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

	*out = NULL;
	if (!cache)
		return error_nomem(err);
	if (pool_new(&cache->fetchers, "fetch", 0, FETCH_THREADS, err)) {
		free(cache);
		return -1;
	}
	*out = cache;
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
	pool_free(cache->fetchers);
	assert(!cache->oldest && !cache->sources);
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
	page->fetch = NULL;
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

/* Make the pages from `first` to at most `last` that nobody has yet. */
static void make_run(struct cached_source *self, uint64_t first, uint64_t last,
		     struct run *run)
{
	for (run->n = 0; run->n < RUN_MAX; run->n++) {
		uint64_t index = first + (uint64_t)run->n;

		run->pages[run->n] = index <= last ? new_page(self, index) :
						     NULL;
		if (!run->pages[run->n])
			break;
	}
}

/* Publish pages that were read, or forget them again. */
static void end_loading(struct page_cache *cache, const struct run *run,
			bool good)
{
	pthread_mutex_lock(&cache->lock);
	for (int i = 0; i < run->n; i++) {
		run->pages[i]->loading = false;
		if (good)
			lru_add(cache, run->pages[i]);
		else
			table_remove(cache, run->pages[i]);
	}
	pthread_cond_broadcast(&cache->loaded);
	pthread_mutex_unlock(&cache->lock);
	for (int i = 0; i < run->n && !good; i++)
		free_page(cache, run->pages[i]);
}

static int read_run(struct cached_source *self, const struct run *run,
		    unsigned int flags, struct error *err)
{
	struct iovec iov[RUN_MAX];

	for (int i = 0; i < run->n; i++) {
		iov[i].iov_base = run->pages[i]->data;
		iov[i].iov_len = run->pages[i]->length;
	}
	return source_readv(self->below,
			    run->pages[0]->index * self->page_bytes, iov,
			    run->n, flags, err);
}

static int load_run(struct cached_source *self, const struct run *run,
		    unsigned int flags, struct error *err)
{
	int ret = read_run(self, run, flags, err);

	end_loading(self->cache, run, ret == 0);
	return ret;
}

static bool has_page(struct cached_source *self, uint64_t index)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->cache->lock);

	(void)held;
	return find_page(self->cache, self, index);
}

/* Many pages cost no more than one where the store is far. They are probably
 * wanted at both ends of a file, and where the page in front was; elsewhere a
 * table of a stream may lie alone among data. */
static void widen(struct cached_source *self, uint64_t *first, uint64_t *last)
{
	uint64_t count = self->below->fetch_bytes / self->page_bytes;
	uint64_t end = (self->source.size - 1) / self->page_bytes;
	uint64_t group_begin, group_end;

	if (count <= 1)
		return;
	group_begin = *first - *first % count;
	group_end = min_u64(group_begin + count - 1, end);
	if (group_begin && group_end != end && !has_page(self, *first - 1))
		return;
	while (*first > group_begin && !has_page(self, *first - 1))
		--*first;
	*last = max_u64(*last, group_end);
}

/* Prefetching. */

/* What the fetch has to do, unless somebody has taken it. Lock held. */
static struct run take_run(struct fetch *fetch)
{
	struct run run = fetch->run;

	for (int i = 0; i < run.n; i++)
		run.pages[i]->fetch = NULL;
	fetch->run.n = 0;
	return run;
}

static void run_fetch(struct job *job)
{
	struct fetch *fetch = (struct fetch *)job;
	struct cached_source *self = fetch->source;
	struct run run;

	pthread_mutex_lock(&self->cache->lock);
	run = take_run(fetch);
	pthread_mutex_unlock(&self->cache->lock);
	if (run.n)
		load_run(self, &run, 0, NULL);
	free(fetch);
	source_unref(&self->source);
}

/* Read at once what needs no waiting; leave the rest to a thread. */
static void start_fetch(struct cached_source *self, struct fetch *fetch)
{
	struct page_cache *cache = self->cache;
	struct error why = { 0 };
	int ret = read_run(self, &fetch->run, SOURCE_NOWAIT, &why);

	if (!ret || why.kind != ERR_AGAIN) {
		end_loading(cache, &fetch->run, ret == 0);
		free(fetch);
		return;
	}
	fetch->job.run = run_fetch;
	fetch->source = self;
	source_ref(&self->source);
	pthread_mutex_lock(&cache->lock);
	for (int i = 0; i < fetch->run.n; i++)
		fetch->run.pages[i]->fetch = fetch;
	pthread_cond_broadcast(&cache->loaded);
	pthread_mutex_unlock(&cache->lock);
	pool_add(cache->fetchers, &fetch->job, JOB_URGENT);
}

static void cached_prefetch(struct source *source, uint64_t offset,
			    uint64_t length)
{
	struct cached_source *self = (struct cached_source *)source;
	uint64_t at = offset / self->page_bytes;
	uint64_t last = (offset + length - 1) / self->page_bytes;

	widen(self, &at, &last);
	while (at <= last) {
		struct fetch *fetch = calloc(1, sizeof(*fetch));

		if (!fetch)
			return;
		make_run(self, at, last, &fetch->run);
		at += fetch->run.n ? (uint64_t)fetch->run.n : 1;
		if (fetch->run.n)
			start_fetch(self, fetch);
		else
			free(fetch);
	}
}

/* Reading. */

enum lookup { HIT, MISS, BUSY, QUEUED };

/* Copy from the page that holds offset, if it is there; waits for one that is
 * loading unless told not to. *n becomes the number of bytes copied. QUEUED:
 * the page is in a prefetch that has not begun; *run is now the caller's. */
static enum lookup copy_out(struct cached_source *self, uint64_t offset,
			    char *buf, size_t *n, bool wait, struct run *run)
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
		if (page->fetch) {
			*run = take_run(page->fetch);
			return QUEUED;
		}
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

/* A page is not there: fetch it and those behind it that are wanted too. 1:
 * look again; 0: [offset, offset + len) was read past the cache, since memory
 * is short or so much is wanted that it is no table. -1 error. */
static int fetch_missing(struct cached_source *self, uint64_t offset,
			 char *buf, size_t len, unsigned int flags,
			 struct error *err)
{
	uint64_t first = offset / self->page_bytes;
	uint64_t last = (offset + len - 1) / self->page_bytes;
	struct run run = { .n = 0 };

	if (last - first < RUN_MAX) {
		uint64_t begin = first;

		widen(self, &begin, &last);
		make_run(self, begin, last, &run);
	}
	if (run.n)
		return load_run(self, &run, flags, err) ? -1 : 1;
	if (has_page(self, first))
		return 1;
	return source_read(self->below, offset, buf, len, flags, err);
}

static int read_through(struct cached_source *self, uint64_t offset, char *buf,
			size_t len, unsigned int flags, struct error *err)
{
	bool wait = !(flags & SOURCE_NOWAIT);

	while (len) {
		struct run run;
		size_t n = len;
		int more;

		switch (copy_out(self, offset, buf, &n, wait, &run)) {
		case HIT:
			offset += n;
			buf += n;
			len -= n;
			break;
		case BUSY:
			return error_set(err, ERR_AGAIN, "being read");
		case QUEUED:
			if (load_run(self, &run, 0, err))
				return -1;
			break;
		case MISS:
			more = fetch_missing(self, offset, buf, len, flags,
					     err);
			if (more <= 0)
				return more;
			break;
		}
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

/* Unlink the source and every page of it. */
static struct page *unlink_source(struct page_cache *cache,
				  struct cached_source *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&cache->lock);
	struct cached_source **link = &cache->sources;
	struct page *gone = NULL, *page, *next;

	(void)held;
	while (*link != self)
		link = &(*link)->next;
	*link = self->next;
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
	struct page *page = unlink_source(self->cache, self);

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
	.prefetch = cached_prefetch,
	.close = cached_close,
};

/* A reference, unless the last one is gone and the source just closing. */
static bool try_ref(struct source *source)
{
	unsigned int refs = atomic_load(&source->refs);

	while (refs && !atomic_compare_exchange_weak(&source->refs, &refs,
						     refs + 1))
		;
	return refs;
}

/* Another reference to what stands on `below` already, or NULL. Lock held. */
static struct source *find_cached(struct page_cache *cache,
				  const struct source *below)
{
	struct cached_source *self = cache->sources;

	while (self && (self->below != below || !try_ref(&self->source)))
		self = self->next;
	return self ? &self->source : NULL;
}

static int new_cached(struct cached_source **out, struct source *below,
		      struct page_cache *cache, struct error *err)
{
	AUTO_FREE struct cached_source *self = calloc(1, sizeof(*self));

	*out = NULL;
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
	*out = take_ptr(self);
	return 0;
}

int source_cached(struct source **out, struct source *below,
		  struct page_cache *cache, struct error *err)
{
	struct cached_source *self;

	*out = NULL;
	if (!cache || below->ops == &cached_ops) {
		*out = source_ref(below);
		return 0;
	}
	if (below->ops->cached)
		return below->ops->cached(out, below, cache, err);
	/* A new one is in the list at any rate, which closing it expects. */
	if (new_cached(&self, below, cache, err))
		return -1;
	pthread_mutex_lock(&cache->lock);
	*out = find_cached(cache, below);
	self->next = cache->sources;
	cache->sources = self;
	pthread_mutex_unlock(&cache->lock);
	if (*out)
		source_unref(&self->source);
	else
		*out = &self->source;
	return 0;
}
