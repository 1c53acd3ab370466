/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VMDK, VMware's virtual disk. Three shapes, told apart by the first bytes:
 *
 *     KDMV  header [descriptor] tables grains      monolithicSparse
 *     KDMV  header [descriptor] packed grains ...  streamOptimized
 *     text  a descriptor that lists extent files   flat, split, vmfs
 *
 * The file is opened in few small reads: its first 16 KiB (header and
 * descriptor), and the footer of a stream. Tables: vmdk-sparse.c. What is not
 * handled is refused by name: COWD, SEsparse, device mappings.
 *
 * No path out of a descriptor is ever opened: extents and parents are plain
 * names beside it, and a sparse file's own extent line is not even read. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "format/block.h"
#include "format/vmdk.h"

#define HEAD_BYTES     (16u << 10)
#define SESPARSE_MAGIC "\xbe\xba\xfe\xca\0\0\0\0"

/* createTypes that info shows in VMware's spelling. */
static const char *const create_types[] = {
	"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse",
	"twoGbMaxExtentFlat", "streamOptimized", "vmfs", "vmfsThin",
	"vmfsEagerZeroedThick", "vmfsPreallocated", "custom",
};

static const char *subformat_of(const struct vmdk *vmdk)
{
	const char *type = vmdk->descriptor ?
		vmdk_descriptor_get(vmdk->descriptor, "createType") : NULL;
	const struct vmdk_sparse *first = vmdk->extents[0].sparse;

	for (size_t i = 0;
	     type && i < sizeof(create_types) / sizeof(create_types[0]); i++)
		if (!strcasecmp(type, create_types[i]))
			return create_types[i];
	if (!first)
		return "flat";
	return first->header.is_packed ? "streamOptimized" :
					 "monolithicSparse";
}

/* Answering */

/* The extent that holds this byte of the disk. */
static const struct vmdk_extent *find_extent(const struct vmdk *vmdk,
					     uint64_t at)
{
	size_t low = 0, high = vmdk->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (vmdk->extents[middle].start <= at)
			low = middle;
		else
			high = middle;
	}
	return &vmdk->extents[low];
}

/* As vmdk_sparse_extents(). */
static int add_extent(const struct vmdk_extent *extent, struct extents *ex,
		      struct error *err)
{
	if (extent->no_access)
		return extents_bad(ex, extent->start, extent->length,
				   "the descriptor allows no access here");
	switch (extent->type) {
	case VMDK_EXTENT_SPARSE:
		return vmdk_sparse_extents(extent->sparse, extent->start,
					   extent->length, ex, err);
	case VMDK_EXTENT_FLAT:
		return extents_data(ex, extent->start, extent->length,
				    extent->source, extent->at);
	case VMDK_EXTENT_ZERO:
		return extents_zero(ex, extent->start, extent->length);
	case VMDK_EXTENT_REFUSED:
		break;
	}
	return error_set(err, ERR_BUG, "an extent that was refused");
}

static int vmdk_extents(struct map *map, struct extents *ex,
			struct error *err)
{
	const struct vmdk *vmdk = (const struct vmdk *)map;
	const struct vmdk_extent *extent = find_extent(vmdk, ex->offset);
	int more;

	do {
		more = add_extent(extent++, ex, err);
	} while (more > 0 && extent < vmdk->extents + vmdk->count);
	return more < 0 ? extents_stop_early(ex, err) : 0;
}

static void vmdk_close(struct map *map)
{
	struct vmdk *vmdk = (struct vmdk *)map;

	for (size_t i = 0; i < vmdk->count; i++) {
		vmdk_sparse_close(vmdk->extents[i].sparse);
		source_unref(vmdk->extents[i].source);
	}
	free(vmdk->extents);
	vmdk_descriptor_free(vmdk->descriptor);
	free(vmdk);
}

static const struct map_ops vmdk_map_ops = {
	.extents = vmdk_extents,
	.describe = vmdk_describe,
	.check = vmdk_check,
	.close = vmdk_close,
};

/* Opening */

/* The beginning of the file. */
struct head {
	uint8_t *data;
	uint64_t length;
};

/* The embedded descriptor, from the head where it lies in it. */
static int read_embedded(struct vmdk *vmdk, const struct head *head,
			 const struct vmdk_header *header, struct error *err)
{
	struct source *source = vmdk->map.source;
	AUTO_FREE char *text = NULL;
	uint64_t at, length;

	if (!header->descriptor || !header->descriptor_length)
		return 0;
	if (!mul_u64(header->descriptor, VMDK_SECTOR, &at) ||
	    !mul_u64(header->descriptor_length, VMDK_SECTOR, &length) ||
	    !in_range(at, length, source->size))
		return error_set(err, ERR_CORRUPT, "the descriptor at sector "
				 "%llu lies past the end of the file",
				 (unsigned long long)header->descriptor);
	if (length > VMDK_DESCRIPTOR_MAX)
		return error_set(err, ERR_LIMIT, "the descriptor of %llu bytes "
				 "is above the limit of %u",
				 (unsigned long long)length,
				 VMDK_DESCRIPTOR_MAX);
	if (in_range(at, length, head->length))
		return vmdk_descriptor_parse(&vmdk->descriptor,
					     (char *)head->data + at, length,
					     true, err);
	text = malloc(length);
	if (!text)
		return error_nomem(err);
	if (source_read(source, at, text, length, 0, err))
		return -1;
	return vmdk_descriptor_parse(&vmdk->descriptor, text, length, true,
				     err);
}

static int check_embedded(const struct vmdk *vmdk,
			  const struct open_args *args, struct error *err)
{
	const struct vmdk_descriptor *descriptor = vmdk->descriptor;

	if (!descriptor)
		open_warn(args, "%s: has no descriptor; perhaps one extent of "
			  "a split disk", vmdk->map.source->name);
	else if (descriptor->extent_count > 1)
		return error_set(err, ERR_UNSUPPORTED, "the embedded "
				 "descriptor lists %zu extents; this file is "
				 "one of them only", descriptor->extent_count);
	return 0;
}

/* A disk that is one sparse file. */
static int open_sparse(struct vmdk *vmdk, const struct head *head,
		       const struct open_args *args, struct error *err)
{
	struct vmdk_sparse *sparse;

	vmdk->extents = calloc(1, sizeof(*vmdk->extents));
	if (!vmdk->extents)
		return error_nomem(err);
	if (head->length < VMDK_SECTOR)
		return error_set(err, ERR_CORRUPT, "ends within its header");
	if (vmdk_sparse_open(&sparse, vmdk->map.source, head->data, args, err))
		return -1;
	vmdk->extents[0].sparse = sparse;
	vmdk->extents[0].length = vmdk_sparse_size(sparse);
	vmdk->extents[0].type = VMDK_EXTENT_SPARSE;
	vmdk->count = 1;
	if (read_embedded(vmdk, head, &sparse->header, err))
		return -1;
	return check_embedded(vmdk, args, err);
}

/* A disk whose file is a descriptor. */
static int open_text(struct vmdk *vmdk, const struct head *head,
		     const struct open_args *args, struct error *err)
{
	struct source *source = vmdk->map.source;
	AUTO_FREE char *text = NULL;

	if (source->size > VMDK_DESCRIPTOR_MAX)
		return error_set(err, ERR_LIMIT, "a descriptor of %llu bytes "
				 "is above the limit of %u",
				 (unsigned long long)source->size,
				 VMDK_DESCRIPTOR_MAX);
	text = malloc(source->size);
	if (!text)
		return error_nomem(err);
	memcpy(text, head->data, head->length);
	if (head->length < source->size &&
	    source_read(source, head->length, text + head->length,
			source->size - head->length, 0, err))
		return -1;
	if (vmdk_descriptor_parse(&vmdk->descriptor, text, source->size, false,
				  err) ||
	    vmdk_descriptor_supported(vmdk->descriptor, err))
		return -1;
	vmdk_expect_parent(vmdk, args);
	return vmdk_open_extents(vmdk, args, err);
}

static int open_kind(struct vmdk *vmdk, const struct head *head,
		     const struct open_args *args, struct error *err)
{
	const uint8_t *start = head->data;

	if (!memcmp(start, "KDMV", 4))
		return open_sparse(vmdk, head, args, err);
	if (!memcmp(start, "COWD", 4))
		return error_set(err, ERR_UNSUPPORTED, "%s",
				 vmdk_refusal("vmfsSparse"));
	if (!memcmp(start, SESPARSE_MAGIC, 8))
		return error_set(err, ERR_UNSUPPORTED, "%s",
				 vmdk_refusal("seSparse"));
	if (!strncasecmp((const char *)start, "# Disk Descriptor", 17))
		return open_text(vmdk, head, args, err);
	return error_set(err, ERR_CORRUPT, "is no VMDK: neither a sparse "
			 "header nor a descriptor");
}

static int read_head(struct head *head, struct source *source,
		     const struct open_args *args, struct error *err)
{
	struct source *tables;
	int ret;

	head->length = min_u64(source->size, HEAD_BYTES);
	head->data = calloc(1, HEAD_BYTES);
	if (!head->data)
		return error_nomem(err);
	if (source_cached(&tables, source, args->cache, err))
		return -1;
	ret = source_read(tables, 0, head->data, head->length, 0, err);
	source_unref(tables);
	return ret;
}

static void fill_map(struct vmdk *vmdk)
{
	const struct vmdk_extent *last = &vmdk->extents[vmdk->count - 1];
	struct map *map = &vmdk->map;

	map->size = last->start + last->length;
	map->subformat = subformat_of(vmdk);
	for (size_t i = 0; i < vmdk->count; i++) {
		struct vmdk_sparse *sparse = vmdk->extents[i].sparse;

		if (vmdk->extents[i].type != VMDK_EXTENT_FLAT)
			map->can_have_holes = true;
		if (sparse)
			sparse->is_delta = map->parent != NULL;
		if (sparse && sparse->header.is_packed &&
		    sparse->grain_bytes > map->unit_bytes)
			map->unit_bytes = (uint32_t)sparse->grain_bytes;
	}
	if (map->parent && map->parent->unit_bytes > map->unit_bytes)
		map->unit_bytes = map->parent->unit_bytes;
}

static int vmdk_open(struct map **out, struct source *source,
		     const struct open_args *args, struct error *err)
{
	struct vmdk *vmdk = calloc(1, sizeof(*vmdk));
	struct head head = { 0 };
	int ret;

	*out = NULL;
	if (!vmdk)
		return error_nomem(err);
	map_init(&vmdk->map, &vmdk_map_ops, &vmdk_format, source);
	vmdk->budget = args->budget;
	ret = read_head(&head, source, args, err);
	if (!ret)
		ret = open_kind(vmdk, &head, args, err);
	free(head.data);
	if (!ret && vmdk->descriptor &&
	    vmdk->descriptor->parent_cid != VMDK_NO_PARENT)
		ret = vmdk_open_parent(vmdk, args, err);
	if (ret) {
		map_close(&vmdk->map);
		return -1;
	}
	fill_map(vmdk);
	*out = &vmdk->map;
	return 0;
}

const struct format vmdk_format = {
	.name = "vmdk",
	.title = "VMware virtual disk",
	.magics = {
		{ 0, "KDMV", 4 },
		{ 0, "# Disk Descriptor", 17 },
		{ 0, "# Disk descriptor", 17 },
		{ 0, "COWD", 4 },
		{ 0, SESPARSE_MAGIC, 8 },
	},
	.head_bytes = HEAD_BYTES,
	.tail_bytes = VMDK_FOOTER_BYTES,
	.open = vmdk_open,
	.create = vmdk_create,
};
