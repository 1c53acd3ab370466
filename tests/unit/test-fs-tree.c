/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Nodes: one per thing, tied to identity, freed when forgotten, with their
 * keys and paths. */
#include "config.h"

#include "fs/tree.h"
#include "tests/tap.h"

static struct tree *tree;
static struct error err;

static struct node *get(struct node *parent, enum node_kind kind,
			const char *name, const char *identity)
{
	struct node wanted = {
		.kind = kind,
		.parent = parent,
		.view = VIEW_DISKS,
		.name = name,
		.identity = identity,
	};

	return tree_get(tree, &wanted);
}

static void test_identity(void)
{
	struct node *root = tree_root(tree);
	struct node *disks = get(root, NODE_DISKS, "disks", "");
	struct node *one = get(disks, NODE_OBJECT, "a.img", "etag-1");
	struct node *same = get(disks, NODE_OBJECT, "a.img", "etag-1");
	struct node *other = get(disks, NODE_OBJECT, "a.img", "etag-2");
	struct node *dir = get(disks, NODE_PREFIX, "a.img", "");
	uint64_t ino = one->ino;

	ok(one == same, "the same bytes are the same node");
	ok(one != other && one->ino != other->ino,
	   "a new identity is a new node");
	ok(dir != one && dir->ino != one->ino,
	   "a directory of that name is another");
	is_u64(tree_count(tree), 5, "all are in the table");
	node_unref(tree, one);
	node_unref(tree, same);
	node_unref(tree, other);
	node_unref(tree, dir);
	is_u64(tree_count(tree), 2, "without references they go");
	one = get(disks, NODE_OBJECT, "a.img", "etag-1");
	is_u64(one->ino, ino, "and come back with the same number");
	node_unref(tree, disks);
	is_u64(tree_count(tree), 3, "a child keeps its parent");
	node_unref(tree, one);
	is_u64(tree_count(tree), 1, "only the root is left");
}

static void test_forget(void)
{
	struct node *disks = get(tree_root(tree), NODE_DISKS, "disks", "");

	node_add_lookup(tree, disks);
	node_add_lookup(tree, disks);
	node_add_lookup(tree, disks);
	node_unref(tree, disks);
	is_u64(tree_count(tree), 2, "the kernel's lookups keep it");
	node_forget(tree, disks, 2);
	is_u64(tree_count(tree), 2, "until all");
	node_forget(tree, disks, 1);
	is_u64(tree_count(tree), 1, "are forgotten");
}

static void test_key(void)
{
	struct node *disks = get(tree_root(tree), NODE_DISKS, "disks", "");
	struct node *vms = get(disks, NODE_PREFIX, "vms", "");
	struct node *empty = get(vms, NODE_PREFIX, "", "");
	struct node *disk = get(empty, NODE_OBJECT, "50%.img", "e");
	char key[STORE_KEY_MAX + 2], path[64];

	succeeds(node_key(disk, key, &err), &err, "the key of an object");
	is_str(key, "vms//50%.img", "with an empty segment");
	succeeds(node_key(empty, key, &err), &err, "the prefix of a directory");
	is_str(key, "vms//", "ends in a slash");
	succeeds(node_key(disks, key, &err), &err, "disks/ itself");
	is_str(key, "", "has no prefix");
	node_path(disk, path, sizeof(path));
	is_str(path, "disks/vms/%00/50%25.img", "its path as users see it");
	node_path(disk, path, 10);
	is_str(path, "disks/vms", "a path is cut where there is no room");
	node_unref(tree, disk);
	node_unref(tree, empty);
	node_unref(tree, vms);
	node_unref(tree, disks);
	is_u64(tree_count(tree), 1, "nothing is left");
}

/* More than the table begins with; a chain deeper than any key can be. */
static void test_many(void)
{
	enum { MANY = 5000 };
	struct node *disks = get(tree_root(tree), NODE_DISKS, "disks", "");
	struct node **nodes = calloc(MANY, sizeof(struct node *));
	char name[32], key[STORE_KEY_MAX + 2];
	struct node *deep = disks;
	size_t found = 0;

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "disk-%d.img", i);
		nodes[i] = get(disks, NODE_OBJECT, name, "e");
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "disk-%d.img", i);
		found += get(disks, NODE_OBJECT, name, "e") == nodes[i];
		node_unref(tree, nodes[i]);
		node_unref(tree, nodes[i]);
	}
	is_u64(found, MANY, "all are found after the table has grown");
	free(nodes);
	for (int i = 0; i < STORE_KEY_MAX / 2 + 2; i++) {
		struct node *below = get(deep, NODE_PREFIX, "d", "");

		node_unref(tree, deep);
		deep = below;
	}
	fails_with(node_key(deep, key, &err), &err, ERR_LIMIT, "longer than",
		   "a key above the limit is refused");
	node_unref(tree, deep);
	is_u64(tree_count(tree), 1, "a chain goes with its last reference");
}

int main(void)
{
	succeeds(tree_new(&tree, &err), &err, "a tree");
	test_identity();
	test_forget();
	test_key();
	test_many();
	tree_free(tree);
	return tap_done();
}
