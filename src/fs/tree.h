/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The nodes (inodes) of the mounted tree that the kernel or an open handle
 * knows. A node stands for one thing for ever: a file's node is tied to the
 * identity of its bytes, so a replaced object gets a new node. What nobody
 * knows any more is freed.
 *
 * Threads: everything may be called from any thread. All members but the atomic
 * ones are fixed once tree_get() has returned the node. */
#ifndef VMIEFS_TREE_H
#define VMIEFS_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/bucket.h"
#include "fs/names.h"

enum node_kind {
	NODE_ROOT,
	NODE_DISKS,     /* disks/ */
	NODE_OBJECTS,   /* objects/ */
	NODE_CONTROL,   /* control/ */
	NODE_STATS,     /* control/stats */
	NODE_ERRORS,    /* control/errors */
	NODE_LOG_LEVEL, /* control/log-level */
	NODE_BUCKET,    /* a bucket's directory in a mount of a service */
	NODE_PREFIX,    /* a prefix: name is its segment */
	NODE_OBJECT,    /* an object's own bytes */
	NODE_DISK,      /* the raw disk in a container */
	NODE_OVA,       /* an OVA as a directory */
	NODE_MEMBER,    /* a disk or file in an OVA */
	NODE_NEW,       /* a file being written (fs/export.h) */
};

struct export;
struct known;

struct node {
	enum node_kind kind;
	enum view view;        /* below disks/ or objects/ */
	struct node *parent;   /* a reference; NULL for the root */
	struct bucket *bucket; /* NULL above the buckets */
	uint64_t ino;          /* st_ino: a hash, the same after a remount */
	uint64_t size;         /* bytes */
	uint64_t blocks;       /* of 512 bytes */
	int64_t mtime_ns;
	uint64_t object_bytes; /* of the object; NODE_OBJECT, NODE_OVA */
	struct known *known;   /* NODE_DISK, NODE_MEMBER: a reference */
	struct export *export; /* NODE_NEW: a reference */
	size_t index;          /* NODE_MEMBER: of known's parts */
	const char *identity;  /* files, NODE_OVA: ETag or identity; else "" */
	const char *name;      /* segment of the key, or the file's name */
	atomic_bool is_stale;  /* a read met ERR_STALE: it must be looked up
				* again before it is opened */
	atomic_bool is_gone;   /* a directory that is no more, though the
				* kernel may have it under a new name */

	/* The table's own. */
	struct node *next;
	uint64_t lookups;  /* references of the kernel */
	unsigned int refs; /* others, and one while lookups > 0 */
};

struct tree;

int tree_new(struct tree **out, struct error *err);
void tree_free(struct tree *tree); /* forgets all nodes; NULL is legal */

struct node *tree_root(struct tree *tree); /* borrowed */

/* The node that is like `wanted` (kind, parent, identity, name), made if
 * needed; what wanted points at is copied or referenced. One reference is the
 * caller's. NULL when out of memory. */
struct node *tree_get(struct tree *tree, const struct node *wanted);

struct node *node_ref(struct tree *tree, struct node *node);
void node_unref(struct tree *tree, struct node *node); /* NULL is legal */

/* The kernel was told about the node once more / forgets n of those. */
void node_add_lookup(struct tree *tree, struct node *node);
void node_forget(struct tree *tree, struct node *node, uint64_t n);

/* Nodes now in the table. */
size_t tree_count(struct tree *tree);

bool node_is_dir(const struct node *node);

/* The key of an object's or container's node (for NODE_MEMBER the OVA's), or
 * the prefix of a directory ("" or "a/b/"), below its bucket. key has
 * STORE_KEY_MAX + 2 bytes. ERR_LIMIT where it is longer. */
int node_key(const struct node *node, char *key, struct error *err);

/* "disks/vms/app.ova/disk1.vmdk.raw" for messages, cut where size ends. */
void node_path(const struct node *node, char *path, size_t size);

/* The name that the directory of this node shows for it. */
void node_name(const struct node *node, char name[NAME_SIZE]);

#endif
