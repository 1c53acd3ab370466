/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Assembling an OVA: objects are opened as its parts, format/ plans what goes
 * between them, and the store puts it together. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "disk/assemble.h"
#include "format/format.h"
#include "format/ova-write.h"
#include "store/compose.h"
#include "store/parts.h"
#include "store/sink.h"
#include "store/store.h"

static const char *plain_name(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? slash + 1 : key;
}

/* Listing. */

struct list {
	char **keys; /* OVA_PARTS_MAX of them */
	size_t count;
	size_t prefix_len;
};

static int add_key(void *arg, const struct store_entry *entry,
		   struct error *err)
{
	struct list *list = arg;
	const char *name = entry->key + list->prefix_len;

	if (!*name)
		return 0; /* the prefix itself: S3's sign of a directory */
	if (entry->is_prefix)
		return error_set(err, ERR_ARG, "\"%.200s\" is a directory; an "
				 "OVA is made of disks alone", name);
	if (ova_check_name(name, ".vmdk", err))
		return -1;
	if (list->count == OVA_PARTS_MAX)
		return error_set(err, ERR_LIMIT, "more than %d disks are too "
				 "many for an OVA", OVA_PARTS_MAX);
	list->keys[list->count] = strdup(entry->key);
	return list->keys[list->count++] ? 0 : error_nomem(err);
}

static int list_all(struct list *list, struct store *store,
		    const char *prefix, struct error *err)
{
	struct list_args args = { .prefix = prefix, .delimiter = '/' };
	char *next = NULL;
	int ret;

	do {
		AUTO_FREE char *from = take_ptr(next);

		args.continuation = from;
		ret = store_list(store, &args, add_key, list, &next, err);
	} while (!ret && next);
	free(next);
	return ret;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int assemble_list(char ***keys, size_t *count, struct store *store,
		  const char *prefix, struct error *err)
{
	struct list list = { .prefix_len = strlen(prefix) };
	int ret;

	*keys = NULL;
	*count = 0;
	list.keys = calloc(OVA_PARTS_MAX, sizeof(*list.keys));
	if (!list.keys)
		return error_nomem(err);
	ret = list_all(&list, store, prefix, err);
	if (!ret && !list.count)
		ret = error_set(err, ERR_NOT_FOUND, "no disks are in \"%s\"",
				prefix);
	if (ret) {
		assemble_list_free(list.keys, list.count);
		return -1;
	}
	qsort(list.keys, list.count, sizeof(*list.keys), compare_keys);
	*keys = list.keys;
	*count = list.count;
	return 0;
}

void assemble_list_free(char **keys, size_t count)
{
	while (count)
		free(keys[--count]);
	free(keys);
}

/* Assembling. */

/* A disk, and what ova_part points at. */
struct part {
	struct object_info info;
	uint8_t digest[OVA_DIGEST_BYTES];
};

struct assembling {
	const struct assemble_args *args;
	uint64_t done, total; /* bytes: hashed, then composed */
};

static bool goes_on(const struct assembling *self, uint64_t done)
{
	return !self->args->progress ||
	       self->args->progress(self->args->progress_arg, done,
				    self->total);
}

static bool count_hashed(void *arg, uint64_t bytes)
{
	struct assembling *self = arg;

	self->done += bytes;
	return goes_on(self, self->done);
}

static bool count_composed(void *arg, uint64_t done, uint64_t total)
{
	const struct assembling *self = arg;

	(void)total;
	return goes_on(self, self->done + done);
}

static int open_part(struct ova_part *part, struct part *own,
		     struct store *store, const char *key, struct error *err)
{
	struct object *object;

	part->name = plain_name(key);
	if (object_open(&object, store, key, NULL, err))
		return error_prefix(err, "%s", part->name);
	own->info = object->info;
	part->key = key;
	part->info = &own->info;
	if (parts_digest(store, key, &own->info, own->digest))
		part->digest = own->digest;
	if (source_from_object(&part->source, key, object, store, err)) {
		object_close(object);
		return -1;
	}
	return 0;
}

static int compose(struct ova_plan *plan, struct store *store, const char *key,
		   struct assembling *job, struct object_info *info,
		   struct error *err)
{
	struct sink_args sink_args = { .replace = job->args->replace,
				       .if_match = job->args->if_match,
				       .size = ova_plan_size(plan),
				       .budget = job->args->budget,
				       .scratch = job->args->scratch,
				       .patience = job->args->patience };
	const struct store_piece *pieces;
	size_t count;

	if (ova_plan_pieces(plan, &pieces, &count, err))
		return -1;
	return store_compose(store, key, &sink_args, pieces, count,
			     count_composed, job, info, err);
}

static int assemble_parts(struct store *store, const char *key,
			  struct ova_part *parts, size_t count,
			  struct assembling *job, struct object_info *info,
			  struct error *err)
{
	struct open_args open_args = { .budget = job->args->budget,
				       .cache = job->args->cache };
	struct ova_plan *plan;
	int ret;

	if (ova_plan_new(&plan, plain_name(key), parts, count, &open_args,
			 err))
		return -1;
	job->total = ova_plan_unhashed(plan) + ova_plan_size(plan);
	if (job->args->hashed)
		*job->args->hashed = ova_plan_unhashed(plan);
	ret = ova_plan_hash(plan, count_hashed, job, err);
	if (!ret)
		ret = compose(plan, store, key, job, info, err);
	ova_plan_free(plan);
	return ret;
}

int assemble_ova(struct store *store, const char *key, char *const *keys,
		 size_t count, const struct assemble_args *args,
		 struct object_info *info, struct error *err)
{
	AUTO_FREE struct ova_part *parts = calloc(count + 1, sizeof(*parts));
	AUTO_FREE struct part *own = calloc(count + 1, sizeof(*own));
	struct assembling job = { .args = args };
	int ret = parts && own ? 0 : error_nomem(err);

	for (size_t i = 0; !ret && i < count; i++)
		ret = open_part(&parts[i], &own[i], store, keys[i], err);
	if (!ret)
		ret = assemble_parts(store, key, parts, count, &job, info,
				     err);
	for (size_t i = 0; parts && i < count; i++)
		source_unref(parts[i].source);
	return ret;
}
