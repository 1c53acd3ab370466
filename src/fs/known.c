/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Facts about containers. */
#include "config.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "disk/container.h"
#include "fs/known.h"

#define PARTS_MAX 4096 /* disks and files of one OVA that are shown */

static struct known *known_new(size_t count,
			       const struct object_info *info)
{
	struct known *known = calloc(1, sizeof(*known) +
				     count * sizeof(known->parts[0]));

	if (!known)
		return NULL;
	atomic_init(&known->refs, 1);
	known->count = count;
	known->info = *info;
	return known;
}

struct known *known_ref(struct known *known)
{
	atomic_fetch_add(&known->refs, 1);
	return known;
}

void known_unref(struct known *known)
{
	if (!known || atomic_fetch_sub(&known->refs, 1) != 1)
		return;
	for (size_t i = 0; i < known->count; i++) {
		free(known->parts[i].name);
		free(known->parts[i].why);
	}
	free(known->why);
	free(known->remote);
	free(known);
}

/* Names in an OVA come from the file: one that the kernel cannot take is
 * shown with '_' in it. */
static char *part_name(const char *name, const char *ending)
{
	char *text;

	if (asprintf(&text, "%.*s%s", 250, name, ending) < 0)
		return NULL;
	for (char *c = text; *c; c++)
		if (*c == '/')
			*c = '_';
	if (!strcmp(text, ".") || !strcmp(text, ".."))
		memset(text, '_', strlen(text));
	return text;
}

static int fill_disk(struct known_part *part, const struct container *c,
		     const struct container_disk *disk, struct error *err)
{
	part->name = part_name(disk->name, ".raw");
	if (!part->name)
		return error_nomem(err);
	part->kind = disk->error.kind;
	if (part->kind != ERR_NONE) {
		if (asprintf(&part->why, "%s: %s", disk->name,
			     disk->error.text) >= 0)
			return 0;
		part->why = NULL;
		return error_nomem(err);
	}
	part->size = disk->map->size;
	part->stored = container_is_ova(c) ? disk->map->source->size :
					     container_info(c)->size;
	part->can_have_holes = disk->map->can_have_holes;
	part->format = disk->map->format->name;
	part->subformat = disk->map->subformat;
	return 0;
}

static int fill_file(struct known_part *part, const struct ova_file *file,
		     struct error *err)
{
	part->name = part_name(file->name, "");
	if (!part->name)
		return error_nomem(err);
	part->size = part->stored = file->source->size;
	return 0;
}

int known_from_container(struct known **out, const struct container *container,
			 struct error *err)
{
	const struct ova *ova = container_ova(container);
	size_t disks = container_disk_count(container);
	size_t files = ova ? ova_file_count(ova) : 0;
	struct known *known;
	int ret = 0;

	*out = NULL;
	if (disks > PARTS_MAX || files > PARTS_MAX - disks)
		return error_set(err, ERR_LIMIT, "holds more than %d members",
				 PARTS_MAX);
	known = known_new(disks + files, container_info(container));
	if (!known)
		return error_nomem(err);
	snprintf(known->identity, sizeof(known->identity), "%s",
		 container_identity(container));
	known->is_ova = container_is_ova(container);
	known->is_glance = container_is_glance(container);
	for (size_t i = 0; i < disks && !ret; i++) {
		ret = fill_disk(&known->parts[i], container,
				container_disk(container, i), err);
		if (error_is_passing(known->parts[i].kind))
			known->may_heal = true;
	}
	for (size_t i = 0; i < files && !ret; i++)
		ret = fill_file(&known->parts[disks + i], ova_file(ova, i),
				err);
	if (ret)
		known_unref(known);
	else
		*out = known;
	return ret;
}

static void hash_identity(struct known *known, const char *key)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	char both[STORE_KEY_MAX + STORE_ETAG_MAX + 2];
	int len = snprintf(both, sizeof(both), "%s\n%s", key,
			   known->info.etag);

	SHA256((unsigned char *)both, (size_t)len, hash);
	for (size_t i = 0; i < sizeof(hash); i++)
		snprintf(known->identity + 2 * i, 3, "%02x", hash[i]);
}

/* Few failures come from a server, so most have none. */
static int copy_remote(struct known *known, const struct error_remote *remote)
{
	if (!remote->http_status && !remote->attempts)
		return 0;
	known->remote = malloc(sizeof(*remote));
	if (!known->remote)
		return -1;
	*known->remote = *remote;
	return 0;
}

int known_from_error(struct known **out, const char *key,
		     const struct object_info *info, bool is_ova,
		     const struct error *why, struct error *err)
{
	struct known *known = known_new(0, info);

	*out = NULL;
	if (!known)
		return error_nomem(err);
	hash_identity(known, key);
	known->is_ova = is_ova;
	known->kind = why->kind;
	known->why = strdup(why->text);
	if (!known->why || copy_remote(known, &why->remote)) {
		known_unref(known);
		return error_nomem(err);
	}
	*out = known;
	return 0;
}

int known_fail(const struct known *known, struct error *err)
{
	error_set(err, known->kind, "%s", known->why);
	if (known->remote)
		err->remote = *known->remote;
	return -1;
}

uint64_t known_blocks(uint64_t size, uint64_t stored, bool can_have_holes)
{
	uint64_t full = div_round_up(size, 512);
	uint64_t blocks = min_u64(div_round_up(stored, 512), full);

	if (can_have_holes && blocks == full && full)
		blocks--;
	return blocks;
}
