/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A directory as a store: what its reading and its writing share. Internal to
 * the driver. */
#ifndef VMIEFS_FILE_H
#define VMIEFS_FILE_H

#include <sys/stat.h>

#include "store/store.h"

struct compose;
struct sink_args;

/* Files whose name starts so are being written, or were left by a writer that
 * was killed: they are no objects. */
#define FILE_HIDDEN_PREFIX ".vmiefs-part-"

struct file_store {
	struct store store;
	int root; /* directory descriptor */
};

/* Open key below the root. Symbolic links are followed as long as they stay
 * below it. A descriptor, or -1 with errno as openat2() left it. */
int file_open_beneath(const struct file_store *self, const char *key,
		      int flags, struct error *err);

/* As above, for a key that is checked to be one: no empty segments, no "."
 * and "..", no hidden file. */
int file_open_key(const struct file_store *self, const char *key, int flags,
		  struct error *err);
int file_check_key(const char *key, struct error *err);

/* A lock on what is there, which whoever compares it and then replaces or
 * removes it takes first: a descriptor to be closed afterwards. -1 where it
 * cannot be had within a second, since it is only among us; then two daemons
 * may both find their comparison good. */
int file_lock_key(const struct file_store *self, const char *key);

bool file_is_hidden(const char *name);
void file_fill_info(struct object_info *info, const struct stat *st);

/* A copy for file_advance(); the caller frees it. NULL with err set. */
struct iovec *file_copy_iov(const struct iovec *iov, int iovcnt,
			    struct error *err);

/* Go on after a call that moved n bytes: skip them. */
void file_advance(struct iovec **iov, int *iovcnt, size_t n);

/* An open object's descriptor, which it keeps. */
int file_object_fd(const struct object *object);

/* Is it still the object that was opened? ERR_STALE. */
int file_object_check(const struct object *object, struct error *err);

/* Append bytes of a file to a sink of file_create(), at most `length`, by the
 * kernel. As copy_file_range(2): how many, or -1 with errno. */
ssize_t file_sink_copy(struct sink *sink, int fd, uint64_t offset,
		       uint64_t length);

/* store_ops.compose (file-compose.c). */
int file_compose(struct store *store, const char *key,
		 const struct sink_args *args, struct compose *compose,
		 struct object_info *info, struct error *err);

/* store_ops.create (file-sink.c). */
int file_create(struct sink **out, struct store *store, const char *key,
		const struct sink_args *args, struct error *err);

/* The other changes of store_ops (file-change.c). */
int file_remove(struct store *store, const char *key, const char *if_match,
		struct error *err);
int file_rename(struct store *store, const char *from, const char *to,
		const struct rename_args *args, struct error *err);
int file_make_prefix(struct store *store, const char *prefix,
		     struct error *err);
int file_remove_prefix(struct store *store, const char *prefix,
		       struct error *err);

#endif
