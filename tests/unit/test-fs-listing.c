/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Listings: what is shown under which name, names that clash, names that are
 * too long, the memory budget, the cache. */
#include "config.h"

#include "common/budget.h"
#include "fs/listings.h"
#include "tests/lib/faulty-store.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

static struct store *store;
static struct budget *budget;
static struct error err;

static void put(const char *key)
{
	if (memory_store_put(store, key, "x", 1, &err))
		ok(false, "put %s: %s", key, err.text);
}

/* All names of a view in the listing's order, with a space behind each. */
static const char *names_of(const struct listing *listing, enum view view)
{
	static char all[4096];
	char name[NAME_SIZE];
	size_t len = 0;

	*all = '\0';
	for (size_t i = 0; i < listing_count(listing); i++)
		if (listing_name(listing, i, view, name))
			len += (size_t)snprintf(all + len, sizeof(all) - len,
						"%s ", name);
	return all;
}

/* Each name that is shown is found again, at its own entry. */
static void check_found(const struct listing *listing, enum view view)
{
	size_t wrong = 0;

	for (size_t i = 0; i < listing_count(listing); i++) {
		char name[NAME_SIZE];

		if (listing_name(listing, i, view, name) &&
		    listing_find_name(listing, view, name) != i)
			wrong++;
	}
	is_u64(wrong, 0, "each name leads to its entry");
}

static void test_views(void)
{
	struct listing *listing;

	put("db.vmdk");
	put("db.vmdk.raw/x.img");
	put("app.ova");
	put("app.ova/x.img");
	put("raw.img");
	put("notes.txt");
	put("a");
	put("a/b");
	put("a/");
	put(".vmiefs/tasks/t.json");
	put(".vmiefs");
	put(".vmiefs2");
	succeeds(listing_load(&listing, store, "", budget, &err), &err,
		 "list the first level");
	is_str(names_of(listing, VIEW_OBJECTS),
	       ".vmiefs2 a% a app.ova% app.ova db.vmdk db.vmdk.raw notes.txt "
	       "raw.img ",
	       "objects/: all but the state, directories first in line");
	is_str(names_of(listing, VIEW_DISKS),
	       "a app.ova% app.ova db.vmdk.raw% db.vmdk.raw raw.img ",
	       "disks/: containers by their views");
	check_found(listing, VIEW_OBJECTS);
	check_found(listing, VIEW_DISKS);
	ok(listing_find_name(listing, VIEW_DISKS, "raw.img%") == SIZE_MAX,
	   "a bare %% only where a directory has the name");
	listing_unref(listing);
	succeeds(listing_load(&listing, store, "a/", budget, &err), &err,
		 "list a/");
	is_str(names_of(listing, VIEW_OBJECTS), "%00 b ",
	       "with the object a/ in it");
	check_found(listing, VIEW_OBJECTS);
	listing_unref(listing);
}

static void test_long_names(void)
{
	char key[600];
	struct listing *listing;

	snprintf(key, sizeof(key), "long/%0300d.vmdk", 1);
	put(key);
	snprintf(key, sizeof(key), "long/%0300d.vmdk", 2);
	put(key);
	snprintf(key, sizeof(key), "long/%0300d/x", 3);
	put(key);
	succeeds(listing_load(&listing, store, "long/", budget, &err), &err,
		 "list long names");
	is_u64(listing_count(listing), 3, "all are there");
	check_found(listing, VIEW_OBJECTS);
	check_found(listing, VIEW_DISKS);
	listing_unref(listing);
}

static void test_budget(void)
{
	struct budget *small;
	struct listing *listing;
	char key[64];

	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "many/disk-%04d.vmdk", i);
		put(key);
	}
	succeeds(budget_new(&small, 100000, &err), &err, "a small budget");
	fails_with(listing_load(&listing, store, "many/", small, &err), &err,
		   ERR_NOMEM, "memory=", "2,000 keys do not fit in 100 KB");
	ok(listing == NULL, "no listing then");
	is_u64(budget_stats(small).used, 0, "and nothing stays reserved");
	budget_free(small);
	succeeds(listing_load(&listing, store, "many/", budget, &err), &err,
		 "they fit in a larger one");
	ok(budget_stats(budget).used <= 2000 * 200,
	   "with at most 200 bytes a key");
	listing_unref(listing);
	is_u64(budget_stats(budget).used, 0, "which are given back");
}

static void test_cache(void)
{
	struct listing *one, *two, *three;
	struct listings *listings;
	struct store *counted;

	succeeds(faulty_store_new(&counted, store, NULL, &err), &err,
		 "count calls");
	succeeds(listings_new(&listings, budget, 60000, &err), &err,
		 "a cache of a minute");
	ok(!listings_peek(listings, counted, "a/"), "nothing is known yet");
	succeeds(listings_get(&one, listings, counted, "a/", &err), &err,
		 "list");
	succeeds(listings_get(&two, listings, counted, "a/", &err), &err,
		 "list again");
	ok(one == two, "the same listing");
	for (int i = 0; i < 4; i++)
		listing_unref(listings_peek(listings, counted, "a/"));
	ok(listings_is_worthwhile(listings, counted, "a/"),
	   "worth another one once it has answered some names");
	is_u64(faulty_store_stats(counted).calls[FAULTY_LIST], 1,
	       "asked for once");
	listings_drop(listings, counted, "a/");
	succeeds(listings_get(&three, listings, counted, "a/", &err), &err,
		 "list after a change");
	ok(three != one, "a new listing");
	listing_unref(one);
	listing_unref(two);
	listing_unref(three);
	listings_free(listings);
	succeeds(listings_new(&listings, budget, 0, &err), &err,
		 "a cache that keeps nothing");
	succeeds(listings_get(&one, listings, counted, "a/", &err), &err,
		 "list");
	ok(!listings_peek(listings, counted, "a/"), "is old at once");
	for (int i = 0; i < 4; i++)
		ok(!listings_is_worthwhile(listings, counted, "a/"),
		   "not worth another one for name %d", i + 1);
	ok(listings_is_worthwhile(listings, counted, "a/"),
	   "but when many are asked for");
	listing_unref(one);
	listings_free(listings);
	store_close(counted);
}

int main(void)
{
	succeeds(memory_store_new(&store, &err), &err, "a store");
	succeeds(budget_new(&budget, 64 << 20, &err), &err, "a budget");
	test_views();
	test_long_names();
	test_budget();
	test_cache();
	budget_free(budget);
	return tap_done();
}
