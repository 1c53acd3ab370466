/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Opening containers: which format a key's content has, what lies beside it,
 * and one identity over all objects that its disks are read from. */
#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/budget.h"
#include "common/bytes.h"
#include "disk/container-internal.h"
#include "format/gzip.h"

#define WARNINGS_MAX 100

static const char *last_part(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? slash + 1 : key;
}

int container_depend(struct container *container, const char *key,
		     const char *etag, struct error *err)
{
	size_t len = strlen(key) + 1;
	struct dependency *dependency = malloc(sizeof(*dependency) + len);
	struct dependency **link = &container->dependencies;

	if (!dependency)
		return error_nomem(err);
	memcpy(dependency->key, key, len);
	snprintf(dependency->etag, sizeof(dependency->etag), "%s", etag);
	/* Sorted, so that the identity does not depend on who was first. */
	while (*link && strcmp((*link)->key, key) < 0)
		link = &(*link)->next;
	dependency->next = *link;
	*link = dependency;
	return 0;
}

int container_open_source(struct container *container, const char *key,
			  const struct object_info *known,
			  struct object_info *info, struct source **out,
			  struct error *err)
{
	struct object *object;

	*out = NULL;
	if (object_open(&object, container->store, key, known, err))
		return -1;
	if (info)
		*info = object->info;
	if (source_from_object(out, last_part(key), object, container->store,
			       err)) {
		object_close(object);
		return -1;
	}
	return 0;
}

int container_open_object(struct container *container, const char *key,
			  const struct object_info *known,
			  struct object_info *info, struct source **out,
			  struct error *err)
{
	struct object_info opened;

	if (container_open_source(container, key, known, &opened, out, err))
		return -1;
	if (container_depend(container, key, opened.etag, err)) {
		source_unref(*out);
		*out = NULL;
		return -1;
	}
	if (info)
		*info = opened;
	return 0;
}

/* Opening. */

/* Keep a warning; what cannot be kept is not worth failing for. */
static void keep_warning(void *arg, const char *text)
{
	struct container *container = arg;
	char **warnings;

	if (container->warning_count == WARNINGS_MAX)
		return;
	warnings = reallocarray(container->warnings,
				container->warning_count + 1,
				sizeof(*warnings));
	if (!warnings)
		return;
	container->warnings = warnings;
	warnings[container->warning_count] = strdup(text);
	if (warnings[container->warning_count])
		container->warning_count++;
}

struct open_args container_open_args(struct container *container,
				     const struct container_options *options,
				     const char *file_name)
{
	return (struct open_args){
		.format = options->format,
		.file_name = file_name,
		.cache = engine_page_cache(container->engine),
		.budget = engine_budget(container->engine),
		.vhd_chs = options->vhd_chs,
		.warn = keep_warning,
		.warn_arg = container,
		.keep_going = options->keep_going,
		.keep_going_arg = options->keep_going_arg,
	};
}

static bool ends_in_gz(const char *name)
{
	size_t len = strlen(name);

	return len >= 3 && !strcasecmp(name + len - 3, ".gz");
}

int container_unzip(struct container *container, struct source **source,
		    const struct container_options *options,
		    struct error *err)
{
	struct source *unpacked;

	if (gzip_open(&unpacked, *source, engine_budget(container->engine),
		      options->keep_going, options->keep_going_arg, err))
		return -1;
	source_unref(*source);
	*source = unpacked;
	return 0;
}

/* As gzip_probe(), through the cache. */
static int probe_gzip(struct container *container, struct source *source,
		      struct error *err)
{
	struct source *tables;
	int is_gzip;

	if (source_cached(&tables, source,
			  engine_page_cache(container->engine), err))
		return -1;
	is_gzip = gzip_probe(tables, err);
	source_unref(tables);
	return is_gzip;
}

/* Unpack gzip where name and content agree on it. */
static int unzip_named(struct container *container, struct source **source,
		       const char *name,
		       const struct container_options *options,
		       struct error *err)
{
	int is_gzip = probe_gzip(container, *source, err);

	if (is_gzip < 0)
		return -1;
	if (is_gzip != ends_in_gz(name))
		return error_set(err, ERR_CORRUPT, is_gzip ?
				 "is gzip-compressed, but its name does not "
				 "end in .gz; rename it" :
				 "its name ends in .gz, but the content is not "
				 "gzip; rename it");
	return is_gzip ? container_unzip(container, source, options, err) : 0;
}

/* Open what the name promises, whatever the content is then. */
static int open_named(struct container *container, const char *name,
		      const struct container_options *options,
		      const struct open_args *args, struct error *err)
{
	struct map **map = &container->disks[0].map;
	const char *expected = container_expected_format(container->key);
	bool is_raw = container_classify(name) == CONTAINER_RAW;
	struct source *source;
	int ret = 0;

	if (options->size_only && !ends_in_gz(name) &&
	    (format_glance(map, container->source, expected, args, err) ||
	     *map))
		return *map ? 0 : -1;
	source = source_ref(container->source);
	if (!is_raw && !ends_in_gz(name))
		format_prefetch(source, expected, args);
	if (!is_raw)
		ret = unzip_named(container, &source, name, options, err);
	if (!ret)
		ret = format_open(map, source, expected, args, err);
	source_unref(source);
	return ret;
}

/* The one disk of a container that is no OVA. */
static int open_single(struct container *container,
		       const struct container_options *options,
		       struct error *err)
{
	const char *name = last_part(container->key);
	struct open_args args = container_open_args(container, options, name);
	struct store_siblings siblings;
	struct source *tables; /* held, so that each step finds what the last
				* one has read */
	int ret;

	if (container_classify(name) == CONTAINER_RAW && !args.format)
		args.format = "raw";
	container->disks = calloc(1, sizeof(*container->disks));
	if (!container->disks)
		return error_nomem(err);
	container->disk_count = 1;
	container->disks[0].name = name;
	if (source_cached(&tables, container->source, args.cache, err))
		return -1;
	store_siblings_init(&siblings, container);
	args.siblings = &siblings.siblings;
	ret = open_named(container, name, options, &args, err);
	source_unref(tables);
	store_siblings_destroy(&siblings);
	if (!ret && !ends_in_gz(name) && container_object_count(container) == 1)
		container->disks[0].stored = container->info.size;
	return ret;
}

static int make_identity(struct container *container, struct error *err)
{
	unsigned char digest[32];
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	bool good = sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL);

	for (struct dependency *d = container->dependencies; d && good;
	     d = d->next)
		good = EVP_DigestUpdate(sha, d->key, strlen(d->key) + 1) &&
		       EVP_DigestUpdate(sha, d->etag, strlen(d->etag) + 1);
	for (size_t i = 0; i < container->disk_count && good; i++) {
		const struct map *map = container->disks[i].map;
		uint8_t size[8];

		le64_put(size, map ? map->size : 0);
		good = EVP_DigestUpdate(sha, size, sizeof(size));
	}
	good = good && EVP_DigestFinal_ex(sha, digest, NULL);
	EVP_MD_CTX_free(sha);
	if (!good)
		return error_nomem(err);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(container->identity + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

static int open_content(struct container *container,
			const struct object_info *known,
			const struct container_options *options,
			struct error *err)
{
	int ret;

	if (container_open_object(container, container->key, known,
				  &container->info, &container->source, err))
		return -1;
	if (container_classify(container->key) == CONTAINER_OVA)
		ret = container_open_ova(container, options, err);
	else
		ret = open_single(container, options, err);
	return ret ? ret : make_identity(container, err);
}

int container_open(struct container **out, struct engine *engine,
		   struct store *store, const char *key,
		   const struct object_info *known,
		   const struct container_options *options, struct error *err)
{
	struct container *container = calloc(1, sizeof(*container));

	*out = NULL;
	if (!container)
		return error_nomem(err);
	atomic_init(&container->refs, 1);
	container->engine = engine;
	container->store = store;
	container->key = strdup(key);
	if (!container->key) {
		container_unref(container);
		return error_nomem(err);
	}
	if (open_content(container, known, options, err)) {
		container_unref(container);
		return error_prefix(err, "%s", key);
	}
	*out = container;
	return 0;
}

struct container *container_ref(struct container *container)
{
	atomic_fetch_add(&container->refs, 1);
	return container;
}

void container_unref(struct container *container)
{
	if (!container || atomic_fetch_sub(&container->refs, 1) != 1)
		return;
	for (size_t i = 0; i < container->disk_count; i++)
		map_close(container->disks[i].map);
	free(container->disks);
	ova_close(container->ova);
	source_unref(container->source);
	for (size_t i = 0; i < container->warning_count; i++)
		free(container->warnings[i]);
	free(container->warnings);
	while (container->dependencies) {
		struct dependency *next = container->dependencies->next;

		free(container->dependencies);
		container->dependencies = next;
	}
	free(container->key);
	free(container);
}

bool container_is_glance(const struct container *container)
{
	const struct map *map = container->disk_count ?
				container->disks[0].map : NULL;

	return map && map->is_glance;
}

bool container_is_ova(const struct container *container)
{
	return container->ova != NULL;
}

const struct object_info *container_info(const struct container *container)
{
	return &container->info;
}

const char *container_identity(const struct container *container)
{
	return container->identity;
}

size_t container_object_count(const struct container *container)
{
	size_t count = 0;

	for (struct dependency *d = container->dependencies; d; d = d->next)
		count++;
	return count;
}

size_t container_disk_count(const struct container *container)
{
	return container->disk_count;
}

const struct container_disk *container_disk(const struct container *container,
					    size_t i)
{
	return &container->disks[i];
}

const struct ova *container_ova(const struct container *container)
{
	return container->ova;
}

size_t container_warning_count(const struct container *container)
{
	return container->warning_count;
}

const char *container_warning(const struct container *container, size_t i)
{
	return container->warnings[i];
}

int container_is_current(struct container *container, struct error *err)
{
	for (struct dependency *d = container->dependencies; d; d = d->next) {
		struct object_info info;
		struct error why = { 0 };

		if (store_stat(container->store, d->key, &info, &why)) {
			if (why.kind == ERR_NOT_FOUND)
				return 0;
			*err = why;
			return error_prefix(err, "%s", d->key);
		}
		if (strcmp(info.etag, d->etag) != 0)
			return 0;
	}
	return 1;
}
