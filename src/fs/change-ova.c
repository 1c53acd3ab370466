/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The directory NAME.ova.part/, whose disks become an OVA when it is renamed
 * to NAME.ova. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "disk/assemble.h"
#include "fs/fs.h"
#include "store/sink.h"

#define PART ".ova.part"

static bool ends_in(const char *text, const char *ending)
{
	size_t len = strlen(text), n = strlen(ending);

	return len > n && !strcasecmp(text + len - n, ending);
}

bool fs_is_part(const struct node *dir)
{
	return dir->kind == NODE_PREFIX && ends_in(dir->name, PART);
}

bool fs_closes_ova(const char *from, const char *to)
{
	return ends_in(from, PART) && container_classify(to) == CONTAINER_OVA;
}

static void count_one(void *arg, const char *segment)
{
	(void)segment;
	++*(size_t *)arg;
}

/* The key of the OVA, and what has it now. */
static int find_target(struct fs *fs, struct node *dir, const char *name,
		       bool replace, char *key, struct assemble_args *args,
		       char etag[STORE_ETAG_MAX], struct error *err)
{
	struct name_meaning meaning;
	struct listing_entry entry;
	AUTO_FREE char *text = NULL;
	struct error own = { 0 };
	struct store *store;
	size_t len;

	name_parse(&meaning, dir->view, name);
	if (!meaning.can_be_object)
		return error_set(err, ERR_ARG, "no OVA can have this name");
	if (fs_place(fs, dir, &store, key, err))
		return -1;
	len = strlen(key);
	if (len + strlen(meaning.object) > STORE_KEY_MAX)
		return error_errno(err, ENAMETOOLONG, "a key has at most %d "
				   "bytes", STORE_KEY_MAX);
	memcpy(key + len, meaning.object, strlen(meaning.object) + 1);
	if (fs_find(fs, dir, name, &entry, &text, &own)) {
		if (own.kind == ERR_NOT_FOUND)
			return 0;
		*err = own;
		return -1;
	}
	if (entry.is_prefix || !replace || !fs->options->can_overwrite)
		return error_set(err, ERR_EXISTS, "'%s' exists already; -o "
				 "overwrite allows to replace objects", name);
	snprintf(etag, STORE_ETAG_MAX, "%s", entry.etag);
	args->replace = true;
	args->if_match = etag;
	return 0;
}

/* The disks are in the OVA now. */
static void remove_disks(struct store *store, const char *prefix,
			 char *const *keys, size_t count)
{
	struct error err = { 0 };
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = store_remove(store, keys[i], NULL, &err);
	if (ret || store_remove_prefix(store, prefix, &err))
		log_warning("%s/%s stays: %s", store->url, prefix, err.text);
}

/* The kernel has its node under the new name. */
static void forget_part(struct fs *fs, struct node *dir, const char *prefix)
{
	const char *slash = strrchr(prefix, '/');
	const struct listing_entry entry = {
		.segment = slash ? slash + 1 : prefix,
		.is_prefix = true,
		.etag = "",
	};
	struct node *node = fs_entry_node(fs, dir, &entry, NULL);

	if (node)
		atomic_store(&node->is_gone, true);
	node_unref(fs->tree, node);
}

static int assemble(struct fs *fs, struct store *store, const char *prefix,
		    const char *key, const struct assemble_args *args,
		    struct error *err)
{
	char below[STORE_KEY_MAX + 3];
	struct assemble_args own = *args;
	struct object_info info;
	uint64_t hashed = 0;
	char **keys;
	size_t count;
	int ret;

	snprintf(below, sizeof(below), "%s/", prefix);
	if (assemble_list(&keys, &count, store, below, err))
		return -1;
	own.hashed = &hashed;
	pool_blocking_begin();
	ret = assemble_ova(store, key, keys, count, &own, &info, err);
	pool_blocking_end();
	fs_count(fs, FS_OVA_READ_BYTES, hashed);
	if (!ret) {
		fs_count(fs, FS_OVAS, 1);
		fs_count(fs, FS_OVA_BYTES, info.size);
		remove_disks(store, prefix, keys, count);
	}
	listings_drop(fs->listings, store, below);
	assemble_list_free(keys, count);
	return ret;
}

int fs_close_ova(struct fs *fs, struct node *dir, const char *name,
		 struct node *to_dir, const char *to_name, bool replace,
		 bool (*goes_on)(void *arg, uint64_t done, uint64_t total),
		 void *arg, struct error *err)
{
	char prefix[STORE_KEY_MAX + 2], key[STORE_KEY_MAX + 2];
	char below[STORE_KEY_MAX + 3], etag[STORE_ETAG_MAX];
	struct assemble_args args = {
		.budget = engine_budget(fs->engine),
		.scratch = exports_scratch(fs->exports),
		.patience.wait_ms = SINK_WAIT_MS,
		.cache = engine_page_cache(fs->engine),
		.progress = goes_on,
		.progress_arg = arg,
	};
	struct store *store;
	size_t writing = 0;

	if (fs_dir_prefix(fs, dir, name, &store, prefix, err))
		return -1;
	if (dir->bucket != to_dir->bucket || dir->view != to_dir->view)
		return error_errno(err, EXDEV, "has to be copied");
	snprintf(below, sizeof(below), "%s/", prefix);
	exports_each(fs->exports, dir->bucket, below, count_one, &writing);
	if (writing)
		return error_errno(err, EBUSY, "a disk in it is being written");
	if (find_target(fs, to_dir, to_name, replace, key, &args, etag, err) ||
	    assemble(fs, store, prefix, key, &args, err))
		return -1;
	forget_part(fs, dir, prefix);
	fs_drop_listing(fs, dir);
	fs_drop_listing(fs, to_dir);
	return 0;
}
