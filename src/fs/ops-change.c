/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * FUSE: removing, renaming, and making directories; all of it in the pool. */
#include "config.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "fs/call.h"

/* What a rename needs beyond the parent and name that all have. */
struct to {
	struct node *dir; /* a reference */
	bool replace;
	char name[];
};

/* EPERM and EACCES are one kind, but two things to users. */
static int change_errno(const struct error *err)
{
	return err->errnum == EPERM ? EPERM : error_to_errno(err);
}

static void fail_change(struct call *call, const char *operation,
			const struct error *err)
{
	struct fs *fs = call->server->fs;
	char path[STORE_KEY_MAX + 64 + NAME_SIZE];
	size_t len;

	fs_note_stale(fs, call->node, err);
	if (err->kind != ERR_NOT_FOUND && err->kind != ERR_EXISTS &&
	    err->errnum != EXDEV) {
		node_path(call->node, path, STORE_KEY_MAX + 64);
		len = strlen(path);
		snprintf(path + len, sizeof(path) - len, "/%s", call->name);
		failures_add(fs->failures, operation, path, err,
			     change_errno(err));
	}
	call_fail(call, change_errno(err));
}

static void end_change(struct call *call, const char *operation, int ret,
		       const struct error *err)
{
	if (ret)
		fail_change(call, operation, err);
	else
		call_fail(call, 0);
	call_unref(call);
}

static void unlink_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct error err = { 0 };
	int ret = fs_remove(call->server->fs, call->node, call->name, &err);

	end_change(call, "remove", ret, &err);
}

static void rmdir_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct error err = { 0 };
	int ret = fs_remove_dir(call->server->fs, call->node, call->name,
				&err);

	end_change(call, "rmdir", ret, &err);
}

static void mkdir_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct error err = { 0 };
	struct node *node;

	if (fs_make_dir(call->server->fs, call->node, call->name, &node,
			&err)) {
		fail_change(call, "mkdir", &err);
	} else if (call_claim(call)) {
		reply_node(call->req, node);
	} else {
		node_unref(call->server->fs->tree, node);
	}
	call_unref(call);
}

/* Is anybody waiting for the answer? */
static bool goes_on(void *arg, uint64_t done, uint64_t total)
{
	const struct call *call = arg;

	(void)done;
	(void)total;
	return !atomic_load(&call->is_answered);
}

static void rename_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct to *to = take_ptr(call->to);
	struct error err = { 0 };
	struct fs *fs = call->server->fs;
	int ret;

	if (fs_closes_ova(call->name, to->name))
		ret = fs_close_ova(fs, call->node, call->name, to->dir,
				   to->name, to->replace, goes_on, call,
				   &err);
	else
		ret = fs_rename(fs, call->node, call->name, to->dir, to->name,
				to->replace, goes_on, call, &err);
	node_unref(call->server->fs->tree, to->dir);
	free(to);
	end_change(call, "rename", ret, &err);
}

/* A call for an entry of a directory; NULL when it was answered. */
static struct call *new_change(fuse_req_t req, fuse_ino_t parent,
			       const char *name)
{
	struct server *server = server_of(req);
	struct call *call;

	if (!server->fs->is_writable) {
		fuse_reply_err(req, EROFS);
		return NULL;
	}
	call = call_new(req);
	if (!call)
		return NULL;
	call->node = node_ref(server->fs->tree, server_node(server, parent));
	call->name = strdup(name);
	if (call->name)
		return call;
	call_fail(call, ENOMEM);
	call_unref(call);
	return NULL;
}

static void change_later(fuse_req_t req, fuse_ino_t parent, const char *name,
			 void (*run)(struct job *job))
{
	struct call *call = new_change(req, parent, name);

	if (call)
		call_queue(call, call->server->fs->pool, run);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	change_later(req, parent, name, unlink_run);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	change_later(req, parent, name, rmdir_run);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
	      mode_t mode)
{
	(void)mode;
	change_later(req, parent, name, mkdir_run);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t to_parent, const char *to_name, unsigned int flags)
{
	struct server *server = server_of(req);
	size_t len = strlen(to_name) + 1;
	struct call *call;
	struct to *to;

	if (flags & ~(unsigned int)RENAME_NOREPLACE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	call = new_change(req, parent, name);
	if (!call)
		return;
	to = malloc(sizeof(*to) + len);
	if (!to) {
		call_fail(call, ENOMEM);
		call_unref(call);
		return;
	}
	to->dir = node_ref(server->fs->tree, server_node(server, to_parent));
	to->replace = !flags;
	memcpy(to->name, to_name, len);
	call->to = to;
	call_queue(call, server->fs->pool, rename_run);
}
