/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Open files: disks, objects, and the texts of control/. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "fs/call.h"

#define TEXT_MAX (4u << 20) /* of a control file */

void reply_handle(fuse_req_t req, struct fuse_file_info *fi,
		  struct handle *handle)
{
	struct server *server = server_of(req);

	fi->fh = (uintptr_t)handle;
	if (fuse_reply_open(req, fi))
		handle_unref(server, handle);
}

/* The container is open: find the disk in it that the node stands for. */
static int attach(struct handle *handle, struct known *known,
		  struct opened *opened, struct error *err)
{
	const struct node *node = handle->node;

	if (known && known->kind != ERR_NONE)
		return known_fail(known, err);
	if (known && strcmp(known->identity, node->known->identity) != 0)
		return error_set(err, ERR_STALE, "was replaced since it was "
				 "looked up");
	if (opened_disk(&handle->disk, opened, node->index, err))
		return -1;
	handle->opened = opened_ref(opened);
	return 0;
}

static void open_done(struct want *want, struct known *known,
		      struct opened *opened, const struct error *err)
{
	struct call *call = call_of_want(want);
	struct fs *fs = call->server->fs;
	struct handle *handle = call->handle;
	struct error own = { 0 };

	if (!err && attach(handle, known, opened, &own))
		err = &own;
	if (err) {
		fs_count(fs, FS_OPENS_FAILED, 1);
		if (err->kind != ERR_CANCELLED)
			fs_note_failure(fs, "open", handle->node, err);
		call_fail(call, fs_errno(handle->node, err));
	} else {
		fs_count(fs, FS_HANDLES, 1);
		fs_count(fs, FS_OPENS, 1);
		if (call_claim(call))
			reply_handle(call->req, &call->fi,
				     take_ptr(call->handle));
	}
	call_unref(call);
}

/* What the kernel answers to ESTALE is to look the name up again, and then to
 * open what it finds. */
static bool refuse_stale(fuse_req_t req, const struct node *node)
{
	if (!atomic_load(&node->is_stale))
		return false;
	fuse_reply_err(req, ESTALE);
	return true;
}

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* Refused by what is known already. True if it was answered. */
static bool refuse_open(fuse_req_t req, struct node *node, int flags)
{
	struct fs *fs = server_of(req)->fs;
	struct error err = { 0 };
	const char *why = "";

	if (writes(flags) && !fs->is_writable) {
		fuse_reply_err(req, EROFS);
		return true;
	}
	if (node->kind == NODE_NEW) {
		fuse_reply_err(req, export_is_visible(node->export) ? EBUSY :
								      ESTALE);
		return true;
	}
	if (fs_is_changing(fs, node)) {
		fuse_reply_err(req, EBUSY);
		return true;
	}
	if (flags & O_TRUNC)
		return false;
	err.kind = fs_part_error(node, &why);
	if (err.kind == ERR_NONE)
		return false;
	if (node->known->kind != ERR_NONE)
		known_fail(node->known, &err);
	else
		error_set(&err, err.kind, "%s", why);
	fs_count(fs, FS_OPENS_FAILED, 1);
	fs_note_failure(fs, "open", node, &err);
	fuse_reply_err(req, fs_errno(node, &err));
	return true;
}

static void open_later(fuse_req_t req, struct node *node,
		       struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_new(server, node);
	char key[STORE_KEY_MAX + 2];
	struct error err = { 0 };
	struct target target;
	struct call *call;

	if (!handle || fs_target(node, &target, key, &err)) {
		fuse_reply_err(req, ENOMEM);
		if (handle)
			handle_unref(server, handle);
		return;
	}
	/* Past the kernel's cache a copy costs half the CPU, and what is read
	 * twice soon is in the engine's. A node's bytes never change, so its
	 * cached pages are good for ever. */
	handle->is_direct = fi->flags & O_DIRECT ||
			    !server->fs->options->kernel_cache;
	call = call_new(req);
	if (!call) {
		handle_unref(server, handle);
		return;
	}
	call->handle = handle;
	call->fi = *fi;
	call->fi.keep_cache = !handle->is_direct;
	call->fi.direct_io = handle->is_direct;
	call->fi.noflush = 1;
	call->want.done = open_done;
	call->want.needs_open = true;
	containers_want(server->fs->containers, &target, &call->want);
}

static void open_control(fuse_req_t req, struct node *node,
			 struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_new(server, node);
	struct strbuf text = { .max = TEXT_MAX };
	struct error err = { 0 };

	if (!handle) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (fs_control_text(server->fs, node, &text, &err)) {
		strbuf_free(&text);
		handle_unref(server, handle);
		fuse_reply_err(req, error_to_errno(&err));
		return;
	}
	handle->text_len = text.len;
	handle->text = strbuf_take(&text);
	fi->direct_io = 1;
	reply_handle(req, fi, handle);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node *node = server_node(server_of(req), ino);

	switch (node->kind) {
	case NODE_STATS:
	case NODE_ERRORS:
		if ((fi->flags & O_ACCMODE) != O_RDONLY)
			fuse_reply_err(req, EACCES);
		else
			open_control(req, node, fi);
		break;
	case NODE_LOG_LEVEL:
		open_control(req, node, fi);
		break;
	default:
		if (refuse_open(req, node, fi->flags) ||
		    refuse_stale(req, node))
			return;
		if (writes(fi->flags))
			open_for_writing(req, node, fi);
		else
			open_later(req, node, fi);
	}
}

/* Answer a READ whose claim is ours. A cached handle gets all or an error:
 * the kernel would take a short answer for the end of the file. */
static void reply_read(struct call *call, const struct iovec *iov, int iovcnt,
		       const struct error *err)
{
	uint64_t bytes = 0;

	for (int i = 0; i < iovcnt; i++)
		bytes += iov[i].iov_len;
	if (err && !(call->handle->is_direct && bytes)) {
		fuse_reply_err(call->req, error_to_errno(err));
		return;
	}
	fs_count(call->server->fs, FS_READ_BYTES, bytes);
	fuse_reply_iov(call->req, iov, iovcnt);
}

/* In an engine thread, or in op_read() itself. */
static void read_done(void *arg, const struct iovec *iov, int iovcnt,
		      const struct error *err)
{
	struct call *call = arg;
	struct fs *fs = call->server->fs;

	if (err && err->kind != ERR_CANCELLED) {
		fs_count(fs, FS_READS_FAILED, 1);
		fs_note_failure(fs, "read", call->handle->node, err);
	}
	if (call_claim(call))
		reply_read(call, iov, iovcnt, err);
	call_unref(call);
}

static void read_text(fuse_req_t req, const struct handle *handle,
		      size_t size, uint64_t offset)
{
	uint64_t start = min_u64(offset, handle->text_len);

	fuse_reply_buf(req, handle->text + start,
		       min_u64(size, handle->text_len - start));
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_of(fi);
	struct disk_read *read = NULL;
	uint64_t disk_bytes, at = (uint64_t)offset;
	struct call *call;

	(void)ino;
	if (handle->text) {
		/* Who reads may be done with it before we are. */
		handle_ref(handle);
		read_text(req, handle, size, at);
		handle_unref(server, handle);
		return;
	}
	if (handle->export) {
		read_export(req, handle, size, at);
		return;
	}
	fs_count(server->fs, FS_READS, 1);
	disk_bytes = disk_size(handle->disk);
	size = min_u64(size, SERVER_READ_MAX);
	if (at >= disk_bytes || size == 0) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	call = call_new(req);
	if (!call)
		return;
	call->handle = handle_ref(handle);
	call_ref(call); /* for read_done() */
	disk_read_async(handle->disk, at,
			(uint32_t)min_u64(size, disk_bytes - at), read_done,
			call, &read);
	call_set_read(call, read);
	call_unref(call);
}

static void lseek_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct error err = { 0 };
	uint64_t found;

	if (disk_seek(call->handle->disk, call->offset,
		      call->whence == SEEK_DATA, &found, &err)) {
		fs_note_failure(call->server->fs, "seek", call->handle->node,
				&err);
		call_fail_with(call, &err);
	} else if (found == UINT64_MAX) {
		call_fail(call, ENXIO);
	} else if (call_claim(call)) {
		fuse_reply_lseek(call->req, (off_t)found);
	}
	call_unref(call);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
	      struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_of(fi);
	struct call *call;

	(void)ino;
	if (handle->export && (whence == SEEK_DATA || whence == SEEK_HOLE)) {
		lseek_export(req, handle, offset, whence);
		return;
	}
	if (!handle->disk || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (offset < 0 || (uint64_t)offset >= disk_size(handle->disk)) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	call = call_new(req);
	if (!call)
		return;
	call->handle = handle_ref(handle);
	call->offset = (uint64_t)offset;
	call->whence = whence;
	call_queue(call, server->fs->seeks, lseek_run);
}

/* Of files that are not being made only control/log-level can be written, and
 * each write is a whole word. */
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size,
	      off_t offset, struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct node *node = server_node(server, ino);
	struct strbuf text = { .max = 64 };
	struct error err = { 0 };

	data = landing_data(&server->landings, data);
	if (handle_of(fi)->export) {
		write_export(req, handle_of(fi), data, size, (uint64_t)offset);
		return;
	}
	if (node->kind != NODE_LOG_LEVEL) {
		fuse_reply_err(req, EROFS);
		return;
	}
	strbuf_add(&text, data, size);
	if (text.failed || !text.data)
		error_set(&err, ERR_ARG, "no log level");
	else
		fs_set_log_level(text.data, &err);
	strbuf_free(&text);
	if (err.kind != ERR_NONE)
		fuse_reply_err(req, error_to_errno(&err));
	else
		fuse_reply_write(req, size);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	release_export(handle_of(fi), true);
	handle_unref(server_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}
