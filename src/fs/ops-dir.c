/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reading directories. OPENDIR takes a snapshot of the names and starts the
 * probes of the first containers; READDIRPLUS gives the attributes of what is
 * known by now and never waits: the rest comes by LOOKUP. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/call.h"

/* Containers whose probes run ahead of the reader. */
#define PREFETCH 1024

/* d_ino of what has no node yet. */
#define UNKNOWN_INO 0xffffffff

/* Start the probes of containers up to entry `end`. */
static void prefetch(struct server *server, struct handle *handle,
		     size_t end)
{
	struct node *dir = handle->node;
	size_t count = listing_count(handle->listing);
	char key[STORE_KEY_MAX + 2];
	struct target target;

	if (dir->view != VIEW_DISKS || !dir->bucket)
		return;
	for (; handle->prefetched < end && handle->prefetched < count;
	     handle->prefetched++) {
		struct listing_entry entry;

		listing_entry(handle->listing, handle->prefetched, &entry);
		if (entry.is_prefix ||
		    name_shape(dir->view, entry.segment) != SHAPE_DISK ||
		    fs_entry_target(dir, &entry, &target, key, NULL))
			continue;
		containers_prefetch(server->fs->containers, &target);
	}
}

/* Answer with call->handle, if the caller is still there. */
static void answer_handle(struct call *call)
{
	if (call_claim(call))
		reply_handle(call->req, &call->fi, take_ptr(call->handle));
}

static void add_new(void *arg, const char *segment)
{
	struct handle *handle = arg;
	char **more;

	if (listing_find(handle->listing, segment, false) != SIZE_MAX ||
	    name_shape(handle->node->view, segment) == SHAPE_NONE)
		return;
	more = reallocarray(handle->news, handle->new_count + 1,
			    sizeof(*more));
	if (!more)
		return;
	handle->news = more;
	more[handle->new_count] = strdup(segment);
	if (more[handle->new_count])
		handle->new_count++;
}

/* In the pool: list the directory. */
static void opendir_run(struct job *job)
{
	struct call *call = call_of_job(job);
	struct handle *handle = call->handle;
	struct fs *fs = call->server->fs;
	char prefix[STORE_KEY_MAX + 2];
	struct error err = { 0 };
	struct store *store;

	if (fs_place(fs, handle->node, &store, prefix, &err) ||
	    listings_get(&handle->listing, fs->listings, store, prefix,
			 &err)) {
		fs_note_failure(fs, "list", handle->node, &err);
		call_fail_with(call, &err);
	} else {
		if (handle->node->bucket)
			exports_each(fs->exports, handle->node->bucket, prefix,
				     add_new, handle);
		prefetch(call->server, handle, PREFETCH);
		answer_handle(call);
	}
	call_unref(call);
}

static void opendir_ova(struct want *want, struct known *known,
			struct opened *opened, const struct error *err)
{
	struct call *call = call_of_want(want);
	struct error why = { 0 };

	(void)opened;
	if (!err && known->kind != ERR_NONE) {
		known_fail(known, &why);
		err = &why;
	}
	if (err) {
		struct node *node = call->handle->node;

		fs_note_failure(call->server->fs, "open", node, err);
		call_fail(call, fs_errno(node, err));
	} else {
		call->handle->known = known_ref(known);
		answer_handle(call);
	}
	call_unref(call);
}

static void opendir_later(struct call *call)
{
	char key[STORE_KEY_MAX + 2];
	struct error err = { 0 };
	struct target target;

	if (call->handle->node->kind != NODE_OVA) {
		call_queue(call, call->server->fs->pool, opendir_run);
		return;
	}
	if (fs_target(call->handle->node, &target, key, &err)) {
		call_fail_with(call, &err);
		call_unref(call);
		return;
	}
	call->want.done = opendir_ova;
	containers_want(call->server->fs->containers, &target, &call->want);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct server *server = server_of(req);
	struct node *node = server_node(server, ino);
	struct handle *handle;
	struct call *call;

	if (atomic_load(&node->is_gone)) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	handle = handle_new(server, node);
	if (!handle) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (node->kind == NODE_ROOT || node->kind == NODE_CONTROL) {
		reply_handle(req, fi, handle);
		return;
	}
	call = call_new(req);
	if (!call) {
		handle_unref(server, handle);
		return;
	}
	call->handle = handle;
	call->fi = *fi;
	opendir_later(call);
}

/* One entry as READDIR gives it. node is NULL where nothing is known yet. */
struct dir_item {
	char name[NAME_SIZE];
	struct node *node; /* a reference */
	mode_t type;       /* S_IFDIR or S_IFREG */
};

static void item_of_container(struct server *server, struct node *dir,
			      const struct listing_entry *entry,
			      struct dir_item *item)
{
	char key[STORE_KEY_MAX + 2];
	struct target target;
	struct known *known;

	if (fs_entry_target(dir, entry, &target, key, NULL))
		return;
	known = containers_peek(server->fs->containers, &target);
	if (!known)
		return;
	/* One that is forbidden has no attributes: LOOKUP says so. */
	if (known->kind != ERR_DENIED)
		item->node = fs_disk_node(server->fs, dir, entry, known, NULL);
	known_unref(known);
}

/* False where entry i is not shown. with_node: attributes are wanted. */
static bool item_of_entry(struct server *server, struct handle *handle,
			  size_t i, bool with_node, struct dir_item *item)
{
	struct node *dir = handle->node;
	struct listing_entry entry;

	listing_entry(handle->listing, i, &entry);
	if ((!dir->bucket && !entry.is_prefix) ||
	    !listing_name(handle->listing, i, dir->view, item->name))
		return false;
	item->type = entry.is_prefix ||
		     name_shape(dir->view, entry.segment) == SHAPE_OVA ?
		     S_IFDIR : S_IFREG;
	/* A bucket is opened by LOOKUP, which may block. */
	if (!with_node || !dir->bucket)
		return true;
	if (!entry.is_prefix &&
	    name_shape(dir->view, entry.segment) == SHAPE_DISK)
		item_of_container(server, dir, &entry, item);
	else
		item->node = fs_entry_node(server->fs, dir, &entry, NULL);
	return true;
}

/* File i of those being written. */
static int item_of_new(struct server *server, const struct handle *handle,
		       size_t i, bool with_node, struct dir_item *item)
{
	struct node *dir = handle->node;

	if (i >= handle->new_count)
		return -1;
	name_of_object(item->name, dir->view, handle->news[i], false);
	item->type = S_IFREG;
	if (with_node)
		item->node = fs_find_new(server->fs, dir, item->name);
	return 1;
}

/* Entry i (without "." and ".."). 1: there; 0: not shown; -1: behind the
 * last. */
static int get_item(struct server *server, struct handle *handle, size_t i,
		    bool with_node, struct dir_item *item)
{
	const char *fixed;

	item->node = NULL;
	if (handle->listing) {
		if (i >= listing_count(handle->listing))
			return item_of_new(server, handle,
					   i - listing_count(handle->listing),
					   with_node, item);
		return item_of_entry(server, handle, i, with_node, item);
	}
	if (handle->known) {
		if (i >= handle->known->count)
			return -1;
		snprintf(item->name, NAME_SIZE, "%s",
			 handle->known->parts[i].name);
		item->type = S_IFREG;
		if (with_node)
			item->node = fs_member_node(server->fs, handle->node,
						    handle->known, i, NULL);
		return 1;
	}
	fixed = fs_fixed_name(handle->node, i);
	if (!fixed)
		return -1;
	snprintf(item->name, NAME_SIZE, "%s", fixed);
	item->type = handle->node->kind == NODE_ROOT ? S_IFDIR : S_IFREG;
	if (with_node)
		item->node = fs_fixed_node(server->fs, handle->node, fixed);
	return 1;
}

/* Where entries go: a buffer that is filled from the front. */
struct dir_buffer {
	fuse_req_t req;
	struct server *server;
	bool plus;
	char *data;
	size_t size, used;
};

/* Add an entry; false when there is no room. The item's node is given up. */
static bool add_item(struct dir_buffer *buf, struct dir_item *item,
		     off_t next)
{
	struct tree *tree = buf->server->fs->tree;
	struct fuse_entry_param entry = { .ino = 0 };
	size_t room = buf->size - buf->used, need;
	char *at = buf->data + buf->used;

	if (item->node) {
		server_entry(buf->server, item->node, &entry);
	} else {
		entry.attr.st_mode = item->type;
		entry.attr.st_ino = UNKNOWN_INO;
	}
	need = buf->plus ?
	       fuse_add_direntry_plus(buf->req, at, room, item->name, &entry,
				      next) :
	       fuse_add_direntry(buf->req, at, room, item->name, &entry.attr,
				 next);
	/* "." and ".." are not looked up. */
	if (item->node && need <= room && buf->plus && next > 2)
		node_add_lookup(tree, item->node);
	node_unref(tree, item->node);
	if (need > room)
		return false;
	buf->used += need;
	return true;
}

/* "." and "..": their inode numbers, no more. */
static bool add_dots(struct dir_buffer *buf, struct node *dir, off_t *offset)
{
	static const char *const names[] = { ".", ".." };

	for (; *offset < 2; ++*offset) {
		struct node *node = *offset && dir->parent ? dir->parent :
							     dir;
		struct stat st = { .st_ino = node->ino, .st_mode = S_IFDIR };
		struct fuse_entry_param entry = { .attr = st };
		size_t room = buf->size - buf->used, need;
		char *at = buf->data + buf->used;

		need = buf->plus ?
		       fuse_add_direntry_plus(buf->req, at, room,
					      names[*offset], &entry,
					      *offset + 1) :
		       fuse_add_direntry(buf->req, at, room, names[*offset],
					 &st, *offset + 1);
		if (need > room)
			return false;
		buf->used += need;
	}
	return true;
}

static void add_items(struct dir_buffer *buf, struct handle *handle,
		      off_t offset)
{
	if (!add_dots(buf, handle->node, &offset))
		return;
	for (;; offset++) {
		struct dir_item item;
		int found = get_item(buf->server, handle, (size_t)offset - 2,
				     buf->plus, &item);

		if (found < 0)
			return;
		if (found && !add_item(buf, &item, offset + 1))
			return;
	}
}

static void read_directory(fuse_req_t req, size_t size, off_t offset,
			   struct fuse_file_info *fi, bool plus)
{
	struct server *server = server_of(req);
	struct handle *handle = handle_of(fi);
	struct dir_buffer buf = {
		.req = req,
		.server = server,
		.plus = plus,
		.size = size,
	};

	/* The kernel reads on with attributes where somebody looks at them:
	 * keep ahead of that reader. */
	if (plus && offset > 2 && handle->listing)
		prefetch(server, handle, (size_t)offset + PREFETCH);
	buf.data = malloc(size);
	if (!buf.data) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	add_items(&buf, handle, offset);
	fuse_reply_buf(req, buf.data, buf.used);
	free(buf.data);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		struct fuse_file_info *fi)
{
	read_directory(req, size, offset, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	read_directory(req, size, offset, fi, true);
}
