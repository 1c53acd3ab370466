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

#define ROUND_MAX 64u /* files opened together */

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
			      struct source *source, const uint8_t *sector,
			      const struct open_args *args, struct error *err)
{
	uint64_t size;

	if (vmdk_sparse_open(&extent->sparse, source, sector, args, err))
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

/* Extents whose files are opened together, so that what each begins with is
 * fetched in one wait. */
struct round {
	size_t count;
	struct one {
		struct vmdk_extent *extent;
		const struct vmdk_extent_line *line;
		struct source *source; /* NULL: has no file */
		struct source *tables; /* SPARSE: its pages */
		uint8_t sector[VMDK_SECTOR];
	} ones[ROUND_MAX];
};

static void drop_round(struct round *round)
{
	for (size_t i = 0; i < round->count; i++) {
		source_unref(round->ones[i].tables);
		source_unref(round->ones[i].source);
	}
	round->count = 0;
}

/* Begin to fetch the first sector. */
static int start_one(struct vmdk *vmdk, struct one *one,
		     const struct open_args *args, struct error *err)
{
	struct vmdk_extent *extent = one->extent;

	extent->length = one->line->sectors * VMDK_SECTOR;
	extent->type = one->line->type;
	extent->no_access = one->line->no_access &&
			    extent->type != VMDK_EXTENT_ZERO;
	if (extent->type == VMDK_EXTENT_ZERO || extent->no_access)
		return 0;
	if (open_file(&one->source, vmdk, one->line->file, args, err))
		return -1;
	if (extent->type != VMDK_EXTENT_SPARSE)
		return 0;
	if (source_cached(&one->tables, one->source, args->cache, err))
		return -1;
	source_prefetch(one->tables, 0, VMDK_SECTOR);
	return 0;
}

/* Read the first sector and, of a stream, begin to fetch its end. */
static int read_one(struct one *one, struct error *err)
{
	struct vmdk_header header;

	if (!one->tables)
		return 0;
	if (source_read(one->tables, 0, one->sector, VMDK_SECTOR, 0, err))
		return error_prefix(err, "extent '%s'", one->source->name);
	if (!vmdk_header_load(&header, one->sector, NULL) &&
	    header.gd == VMDK_GD_AT_END &&
	    one->source->size > VMDK_FOOTER_BYTES)
		source_prefetch(one->tables,
				one->source->size - VMDK_FOOTER_BYTES,
				VMDK_FOOTER_BYTES);
	return 0;
}

static int open_one(struct one *one, const struct open_args *args,
		    struct error *err)
{
	if (!one->source)
		return 0;
	if (!one->tables)
		use_flat_extent(one->extent, one->source, one->line->offset,
				args);
	else if (open_sparse_extent(one->extent, one->source, one->sector,
				    args, err))
		return error_prefix(err, "extent '%s'", one->source->name);
	return 0;
}

static int open_round(struct vmdk *vmdk, struct round *round,
		      const struct open_args *args, struct error *err)
{
	int ret = open_goes_on(args, err);

	for (size_t i = 0; i < round->count && !ret; i++)
		ret = start_one(vmdk, &round->ones[i], args, err);
	for (size_t i = 0; i < round->count && !ret; i++)
		ret = read_one(&round->ones[i], err);
	for (size_t i = 0; i < round->count && !ret; i++)
		ret = open_one(&round->ones[i], args, err);
	drop_round(round);
	return ret;
}

/* Tell which files will be opened. */
static int expect_files(const struct vmdk *vmdk, const struct open_args *args,
			struct error *err)
{
	const struct vmdk_descriptor *descriptor = vmdk->descriptor;
	struct siblings *siblings = args->siblings;
	AUTO_FREE const char **names = NULL;
	size_t n = 0;

	if (!siblings || !siblings->expect)
		return 0;
	names = calloc(descriptor->extent_count + 1, sizeof(*names));
	if (!names)
		return error_nomem(err);
	for (size_t i = 0; i < descriptor->extent_count; i++) {
		const struct vmdk_extent_line *line = &descriptor->extents[i];

		if (line->sectors && line->type != VMDK_EXTENT_ZERO &&
		    !line->no_access &&
		    !vmdk_plain_name(&names[n], line->file, NULL))
			n++;
	}
	siblings->expect(siblings, names, n);
	return 0;
}

/* Set the starts, and open round by round. */
static int open_lines(struct vmdk *vmdk, struct round *round,
		      const struct open_args *args, struct error *err)
{
	const struct vmdk_descriptor *descriptor = vmdk->descriptor;
	uint64_t start = 0;

	for (size_t i = 0; i < descriptor->extent_count; i++) {
		const struct vmdk_extent_line *line = &descriptor->extents[i];
		struct vmdk_extent *extent = &vmdk->extents[vmdk->count];

		if (line->sectors == 0)
			continue;
		extent->start = start;
		vmdk->count++;
		start += line->sectors * VMDK_SECTOR;
		if (start > FORMAT_DISK_MAX)
			return error_set(err, ERR_LIMIT, "the extents hold "
					 "more than %llu bytes",
					 FORMAT_DISK_MAX);
		round->ones[round->count++] = (struct one){ extent, line };
		if (round->count == ROUND_MAX &&
		    open_round(vmdk, round, args, err))
			return -1;
	}
	if (vmdk->count == 0)
		return error_set(err, ERR_CORRUPT,
				 "the descriptor lists no extents");
	return open_round(vmdk, round, args, err);
}

int vmdk_open_extents(struct vmdk *vmdk, const struct open_args *args,
		      struct error *err)
{
	AUTO_FREE struct round *round = calloc(1, sizeof(*round));

	vmdk->extents = calloc(vmdk->descriptor->extent_count + 1,
			       sizeof(*vmdk->extents));
	if (!vmdk->extents || !round)
		return error_nomem(err);
	if (expect_files(vmdk, args, err))
		return -1;
	return open_lines(vmdk, round, args, err);
}
