/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Snapshots of one level: an array of fixed entries and one block of text. */
#include "config.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "fs/clock.h"
#include "fs/bucket.h"
#include "fs/listing.h"

#define FIRST_ITEMS 64
#define FIRST_TEXT  4096

struct item {
	uint64_t size;
	int64_t mtime_ns;
	uint32_t segment, etag; /* places in text */
	bool is_prefix;
};

struct listing {
	atomic_uint refs;
	int64_t time_ns;
	struct budget *budget;
	uint64_t charged; /* bytes taken from the budget */
	struct item *items;
	size_t count, item_room;
	char *text;
	size_t text_len, text_room;
};

static int charge(struct listing *ls, uint64_t bytes, struct error *err)
{
	if (budget_reserve(ls->budget, bytes, "a directory listing", err))
		return -1;
	ls->charged += bytes;
	return 0;
}

/* Double an array of `room` elements until it holds `need`. */
static int make_room(struct listing *ls, void **array, size_t *room,
		     size_t need, size_t element, struct error *err)
{
	size_t more = *room ? *room : 1;
	void *bigger;

	if (need <= *room)
		return 0;
	while (more < need)
		more *= 2;
	if (more > UINT32_MAX / 2)
		return error_set(err, ERR_LIMIT, "too many keys in one prefix");
	if (charge(ls, (more - *room) * element, err))
		return -1;
	bigger = reallocarray(*array, more, element);
	if (!bigger)
		return error_nomem(err);
	*array = bigger;
	*room = more;
	return 0;
}

/* Append text with its NUL; where it starts goes to *at. */
static int add_text(struct listing *ls, const char *text, size_t len,
		    uint32_t *at, struct error *err)
{
	if (make_room(ls, (void **)&ls->text, &ls->text_room,
		      ls->text_len + len + 1, 1, err))
		return -1;
	memcpy(ls->text + ls->text_len, text, len);
	ls->text[ls->text_len + len] = '\0';
	*at = (uint32_t)ls->text_len;
	ls->text_len += len + 1;
	return 0;
}

struct loading {
	struct listing *listing;
	size_t prefix_len;
};

static int add_entry(void *arg, const struct store_entry *entry,
		     struct error *err)
{
	struct loading *loading = arg;
	struct listing *ls = loading->listing;
	const char *segment = entry->key + loading->prefix_len;
	size_t len = strlen(segment);
	struct item *item;

	if (is_state_key(entry->key))
		return 0;
	if (entry->is_prefix)
		len--; /* its slash */
	if (make_room(ls, (void **)&ls->items, &ls->item_room, ls->count + 1,
		      sizeof(*item), err))
		return -1;
	item = &ls->items[ls->count];
	item->is_prefix = entry->is_prefix;
	item->size = entry->info.size;
	item->mtime_ns = entry->info.mtime_ns;
	if (add_text(ls, segment, len, &item->segment, err) ||
	    add_text(ls, entry->info.etag, strlen(entry->info.etag),
		     &item->etag, err))
		return -1;
	ls->count++;
	return 0;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct item *x = a, *y = b;
	const char *text = arg;
	int order = strcmp(text + x->segment, text + y->segment);

	return order ? order : (int)x->is_prefix - (int)y->is_prefix;
}

static int load_pages(struct listing *ls, struct store *store,
		      const char *prefix, struct error *err)
{
	struct loading loading = { ls, strlen(prefix) };
	struct list_args args = { .prefix = prefix, .delimiter = '/' };
	char *continuation = NULL;
	int ret;

	do {
		AUTO_FREE char *from = take_ptr(continuation);

		args.continuation = from;
		ret = store_list(store, &args, add_entry, &loading,
				 &continuation, err);
	} while (!ret && continuation);
	free(continuation);
	return ret;
}

int listing_load(struct listing **out, struct store *store,
		 const char *prefix, struct budget *budget, struct error *err)
{
	struct listing *ls = calloc(1, sizeof(*ls));

	*out = NULL;
	if (!ls)
		return error_nomem(err);
	atomic_init(&ls->refs, 1);
	ls->budget = budget;
	ls->time_ns = clock_ns();
	if (make_room(ls, (void **)&ls->items, &ls->item_room, FIRST_ITEMS,
		      sizeof(struct item), err) ||
	    make_room(ls, (void **)&ls->text, &ls->text_room, FIRST_TEXT, 1,
		      err) ||
	    load_pages(ls, store, prefix, err)) {
		listing_unref(ls);
		return -1;
	}
	qsort_r(ls->items, ls->count, sizeof(struct item), compare, ls->text);
	*out = ls;
	return 0;
}

struct listing *listing_ref(struct listing *listing)
{
	atomic_fetch_add(&listing->refs, 1);
	return listing;
}

void listing_unref(struct listing *listing)
{
	if (!listing || atomic_fetch_sub(&listing->refs, 1) != 1)
		return;
	budget_release(listing->budget, listing->charged);
	free(listing->items);
	free(listing->text);
	free(listing);
}

size_t listing_count(const struct listing *listing)
{
	return listing->count;
}

int64_t listing_time_ns(const struct listing *listing)
{
	return listing->time_ns;
}

void listing_entry(const struct listing *listing, size_t i,
		   struct listing_entry *entry)
{
	const struct item *item = &listing->items[i];

	assert(i < listing->count);
	entry->segment = listing->text + item->segment;
	entry->is_prefix = item->is_prefix;
	entry->etag = listing->text + item->etag;
	entry->size = item->size;
	entry->mtime_ns = item->mtime_ns;
}

size_t listing_find(const struct listing *listing, const char *segment,
		    bool is_prefix)
{
	size_t low = 0, high = listing->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct item *item = &listing->items[mid];
		int order = strcmp(listing->text + item->segment, segment);

		if (order == 0)
			order = (int)item->is_prefix - (int)is_prefix;
		if (order == 0)
			return mid;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return SIZE_MAX;
}

/* Does a prefix's directory have this name already? A shortened name says
 * nothing about its segment, so two of those would need the same hash. */
static bool is_taken(const struct listing *listing, const char *name)
{
	struct name_meaning meaning;

	name_parse(&meaning, VIEW_OBJECTS, name);
	return meaning.can_be_prefix &&
	       listing_find(listing, meaning.prefix, true) != SIZE_MAX;
}

bool listing_name(const struct listing *listing, size_t i, enum view view,
		  char name[NAME_SIZE])
{
	struct listing_entry entry;

	listing_entry(listing, i, &entry);
	if (entry.is_prefix) {
		name_of_prefix(name, entry.segment);
		return true;
	}
	if (name_shape(view, entry.segment) == SHAPE_NONE)
		return false;
	name_of_object(name, view, entry.segment, false);
	if (is_taken(listing, name))
		name_of_object(name, view, entry.segment, true);
	return true;
}

/* A shortened name tells nothing about its key: compare with all. */
static size_t search_all(const struct listing *listing, enum view view,
			 const char *name)
{
	char other[NAME_SIZE];

	for (size_t i = 0; i < listing->count; i++)
		if (listing_name(listing, i, view, other) &&
		    !strcmp(other, name))
			return i;
	return SIZE_MAX;
}

size_t listing_find_name(const struct listing *listing, enum view view,
			 const char *name)
{
	struct name_meaning meaning;
	size_t prefix = SIZE_MAX;

	name_parse(&meaning, view, name);
	if (meaning.is_short)
		return search_all(listing, view, name);
	if (meaning.can_be_prefix || meaning.is_taken)
		prefix = listing_find(listing, meaning.prefix, true);
	if (meaning.can_be_prefix && prefix != SIZE_MAX)
		return prefix;
	if (!meaning.can_be_object)
		return SIZE_MAX;
	if (meaning.is_taken && prefix == SIZE_MAX)
		return SIZE_MAX;
	return listing_find(listing, meaning.object, false);
}
