/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of nodes: a hash table under one lock, which is held for a few
 * instructions only. */
#include "config.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "fs/export.h"
#include "fs/known.h"
#include "fs/tree.h"

#define FIRST_SLOTS 1024 /* a power of two, as all later sizes */

struct tree {
	pthread_mutex_t lock;
	struct node **slots;
	size_t slot_count, count;
	struct node *root;
};

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ull; /* FNV-1a */
	return hash;
}

/* The node's st_ino, and its place in the table. */
static uint64_t hash_node(const struct node *node)
{
	uint64_t above = node->parent ? node->parent->ino : 0;
	uint64_t hash = 0xcbf29ce484222325ull;
	unsigned char kind = (unsigned char)node->kind;

	if (node->kind == NODE_ROOT)
		return 1;
	hash = hash_bytes(hash, &above, sizeof(above));
	hash = hash_bytes(hash, &kind, sizeof(kind));
	hash = hash_bytes(hash, node->name, strlen(node->name) + 1);
	hash = hash_bytes(hash, node->identity, strlen(node->identity));
	hash ^= hash >> 32; /* the table uses the low bits */
	return hash > 1 ? hash : 2;
}

static struct node **slot_of(const struct tree *tree, uint64_t ino)
{
	return &tree->slots[ino & (tree->slot_count - 1)];
}

static bool is_same(const struct node *a, const struct node *b)
{
	return a->ino == b->ino && a->kind == b->kind &&
	       a->parent == b->parent && !strcmp(a->name, b->name) &&
	       !strcmp(a->identity, b->identity);
}

/* More slots than nodes keep the chains short; staying small when there is
 * no memory only makes them longer. */
static void grow(struct tree *tree)
{
	size_t old_count = tree->slot_count;
	struct node **old = tree->slots;
	struct node **slots = calloc(2 * old_count, sizeof(struct node *));

	if (!slots)
		return;
	tree->slots = slots;
	tree->slot_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct node *node = old[i];
			struct node **slot = slot_of(tree, node->ino);

			old[i] = node->next;
			node->next = *slot;
			*slot = node;
		}
	}
	free(old);
}

static struct node *copy_node(const struct node *wanted, uint64_t ino)
{
	size_t name_len = strlen(wanted->name) + 1;
	size_t identity_len = strlen(wanted->identity) + 1;
	struct node *node = malloc(sizeof(*node) + name_len + identity_len);
	char *text = (char *)(node + 1);

	if (!node)
		return NULL;
	*node = *wanted;
	memcpy(text, wanted->name, name_len);
	memcpy(text + name_len, wanted->identity, identity_len);
	node->name = text;
	node->identity = text + name_len;
	node->ino = ino;
	atomic_init(&node->is_stale, false);
	atomic_init(&node->is_gone, false);
	node->lookups = 0;
	node->refs = 1;
	if (node->parent)
		node->parent->refs++;
	if (node->known)
		known_ref(node->known);
	if (node->export)
		export_ref(node->export);
	return node;
}

struct node *tree_get(struct tree *tree, const struct node *wanted)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&tree->lock);
	struct node key = *wanted;
	struct node **slot, *node;

	(void)held;
	key.ino = hash_node(wanted);
	for (node = *slot_of(tree, key.ino); node; node = node->next) {
		if (is_same(node, &key)) {
			node->refs++;
			return node;
		}
	}
	node = copy_node(wanted, key.ino);
	if (!node)
		return NULL;
	if (tree->count >= tree->slot_count)
		grow(tree);
	slot = slot_of(tree, node->ino);
	node->next = *slot;
	*slot = node;
	tree->count++;
	return node;
}

static void remove_node(struct tree *tree, struct node *node)
{
	struct node **at = slot_of(tree, node->ino);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	tree->count--;
}

/* Lock held. Frees the node with its last reference, and then its parents. */
static void drop_ref(struct tree *tree, struct node *node)
{
	while (node && --node->refs == 0) {
		struct node *parent = node->parent;

		remove_node(tree, node);
		known_unref(node->known);
		export_unref(node->export);
		free(node);
		node = parent;
	}
}

struct node *node_ref(struct tree *tree, struct node *node)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&tree->lock);

	(void)held;
	node->refs++;
	return node;
}

void node_unref(struct tree *tree, struct node *node)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&tree->lock);

	(void)held;
	drop_ref(tree, node);
}

void node_add_lookup(struct tree *tree, struct node *node)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&tree->lock);

	(void)held;
	if (node->lookups++ == 0)
		node->refs++;
}

void node_forget(struct tree *tree, struct node *node, uint64_t n)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&tree->lock);

	(void)held;
	assert(n <= node->lookups);
	node->lookups -= n;
	if (n && node->lookups == 0)
		drop_ref(tree, node);
}

size_t tree_count(struct tree *tree)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&tree->lock);

	(void)held;
	return tree->count;
}

int tree_new(struct tree **out, struct error *err)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	struct node root = { .kind = NODE_ROOT, .name = "", .identity = "" };

	*out = NULL;
	if (!tree)
		return error_nomem(err);
	pthread_mutex_init(&tree->lock, NULL);
	tree->slot_count = FIRST_SLOTS;
	tree->slots = calloc(tree->slot_count, sizeof(struct node *));
	if (tree->slots)
		tree->root = tree_get(tree, &root);
	if (!tree->root) {
		tree_free(tree);
		return error_nomem(err);
	}
	*out = tree;
	return 0;
}

struct node *tree_root(struct tree *tree)
{
	return tree->root;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	for (size_t i = 0; tree->slots && i < tree->slot_count; i++) {
		while (tree->slots[i]) {
			struct node *node = tree->slots[i];

			tree->slots[i] = node->next;
			known_unref(node->known);
			export_unref(node->export);
			free(node);
		}
	}
	free(tree->slots);
	pthread_mutex_destroy(&tree->lock);
	free(tree);
}

bool node_is_dir(const struct node *node)
{
	switch (node->kind) {
	case NODE_ROOT:
	case NODE_DISKS:
	case NODE_OBJECTS:
	case NODE_CONTROL:
	case NODE_BUCKET:
	case NODE_PREFIX:
	case NODE_OVA:
		return true;
	default:
		return false;
	}
}

/* The node's part of the key, with the slash behind a prefix. */
static size_t segment_length(const struct node *node)
{
	switch (node->kind) {
	case NODE_PREFIX:
		return strlen(node->name) + 1;
	case NODE_OBJECT:
	case NODE_DISK:
	case NODE_OVA:
	case NODE_NEW:
		return strlen(node->name);
	default:
		return 0;
	}
}

int node_key(const struct node *node, char *key, struct error *err)
{
	size_t len = 0;
	char *at;

	for (const struct node *n = node; n; n = n->parent)
		len += segment_length(n);
	if (len > STORE_KEY_MAX + 1)
		return error_set(err, ERR_LIMIT, "the key is longer than %d "
				 "bytes", STORE_KEY_MAX);
	at = key + len;
	*at = '\0';
	for (const struct node *n = node; n; n = n->parent) {
		at -= segment_length(n);
		memcpy(at, n->name, segment_length(n));
		if (n->kind == NODE_PREFIX)
			at[segment_length(n) - 1] = '/';
	}
	return 0;
}

void node_name(const struct node *node, char name[NAME_SIZE])
{
	switch (node->kind) {
	case NODE_PREFIX:
		name_of_prefix(name, node->name);
		return;
	case NODE_OBJECT:
	case NODE_DISK:
	case NODE_OVA:
	case NODE_NEW:
		name_of_object(name, node->view, node->name, false);
		return;
	default:
		snprintf(name, NAME_SIZE, "%s", node->name);
	}
}

void node_path(const struct node *node, char *path, size_t size)
{
	char name[NAME_SIZE];
	size_t len = 0;

	*path = '\0';
	if (!node->parent)
		return;
	node_path(node->parent, path, size);
	len = strlen(path);
	node_name(node, name);
	snprintf(path + len, size - len, "%s%s", len ? "/" : "", name);
}
