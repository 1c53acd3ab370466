/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The objects beside a container. Where each question costs a round trip, what
 * is going to be opened is asked for together: by one page of a listing, which
 * has sizes and ETags, or else by requests in parallel; and what parents begin
 * with is fetched before it is known which of them is one.
 *
 * Threads: one opens a container, and no other comes here meanwhile; those
 * that ask in parallel write only to their own question. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/pool.h"
#include "disk/container-internal.h"

#define FAR_BYTES   (32u << 10) /* a store whose request costs as much as so
				 * many bytes is one to spare requests of */
#define PAGE_KEYS   1000u
#define KNOWN_MAX   10000u      /* names kept of one open */
#define ASK_THREADS 64u
#define ASK_ROUND   256u        /* questions in flight or queued */
#define AHEAD_ROUND 16u         /* parents fetched ahead at once */
#define AHEAD_HELD  64u         /* and held until they are opened */

struct sibling {
	char *name;
	struct object_info info;
	bool was_opened, was_fetched;
	struct source *source, *tables; /* of one fetched ahead, or NULL */
};

static bool is_plain_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static bool is_far(const struct store_siblings *self)
{
	return self->container->store->fetch_bytes >= FAR_BYTES;
}

/* The key of a sibling; false where it is too long for one. */
static bool key_of(const struct store_siblings *self, const char *name,
		   char key[STORE_KEY_MAX + 1])
{
	int len = snprintf(key, STORE_KEY_MAX + 1, "%.*s%s",
			   (int)self->prefix_len, self->container->key, name);

	return len >= 0 && len <= STORE_KEY_MAX;
}

static struct sibling *find_known(const struct store_siblings *self,
				  const char *name)
{
	for (size_t i = 0; i < self->known_count; i++)
		if (!strcmp(self->known[i].name, name))
			return &self->known[i];
	return NULL;
}

/* Remember a sibling; false where that is not possible. */
static bool add_known(struct store_siblings *self, const char *name,
		      const struct object_info *info)
{
	struct sibling *known = self->known, *sibling;

	if (find_known(self, name))
		return true;
	if (self->known_count == KNOWN_MAX)
		return false;
	if (self->known_count == self->known_size) {
		size_t size = self->known_size ? 2 * self->known_size : 64;

		known = reallocarray(known, size, sizeof(*known));
		if (!known)
			return false;
		self->known = known;
		self->known_size = size;
	}
	sibling = &known[self->known_count];
	*sibling = (struct sibling){ .name = strdup(name), .info = *info };
	if (!sibling->name)
		return false;
	self->known_count++;
	return true;
}

/* Listing */

struct page {
	struct store_siblings *self;
	bool is_kept; /* all of it so far */
};

static int page_entry(void *arg, const struct store_entry *entry,
		      struct error *err)
{
	struct page *page = arg;

	(void)err;
	if (!entry->is_prefix &&
	    !add_known(page->self, entry->key + page->self->prefix_len,
		       &entry->info))
		page->is_kept = false;
	return 0;
}

/* Remember the siblings whose names begin like `start`, one page of them.
 * True if that was all. What fails is met again by who opens. */
static bool list_page(struct store_siblings *self, const char *start,
		      size_t start_len)
{
	struct page page = { self, true };
	AUTO_FREE char *prefix = NULL, *continuation = NULL;
	struct list_args list = { .delimiter = '/', .max_keys = PAGE_KEYS };

	if (asprintf(&prefix, "%.*s%.*s", (int)self->prefix_len,
		     self->container->key, (int)start_len, start) < 0) {
		prefix = NULL;
		return false;
	}
	list.prefix = prefix;
	if (store_list(self->container->store, &list, page_entry, &page,
		       &continuation, NULL))
		return false;
	return page.is_kept && !continuation;
}

/* The whole level, once. */
static void list_level(struct store_siblings *self)
{
	if (self->was_listed)
		return;
	self->was_listed = true;
	self->is_all_known = list_page(self, "", 0);
}

/* Asking in parallel */

struct question {
	struct job job;
	struct store *store;
	const char *name;
	char key[STORE_KEY_MAX + 1];
	struct object_info info;
	bool is_there;
};

static void run_question(struct job *job)
{
	struct question *question = (struct question *)job;

	question->is_there = !store_stat(question->store, question->key,
					 &question->info, NULL);
}

static void ask_round(struct store_siblings *self,
		      struct question *questions, size_t n)
{
	struct pool *pool;

	if (n == 0 || pool_new(&pool, "siblings", 0, ASK_THREADS, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		pool_add(pool, &questions[i].job, JOB_URGENT);
	pool_blocking_begin();
	pool_free(pool);
	pool_blocking_end();
	for (size_t i = 0; i < n; i++)
		if (questions[i].is_there)
			add_known(self, questions[i].name, &questions[i].info);
}

static bool is_unknown(const struct store_siblings *self, const char *name)
{
	return is_plain_name(name) && !find_known(self, name);
}

/* HEADs for those of the names that are not known. */
static void ask_each(struct store_siblings *self, const char *const *names,
		     size_t n)
{
	AUTO_FREE struct question *questions = NULL;
	size_t count = 0;

	questions = calloc(n < ASK_ROUND ? n : ASK_ROUND, sizeof(*questions));
	for (size_t i = 0; questions && i < n; i++) {
		struct question *question = &questions[count];

		if (!is_unknown(self, names[i]) ||
		    !key_of(self, names[i], question->key))
			continue;
		question->job.run = run_question;
		question->store = self->container->store;
		question->name = names[i];
		question->is_there = false;
		if (++count == ASK_ROUND) {
			ask_round(self, questions, count);
			count = 0;
		}
	}
	if (questions)
		ask_round(self, questions, count);
}

static size_t count_unknown(const struct store_siblings *self,
			    const char *const *names, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += is_unknown(self, names[i]);
	return count;
}

static size_t common_length(const char *a, const char *b)
{
	size_t len = 0;

	while (a[len] && a[len] == b[len])
		len++;
	return len;
}

/* A listing of what the names have in common has them all, unless it is a
 * crowded place. */
static void siblings_expect(struct siblings *siblings,
			    const char *const *names, size_t n)
{
	struct store_siblings *self = (struct store_siblings *)siblings;
	size_t len;

	if (!is_far(self) || self->is_all_known ||
	    count_unknown(self, names, n) < 2)
		return;
	len = strlen(names[0]);
	for (size_t i = 1; i < n; i++) {
		size_t common = common_length(names[0], names[i]);

		len = common < len ? common : len;
	}
	if (len > 0 || !self->was_listed)
		list_page(self, names[0], len);
	/* A single one is asked for by who opens it. */
	if (count_unknown(self, names, n) > 1)
		ask_each(self, names, n);
}

/* Opening */

static int siblings_open(struct siblings *siblings, const char *name,
			 struct source **out, struct error *err)
{
	struct store_siblings *self = (struct store_siblings *)siblings;
	struct sibling *sibling;
	char key[STORE_KEY_MAX + 1];

	*out = NULL;
	if (!is_plain_name(name))
		return error_set(err, ERR_DENIED, "'%s' is no plain name; "
				 "files outside the container's own place are "
				 "not opened", name);
	if (!key_of(self, name, key))
		return error_set(err, ERR_NOT_FOUND, "the name is too long");
	sibling = find_known(self, name);
	if (!sibling && self->is_all_known)
		return error_set(err, ERR_NOT_FOUND, "there is no such file");
	if (sibling)
		sibling->was_opened = true;
	if (!sibling || !sibling->source)
		return container_open_object(self->container, key,
					     sibling ? &sibling->info : NULL,
					     NULL, out, err);
	if (container_depend(self->container, key, sibling->info.etag, err))
		return -1;
	*out = source_ref(sibling->source);
	return 0;
}

struct each {
	size_t prefix_len;
	int (*fn)(void *arg, const char *name, struct error *err);
	void *arg;
};

static int each_entry(void *arg, const struct store_entry *entry,
		      struct error *err)
{
	const struct each *each = arg;

	if (entry->is_prefix)
		return 0;
	return each->fn(each->arg, entry->key + each->prefix_len, err);
}

static int siblings_each(struct siblings *siblings,
			 int (*fn)(void *arg, const char *name,
				   struct error *err),
			 void *arg, struct error *err)
{
	struct store_siblings *self = (struct store_siblings *)siblings;
	struct container *container = self->container;
	AUTO_FREE char *prefix = strndup(container->key, self->prefix_len);
	struct each each = { self->prefix_len, fn, arg };
	struct list_args list = { .prefix = prefix, .delimiter = '/' };
	AUTO_FREE char *from = NULL;
	char *continuation;

	for (size_t i = 0; self->is_all_known && i < self->known_count; i++)
		if (fn(arg, self->known[i].name, err))
			return -1;
	if (self->is_all_known)
		return 0;
	if (!prefix)
		return error_nomem(err);
	do {
		if (store_list(container->store, &list, each_entry, &each,
			       &continuation, err))
			return -1;
		free(from);
		from = continuation;
		list.continuation = from;
	} while (from);
	return 0;
}

/* Fetching ahead */

static void let_go(struct sibling *sibling)
{
	source_unref(sibling->tables);
	source_unref(sibling->source);
	sibling->source = sibling->tables = NULL;
}

/* Begin to fetch; who opens it gets the same source and so finds it. */
static void fetch_ahead(struct store_siblings *self, struct sibling *sibling,
			const struct open_args *args)
{
	char key[STORE_KEY_MAX + 1];

	sibling->was_fetched = true;
	if (sibling->was_opened || !*sibling->info.etag ||
	    !key_of(self, sibling->name, key) ||
	    container_open_source(self->container, key, &sibling->info, NULL,
				  &sibling->source, NULL))
		return;
	if (source_cached(&sibling->tables, sibling->source, args->cache,
			  NULL)) {
		let_go(sibling);
		return;
	}
	self->held_count++;
	format_prefetch(sibling->source, NULL, args);
}

static bool has_ending(const char *name, const char *const *endings)
{
	size_t len = strlen(name);

	for (; *endings; endings++) {
		size_t n = strlen(*endings);

		if (len > n && !strcasecmp(name + len - n, *endings))
			return true;
	}
	return false;
}

/* The likeliest parent that was not fetched yet: the disks of one chain are
 * named alike. */
static struct sibling *likeliest(const struct store_siblings *self,
				 const char *const *endings)
{
	const char *name = self->container->key + self->prefix_len;
	struct sibling *best = NULL;
	size_t best_common = 0;

	for (size_t i = 0; i < self->known_count; i++) {
		struct sibling *sibling = &self->known[i];
		size_t common = common_length(sibling->name, name);

		if (sibling->was_fetched || sibling->was_opened ||
		    (best && common <= best_common) ||
		    !strcmp(sibling->name, name) ||
		    !has_ending(sibling->name, endings))
			continue;
		best = sibling;
		best_common = common;
	}
	return best;
}

/* Give up what was fetched and not opened, if it has become much. */
static void let_some_go(struct store_siblings *self)
{
	if (self->held_count < AHEAD_HELD)
		return;
	self->held_count = 0;
	for (size_t i = 0; i < self->known_count; i++)
		if (!self->known[i].was_opened)
			let_go(&self->known[i]);
}

/* Is there one among the names that was not thought of yet? */
static bool is_news(const struct store_siblings *self,
		    const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct sibling *sibling = find_known(self, names[i]);

		if (sibling && !sibling->was_fetched && !sibling->was_opened)
			return true;
	}
	return false;
}

static void siblings_expect_parents(struct siblings *siblings,
				    const char *const *names, size_t n,
				    const char *const *endings,
				    const struct open_args *args)
{
	struct store_siblings *self = (struct store_siblings *)siblings;

	if (!is_far(self))
		return;
	list_level(self);
	if (!self->is_all_known && count_unknown(self, names, n) > 0)
		ask_each(self, names, n);
	if (!is_news(self, names, n))
		return;
	let_some_go(self);
	for (size_t i = 0; i < n; i++) {
		struct sibling *sibling = find_known(self, names[i]);

		if (sibling && !sibling->was_fetched)
			fetch_ahead(self, sibling, args);
	}
	for (size_t i = n; endings && i < AHEAD_ROUND; i++) {
		struct sibling *sibling = likeliest(self, endings);

		if (!sibling)
			break;
		fetch_ahead(self, sibling, args);
	}
}

void store_siblings_init(struct store_siblings *self,
			 struct container *container)
{
	const char *slash = strrchr(container->key, '/');

	*self = (struct store_siblings){
		.siblings = {
			.open = siblings_open,
			.each = siblings_each,
			.expect = siblings_expect,
			.expect_parents = siblings_expect_parents,
		},
		.container = container,
		.prefix_len = slash ? (size_t)(slash + 1 - container->key) : 0,
	};
}

void store_siblings_destroy(struct store_siblings *self)
{
	for (size_t i = 0; i < self->known_count; i++) {
		let_go(&self->known[i]);
		free(self->known[i].name);
	}
	free(self->known);
}
