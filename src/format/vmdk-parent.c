/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The parent of a delta disk (snapshots, linked clones): a VMDK beside it, by
 * the last part of parentFileNameHint, whose CID must be what the child noted
 * when it was made. A parent that was written to since is no parent. */
#include "config.h"

#include <string.h>

#include "common/checked.h"
#include "format/vmdk.h"

static int check_parent(const struct vmdk *vmdk, const struct map *parent,
			struct error *err)
{
	const struct vmdk_descriptor *descriptor;
	uint32_t wanted = vmdk->descriptor->parent_cid;

	if (parent->format != &vmdk_format)
		return error_set(err, ERR_CORRUPT, "is %s, but the parent of a "
				 "VMDK must be a VMDK", parent->format->name);
	descriptor = ((const struct vmdk *)parent)->descriptor;
	if (!descriptor || !descriptor->has_cid)
		return error_set(err, ERR_CORRUPT, "has no CID, so it cannot "
				 "be told whether it is the parent");
	if (descriptor->cid != wanted)
		return error_set(err, ERR_CORRUPT, "has CID %08x, but its "
				 "child was made on %08x: it was changed since "
				 "or is another disk", descriptor->cid, wanted);
	return 0;
}

/* Is `name` this disk or one that it is a parent of? */
static bool is_cycle(const struct open_args *args, const char *name)
{
	for (; args; args = args->child)
		if (args->file_name && !strcmp(args->file_name, name))
			return true;
	return false;
}

/* How a parent of this name is opened. */
static struct open_args args_above(const struct open_args *args,
				   const char *name)
{
	struct open_args above = *args;

	above.format = NULL;
	above.file_name = name;
	above.child = args;
	above.depth++;
	return above;
}

void vmdk_expect_parent(const struct vmdk *vmdk, const struct open_args *args)
{
	static const char *const endings[] = { ".vmdk", NULL };
	const char *name = vmdk_descriptor_get(vmdk->descriptor,
					       "parentFileNameHint");
	struct siblings *siblings = args->siblings;
	struct open_args above;

	if (vmdk->descriptor->parent_cid == VMDK_NO_PARENT || !name ||
	    !siblings || !siblings->expect_parents ||
	    vmdk_plain_name(&name, name, NULL))
		return;
	above = args_above(args, name);
	/* Where a parent has a parent, more may follow. */
	siblings->expect_parents(siblings, &name, 1,
				 args->depth ? endings : NULL, &above);
}

static int open_named(struct vmdk *vmdk, const char *name,
		      const struct open_args *args, struct error *err)
{
	struct open_args above = args_above(args, name);
	struct source *source;
	int ret;

	vmdk_expect_parent(vmdk, args);
	if (vmdk_open_sibling(&source, vmdk->descriptor, name, args->siblings,
			      err))
		return -1;
	ret = format_open(&vmdk->map.parent, source, NULL, &above, err);
	source_unref(source);
	if (ret)
		return -1;
	return check_parent(vmdk, vmdk->map.parent, err);
}

int vmdk_open_parent(struct vmdk *vmdk, const struct open_args *args,
		     struct error *err)
{
	const char *hint = vmdk_descriptor_get(vmdk->descriptor,
					       "parentFileNameHint");
	struct error trouble = { 0 };
	const char *name;

	if (args->size_only) {
		format_prefetch(vmdk->map.source, vmdk_format.name, args);
		vmdk_expect_parent(vmdk, args);
		return error_set(err, ERR_AGAIN, "has a parent");
	}
	if (!hint)
		return error_set(err, ERR_CORRUPT, "is a delta disk (parentCID "
				 "%08x), but does not name its parent",
				 vmdk->descriptor->parent_cid);
	if (vmdk_plain_name(&name, hint, err))
		return error_prefix(err, "parent");
	if (is_cycle(args, name))
		return error_set(err, ERR_CORRUPT, "parent '%.80s' stands on "
				 "this disk: the chain of parents is a circle",
				 name);
	if (!args->siblings)
		return error_set(err, ERR_NOT_FOUND, "is a delta disk; parent "
				 "'%.80s' cannot be reached from here", name);
	if (!open_named(vmdk, name, args, &trouble))
		return 0;
	if (trouble.kind == ERR_NOT_FOUND && !vmdk->map.parent)
		return error_set(err, ERR_NOT_FOUND, "is a delta disk, and "
				 "its parent cannot be opened: '%.80s': %s",
				 name, trouble.text);
	if (err)
		*err = trouble;
	/* In a long chain only the parent that is at fault is named. */
	if (!strncmp(trouble.text, "parent '", 8))
		return -1;
	return error_prefix(err, "parent '%.80s'", name);
}
