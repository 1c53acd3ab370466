/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a name stands for that is to be written, and whether it may be. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fs/fs.h"

static bool ends_in(const char *text, const char *ending)
{
	size_t len = strlen(text), n = strlen(ending);

	return len >= n && !strcasecmp(text + len - n, ending);
}

/* What cannot be made by writing, though it can be read. */
static int check_segment(const char *segment, struct error *err)
{
	if (ends_in(segment, ".ova") || ends_in(segment, ".ova.raw"))
		return error_set(err, ERR_ARG, "an OVA is made from the "
				 "directory NAME.ova.part/: write its disks "
				 "there and rename it to NAME.ova");
	if (ends_in(segment, ".gz"))
		return error_set(err, ERR_ARG, "containers packed by gzip are "
				 "only read; leave the .gz out");
	if (ends_in(segment, ".avhd") || ends_in(segment, ".avhdx"))
		return error_set(err, ERR_ARG, "differencing disks are only "
				 "read; write a .vhd or .vhdx");
	return 0;
}

/* The format of a file in disks/; in objects/ it is any bytes. */
static int choose_format(enum view view, const char *segment,
			 struct export_args *args, struct error *err)
{
	args->is_plain = view == VIEW_OBJECTS;
	args->format = format_find("raw");
	if (args->is_plain)
		return 0;
	if (check_segment(segment, err))
		return -1;
	args->format = format_find(container_expected_format(segment));
	return 0;
}

static int refuse_name(const char *name, struct error *err)
{
	if (container_classify(name) == CONTAINER_DISK)
		return error_set(err, ERR_ARG, "what is written below disks/ "
				 "is a raw disk: name it %s.raw; a finished "
				 "container goes to objects/", name);
	return error_set(err, ERR_ARG, "the name says what is made: end it in "
			 ".vmdk.raw, .vhd.raw, .vhdx.raw, .raw or .img (rsync: "
			 "use --inplace); other files go to objects/");
}

static bool holds_objects(const struct node *dir)
{
	return dir->bucket &&
	       (dir->kind == NODE_DISKS || dir->kind == NODE_OBJECTS ||
		dir->kind == NODE_BUCKET || dir->kind == NODE_PREFIX);
}

static void make_path(const struct node *dir, const char *name, char *path)
{
	size_t len;

	node_path(dir, path, STORE_KEY_MAX + 64);
	len = strlen(path);
	snprintf(path + len, NAME_SIZE + 1, "/%s", name);
}

int fs_new_args(struct fs *fs, struct node *dir, const char *name, char *key,
		char *path, const char **segment, struct export_args *args,
		struct error *err)
{
	struct name_meaning meaning;
	size_t len;

	make_path(dir, name, path);
	if (!fs->is_writable || !holds_objects(dir))
		return error_errno(err, EROFS, "nothing can be written here");
	name_parse(&meaning, dir->view, name);
	if (meaning.is_short || meaning.is_taken)
		return error_set(err, ERR_ARG, "a name of this form stands for "
				 "a key that exists");
	if (!meaning.can_be_object)
		return refuse_name(name, err);
	if (node_key(dir, key, err) ||
	    choose_format(dir->view, meaning.object, args, err))
		return -1;
	if (fs_is_part(dir) && !ends_in(meaning.object, ".vmdk"))
		return error_set(err, ERR_ARG, "the disks of an OVA are VMDKs: "
				 "name it NAME.vmdk.raw");
	len = strlen(key);
	if (len + strlen(meaning.object) > STORE_KEY_MAX)
		return error_errno(err, ENAMETOOLONG, "a key has at most %d "
				   "bytes", STORE_KEY_MAX);
	memcpy(key + len, meaning.object, strlen(meaning.object) + 1);
	if (is_state_key(key))
		return error_set(err, ERR_DENIED, "this name is the daemon's "
				 "own");
	*segment = key + len;
	args->bucket = dir->bucket;
	args->key = key;
	args->path = path;
	return 0;
}

struct export *fs_changing(struct fs *fs, const struct node *node)
{
	char key[STORE_KEY_MAX + 2];

	if (!fs->is_writable || node_key(node, key, NULL))
		return NULL;
	return exports_find(fs->exports, node->bucket, key);
}

bool fs_is_changing(struct fs *fs, const struct node *node)
{
	struct export *export = fs_changing(fs, node);

	export_unref(export);
	return export;
}

static const char *etag_of(const struct node *node)
{
	return node->kind == NODE_DISK ? node->known->info.etag :
					 node->identity;
}

bool fs_can_overwrite(const struct fs *fs, const struct node *node)
{
	char key[STORE_KEY_MAX + 2];

	if (!fs->is_writable)
		return false;
	if (node->kind == NODE_NEW || holds_objects(node))
		return true;
	if (node->kind != NODE_DISK && node->kind != NODE_OBJECT)
		return false;
	return fs->options->can_overwrite ||
	       (!node_key(node, key, NULL) &&
		exports_is_blank(fs->exports, node->bucket, key,
				 etag_of(node)));
}

int fs_overwrite_args(struct fs *fs, const struct node *node, char *key,
		      char *path, struct export_args *args,
		      struct error *err)
{
	struct target target;

	node_path(node, path, STORE_KEY_MAX + 64);
	if (!fs->is_writable ||
	    (node->kind != NODE_DISK && node->kind != NODE_OBJECT))
		return error_errno(err, EROFS, "nothing can be written here");
	if (!fs_can_overwrite(fs, node))
		return error_set(err, ERR_EXISTS, "exists already; -o "
				 "overwrite allows to replace objects");
	if (fs_target(node, &target, key, err) ||
	    choose_format(node->view, node->name, args, err))
		return -1;
	args->bucket = node->bucket;
	args->key = key;
	args->path = path;
	args->replaces = true;
	args->is_blank = args->keeps_bytes &&
			 exports_is_blank(fs->exports, node->bucket, key,
					  target.info.etag);
	args->base = target.info;
	args->base_bytes = node->size;
	return 0;
}

struct node *fs_export_node(struct fs *fs, struct node *dir,
			    const char *segment, struct export *export,
			    struct error *err)
{
	const struct node wanted = {
		.kind = NODE_NEW,
		.view = dir->view,
		.parent = dir,
		.bucket = dir->bucket,
		.name = segment,
		.identity = export_identity(export),
		.export = export,
	};
	struct node *node = tree_get(fs->tree, &wanted);

	if (!node)
		error_nomem(err);
	return node;
}

struct node *fs_find_new(struct fs *fs, struct node *dir, const char *name)
{
	struct name_meaning meaning;
	char key[STORE_KEY_MAX + 2];
	struct node *node = NULL;
	struct export *export;
	size_t len;

	if (!fs->is_writable || !holds_objects(dir))
		return NULL;
	name_parse(&meaning, dir->view, name);
	if (!meaning.can_be_object || node_key(dir, key, NULL))
		return NULL;
	len = strlen(key);
	if (len + strlen(meaning.object) > STORE_KEY_MAX)
		return NULL;
	memcpy(key + len, meaning.object, strlen(meaning.object) + 1);
	export = exports_find(fs->exports, dir->bucket, key);
	if (export)
		node = fs_export_node(fs, dir, key + len, export, NULL);
	export_unref(export);
	return node;
}
