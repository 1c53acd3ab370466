/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * LOOKUP: from a name to a node. Where the name stands for a disk, its
 * container must be understood first, since the size is inside. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/call.h"

/* What was listed may be replaced before the probe opens it. */
#define ATTEMPTS 3

/* Tell the kernel about a node, whose reference is given up. It may have been
 * forgotten by then, or the caller gone. */
void reply_node(fuse_req_t req, struct node *node)
{
	struct server *server = server_of(req);
	struct tree *tree = server->fs->tree;
	struct fuse_entry_param entry;

	atomic_store(&node->is_gone, false);
	server_entry(server, node, &entry);
	node_add_lookup(tree, node);
	if (fuse_reply_entry(req, &entry))
		node_forget(tree, node, 1);
	node_unref(tree, node);
}

/* What the store has just said of the node holds again. */
static void answer_node(struct call *call, struct node *node)
{
	atomic_store(&node->is_stale, false);
	if (call_claim(call))
		reply_node(call->req, node);
	else
		node_unref(call->server->fs->tree, node);
}

/* A name that is not there is no failure; all else that keeps one from being
 * looked up is worth a line. */
static void fail_lookup(struct call *call, const struct error *err)
{
	struct fs *fs = call->server->fs;
	char path[STORE_KEY_MAX + 64 + NAME_SIZE];
	size_t len;

	fs_note_stale(fs, call->node, err);
	if (err->kind != ERR_NOT_FOUND && err->kind != ERR_CANCELLED) {
		node_path(call->node, path, STORE_KEY_MAX + 64);
		len = strlen(path);
		snprintf(path + len, sizeof(path) - len, "/%s", call->name);
		failures_add(fs->failures, "lookup", path, err,
			     error_to_errno(err));
	}
	call_fail_with(call, err);
}

static void lookup_run(struct job *job);

/* The listing was wrong about the entry: look again. */
static void lookup_again(struct call *call, const struct error *err)
{
	fs_note_stale(call->server->fs, call->node, err);
	call_queue(call, call->server->fs->pool, lookup_run);
}

/* The container is understood (or not): the disk has a node now. */
static void lookup_known(struct want *want, struct known *known,
			 struct opened *opened, const struct error *err)
{
	struct call *call = call_of_want(want);
	struct fs *fs = call->server->fs;
	struct error own = { 0 };
	struct node *node = NULL;

	(void)opened;
	if (err && err->kind == ERR_STALE && ++call->attempts < ATTEMPTS) {
		lookup_again(call, err); /* with our reference */
		return;
	}
	if (!err && known->kind == ERR_DENIED) /* not even its size is known */
		known_fail(known, &own);
	else if (!err)
		node = fs_disk_node(fs, call->node, &call->entry, known, &own);
	if (node)
		answer_node(call, node);
	else
		fail_lookup(call, err ? err : &own);
	call_unref(call);
}

/* A container of which nothing may be known yet. Our reference goes along. */
static void lookup_container(struct call *call)
{
	struct error err = { 0 };
	char key[STORE_KEY_MAX + 2];
	struct target target;

	if (fs_entry_target(call->node, &call->entry, &target, key, &err)) {
		fail_lookup(call, &err);
		call_unref(call);
		return;
	}
	call->want.done = lookup_known;
	containers_want(call->server->fs->containers, &target, &call->want);
}

/* In the pool: ask the store what the name stands for. */
static void lookup_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct fs *fs = call->server->fs;
	struct error err = { 0 };
	struct node *node;

	free(take_ptr(call->entry_text));
	node = fs_find_new(fs, call->node, call->name);
	if (node) {
		answer_node(call, node);
		call_unref(call);
		return;
	}
	if (fs_find(fs, call->node, call->name, &call->entry,
		    &call->entry_text, &err)) {
		fail_lookup(call, &err);
		call_unref(call);
		return;
	}
	node = fs_entry_node(fs, call->node, &call->entry, &err);
	if (!node && err.kind == ERR_NONE) {
		lookup_container(call);
		return;
	}
	if (node)
		answer_node(call, node);
	else
		fail_lookup(call, &err);
	call_unref(call);
}

/* A name in an OVA. */
static void lookup_member(struct want *want, struct known *known,
			  struct opened *opened, const struct error *err)
{
	struct call *call = call_of_want(want);
	struct error own = { 0 };
	struct node *node = NULL;

	(void)opened;
	if (!err && known->kind != ERR_NONE) {
		known_fail(known, &own);
	} else if (!err) {
		error_set(&own, ERR_NOT_FOUND, "no such member");
		for (size_t i = 0; i < known->count && !node; i++)
			if (!strcmp(known->parts[i].name, call->name))
				node = fs_member_node(call->server->fs,
						      call->node, known, i,
						      &own);
	}
	if (node)
		answer_node(call, node);
	else
		fail_lookup(call, err ? err : &own);
	call_unref(call);
}

static void lookup_in_ova(struct call *call)
{
	char key[STORE_KEY_MAX + 2];
	struct error err = { 0 };
	struct target target;

	if (fs_target(call->node, &target, key, &err)) {
		call_fail_with(call, &err);
		call_unref(call);
		return;
	}
	call->want.done = lookup_member;
	containers_want(call->server->fs->containers, &target, &call->want);
}

static void lookup_later(fuse_req_t req, struct node *parent,
			 const char *name)
{
	struct call *call = call_new(req);

	if (!call)
		return;
	call->node = node_ref(call->server->fs->tree, parent);
	call->name = strdup(name);
	if (!call->name) {
		call_fail(call, ENOMEM);
		call_unref(call);
	} else if (parent->kind == NODE_OVA) {
		lookup_in_ova(call);
	} else {
		call_queue(call, call->server->fs->pool, lookup_run);
	}
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct server *server = server_of(req);
	struct node *dir = server_node(server, parent);
	struct node *node;

	fs_count(server->fs, FS_LOOKUPS, 1);
	if (atomic_load(&dir->is_gone)) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (dir->kind != NODE_ROOT && dir->kind != NODE_CONTROL) {
		lookup_later(req, dir, name);
		return;
	}
	node = fs_fixed_node(server->fs, dir, name);
	if (node)
		reply_node(req, node);
	else
		fuse_reply_err(req, ENOENT);
}
