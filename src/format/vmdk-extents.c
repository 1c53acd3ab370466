/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The files of a disk whose descriptor is a file of its own: each extent line
 * becomes a stretch of the disk, read from a sibling with that name. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "format/vmdk.h"

int vmdk_open_sibling(struct source **out,
		      const struct vmdk_descriptor *descriptor,
		      const char *name, struct siblings *siblings,
		      struct error *err)
{
	AUTO_FREE char *utf8 = NULL;
	struct error first = { 0 };

	if (!siblings->open(siblings, name, out, &first))
		return 0;
	utf8 = vmdk_descriptor_utf8(descriptor, name);
	if (first.kind == ERR_NOT_FOUND && utf8 && strcmp(utf8, name) != 0 &&
	    !siblings->open(siblings, utf8, out, NULL))
		return 0;
	if (err)
		*err = first;
	return -1;
}

static int open_file(struct source **out, const struct vmdk *vmdk,
		     const char *file, const struct open_args *args,
		     struct error *err)
{
	struct error trouble = { 0 };
	const char *name;

	*out = NULL;
	if (vmdk_plain_name(&name, file, err))
		return -1;
	if (!args->siblings)
		return error_set(err, ERR_NOT_FOUND, "the data is in '%.80s', "
				 "which cannot be reached from here", name);
	if (!vmdk_open_sibling(out, vmdk->descriptor, name, args->siblings,
			       &trouble))
		return 0;
	if (trouble.kind == ERR_NOT_FOUND)
		return error_set(err, ERR_NOT_FOUND, "extent '%.80s' is "
				 "missing; it must lie beside the descriptor",
				 name);
	if (err)
		*err = trouble;
	return error_prefix(err, "extent '%.80s'", name);
}

static int open_sparse_extent(struct vmdk_extent *extent,
			      struct source *source,
			      const struct open_args *args, struct error *err)
{
	uint8_t sector[VMDK_SECTOR];
	struct source *tables;
	uint64_t size;
	int ret;

	if (source_cached(&tables, source, args->cache, err))
		return -1;
	ret = source_read(tables, 0, sector, sizeof(sector), 0, err);
	source_unref(tables);
	if (ret || vmdk_sparse_open(&extent->sparse, source, sector, args, err))
		return -1;
	size = vmdk_sparse_size(extent->sparse);
	if (size < extent->length)
		return error_set(err, ERR_CORRUPT, "holds %llu bytes, the "
				 "descriptor says %llu",
				 (unsigned long long)size,
				 (unsigned long long)extent->length);
	if (size > extent->length)
		open_warn(args, "%s: holds %llu bytes, the descriptor uses "
			  "%llu of them", source->name,
			  (unsigned long long)size,
			  (unsigned long long)extent->length);
	return 0;
}

static void use_flat_extent(struct vmdk_extent *extent, struct source *source,
			    uint64_t first_sector,
			    const struct open_args *args)
{
	extent->source = source_ref(source);
	extent->at = first_sector * VMDK_SECTOR;
	if (!in_range(extent->at, extent->length, source->size))
		open_warn(args, "%s: ends at byte %llu, the descriptor needs "
			  "%llu bytes from %llu on", source->name,
			  (unsigned long long)source->size,
			  (unsigned long long)extent->length,
			  (unsigned long long)extent->at);
}

/* Fill the extent by its line; its start is set. */
static int open_extent(struct vmdk *vmdk, struct vmdk_extent *extent,
		       const struct vmdk_extent_line *line,
		       const struct open_args *args, struct error *err)
{
	struct source *source;
	int ret = 0;

	extent->length = line->sectors * VMDK_SECTOR;
	extent->type = line->type;
	extent->no_access = line->no_access &&
			    line->type != VMDK_EXTENT_ZERO;
	if (line->type == VMDK_EXTENT_ZERO || extent->no_access)
		return 0;
	if (open_file(&source, vmdk, line->file, args, err))
		return -1;
	if (line->type == VMDK_EXTENT_SPARSE)
		ret = open_sparse_extent(extent, source, args, err);
	else
		use_flat_extent(extent, source, line->offset, args);
	if (ret)
		error_prefix(err, "extent '%s'", source->name);
	source_unref(source);
	return ret;
}

int vmdk_open_extents(struct vmdk *vmdk, const struct open_args *args,
		      struct error *err)
{
	const struct vmdk_descriptor *descriptor = vmdk->descriptor;
	uint64_t start = 0;

	vmdk->extents = calloc(descriptor->extent_count + 1,
			       sizeof(*vmdk->extents));
	if (!vmdk->extents)
		return error_nomem(err);
	for (size_t i = 0; i < descriptor->extent_count; i++) {
		const struct vmdk_extent_line *line = &descriptor->extents[i];
		struct vmdk_extent *extent = &vmdk->extents[vmdk->count];

		if (line->sectors == 0)
			continue;
		extent->start = start;
		vmdk->count++;
		if (open_extent(vmdk, extent, line, args, err))
			return -1;
		start += extent->length;
		if (start > FORMAT_DISK_MAX)
			return error_set(err, ERR_LIMIT, "the extents hold "
					 "more than %llu bytes",
					 FORMAT_DISK_MAX);
	}
	if (vmdk->count == 0)
		return error_set(err, ERR_CORRUPT,
				 "the descriptor lists no extents");
	return 0;
}
