/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * FUSE: the table of operations and those that answer at once. */
#include "config.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/clock.h"
#include "fs/server.h"

/* A file's attributes belong to its identity and never change. */
#define FILE_ATTR_SECONDS 86400.0

struct node *server_node(struct server *server, fuse_ino_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return tree_root(server->fs->tree);
	return (struct node *)(uintptr_t)ino;
}

fuse_ino_t server_ino(struct server *server, const struct node *node)
{
	if (node == tree_root(server->fs->tree))
		return FUSE_ROOT_ID;
	return (fuse_ino_t)(uintptr_t)node;
}

struct handle *handle_new(struct server *server, struct node *node)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	atomic_init(&handle->refs, 1);
	handle->node = node_ref(server->fs->tree, node);
	pthread_mutex_lock(&server->lock);
	ring_append(&server->handles, &handle->all);
	pthread_mutex_unlock(&server->lock);
	return handle;
}

struct handle *handle_ref(struct handle *handle)
{
	atomic_fetch_add(&handle->refs, 1);
	return handle;
}

void handle_unref(struct server *server, struct handle *handle)
{
	if (atomic_fetch_sub(&handle->refs, 1) != 1)
		return;
	pthread_mutex_lock(&server->lock);
	ring_remove(&handle->all);
	pthread_mutex_unlock(&server->lock);
	release_export(handle, false);
	if (handle->opened || handle->export)
		fs_count(server->fs, FS_HANDLES, (uint64_t)-1);
	containers_release(server->fs->containers, handle->opened);
	listing_unref(handle->listing);
	for (size_t i = 0; i < handle->new_count; i++)
		free(handle->news[i]);
	free(handle->news);
	known_unref(handle->known);
	node_unref(server->fs->tree, handle->node);
	export_unref(handle->export);
	free(handle->text);
	free(handle);
}

void handles_release(struct server *server)
{
	while (!ring_is_empty(&server->handles))
		handle_unref(server, ring_item(server->handles.next,
					       struct handle, all));
}

static double ttl_seconds(const struct server *server)
{
	return server->fs->options->ttl_ms / 1000.0;
}

static bool is_control_file(const struct node *node)
{
	return node->kind == NODE_STATS || node->kind == NODE_ERRORS ||
	       node->kind == NODE_LOG_LEVEL;
}

static double attr_seconds(const struct server *server,
			   const struct node *node)
{
	if (is_control_file(node) || node->kind == NODE_NEW)
		return 0;
	return node_is_dir(node) ? ttl_seconds(server) : FILE_ATTR_SECONDS;
}

/* A control file is as long as its text would be now. */
static void stat_node(struct server *server, const struct node *node,
		      struct stat *st)
{
	struct strbuf text = { .max = SIZE_MAX };

	fs_stat(server->fs, node, st);
	if (!is_control_file(node))
		return;
	if (!fs_control_text(server->fs, node, &text, NULL))
		st->st_size = (off_t)text.len;
	clock_gettime(CLOCK_REALTIME, &st->st_mtim);
	strbuf_free(&text);
}

void server_entry(struct server *server, const struct node *node,
		  struct fuse_entry_param *entry)
{
	memset(entry, 0, sizeof(*entry));
	stat_node(server, node, &entry->attr);
	entry->ino = server_ino(server, node);
	/* What we may replace is looked up each time, so that nobody sees an
	 * old one once we have. */
	entry->entry_timeout = ttl_seconds(server);
	if (!node_is_dir(node) && fs_can_overwrite(server->fs, node))
		entry->entry_timeout = 0;
	entry->attr_timeout = attr_seconds(server, node);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct server *server = userdata;

	atomic_store(&server->is_init, true);
	/* A read that the kernel's read-ahead sent in the background never
	 * gets an interrupt, so Ctrl-C would hang with the store; and what
	 * belongs to one identity never needs to be invalidated. */
	conn->want &= ~((unsigned int)FUSE_CAP_ASYNC_READ |
			FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
			FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->want |= conn->capable & FUSE_CAP_PARALLEL_DIROPS;
	conn->max_read = SERVER_READ_MAX;
	conn->max_readahead = server->fs->options->readahead_kib << 10;
	conn->time_gran = 1;
}

/* Without PARALLEL_DIROPS the kernel locks a directory during each LOOKUP and
 * READDIR, so that one lookup that hangs stops ls. libfuse up to 3.16 offers
 * the flag but does not pass it on; this puts it into the reply to INIT. */
static void allow_parallel_lookups(struct iovec *iov, int count)
{
	struct fuse_init_out *init;

	if (count != 2 || iov[1].iov_len < sizeof(*init))
		return;
	init = iov[1].iov_base;
	init->flags |= FUSE_PARALLEL_DIROPS;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count,
			 void *userdata)
{
	struct server *server = userdata;

	if (atomic_load_explicit(&server->is_init, memory_order_relaxed)) {
		allow_parallel_lookups(iov, count);
		atomic_store(&server->is_init, false);
	}
	return writev(fd, iov, count);
}

static ssize_t io_read(int fd, void *buf, size_t size, void *userdata)
{
	struct server *server = userdata;

	return landing_read(&server->landings, fd, buf, size);
}

const struct fuse_custom_io server_io = {
	.writev = io_writev,
	.read = io_read,
};

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	struct server *server = server_of(req);

	if (ino != FUSE_ROOT_ID)
		node_forget(server->fs->tree, server_node(server, ino), n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count,
			    struct fuse_forget_data *forgets)
{
	struct server *server = server_of(req);

	for (size_t i = 0; i < count; i++)
		if (forgets[i].ino != FUSE_ROOT_ID)
			node_forget(server->fs->tree,
				    server_node(server, forgets[i].ino),
				    forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct node *node = server_node(server, ino);
	struct export *export = NULL;
	double seconds = attr_seconds(server, node);
	struct stat st;

	stat_node(server, node, &st);
	if (fi && handle_of(fi)->text)
		st.st_size = (off_t)handle_of(fi)->text_len;
	if (fi && handle_of(fi)->export)
		export = export_ref(handle_of(fi)->export);
	else if (node->kind == NODE_DISK || node->kind == NODE_OBJECT)
		export = fs_changing(server->fs, node); /* by fstat() */
	if (export) {
		st.st_size = (off_t)export_size(export);
		seconds = 0;
	}
	export_unref(export);
	fuse_reply_attr(req, &st, seconds);
}

/* Times and modes are the store's: those who copy them (cp -p, rsync, tar)
 * are told that it is well, and nothing happens. */
static void set_nothing(fuse_req_t req, fuse_ino_t ino,
			const struct stat *attr, int to_set,
			struct fuse_file_info *fi)
{
	struct fs *fs = server_of(req)->fs;

	if (!fs->is_writable)
		fuse_reply_err(req, EROFS);
	else if ((to_set & FUSE_SET_ATTR_UID && attr->st_uid != fs->uid) ||
		 (to_set & FUSE_SET_ATTR_GID && attr->st_gid != fs->gid))
		fuse_reply_err(req, EPERM);
	else
		op_getattr(req, ino, fi);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		       int to_set, struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct node *node = server_node(server, ino);
	const int harmless = FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME |
			     FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_CTIME |
			     FUSE_SET_ATTR_MTIME_NOW |
			     FUSE_SET_ATTR_ATIME_NOW;

	if (to_set & FUSE_SET_ATTR_SIZE && fi && handle_of(fi)->export)
		resize_export(req, handle_of(fi), (uint64_t)attr->st_size);
	else if (to_set & FUSE_SET_ATTR_SIZE && server->fs->is_writable &&
		 node->kind != NODE_LOG_LEVEL)
		truncate_node(req, node, (uint64_t)attr->st_size);
	else if (node->kind != NODE_LOG_LEVEL)
		set_nothing(req, ino, attr, to_set, fi);
	else if (to_set & ~harmless)
		fuse_reply_err(req, EROFS);
	else
		op_getattr(req, ino, NULL); /* by open(O_TRUNC) */
}

/* There is no room for others' writing: as large as a bucket can be, and
 * full. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = {
		.f_bsize = 128 << 10,
		.f_frsize = 4096,
		.f_blocks = (UINT64_C(1) << 50) / 4096,
		.f_namemax = NAME_SIZE - 1,
	};

	fuse_reply_statfs(req, &st);
}

/* What no store has. */

static void refuse(fuse_req_t req, int errnum)
{
	fuse_reply_err(req, server_of(req)->fs->is_writable ? errnum : EROFS);
}

static void refuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
			 mode_t mode, dev_t rdev)
{
	refuse(req, EPERM);
}

static void refuse_symlink(fuse_req_t req, const char *link,
			   fuse_ino_t parent, const char *name)
{
	refuse(req, EPERM);
}

static void refuse_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
			const char *name)
{
	refuse(req, EPERM);
}

static void refuse_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			    const char *value, size_t size, int flags)
{
	refuse(req, EOPNOTSUPP);
}

static void refuse_removexattr(fuse_req_t req, fuse_ino_t ino,
			       const char *name)
{
	refuse(req, EOPNOTSUPP);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	handle_unref(server_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

const struct fuse_lowlevel_ops server_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.open = op_open,
	.read = op_read,
	.create = op_create,
	.write = op_write,
	.fallocate = op_fallocate,
	.copy_file_range = op_copy_file_range,
	.lseek = op_lseek,
	.flush = op_flush,
	.fsync = op_fsync,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.mknod = refuse_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = refuse_symlink,
	.rename = op_rename,
	.link = refuse_link,
	.setxattr = refuse_setxattr,
	.removexattr = refuse_removexattr,
};
