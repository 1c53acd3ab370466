/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Files being written: from open to release. What a write gives to the
 * pipeline without waiting is done at once; all else is an operation of the
 * file (fs/export.h) that answers its request when it has ended.
 *
 * FLUSH comes for every close of every copy of a descriptor, also of those
 * that the shell makes before the first byte, that children have, and that a
 * killed process still holds. It publishes only if something was written, by
 * the process that opened the file, which no signal has killed; all others
 * just hear what has failed so far. Without such a flush RELEASE publishes,
 * or drops the file after a killed writer. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "fs/call.h"
#include "fs/caller.h"
#include "store/sink.h"

#define PATH_BYTES (STORE_KEY_MAX + 64 + NAME_SIZE)

/* Opening. */

/* The kernel must neither cache what is written nor skip a flush. */
static void open_directly(struct call *call, struct export *export)
{
	struct handle *handle = call->handle;

	handle->export = export;
	handle->is_direct = true;
	call->fi.direct_io = 1;
	call->fi.keep_cache = 0;
	call->fi.noflush = 0;
	fs_count(call->server->fs, FS_HANDLES, 1);
	fs_count(call->server->fs, FS_OPENS, 1);
}

static void fail_open(struct call *call, const char *path,
		      const struct error *err)
{
	struct fs *fs = call->server->fs;

	fs_count(fs, FS_OPENS_FAILED, 1);
	if (err->kind != ERR_CANCELLED)
		failures_add(fs->failures, "create", path, err,
			     error_to_errno(err));
	call_fail_with(call, err);
}

/* Answer CREATE with a new node, whose reference is given up. */
static void reply_create(struct call *call, struct node *node)
{
	struct server *server = call->server;
	struct tree *tree = server->fs->tree;
	struct handle *handle = take_ptr(call->handle);
	struct fuse_entry_param entry;

	server_entry(server, node, &entry);
	node_add_lookup(tree, node);
	call->fi.fh = (uintptr_t)handle;
	if (fuse_reply_create(call->req, &entry, &call->fi)) {
		node_forget(tree, node, 1);
		handle_unref(server, handle);
	}
	node_unref(tree, node);
}

/* Make the handle of a new file. */
static struct node *attach_new(struct call *call, const char *segment,
			       struct export *export, struct error *err)
{
	struct fs *fs = call->server->fs;
	struct node *node = fs_export_node(fs, call->node, segment, export,
					   err);

	call->handle = node ? handle_new(call->server, node) : NULL;
	if (call->handle)
		return node;
	error_nomem(err);
	node_unref(fs->tree, node);
	return NULL;
}

static void create_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct fs *fs = call->server->fs;
	char key[STORE_KEY_MAX + 2], path[PATH_BYTES];
	struct export_args args = {
		.is_readable = (call->fi.flags & O_ACCMODE) == O_RDWR,
		.opener = call->process,
		.patience = { SINK_WAIT_MS, call_goes_on, call },
	};
	struct export *export = NULL;
	struct node *node = NULL;
	struct error err = { 0 };
	const char *segment;

	if (!fs_new_args(fs, call->node, call->name, key, path, &segment,
			 &args, &err) &&
	    !export_new(&export, fs->exports, &args, &err))
		node = attach_new(call, segment, export, &err);
	if (!node) {
		fail_open(call, path, &err);
		if (export)
			export_close(export, false);
	} else {
		open_directly(call, export);
		if (call_claim(call))
			reply_create(call, node);
		else
			node_unref(fs->tree, node);
	}
	call_unref(call);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode, struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct call *call;

	(void)mode;
	if (!server->fs->is_writable) {
		fuse_reply_err(req, EROFS);
		return;
	}
	call = call_new(req);
	if (!call)
		return;
	call->node = node_ref(server->fs->tree, server_node(server, parent));
	call->name = strdup(name);
	call->fi = *fi;
	call->process = caller_process(fuse_req_ctx(req)->pid);
	if (call->name) {
		call_queue(call, server->fs->creators, create_run);
	} else {
		call_fail(call, ENOMEM);
		call_unref(call);
	}
}

static void open_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct node *node = call->handle->node;
	struct fs *fs = call->server->fs;
	char key[STORE_KEY_MAX + 2], path[PATH_BYTES];
	struct export_args args = {
		.is_readable = (call->fi.flags & O_ACCMODE) == O_RDWR,
		.keeps_bytes = !(call->fi.flags & O_TRUNC),
		.opener = call->process,
		.patience = { SINK_WAIT_MS, call_goes_on, call },
	};
	struct export *export;
	struct error err = { 0 };

	if (fs_overwrite_args(fs, node, key, path, &args, &err) ||
	    export_new(&export, fs->exports, &args, &err)) {
		fs_note_stale(fs, node, &err);
		fail_open(call, path, &err);
	} else {
		open_directly(call, export);
		if (call_claim(call))
			reply_handle(call->req, &call->fi,
				     take_ptr(call->handle));
	}
	call_unref(call);
}

void open_for_writing(fuse_req_t req, struct node *node,
		      struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_new(server, node);
	struct call *call;

	if (!handle) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	call = call_new(req);
	if (!call) {
		handle_unref(server, handle);
		return;
	}
	call->handle = handle;
	call->fi = *fi;
	call->process = caller_process(fuse_req_ctx(req)->pid);
	call_queue(call, server->fs->creators, open_run);
}

/* Operations of an open file. */

static const char *name_of_op(const struct export_op *op)
{
	switch (op->kind) {
	case EXPORT_READ:
		return "read";
	case EXPORT_RESIZE:
		return "truncate";
	case EXPORT_ZERO:
		return "fallocate";
	case EXPORT_PUBLISH:
	case EXPORT_CHECK:
		return "close";
	default:
		return "write";
	}
}

/* Interrupted: the operation ends soon, and answers then. */
static void interrupt_op(struct call *call)
{
	export_cancel(call->handle->export, &call->op);
}

/* What the request is to hear of an operation that went well. */
static void reply_op(struct call *call)
{
	struct server *server = call->server;
	struct export_op *op = &call->op;
	struct stat st;

	switch (op->kind) {
	case EXPORT_WRITE:
	case EXPORT_COPY:
		fs_count(server->fs, FS_WRITE_BYTES, op->taken);
		fuse_reply_write(call->req, call->done + op->taken);
		break;
	case EXPORT_READ:
		fs_count(server->fs, FS_READ_BYTES, op->taken);
		fuse_reply_buf(call->req, op->data, op->taken);
		break;
	case EXPORT_RESIZE:
	case EXPORT_PUBLISH:
		if (!call->is_setattr) {
			fuse_reply_err(call->req, 0);
			break;
		}
		fs_stat(server->fs, call->handle->node, &st);
		st.st_size = (off_t)export_size(call->handle->export);
		fuse_reply_attr(call->req, &st, 0);
		break;
	default:
		fuse_reply_err(call->req, 0);
	}
}

static void op_failed(struct call *call, const struct error *err)
{
	struct handle *handle = call->handle;
	struct fs *fs = call->server->fs;

	if (call->op.kind == EXPORT_WRITE || call->op.kind == EXPORT_PUBLISH)
		fs_count(fs, FS_WRITES_FAILED, 1);
	if (err->kind != ERR_CANCELLED)
		failures_add(fs->failures, name_of_op(&call->op),
			     export_path(handle->export), err,
			     error_to_errno(err));
}

/* The store hangs: the caller gets an answer, the operation stays. */
static void op_late(struct export_op *op, const struct error *err)
{
	struct call *call = ring_item(op, struct call, op);

	call->is_late = true;
	op_failed(call, err);
	call_fail_with(call, err);
}

/* In a thread of the exports' pool. */
static void op_done(struct export_op *op, const struct error *err)
{
	struct call *call = ring_item(op, struct call, op);
	struct node *node = call->handle->node;

	if (err && op->kind == EXPORT_ABORT)
		err = NULL;
	if (err && !call->is_late)
		op_failed(call, err);
	/* The node's bytes are another object's now. */
	if (!err && op->kind == EXPORT_PUBLISH)
		atomic_store(&node->is_stale, true);
	if (call_claim(call)) {
		if (err && !(op->kind == EXPORT_WRITE && call->done))
			fuse_reply_err(call->req, error_to_errno(err));
		else
			reply_op(call);
	} else if (call->done || ((op->kind == EXPORT_WRITE ||
				   op->kind == EXPORT_COPY) && op->taken)) {
		export_disown(call->handle->export);
	}
	free(op->data);
	call_unref(call);
}

/* A call for an operation of the handle's file; NULL when it was answered. */
static struct call *new_op(fuse_req_t req, struct handle *handle,
			   enum export_op_kind kind)
{
	struct call *call = call_new(req);

	if (!call)
		return NULL;
	call->handle = handle_ref(handle);
	call->op.kind = kind;
	call->op.done = op_done;
	call->op.late = op_late;
	atomic_store(&call->interrupt, interrupt_op);
	return call;
}

static void submit(struct call *call)
{
	export_submit(call->handle->export, &call->op);
}

void write_export(fuse_req_t req, struct handle *handle, const char *data,
		  size_t size, uint64_t offset)
{
	struct server *server = server_of(req);
	struct fs *fs = server->fs;
	void **buffer = landing_of(&server->landings, size);
	size_t n = export_try_write(handle->export, offset, data, size,
				    buffer);
	struct call *call;

	fs_count(fs, FS_WRITES, 1);
	fs_count(fs, FS_WRITE_BYTES, n);
	if (n == size) {
		fuse_reply_write(req, n);
		return;
	}
	call = new_op(req, handle, EXPORT_WRITE);
	if (!call)
		return;
	call->done = n;
	call->op.offset = offset + n;
	call->op.length = size - n;
	call->op.data = malloc(size - n);
	if (!call->op.data) {
		call_fail(call, ENOMEM);
		call_unref(call);
		return;
	}
	memcpy(call->op.data, data + n, size - n);
	submit(call);
}

void read_export(fuse_req_t req, struct handle *handle, size_t size,
		 uint64_t offset)
{
	struct call *call = new_op(req, handle, EXPORT_READ);

	fs_count(server_of(req)->fs, FS_READS, 1);
	if (!call)
		return;
	call->op.offset = offset;
	call->op.length = min_u64(size, SERVER_READ_MAX);
	call->op.data = malloc(call->op.length);
	if (call->op.data) {
		submit(call);
		return;
	}
	call_fail(call, ENOMEM);
	call_unref(call);
}

void resize_export(fuse_req_t req, struct handle *handle, uint64_t size)
{
	struct call *call = new_op(req, handle, EXPORT_RESIZE);

	if (!call)
		return;
	call->is_setattr = true;
	call->op.offset = size;
	submit(call);
}

/* Are the bytes that are read a whole object, or the disk in a container that
 * the store could copy as it is? */
static bool copy_origin(struct export_op *op, struct export_origin *origin)
{
	const struct call *call = ring_item(op, struct call, op);
	const struct handle *source = call->source;
	const struct node *node = source->node;
	const struct container *container = opened_container(source->opened);
	const struct container_disk *disk;
	struct target target;

	if (fs_target(node, &target, origin->key, NULL))
		return false;
	origin->opened = source->opened;
	origin->bucket = target.bucket;
	origin->info = target.info;
	origin->offset = 0;
	origin->stored = target.info.size;
	origin->format = origin->subformat = "raw";
	if (node->kind == NODE_OBJECT)
		return true;
	if ((node->kind != NODE_DISK && node->kind != NODE_MEMBER) ||
	    !container || node->index >= container_disk_count(container))
		return false;
	disk = container_disk(container, node->index);
	origin->info = *container_info(container);
	origin->offset = disk->offset;
	origin->stored = disk->stored;
	origin->format = node->known->parts[node->index].format;
	origin->subformat = node->known->parts[node->index].subformat;
	return origin->stored && origin->format && origin->subformat;
}

/* The kernel's answer has 32 bits for the length. */
#define COPY_MAX (1u << 30)

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset,
			struct fuse_file_info *fi, fuse_ino_t to_ino,
			off_t to_offset, struct fuse_file_info *to_fi,
			size_t length, int flags)
{
	struct handle *source = handle_of(fi), *target = handle_of(to_fi);
	struct call *call;
	uint64_t size;

	(void)ino;
	(void)to_ino;
	(void)flags;
	if (!source->disk || !target->export) {
		fuse_reply_err(req, EOPNOTSUPP); /* then the kernel copies */
		return;
	}
	size = disk_size(source->disk);
	if ((uint64_t)offset >= size || !length) {
		fuse_reply_write(req, 0);
		return;
	}
	call = new_op(req, target, EXPORT_COPY);
	if (!call)
		return;
	call->source = handle_ref(source);
	call->op.source = source->disk;
	call->op.origin = copy_origin;
	call->op.source_offset = (uint64_t)offset;
	call->op.offset = (uint64_t)to_offset;
	call->op.length = min_u64(min_u64(length, COPY_MAX),
				  size - (uint64_t)offset);
	submit(call);
}

/* truncate(2), which has no open file: open, resize and publish in one. */

static void truncate_done(struct export_op *op, const struct error *err)
{
	struct call *call = ring_item(op, struct call, op);

	if (err) {
		op_done(op, err);
		return;
	}
	op->kind = EXPORT_PUBLISH;
	op->done = op_done;
	submit(call);
}

static void truncate_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct node *node = call->handle->node;
	struct fs *fs = call->server->fs;
	char key[STORE_KEY_MAX + 2], path[PATH_BYTES];
	struct export_args args = { .keeps_bytes = true,
				    .patience = { SINK_WAIT_MS, call_goes_on,
						  call } };
	struct export *export;
	struct error err = { 0 };

	if (fs_overwrite_args(fs, node, key, path, &args, &err) ||
	    export_new(&export, fs->exports, &args, &err)) {
		fs_note_stale(fs, node, &err);
		fail_open(call, path, &err);
		call_unref(call);
		return;
	}
	open_directly(call, export);
	call->op.kind = EXPORT_RESIZE;
	call->op.done = truncate_done;
	call->op.late = op_late;
	atomic_store(&call->interrupt, interrupt_op);
	submit(call);
}

void truncate_node(fuse_req_t req, struct node *node, uint64_t size)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_new(server, node);
	struct call *call;

	if (!handle) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (node->export) { /* it is open elsewhere */
		handle->export = export_ref(node->export);
		handle->is_closed = true;
		fs_count(server->fs, FS_HANDLES, 1);
		resize_export(req, handle, size);
		handle_unref(server, handle);
		return;
	}
	call = call_new(req);
	if (!call) {
		handle_unref(server, handle);
		return;
	}
	call->handle = handle;
	call->is_setattr = true;
	call->op.offset = size;
	call_queue(call, server->fs->creators, truncate_run);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
		  off_t length, struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);
	enum export_op_kind kind = EXPORT_ZERO;
	struct call *call;

	(void)ino;
	if (!handle->export) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (mode == FALLOC_FL_KEEP_SIZE) {
		fuse_reply_err(req, 0); /* there is no place to set aside */
		return;
	}
	if (mode == 0) {
		kind = EXPORT_RESIZE;
	} else if ((mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE &&
		   mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	call = new_op(req, handle, kind);
	if (!call)
		return;
	call->op.grows = !(mode & FALLOC_FL_KEEP_SIZE);
	call->op.offset = (uint64_t)offset;
	call->op.length = (uint64_t)length;
	if (kind == EXPORT_RESIZE)
		call->op.offset += call->op.length;
	submit(call);
}

/* Every byte counts as data: holes are only told of a finished disk. */
void lseek_export(fuse_req_t req, const struct handle *handle, off_t offset,
		  int whence)
{
	uint64_t size = export_size(handle->export);

	if (offset < 0 || (uint64_t)offset >= size)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req,
				 whence == SEEK_DATA ? offset : (off_t)size);
}

/* Closing. */

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);
	pid_t thread = fuse_req_ctx(req)->pid, process;
	enum export_op_kind kind = EXPORT_CHECK;
	bool is_openers;
	struct call *call;
	int opener;

	(void)ino;
	if (!handle->export) {
		fuse_reply_err(req, 0);
		return;
	}
	process = caller_process(thread);
	opener = export_opener(handle->export);
	is_openers = !process || !opener || process == opener;
	atomic_store(&handle->was_killed, caller_was_killed(thread));
	if (is_openers && atomic_load(&handle->was_killed))
		kind = EXPORT_ABORT;
	else if (is_openers && export_is_dirty(handle->export))
		kind = EXPORT_PUBLISH;
	call = new_op(req, handle, kind);
	if (call)
		submit(call);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	      struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);
	struct call *call;

	(void)ino;
	(void)datasync;
	if (!handle->export) {
		fuse_reply_err(req, 0);
		return;
	}
	call = new_op(req, handle, export_is_dirty(handle->export) ?
		      EXPORT_PUBLISH : EXPORT_CHECK);
	if (call)
		submit(call);
}

void release_export(struct handle *handle, bool publish)
{
	if (!handle->export || handle->is_closed)
		return;
	handle->is_closed = true;
	export_ref(handle->export); /* the handle's own */
	export_close(handle->export,
		     publish && !atomic_load(&handle->was_killed));
}
