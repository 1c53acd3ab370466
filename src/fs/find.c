/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * From a name in a directory to the key or prefix it stands for. A fresh
 * listing answers at once; without one the store is asked about the few keys
 * that the name can mean, since listing a large prefix for one name would
 * cost far more. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "fs/fs.h"

struct place {
	struct fs *fs;
	struct store *store;
	enum view view;
	bool is_service_top;
	char prefix[STORE_KEY_MAX + 2];
};

static int not_found(struct error *err)
{
	return error_set(err, ERR_NOT_FOUND, "no such file or directory");
}

/* Copy an entry, whose texts then stand in *text. */
static int copy_entry(const struct listing_entry *from,
		      struct listing_entry *to, char **text,
		      struct error *err)
{
	size_t segment = strlen(from->segment) + 1;
	size_t etag = strlen(from->etag) + 1;

	*text = malloc(segment + etag);
	if (!*text)
		return error_nomem(err);
	*to = *from;
	to->segment = memcpy(*text, from->segment, segment);
	to->etag = memcpy(*text + segment, from->etag, etag);
	return 0;
}

static int find_listed(const struct place *place,
		       const struct listing *listing, const char *name,
		       struct listing_entry *entry, char **text,
		       struct error *err)
{
	size_t i = listing_find_name(listing, place->view, name);
	struct listing_entry found;

	if (i == SIZE_MAX)
		return not_found(err);
	listing_entry(listing, i, &found);
	if (place->is_service_top && !found.is_prefix)
		return not_found(err);
	return copy_entry(&found, entry, text, err);
}

static int find_by_listing(const struct place *place, const char *name,
			   struct listing_entry *entry, char **text,
			   struct error *err)
{
	struct listing *listing;
	int ret;

	if (listings_get(&listing, place->fs->listings, place->store,
			 place->prefix, err))
		return -1;
	ret = find_listed(place, listing, name, entry, text, err);
	listing_unref(listing);
	return ret;
}

/* prefix + segment (+ "/"); false where no key can be that long. */
static bool join(char key[STORE_KEY_MAX + 2], const struct place *place,
		 const char *segment, const char *slash)
{
	int len = snprintf(key, STORE_KEY_MAX + 2, "%s%s%s", place->prefix,
			   segment, slash);

	return len > 0 && len <= STORE_KEY_MAX + (*slash ? 1 : 0) &&
	       !is_state_key(key);
}

static int has_prefix(const struct place *place, const char *segment,
		      bool *found, struct error *err)
{
	char key[STORE_KEY_MAX + 2];

	*found = false;
	if (!join(key, place, segment, "/"))
		return 0;
	return store_has_prefix(place->store, key, found, err);
}

static int find_object(const struct place *place, const char *segment,
		       struct listing_entry *entry, char **text,
		       struct error *err)
{
	char key[STORE_KEY_MAX + 2];
	struct object_info info;
	struct listing_entry found = { .segment = segment };

	if (!join(key, place, segment, ""))
		return not_found(err);
	if (store_stat(place->store, key, &info, err))
		return -1;
	found.etag = info.etag;
	found.size = info.size;
	found.mtime_ns = info.mtime_ns;
	return copy_entry(&found, entry, text, err);
}

static int ask_store(const struct place *place,
		     const struct name_meaning *meaning,
		     struct listing_entry *entry, char **text,
		     struct error *err)
{
	struct listing_entry dir = {
		.segment = meaning->prefix,
		.is_prefix = true,
		.etag = "",
	};
	bool has_dir = false;

	if ((meaning->can_be_prefix || meaning->is_taken) &&
	    has_prefix(place, meaning->prefix, &has_dir, err))
		return -1;
	if (has_dir && meaning->can_be_prefix)
		return copy_entry(&dir, entry, text, err);
	if (!meaning->can_be_object || meaning->is_taken != has_dir)
		return not_found(err);
	return find_object(place, meaning->object, entry, text, err);
}

int fs_find(struct fs *fs, struct node *dir, const char *name,
	    struct listing_entry *entry, char **text, struct error *err)
{
	struct place place = { .fs = fs, .view = dir->view };
	struct name_meaning meaning;
	struct listing *listing;
	int ret;

	*text = NULL;
	place.is_service_top = !dir->bucket;
	if (fs_place(fs, dir, &place.store, place.prefix, err))
		return -1;
	name_parse(&meaning, place.view, name);
	if (!meaning.is_short && !meaning.can_be_object &&
	    !meaning.can_be_prefix)
		return not_found(err);
	listing = listings_peek(fs->listings, place.store, place.prefix);
	if (listing) {
		ret = find_listed(&place, listing, name, entry, text, err);
		listing_unref(listing);
		return ret;
	}
	if (meaning.is_short || place.is_service_top ||
	    listings_is_worthwhile(fs->listings, place.store, place.prefix))
		return find_by_listing(&place, name, entry, text, err);
	return ask_store(&place, &meaning, entry, text, err);
}
