/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Removing, renaming, and directories. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs.h"

int fs_dir_prefix(struct fs *fs, const struct node *dir, const char *name,
		  struct store **store, char *prefix, struct error *err)
{
	struct name_meaning meaning;
	size_t len;

	if (!fs->is_writable || !dir->bucket ||
	    (dir->kind != NODE_DISKS && dir->kind != NODE_OBJECTS &&
	     dir->kind != NODE_BUCKET && dir->kind != NODE_PREFIX))
		return error_errno(err, EROFS, "nothing can be changed here");
	name_parse(&meaning, dir->view, name);
	if (!meaning.can_be_prefix)
		return error_set(err, ERR_ARG, "no directory can have this "
				 "name");
	if (fs_place(fs, dir, store, prefix, err))
		return -1;
	len = strlen(prefix);
	if (len + strlen(meaning.prefix) >= STORE_KEY_MAX)
		return error_errno(err, ENAMETOOLONG, "a key has at most %d "
				   "bytes", STORE_KEY_MAX);
	memcpy(prefix + len, meaning.prefix, strlen(meaning.prefix) + 1);
	if (is_state_key(prefix))
		return error_set(err, ERR_DENIED, "this name is the daemon's "
				 "own");
	return 0;
}

void fs_drop_listing(struct fs *fs, const struct node *dir)
{
	char prefix[STORE_KEY_MAX + 2];
	struct store *store;

	if (!fs_place(fs, dir, &store, prefix, NULL))
		listings_drop(fs->listings, store, prefix);
}

int fs_make_dir(struct fs *fs, struct node *dir, const char *name,
		struct node **node, struct error *err)
{
	char prefix[STORE_KEY_MAX + 2];
	struct listing_entry entry = { .is_prefix = true, .etag = "" };
	struct store *store;
	const char *slash;

	if (fs_dir_prefix(fs, dir, name, &store, prefix, err) ||
	    store_make_prefix(store, prefix, err))
		return -1;
	fs_drop_listing(fs, dir);
	slash = strrchr(prefix, '/');
	entry.segment = slash ? slash + 1 : prefix;
	*node = fs_entry_node(fs, dir, &entry, err);
	return *node ? 0 : -1;
}

/* A directory to users, which is one object. */
static bool is_ova(struct fs *fs, struct node *dir, const char *name)
{
	struct listing_entry entry;
	AUTO_FREE char *text = NULL;

	return dir->view == VIEW_DISKS &&
	       container_classify(name) == CONTAINER_OVA &&
	       !fs_find(fs, dir, name, &entry, &text, NULL) &&
	       !entry.is_prefix;
}

int fs_remove_dir(struct fs *fs, struct node *dir, const char *name,
		  struct error *err)
{
	char prefix[STORE_KEY_MAX + 2];
	struct store *store;

	if (fs_dir_prefix(fs, dir, name, &store, prefix, err))
		return -1;
	if (is_ova(fs, dir, name))
		return error_errno(err, ENOTEMPTY, "an OVA is removed as the "
				   "object that it is, below objects/");
	if (store_remove_prefix(store, prefix, err))
		return -1;
	fs_drop_listing(fs, dir);
	return 0;
}

static int check_right(struct fs *fs, const struct node *dir,
		       struct error *err)
{
	if (dir->kind == NODE_OVA)
		return error_errno(err, EROFS, "nothing in an OVA can be "
				   "changed; all of it is one object, below "
				   "objects/");
	if (!fs->is_writable || !dir->bucket)
		return error_errno(err, EROFS, "nothing can be changed here");
	if (!fs->options->can_delete && !fs_is_part(dir))
		return error_errno(err, EPERM, "-o delete allows to remove "
				   "and rename objects");
	return 0;
}

/* The object that name stands for. */
static int find_object(struct fs *fs, struct node *dir, const char *name,
		       struct target *target, char *key, struct error *err)
{
	struct listing_entry entry;
	AUTO_FREE char *text = NULL;

	if (fs_find(fs, dir, name, &entry, &text, err))
		return -1;
	if (entry.is_prefix)
		return error_errno(err, EISDIR, "is a directory");
	return fs_entry_target(dir, &entry, target, key, err);
}

/* Drop a file that is being written. True if there is nothing else. */
static bool remove_new(struct fs *fs, struct node *dir, const char *name)
{
	struct node *node = fs_find_new(fs, dir, name);
	bool is_all;

	if (!node)
		return false;
	export_abort(node->export, "was removed while it was written");
	is_all = !export_is_replacing(node->export);
	node_unref(fs->tree, node);
	return is_all;
}

int fs_remove(struct fs *fs, struct node *dir, const char *name,
	      struct error *err)
{
	char key[STORE_KEY_MAX + 2];
	struct target target;

	if (remove_new(fs, dir, name))
		return 0;
	if (check_right(fs, dir, err) ||
	    find_object(fs, dir, name, &target, key, err) ||
	    store_remove(target.bucket->store, key, target.info.etag, err))
		return -1;
	containers_forget(fs->containers, target.bucket, key);
	fs_drop_listing(fs, dir);
	return 0;
}

static bool is_being_written(struct fs *fs, struct node *dir,
			     const char *name)
{
	struct node *node = fs_find_new(fs, dir, name);

	node_unref(fs->tree, node);
	return node;
}

/* What an object is called says what it is. */
static bool is_same_format(enum view view, const char *from, const char *to)
{
	const char *a = container_expected_format(from);
	const char *b = container_expected_format(to);
	size_t from_len = strlen(from), to_len = strlen(to);
	bool from_gz = from_len > 3 && !strcmp(from + from_len - 3, ".gz");
	bool to_gz = to_len > 3 && !strcmp(to + to_len - 3, ".gz");

	return view == VIEW_OBJECTS ||
	       (a && b && !strcmp(a, b) && from_gz == to_gz);
}

/* The kernel keeps the old node under the new name: it is not to be opened. */
static void forget_node(struct fs *fs, struct node *dir,
			const struct target *target)
{
	const char *slash = strrchr(target->key, '/');
	const struct listing_entry entry = {
		.segment = slash ? slash + 1 : target->key,
		.etag = target->info.etag,
		.size = target->info.size,
		.mtime_ns = target->info.mtime_ns,
	};
	struct known *known = NULL;
	struct node *node = fs_entry_node(fs, dir, &entry, NULL);

	if (!node)
		known = containers_peek(fs->containers, target);
	if (known)
		node = fs_disk_node(fs, dir, &entry, known, NULL);
	if (node)
		atomic_store(&node->is_stale, true);
	node_unref(fs->tree, node);
	known_unref(known);
}

/* The key for the new name, which may be taken. */
static int rename_target(struct fs *fs, struct node *dir, const char *name,
			 bool replace, char *key, bool *is_taken,
			 struct error *err)
{
	char path[STORE_KEY_MAX + 64 + NAME_SIZE];
	struct export_args args = { 0 };
	struct error own = { 0 };
	char old[STORE_KEY_MAX + 2];
	struct target target;
	const char *segment;

	*is_taken = !find_object(fs, dir, name, &target, old, &own);
	if (!*is_taken && own.kind != ERR_NOT_FOUND) {
		*err = own;
		return -1;
	}
	if (*is_taken && (!replace || !fs->options->can_overwrite))
		return error_set(err, ERR_EXISTS, "'%s' exists already; -o "
				 "overwrite allows to replace objects", name);
	return fs_new_args(fs, dir, name, key, path, &segment, &args, err);
}

int fs_rename(struct fs *fs, struct node *dir, const char *name,
	      struct node *to_dir, const char *to_name, bool replace,
	      bool (*goes_on)(void *arg, uint64_t done, uint64_t total),
	      void *arg, struct error *err)
{
	char from[STORE_KEY_MAX + 2], to[STORE_KEY_MAX + 2];
	struct rename_args args = {
		.budget = engine_budget(fs->engine),
		.scratch = exports_scratch(fs->exports),
		.goes_on = goes_on,
		.arg = arg,
	};
	struct target target;
	bool is_taken;
	int ret;

	if (is_being_written(fs, dir, name) ||
	    is_being_written(fs, to_dir, to_name))
		return error_errno(err, EBUSY, "is being written");
	if (check_right(fs, dir, err) ||
	    find_object(fs, dir, name, &target, from, err))
		return err->errnum == EISDIR ?
		       error_errno(err, EXDEV, "directories are not renamed") :
		       -1;
	if (dir->bucket != to_dir->bucket || dir->view != to_dir->view)
		return error_errno(err, EXDEV, "has to be copied");
	if (is_ova(fs, dir, name))
		return error_errno(err, EPERM, "an OVA is renamed as the "
				   "object that it is, below objects/");
	if (rename_target(fs, to_dir, to_name, replace, to, &is_taken, err))
		return -1;
	if (!is_same_format(dir->view, from, to))
		return error_errno(err, EXDEV, "has to be converted");
	args.replace = is_taken;
	ret = store_rename(target.bucket->store, from, to, &args, err);
	containers_forget(fs->containers, target.bucket, to);
	if (!ret)
		forget_node(fs, dir, &target);
	/* A store that copies may have failed at the second step. */
	fs_drop_listing(fs, dir);
	fs_drop_listing(fs, to_dir);
	return ret;
}
