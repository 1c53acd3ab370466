/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The file system's state, its nodes and their attributes. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/checked.h"
#include "fs/clock.h"
#include "fs/fs.h"
#include "store/parts.h"

#define POOL_THREADS 64
#define SEEK_THREADS 32
#define CREATE_THREADS 64

static void set_owner(struct fs *fs)
{
	const struct mount_options *o = fs->options;

	fs->uid = o->uid == MOUNT_NO_ID ? getuid() : o->uid;
	fs->gid = o->gid == MOUNT_NO_ID ? getgid() : o->gid;
	fs->control_uid = fs->uid;
	fs->control_has_group = o->control_gid != MOUNT_NO_ID;
	fs->control_gid = fs->control_has_group ? o->control_gid : fs->gid;
	clock_gettime(CLOCK_REALTIME, &fs->started);
}

/* An object has appeared (or gone): list again. */
static void note_published(void *arg, struct bucket *bucket,
			   const char *key)
{
	const char *slash = strrchr(key, '/');
	char prefix[STORE_KEY_MAX + 2];
	struct fs *fs = arg;

	snprintf(prefix, sizeof(prefix), "%.*s",
		 slash ? (int)(slash - key) + 1 : 0, key);
	listings_drop(fs->listings, bucket->store, prefix);
	containers_forget(fs->containers, bucket, key);
}

static void note_failed(void *arg, const char *path, const struct error *err)
{
	struct fs *fs = arg;

	fs_count(fs, FS_WRITES_FAILED, 1);
	failures_add(fs->failures, "close", path, err, error_to_errno(err));
}

static int make_exports(struct fs *fs, struct error *err)
{
	const struct mount_options *o = fs->options;
	const struct exports_options exports = {
		.engine = fs->engine,
		.scratch_dir = o->scratch,
		.scratch_bytes = o->scratch_bytes,
		.level = (enum packer_level)o->compression,
		.vhd = o->vhd ? "fixed" : NULL,
		.vhdx = o->vhdx ? "fixed" : NULL,
		.require_size = o->require_size,
		.spools_all = o->spool == 1,
		.stall_ms = o->store.timeout_ms,
		.published = note_published,
		.failed = note_failed,
		.arg = fs,
	};

	return exports_new(&fs->exports, &exports, err);
}

static int make_parts(struct fs *fs, struct error *err)
{
	const struct mount_options *o = fs->options;
	struct engine_options engine = {
		.memory_bytes = o->memory_bytes,
		.threads = o->threads,
		.timeout_ms = o->timeout_ms,
	};
	struct containers_options containers = {
		.deadline_ms = o->probe_ms,
		.ttl_ms = o->ttl_ms,
		.vhd_chs = o->vhd_size == 1,
	};

	if (engine_new(&fs->engine, &engine, err))
		return -1;
	containers.engine = fs->engine;
	/* All of a pool's threads may wait, so none counts as a core. */
	if (pool_new(&fs->pool, "lookup", POOL_THREADS, POOL_THREADS, err) ||
	    pool_new(&fs->creators, "create", CREATE_THREADS, CREATE_THREADS,
		     err) ||
	    pool_new(&fs->seeks, "seek", SEEK_THREADS, SEEK_THREADS, err) ||
	    tree_new(&fs->tree, err) ||
	    listings_new(&fs->listings, engine_budget(fs->engine), o->ttl_ms,
			 err) ||
	    failures_new(&fs->failures, err))
		return -1;
	return containers_new(&fs->containers, &containers, err) ? -1 :
	       make_exports(fs, err);
}

/* What is written to NAME.ova.part/ lies below the state prefix. */
static int keep_parts(struct store **store, const struct mount_options *o,
		      struct error *err)
{
	struct store *inner = *store;

	if (!parts_store_new(store, inner, o->is_service, err))
		return 0;
	*store = inner;
	return -1;
}

int fs_new(struct fs **out, const struct mount_options *options,
	   struct store *store, struct error *err)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	*out = NULL;
	if (!fs) {
		store_close(store);
		return error_nomem(err);
	}
	fs->options = options;
	set_owner(fs);
	fs->is_writable = !options->is_read_only && store->ops->create;
	if (fs->is_writable && keep_parts(&store, options, err)) {
		store_close(store);
		free(fs);
		return -1;
	}
	if (buckets_new(&fs->buckets, store, options->is_service, err) ||
	    make_parts(fs, err)) {
		fs_free(fs);
		return -1;
	}
	*out = fs;
	return 0;
}

void fs_stop(struct fs *fs)
{
	containers_stop(fs->containers);
	exports_stop(fs->exports);
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	pool_free(fs->pool);
	pool_free(fs->creators);
	pool_free(fs->seeks);
	exports_free(fs->exports);
	containers_free(fs->containers);
	listings_free(fs->listings);
	tree_free(fs->tree);
	engine_free(fs->engine);
	buckets_free(fs->buckets);
	failures_free(fs->failures);
	free(fs);
}

static mode_t control_mode(const struct fs *fs, mode_t mode)
{
	return fs->control_has_group ? mode | (mode & 0700) >> 3 : mode;
}

static mode_t mode_of(const struct fs *fs, const struct node *node)
{
	mode_t mode;

	switch (node->kind) {
	case NODE_CONTROL:
		return S_IFDIR | control_mode(fs, 0700);
	case NODE_STATS:
	case NODE_ERRORS:
		return S_IFREG | control_mode(fs, 0400);
	case NODE_LOG_LEVEL:
		return S_IFREG | control_mode(fs, 0600);
	default:
		mode = node_is_dir(node) ? 0555 : 0444;
		if (fs_can_overwrite(fs, node))
			mode |= 0200;
		return (node_is_dir(node) ? S_IFDIR : S_IFREG) |
		       (mode & ~fs->options->umask);
	}
}

static bool is_control(const struct node *node)
{
	return node->kind == NODE_CONTROL || node->kind == NODE_STATS ||
	       node->kind == NODE_ERRORS || node->kind == NODE_LOG_LEVEL;
}

void fs_stat(const struct fs *fs, const struct node *node, struct stat *st)
{
	int64_t ns = node->export ? export_mtime_ns(node->export) :
				    node->mtime_ns;

	memset(st, 0, sizeof(*st));
	st->st_ino = node->ino;
	st->st_mode = mode_of(fs, node);
	st->st_nlink = node_is_dir(node) ? 2 : 1;
	st->st_uid = is_control(node) ? fs->control_uid : fs->uid;
	st->st_gid = is_control(node) ? fs->control_gid : fs->gid;
	st->st_size = (off_t)node->size;
	st->st_blocks = (blkcnt_t)node->blocks;
	st->st_blksize = 128 << 10;
	if (node->export) {
		st->st_size = (off_t)export_size(node->export);
		st->st_blocks = (st->st_size + 511) / 512;
	}
	st->st_mtim = fs->started;
	if (ns) {
		st->st_mtim.tv_sec = ns / NS_PER_S;
		st->st_mtim.tv_nsec = ns % NS_PER_S;
	}
	if (st->st_mtim.tv_nsec < 0) {
		st->st_mtim.tv_nsec += NS_PER_S;
		st->st_mtim.tv_sec--;
	}
	st->st_atim = st->st_ctim = st->st_mtim;
}

int fs_target(const struct node *node, struct target *target, char *key,
	      struct error *err)
{
	const struct node *object = node->kind == NODE_MEMBER ? node->parent :
								node;

	if (node_key(object, key, err))
		return -1;
	target->bucket = object->bucket;
	target->key = key;
	if (object->kind == NODE_DISK) {
		target->info = object->known->info;
	} else {
		target->info.size = object->object_bytes;
		target->info.mtime_ns = object->mtime_ns;
		snprintf(target->info.etag, sizeof(target->info.etag), "%s",
			 object->identity);
	}
	target->is_plain = object->kind == NODE_OBJECT;
	target->is_ova = object->kind == NODE_OVA;
	return 0;
}

int fs_entry_target(const struct node *dir, const struct listing_entry *entry,
		    struct target *target, char *key, struct error *err)
{
	size_t len;

	if (node_key(dir, key, err))
		return -1;
	len = strlen(key);
	if (len + strlen(entry->segment) > STORE_KEY_MAX)
		return error_set(err, ERR_NOT_FOUND, "the key is longer than "
				 "%d bytes", STORE_KEY_MAX);
	memcpy(key + len, entry->segment, strlen(entry->segment) + 1);
	*target = (struct target){
		.bucket = dir->bucket,
		.key = key,
		.info = { entry->size, entry->mtime_ns },
	};
	snprintf(target->info.etag, sizeof(target->info.etag), "%s",
		 entry->etag);
	return 0;
}

int fs_place(const struct fs *fs, const struct node *dir,
	     struct store **store, char *prefix, struct error *err)
{
	*store = dir->bucket ? dir->bucket->store :
			       buckets_store(fs->buckets);
	return node_key(dir, prefix, err);
}

static struct node *get_node(struct fs *fs, const struct node *wanted,
			     struct error *err)
{
	struct node *node = tree_get(fs->tree, wanted);

	if (!node)
		error_nomem(err);
	return node;
}

struct node *fs_entry_node(struct fs *fs, struct node *dir,
			   const struct listing_entry *entry,
			   struct error *err)
{
	struct node wanted = {
		.kind = NODE_OBJECT,
		.view = dir->view,
		.parent = dir,
		.bucket = dir->bucket,
		.name = entry->segment,
		.identity = entry->etag,
		.mtime_ns = entry->mtime_ns,
		.object_bytes = entry->size,
	};

	if (entry->is_prefix) {
		wanted.kind = dir->bucket ? NODE_PREFIX : NODE_BUCKET;
		if (!dir->bucket &&
		    buckets_find(&wanted.bucket, fs->buckets, entry->segment,
				 err))
			return NULL;
		return get_node(fs, &wanted, err);
	}
	switch (name_shape(dir->view, entry->segment)) {
	case SHAPE_FILE:
		wanted.size = entry->size;
		wanted.blocks = known_blocks(entry->size, entry->size, false);
		return get_node(fs, &wanted, err);
	case SHAPE_OVA:
		wanted.kind = NODE_OVA;
		return get_node(fs, &wanted, err);
	default:
		return NULL;
	}
}

struct node *fs_disk_node(struct fs *fs, struct node *dir,
			  const struct listing_entry *entry,
			  struct known *known, struct error *err)
{
	struct node wanted = {
		.kind = NODE_DISK,
		.view = dir->view,
		.parent = dir,
		.bucket = dir->bucket,
		.name = entry->segment,
		.identity = known->identity,
		.mtime_ns = entry->mtime_ns,
		.known = known,
	};

	if (known->count) {
		const struct known_part *part = &known->parts[0];

		wanted.size = part->size;
		wanted.blocks = known_blocks(part->size, part->stored,
					     part->can_have_holes);
	}
	return get_node(fs, &wanted, err);
}

struct node *fs_member_node(struct fs *fs, struct node *ova,
			    struct known *known, size_t index,
			    struct error *err)
{
	const struct known_part *part = &known->parts[index];
	struct node wanted = {
		.kind = NODE_MEMBER,
		.view = ova->view,
		.parent = ova,
		.bucket = ova->bucket,
		.name = part->name,
		.identity = known->identity,
		.size = part->size,
		.blocks = known_blocks(part->size, part->stored,
				       part->can_have_holes),
		.mtime_ns = ova->mtime_ns,
		.known = known,
		.index = index,
	};

	return get_node(fs, &wanted, err);
}

/* The directories and files that are always there. */
static const struct fixed {
	enum node_kind parent, kind;
	const char *name;
	enum view view;
} fixed[] = {
	{ NODE_ROOT, NODE_DISKS, "disks", VIEW_DISKS },
	{ NODE_ROOT, NODE_OBJECTS, "objects", VIEW_OBJECTS },
	{ NODE_ROOT, NODE_CONTROL, "control", VIEW_OBJECTS },
	{ NODE_CONTROL, NODE_STATS, "stats", VIEW_OBJECTS },
	{ NODE_CONTROL, NODE_ERRORS, "errors", VIEW_OBJECTS },
	{ NODE_CONTROL, NODE_LOG_LEVEL, "log-level", VIEW_OBJECTS },
};

#define FIXED_COUNT (sizeof(fixed) / sizeof(fixed[0]))

struct node *fs_fixed_node(struct fs *fs, struct node *dir, const char *name)
{
	for (size_t i = 0; i < FIXED_COUNT; i++) {
		struct node wanted = {
			.kind = fixed[i].kind,
			.view = fixed[i].view,
			.parent = dir,
			.name = fixed[i].name,
			.identity = "",
		};

		if (fixed[i].parent != dir->kind ||
		    strcmp(fixed[i].name, name) != 0)
			continue;
		if (wanted.kind == NODE_DISKS || wanted.kind == NODE_OBJECTS)
			wanted.bucket = buckets_only(fs->buckets);
		return tree_get(fs->tree, &wanted);
	}
	return NULL;
}

const char *fs_fixed_name(const struct node *dir, size_t i)
{
	for (size_t at = 0; at < FIXED_COUNT; at++)
		if (fixed[at].parent == dir->kind && i-- == 0)
			return fixed[at].name;
	return NULL;
}

void fs_note_stale(struct fs *fs, struct node *node, const struct error *err)
{
	const struct node *listed = node;
	char key[STORE_KEY_MAX + 2];
	struct target target;
	struct store *store;

	if (err->kind != ERR_STALE)
		return;
	atomic_store(&node->is_stale, true);
	if (node->kind == NODE_MEMBER)
		listed = node->parent->parent;
	else if (node->kind == NODE_OVA || !node_is_dir(node))
		listed = node->parent;
	if (!fs_place(fs, listed, &store, key, NULL))
		listings_drop(fs->listings, store, key);
	if (listed != node && !fs_target(node, &target, key, NULL))
		containers_doubt(fs->containers, &target);
}

enum error_kind fs_part_error(const struct node *node, const char **text)
{
	const struct known *known = node->known;
	const struct known_part *part;

	if (!known)
		return ERR_NONE;
	if (known->kind != ERR_NONE || node->index >= known->count) {
		if (text)
			*text = known->why;
		return known->kind;
	}
	part = &known->parts[node->index];
	if (text && part->kind != ERR_NONE)
		*text = part->why;
	return part->kind;
}

int fs_errno(const struct node *node, const struct error *err)
{
	bool is_part = node->kind == NODE_DISK || node->kind == NODE_OVA ||
		       node->kind == NODE_MEMBER;

	return is_part && err->kind == ERR_NOT_FOUND ? EIO :
						       error_to_errno(err);
}

void fs_note_failure(struct fs *fs, const char *operation, struct node *node,
		     const struct error *err)
{
	char path[STORE_KEY_MAX + 64];

	fs_note_stale(fs, node, err);
	node_path(node, path, sizeof(path));
	failures_add(fs->failures, operation, path, err, fs_errno(node, err));
}
