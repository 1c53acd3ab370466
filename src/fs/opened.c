/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Open containers and objects. */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "fs/opened.h"

struct part {
	struct disk *disk; /* NULL until first asked for */
	struct map *own;   /* its map where the container has none */
};

struct opened {
	atomic_uint refs;
	struct engine *engine;
	struct container *container; /* or, for an object: */
	struct source *source;
	const char *format;          /* of the disk in it */
	pthread_mutex_t lock;        /* of parts */
	size_t count;
	struct part parts[];
};

static struct opened *opened_new(struct engine *engine, size_t count)
{
	struct opened *opened = calloc(1, sizeof(*opened) +
				       count * sizeof(opened->parts[0]));

	if (!opened)
		return NULL;
	atomic_init(&opened->refs, 1);
	opened->engine = engine;
	opened->format = "raw";
	opened->count = count;
	pthread_mutex_init(&opened->lock, NULL);
	return opened;
}

int opened_from_container(struct opened **out, struct engine *engine,
			  struct container *container, struct error *err)
{
	const struct ova *ova = container_ova(container);
	size_t count = container_disk_count(container) +
		       (ova ? ova_file_count(ova) : 0);

	*out = opened_new(engine, count);
	if (!*out) {
		container_unref(container);
		return error_nomem(err);
	}
	(*out)->container = container;
	return 0;
}

int opened_from_object(struct opened **out, struct engine *engine,
		       struct store *store, const char *key,
		       const struct object_info *known, struct error *err)
{
	struct opened *opened = opened_new(engine, 1);
	struct object *object = NULL;

	*out = NULL;
	if (!opened)
		return error_nomem(err);
	if (object_open(&object, store, key, known, err) ||
	    source_from_object(&opened->source, key, object, store, err)) {
		object_close(object);
		opened_close(opened);
		return -1;
	}
	*out = opened;
	return 0;
}

int opened_from_sealed(struct opened **out, struct engine *engine,
		       const struct store *store, const char *name,
		       const char *format, struct object *object,
		       struct error *err)
{
	struct opened *opened = opened_new(engine, 1);

	*out = NULL;
	if (!opened)
		return error_nomem(err);
	if (source_from_object(&opened->source, name, object, store, err)) {
		opened_close(opened);
		return -1;
	}
	opened->format = format;
	*out = opened;
	return 0;
}

struct opened *opened_ref(struct opened *opened)
{
	atomic_fetch_add(&opened->refs, 1);
	return opened;
}

bool opened_unref(struct opened *opened)
{
	return atomic_fetch_sub(&opened->refs, 1) == 1;
}

void opened_close(struct opened *opened)
{
	for (size_t i = 0; i < opened->count; i++) {
		disk_close(opened->parts[i].disk);
		map_close(opened->parts[i].own);
	}
	container_unref(opened->container);
	source_unref(opened->source);
	pthread_mutex_destroy(&opened->lock);
	free(opened);
}

bool opened_is_idle(const struct opened *opened)
{
	return atomic_load(&opened->refs) == 1;
}

struct container *opened_container(const struct opened *opened)
{
	return opened->container;
}

/* What is in a source as a map that part i owns. */
static int make_map(struct part *part, struct source *source,
		    const struct opened *opened, struct error *err)
{
	struct open_args args = {
		.format = opened->format,
		.file_name = source->name,
		.cache = engine_page_cache(opened->engine),
		.budget = engine_budget(opened->engine),
	};

	return part->own ? 0 : format_open(&part->own, source, NULL, &args,
					   err);
}

static int find_map(struct map **out, struct opened *opened, size_t i,
		    struct error *err)
{
	size_t disks = opened->container ?
		       container_disk_count(opened->container) : 0;
	struct part *part = &opened->parts[i];
	struct source *source = opened->source;

	if (i < disks) {
		const struct container_disk *disk =
			container_disk(opened->container, i);

		if (disk->error.kind != ERR_NONE) {
			*err = disk->error;
			error_prefix(err, "%s", disk->name);
			return -1;
		}
		*out = disk->map;
		return 0;
	}
	if (opened->container)
		source = ova_file(container_ova(opened->container),
				  i - disks)->source;
	if (make_map(part, source, opened, err))
		return -1;
	*out = part->own;
	return 0;
}

int opened_disk(struct disk **out, struct opened *opened, size_t part,
		struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&opened->lock);
	struct map *map;

	(void)held;
	*out = NULL;
	if (part >= opened->count)
		return error_set(err, ERR_STALE, "was replaced");
	if (!opened->parts[part].disk &&
	    (find_map(&map, opened, part, err) ||
	     disk_open(&opened->parts[part].disk, opened->engine, map,
		       map->source->name, err)))
		return -1;
	*out = opened->parts[part].disk;
	return 0;
}
