/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The mounted file system, without FUSE: what all operations share. The parts
 * have their own locks; the pointers are fixed while it is mounted. */
#ifndef VMIEFS_FS_H
#define VMIEFS_FS_H

#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "common/pool.h"
#include "common/strbuf.h"
#include "disk/engine.h"
#include "fs/bucket.h"
#include "fs/containers.h"
#include "fs/exports.h"
#include "fs/failures.h"
#include "fs/listings.h"
#include "fs/mount.h"
#include "fs/tree.h"

enum fs_counter {
	FS_OPENS,        /* of disks and objects */
	FS_OPENS_FAILED,
	FS_HANDLES,      /* open now */
	FS_READS,
	FS_READ_BYTES,
	FS_READS_FAILED,
	FS_INTERRUPTED,  /* requests that their caller gave up */
	FS_LOOKUPS,
	FS_WRITES,
	FS_WRITE_BYTES,
	FS_WRITES_FAILED,
	FS_OVAS,           /* made of NAME.ova.part/ */
	FS_OVA_BYTES,      /* that they have */
	FS_OVA_READ_BYTES, /* of disks that were read again to be hashed */
	FS_COUNTERS,
};

struct fs {
	const struct mount_options *options;
	struct engine *engine;
	struct buckets *buckets;
	struct tree *tree;
	struct listings *listings;
	struct containers *containers;
	struct failures *failures;
	struct exports *exports;
	bool is_writable;   /* the store can be, and the mount may */
	struct pool *pool;  /* lookups and listings */
	struct pool *creators; /* what opens for writing, which may wait for
				* memory */
	struct pool *seeks; /* reading tables for SEEK_DATA and SEEK_HOLE */
	uid_t uid, control_uid;
	gid_t gid, control_gid;
	bool control_has_group;
	struct timespec started;
	atomic_ullong counters[FS_COUNTERS];
};

/* No threads are started. The store is taken over, also on failure. */
int fs_new(struct fs **out, const struct mount_options *options,
	   struct store *store, struct error *err);

/* Give up what still waits (containers_stop()), then free all: no request may
 * come any more, and what is open has been released. */
void fs_stop(struct fs *fs);
void fs_free(struct fs *fs); /* NULL is legal */

static inline void fs_count(struct fs *fs, enum fs_counter which, uint64_t n)
{
	atomic_fetch_add_explicit(&fs->counters[which], n,
				  memory_order_relaxed);
}

/* The attributes of a node; size only for files. */
void fs_stat(const struct fs *fs, const struct node *node, struct stat *st);

/* The container or object behind a file's or OVA's node. key has room for
 * STORE_KEY_MAX + 2 bytes and becomes target->key. */
int fs_target(const struct node *node, struct target *target, char *key,
	      struct error *err);

/* The same for a listed entry of a directory. */
int fs_entry_target(const struct node *dir, const struct listing_entry *entry,
		    struct target *target, char *key, struct error *err);

/* Where the names below a directory are listed: its store and prefix. The
 * node is NODE_DISKS, NODE_OBJECTS, NODE_BUCKET or NODE_PREFIX. */
int fs_place(const struct fs *fs, const struct node *dir,
	     struct store **store, char *prefix, struct error *err);

/* A reference to the node of a listed entry. NULL with no error set in *err:
 * a container that must be understood first; target is filled for that. */
struct node *fs_entry_node(struct fs *fs, struct node *dir,
			   const struct listing_entry *entry,
			   struct error *err);

/* A reference to the node of the disk in a container of which this is known,
 * or of part `part` of the OVA `dir`. */
struct node *fs_disk_node(struct fs *fs, struct node *dir,
			  const struct listing_entry *entry,
			  struct known *known, struct error *err);
struct node *fs_member_node(struct fs *fs, struct node *ova,
			    struct known *known, size_t part,
			    struct error *err);

/* What a new file of this name in dir is to be. key has STORE_KEY_MAX + 2
 * bytes, path STORE_KEY_MAX + 64 + NAME_SIZE; both are pointed at by args.
 * *segment is the end of key. ERR_ARG with a sentence for a name that stands
 * for nothing that can be made. */
int fs_new_args(struct fs *fs, struct node *dir, const char *name, char *key,
		char *path, const char **segment, struct export_args *args,
		struct error *err);

/* The same for an existing file. ERR_EXISTS where the mount has no right to
 * replace it. */
int fs_overwrite_args(struct fs *fs, const struct node *node, char *key,
		      char *path, struct export_args *args,
		      struct error *err);

/* A reference to the node of a file being written. */
struct node *fs_export_node(struct fs *fs, struct node *dir,
			    const char *segment, struct export *export,
			    struct error *err);

/* The same for the name of one in dir, or NULL. */
struct node *fs_find_new(struct fs *fs, struct node *dir, const char *name);

/* Change the tree; all block on the store. The names are those of entries of
 * dir. Errors as their system calls: ERR_EXISTS, EPERM without the right, EXDEV
 * for what can only be copied, EBUSY for a file being written. */
int fs_make_dir(struct fs *fs, struct node *dir, const char *name,
		struct node **node, struct error *err);
int fs_remove_dir(struct fs *fs, struct node *dir, const char *name,
		  struct error *err);
int fs_remove(struct fs *fs, struct node *dir, const char *name,
	      struct error *err);
/* goes_on() is asked now and then where the store has to copy. */
int fs_rename(struct fs *fs, struct node *dir, const char *name,
	      struct node *to_dir, const char *to_name, bool replace,
	      bool (*goes_on)(void *arg, uint64_t done, uint64_t total),
	      void *arg, struct error *err);

/* The name of a directory in dir as what its store calls the prefix, without
 * the slash. prefix has STORE_KEY_MAX + 2 bytes. */
int fs_dir_prefix(struct fs *fs, const struct node *dir, const char *name,
		  struct store **store, char *prefix, struct error *err);

/* What is below dir has changed. */
void fs_drop_listing(struct fs *fs, const struct node *dir);

/* Is it a directory NAME.ova.part/, in which an OVA is made? */
bool fs_is_part(const struct node *dir);

/* Does this rename make an OVA of it? Then fs_close_ova() does that, as
 * fs_rename(). */
bool fs_closes_ova(const char *from, const char *to);
int fs_close_ova(struct fs *fs, struct node *dir, const char *name,
		 struct node *to_dir, const char *to_name, bool replace,
		 bool (*goes_on)(void *arg, uint64_t done, uint64_t total),
		 void *arg, struct error *err);

/* Has the object been written to, by somebody who has not closed it yet? */
bool fs_is_changing(struct fs *fs, const struct node *node);

/* A reference to what is being made of it, or NULL. */
struct export *fs_changing(struct fs *fs, const struct node *node);

/* May whoever owns the file write to it? */
bool fs_can_overwrite(const struct fs *fs, const struct node *node);

/* A reference to one of the fixed nodes: disks/, control/stats, ... NULL when
 * there is none of that name. */
struct node *fs_fixed_node(struct fs *fs, struct node *dir,
			   const char *name);
/* Their names: entry i of dir; NULL behind the last. */
const char *fs_fixed_name(const struct node *dir, size_t i);

/* What dir holds under this name: the prefix or object with the listing's
 * facts. entry points into *text, which the caller frees. ERR_NOT_FOUND where
 * there is none. Blocks on the store. */
int fs_find(struct fs *fs, struct node *dir, const char *name,
	    struct listing_entry *entry, char **text, struct error *err);

/* Why a part of a container cannot be opened: its own error or that of the
 * whole. ERR_NONE if it can. text may be NULL. */
enum error_kind fs_part_error(const struct node *node, const char **text);

/* The errno that a user of node sees. What a container misses is EIO: the
 * container itself is there. */
int fs_errno(const struct node *node, const struct error *err);

/* If err is ERR_STALE, what is remembered of the node's object (of all in it,
 * if it is a directory) is dropped, so that whoever looks again finds the new
 * one. fs_note_failure() does that, too. */
void fs_note_stale(struct fs *fs, struct node *node, const struct error *err);

/* An operation ("open") on node failed: for control/errors and the log. */
void fs_note_failure(struct fs *fs, const char *operation, struct node *node,
		     const struct error *err);

/* The text of a control file as of now. */
int fs_control_text(struct fs *fs, const struct node *node,
		    struct strbuf *out, struct error *err);

/* What was written to control/log-level. */
int fs_set_log_level(const char *text, struct error *err);

#endif
