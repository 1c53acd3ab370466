/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Extended attributes user.vmiefs.*: what a file is, or why it cannot be
 * opened. Other names are answered without looking at anything, since tools
 * ask for security.* and system.* of every file. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/call.h"

#define PREFIX "user.vmiefs."

enum attribute { FORMAT, SUBFORMAT, CONTAINER, ETAG, ERROR, ATTRIBUTES };

static const char *const names[ATTRIBUTES] = {
	[FORMAT] = PREFIX "format",
	[SUBFORMAT] = PREFIX "subformat",
	[CONTAINER] = PREFIX "container",
	[ETAG] = PREFIX "etag",
	[ERROR] = PREFIX "error",
};

static const struct known_part *part_of(const struct node *node)
{
	if (!node->known || node->index >= node->known->count)
		return NULL;
	return &node->known->parts[node->index];
}

static const char *format_of(const struct node *node, bool sub)
{
	const struct known_part *part = part_of(node);

	if (node->kind == NODE_OVA)
		return sub ? NULL : "ova";
	if (node->kind == NODE_OBJECT)
		return node->view == VIEW_DISKS ? "raw" : NULL;
	if (!part)
		return NULL;
	return sub ? part->subformat : part->format;
}

/* Why it cannot be opened, or NULL. known as in value_of(). */
static const char *error_of(const struct node *node,
			    const struct known *known)
{
	const char *why = NULL;

	if (known && known->kind != ERR_NONE)
		return known->why;
	if (node->kind != NODE_OVA)
		fs_part_error(node, &why);
	return why;
}

/* The value, or NULL where the node has no such attribute. known: what was
 * found out since the node was made, NULL where that is not to be waited for.
 * key has STORE_KEY_MAX + 2 bytes. */
static const char *value_of(const struct node *node,
			    const struct known *known, enum attribute which,
			    char *key)
{
	struct target target;

	switch (which) {
	case FORMAT:
	case SUBFORMAT:
		return format_of(node, which == SUBFORMAT);
	case CONTAINER:
		return fs_target(node, &target, key, NULL) ? NULL : key;
	case ETAG:
		if (node->kind == NODE_OVA)
			return known ? known->identity : "";
		return node->identity;
	case ERROR:
		return error_of(node, known);
	default:
		return NULL;
	}
}

static void reply_value(fuse_req_t req, const char *value, size_t len,
			size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (size < len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

static void reply_attribute(fuse_req_t req, const struct node *node,
			    const struct known *known, enum attribute which,
			    size_t size)
{
	char key[STORE_KEY_MAX + 2];
	const char *value = value_of(node, known, which, key);

	if (value)
		reply_value(req, value, strlen(value), size);
	else
		fuse_reply_err(req, ENODATA);
}

/* The container had to be understood first. */
static void getxattr_known(struct want *want, struct known *known,
			   struct opened *opened, const struct error *err)
{
	struct call *call = call_of_want(want);

	(void)opened;
	if (err) {
		fs_note_stale(call->server->fs, call->node, err);
		call_fail_with(call, err);
	} else if (call_claim(call)) {
		reply_attribute(call->req, call->node, known,
				(enum attribute)call->offset, call->size);
	}
	call_unref(call);
}

static void getxattr_later(fuse_req_t req, struct node *node,
			   enum attribute which, size_t size)
{
	char key[STORE_KEY_MAX + 2];
	struct error err = { 0 };
	struct target target;
	struct call *call = call_new(req);

	if (!call)
		return;
	call->node = node_ref(call->server->fs->tree, node);
	call->offset = which;
	call->size = size;
	if (fs_target(node, &target, key, &err)) {
		call_fail_with(call, &err);
		call_unref(call);
		return;
	}
	call->want.done = getxattr_known;
	call->want.needs_open = node->kind == NODE_DISK;
	containers_want(call->server->fs->containers, &target, &call->want);
}

static bool has_attributes(const struct node *node)
{
	switch (node->kind) {
	case NODE_OBJECT:
	case NODE_DISK:
	case NODE_OVA:
	case NODE_MEMBER:
		return true;
	default:
		return false;
	}
}

/* Is that to be answered only when the container has been looked into? A
 * glance at a disk does not tell whether it can be opened. */
static bool is_for_later(const struct node *node, unsigned int which)
{
	if (node->kind == NODE_OVA)
		return which == ETAG || which == ERROR;
	return node->kind == NODE_DISK && which == ERROR &&
	       node->known->is_glance;
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		 size_t size)
{
	struct node *node = server_node(server_of(req), ino);
	unsigned int which = 0;

	while (which < ATTRIBUTES && strcmp(names[which], name) != 0)
		which++;
	if (which == ATTRIBUTES || !has_attributes(node))
		fuse_reply_err(req, ENODATA);
	else if (is_for_later(node, which))
		getxattr_later(req, node, which, size);
	else
		reply_attribute(req, node, NULL, which, size);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct node *node = server_node(server_of(req), ino);
	struct strbuf list = { .max = 1024 };
	char key[STORE_KEY_MAX + 2];

	for (unsigned int i = 0; has_attributes(node) && i < ATTRIBUTES; i++)
		if (value_of(node, NULL, i, key))
			strbuf_add(&list, names[i], strlen(names[i]) + 1);
	if (list.failed)
		fuse_reply_err(req, ENOMEM);
	else
		reply_value(req, list.data, list.len, size);
	strbuf_free(&list);
}
