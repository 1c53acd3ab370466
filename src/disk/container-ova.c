/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The disks of an OVA: each opened by its own content, each failing alone;
 * but trouble that passes must not stay with a disk, so that fails them all.
 * A device's error (a bad sector) is of its place: it fails its disk, and who
 * keeps what was found looks again some time (fs/known.h). */
#include "config.h"

#include <stdlib.h>

#include "disk/container-internal.h"

/* A disk without a file reads as zeroes. */

static int zero_extents(struct map *map, struct extents *ex, struct error *err)
{
	extents_zero(ex, ex->offset, ex->length);
	return 0;
}

static void zero_close(struct map *map)
{
	free(map);
}

static const struct map_ops zero_map_ops = {
	.extents = zero_extents,
	.close = zero_close,
};

static int open_empty(struct map **out, const struct ova_disk *disk,
		      struct error *err)
{
	struct source *nothing;
	struct map *map;

	*out = NULL;
	if (disk->capacity > FORMAT_DISK_MAX)
		return error_set(err, ERR_LIMIT, "capacity %llu is above the "
				 "limit of %llu bytes",
				 (unsigned long long)disk->capacity,
				 (unsigned long long)FORMAT_DISK_MAX);
	map = calloc(1, sizeof(*map));
	if (!map)
		return error_nomem(err);
	if (source_memory(&nothing, disk->name, "", 0, err)) {
		free(map);
		return -1;
	}
	map_init(map, &zero_map_ops, &raw_format, nothing);
	source_unref(nothing);
	map->subformat = "empty";
	map->size = disk->capacity;
	map->can_have_holes = true;
	*out = map;
	return 0;
}

static int open_stored(struct map **out, struct container *container,
		       const struct ova_disk *disk, struct siblings *siblings,
		       const struct container_options *options,
		       struct error *err)
{
	struct open_args args = container_open_args(container, options,
						    disk->name);
	struct source *source = source_ref(disk->source);
	int ret = 0;

	args.siblings = siblings;
	if (container_classify(disk->name) == CONTAINER_RAW && !args.format)
		args.format = "raw";
	/* What the bytes show counts here, not the name. */
	if (disk->is_gzip)
		ret = container_unzip(container, &source, options, err);
	if (!ret)
		ret = format_open(out, source, NULL, &args, err);
	source_unref(source);
	return ret;
}

/* A size that contradicts the OVF is worth a warning, no more. */
static void compare_capacity(const struct open_args *args,
			     const struct ova_disk *disk,
			     const struct map *map)
{
	if (disk->capacity && disk->capacity != map->size)
		open_warn(args, "%s: the OVF gives a capacity of %llu bytes, "
			  "the disk has %llu", disk->name,
			  (unsigned long long)disk->capacity,
			  (unsigned long long)map->size);
}

static int open_disk(struct container *container, size_t i,
		     const struct container_options *options,
		     struct error *err)
{
	struct siblings *siblings = ova_siblings(container->ova);
	const struct ova_disk *from = ova_disk(container->ova, i);
	struct container_disk *disk = &container->disks[i];
	struct open_args args = container_open_args(container, options,
						    from->name);
	unsigned int opened = ova_siblings_opened(container->ova);
	int ret;

	disk->name = from->name;
	disk->capacity = from->capacity;
	disk->error = from->error;
	if (disk->error.kind)
		return 0;
	if (from->source)
		ret = open_stored(&disk->map, container, from, siblings,
				  options, &disk->error);
	else
		ret = open_empty(&disk->map, from, &disk->error);
	if (!ret) {
		compare_capacity(&args, from, disk->map);
		disk->offset = from->offset;
		if (!from->is_gzip && !disk->map->parent &&
		    ova_siblings_opened(container->ova) == opened)
			disk->stored = from->stored;
		return 0;
	}
	if (disk->error.kind == ERR_IO ||
	    !error_is_passing(disk->error.kind))
		return 0;
	*err = disk->error;
	return error_prefix(err, "%s", from->name);
}

/* The first bytes of all disks in one wait. */
static void prefetch_disks(struct container *container,
			   const struct container_options *options)
{
	struct open_args args = container_open_args(container, options, "");

	for (size_t i = 0; i < container->disk_count; i++) {
		const struct ova_disk *disk = ova_disk(container->ova, i);

		if (disk->source)
			format_prefetch(disk->source,
				container_expected_format(disk->name), &args);
	}
}

/* What was named as an OVA does not start like one: is it a disk? */
static int explain_no_ova(struct container *container,
			  const struct open_args *args, struct error *err)
{
	const struct format *format = NULL;
	struct source *tables;

	if (!err || err->kind != ERR_CORRUPT ||
	    source_cached(&tables, container->source, args->cache, NULL))
		return -1;
	if (!format_probe(&format, tables, NULL) && format)
		error_set(err, ERR_CORRUPT, "named as ova, but the content is "
			  "%s (%s); rename it", format->name, format->title);
	source_unref(tables);
	return -1;
}

int container_open_ova(struct container *container,
		       const struct container_options *options,
		       struct error *err)
{
	struct container_options inner = *options;
	struct open_args args = container_open_args(container, options, "");
	size_t n;

	inner.format = NULL; /* it named the OVA, not its disks */
	if (ova_open(&container->ova, container->source, &args, err))
		return explain_no_ova(container, &args, err);
	n = ova_disk_count(container->ova);
	container->disks = calloc(n ? n : 1, sizeof(*container->disks));
	if (!container->disks)
		return error_nomem(err);
	container->disk_count = n;
	prefetch_disks(container, &inner);
	for (size_t i = 0; i < n; i++)
		if (open_goes_on(&args, err) ||
		    open_disk(container, i, &inner, err))
			return -1;
	return 0;
}
