/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the files that talk to libfuse share. Only ops*.c, call.c and mount.c
 * include this.
 *
 * Threads: libfuse's loop threads run the operations and never wait for I/O.
 * What may wait (lookups, listings) runs in fs->pool, probes in the pool of
 * containers.c, reads in the engine's; each answers its request from there. */
#ifndef VMIEFS_SERVER_H
#define VMIEFS_SERVER_H

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>

#include "fs/fs.h"
#include "fs/landing.h"
#include "fs/ring.h"

#define SERVER_READ_MAX (1u << 20) /* bytes in one READ request */

struct server {
	struct fs *fs;
	atomic_bool is_init;  /* the next reply is the one to INIT */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t idle;  /* active became empty */
	pthread_cond_t interrupted; /* a call was, or is_ending */
	bool has_interrupted, is_ending;
	bool has_interrupter;
	pthread_t interrupter; /* call.c */
	struct ring active;   /* calls */
	struct ring handles;  /* open files and directories */
	struct landings landings;
};

/* What an open file or directory is to us; counted. */
struct handle {
	atomic_uint refs;
	struct ring all;         /* under the server's lock */
	struct node *node;       /* a reference */
	struct opened *opened;   /* files: a reference; disk lives in it */
	struct disk *disk;
	bool is_direct;          /* past the kernel's cache */
	struct listing *listing; /* directories: a reference, or NULL */
	char **news;             /* segments of files being written that the
				  * listing does not have */
	size_t new_count;
	struct known *known;     /* of an OVA's directory: a reference */
	size_t prefetched;       /* entries whose probes were started */
	struct export *export;   /* files being written: a reference */
	bool is_closed;          /* export_close() was called */
	atomic_bool was_killed;  /* who flushed it last */
	char *text;              /* control files: as of open */
	size_t text_len;
};

static inline struct server *server_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* A borrowed node: the kernel's own reference keeps it. */
struct node *server_node(struct server *server, fuse_ino_t ino);
fuse_ino_t server_ino(struct server *server, const struct node *node);

/* NULL when out of memory. Takes a reference of node. */
struct handle *handle_new(struct server *server, struct node *node);
struct handle *handle_ref(struct handle *handle);
void handle_unref(struct server *server, struct handle *handle);

/* Answer OPEN or OPENDIR; the reference goes to the kernel, or is dropped when
 * the request is gone. */
void reply_handle(fuse_req_t req, struct fuse_file_info *fi,
		  struct handle *handle);

/* After unmounting: release what the kernel has not. */
void handles_release(struct server *server);

/* Attributes and their lifetime as FUSE wants them. */
void server_entry(struct server *server, const struct node *node,
		  struct fuse_entry_param *entry);

extern const struct fuse_lowlevel_ops server_ops;

/* How libfuse is to reach the kernel: see the .c. */
extern const struct fuse_custom_io server_io;

/* Answer with a node, whose reference is given up. */
void reply_node(fuse_req_t req, struct node *node);

/* What ops-write.c does with a file being written. */
void open_for_writing(fuse_req_t req, struct node *node,
		      struct fuse_file_info *fi);
void write_export(fuse_req_t req, struct handle *handle, const char *data,
		  size_t size, uint64_t offset);
void read_export(fuse_req_t req, struct handle *handle, size_t size,
		 uint64_t offset);
void resize_export(fuse_req_t req, struct handle *handle, uint64_t size);
void truncate_node(fuse_req_t req, struct node *node, uint64_t size);
void lseek_export(fuse_req_t req, const struct handle *handle, off_t offset,
		  int whence);
void release_export(struct handle *handle, bool publish);

/* The operations, by file. */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size,
	      off_t offset, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
	      struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset,
			struct fuse_file_info *fi, fuse_ino_t to_ino,
			off_t to_offset, struct fuse_file_info *to_fi,
			size_t length, int flags);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
		  off_t length, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	      struct fuse_file_info *fi);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
	      mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t to_parent, const char *to_name, unsigned int flags);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		 size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

#endif
