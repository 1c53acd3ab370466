/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * vmiefs info: everything that can be said about a container. The answer is
 * made as JSON; the text for people is printed from it (info-text.c). */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "command/info.h"
#include "command/subject.h"
#include "command/text.h"
#include "command/walk.h"
#include "commands.h"
#include "common/codec.h"
#include "common/jsontext.h"
#include "guest/probe.h"

struct info_options {
	struct subject_options subject;
	bool no_guest;
};

struct allocation {
	uint64_t bytes[EXTENT_BAD + 1], runs[EXTENT_BAD + 1];
	uint64_t units;
	enum extent_kind last;
	bool any;
};

static int count_piece(void *arg, const struct extent *piece,
		       struct error *err)
{
	struct allocation *all = arg;

	all->bytes[piece->kind] += piece->length;
	if (!all->any || all->last != piece->kind)
		all->runs[piece->kind]++;
	all->any = true;
	all->last = piece->kind;
	all->units += piece->kind == EXTENT_PACKED;
	return 0;
}

static json_t *describe_allocation(struct map *map, struct error *err)
{
	struct allocation all = { 0 };

	if (walk_map(map, count_piece, &all, err))
		return NULL;
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "allocated", (json_int_t)(all.bytes[EXTENT_DATA] +
						   all.bytes[EXTENT_PACKED]),
			 "holes", (json_int_t)all.bytes[EXTENT_ZERO],
			 "damaged", (json_int_t)all.bytes[EXTENT_BAD],
			 "packed", (json_int_t)all.bytes[EXTENT_PACKED],
			 "packed_units", (json_int_t)all.units,
			 "data_runs", (json_int_t)(all.runs[EXTENT_DATA] +
						   all.runs[EXTENT_PACKED]),
			 "hole_runs", (json_int_t)all.runs[EXTENT_ZERO]);
}

static void set_error(json_t *object, const char *key,
		      const struct error *why)
{
	json_object_set_new(object, key, json_pack(
		"{s:s, s:o}", "kind", error_kind_name(why->kind),
		"text", jsontext_new(why->text)));
}

/* What a map alone says: of the disk itself, and of each parent. */
static int describe_map(struct map *map, json_t *object, struct error *err)
{
	json_t *details = json_object();

	json_object_update_new(object, json_pack(
		"{s:s, s:s, s:s*, s:I, s:I, s:o}",
		"format", map->format->name, "title", map->format->title,
		"subformat", map->subformat,
		"virtual_size", (json_int_t)map->size,
		"stored_size", (json_int_t)map->source->size,
		"file", jsontext_new(map->source->name)));
	if (json_object_set_new(object, "details", details))
		return error_nomem(err);
	if (map->ops->describe && map->ops->describe(map, details, err))
		return -1;
	if (json_object_size(details) == 0)
		json_object_del(object, "details");
	return 0;
}

static int describe_parents(struct map *map, json_t *object,
			    struct error *err)
{
	json_t *parents = json_array();

	for (; map; map = map->parent) {
		json_t *parent = json_object();

		if (json_array_append_new(parents, parent) ||
		    describe_map(map, parent, err)) {
			json_decref(parents);
			return -1;
		}
	}
	json_object_set_new(object, "parents", parents);
	return 0;
}

static int read_for_guest(void *arg, uint64_t offset, void *buf,
			  uint64_t length, struct error *err)
{
	return disk_read(arg, offset, buf, length, err);
}

/* A damaged guest is no reason to hide the rest. */
static void describe_guest(struct engine *engine,
			   const struct container_disk *from, json_t *object)
{
	json_t *sector = json_object_get(json_object_get(object, "details"),
					 "logical_sector_size");
	struct guest_disk guest = {
		.size = from->map->size,
		.sector_bytes = (uint32_t)json_integer_value(sector),
		.read = read_for_guest,
	};
	struct error err = { 0 };
	struct disk *disk;
	json_t *found;
	int ret;

	ret = disk_open(&disk, engine, from->map, from->name, &err);
	if (!ret) {
		guest.arg = disk;
		ret = guest_probe(&found, &guest, &err);
		disk_close(disk);
	}
	if (ret)
		set_error(object, "guest_error", &err);
	else
		json_object_set_new(object, "guest", found);
}

static int describe_disk(struct engine *engine,
			 const struct container_disk *disk, json_t *object,
			 const struct info_options *options,
			 struct error *err)
{
	json_t *allocation;

	json_object_set_new(object, "name", jsontext_new(disk->name));
	if (disk->capacity)
		json_object_set_new(object, "capacity", json_integer(
			(json_int_t)disk->capacity));
	if (!disk->map) {
		set_error(object, "error", &disk->error);
		return 0;
	}
	if (describe_map(disk->map, object, err))
		return -1;
	if (disk->map->parent &&
	    describe_parents(disk->map->parent, object, err))
		return -1;
	allocation = describe_allocation(disk->map, err);
	if (!allocation)
		return -1;
	json_object_set_new(object, "allocation", allocation);
	if (!options->no_guest)
		describe_guest(engine, disk, object);
	return 0;
}

static int describe_disks(const struct subject *subject, json_t *disks,
			  const struct info_options *options,
			  struct error *err)
{
	size_t count = container_disk_count(subject->container);

	for (size_t i = 0; i < count; i++) {
		const struct container_disk *disk =
			container_disk(subject->container, i);
		json_t *object;

		if (!subject_selects(subject, disk))
			continue;
		object = json_object();
		if (json_array_append_new(disks, object))
			return error_nomem(err);
		if (describe_disk(subject->engine, disk, object, options, err))
			return error_prefix(err, "%s", disk->name);
	}
	return 0;
}

static json_t *describe_object(const struct subject *subject)
{
	const struct container *container = subject->container;
	const struct object_info *info = container_info(container);
	time_t seconds = (time_t)(info->mtime_ns / 1000000000);
	char mtime[32] = "";
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		strftime(mtime, sizeof(mtime), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_pack("{s:o, s:o, s:s, s:I, s:s, s:s, s:s, s:s}",
			 "object", jsontext_new(subject->key),
			 "store", jsontext_new(subject->store->url),
			 "kind", container_is_ova(container) ? "ova" : "disk",
			 "stored_size", (json_int_t)info->size,
			 "mtime", mtime, "etag", info->etag,
			 "identity", container_identity(container),
			 "unpacker", codec_unpacker_name());
}

static json_t *describe_warnings(const struct container *container)
{
	json_t *warnings = json_array();

	for (size_t i = 0; i < container_warning_count(container); i++)
		json_array_append_new(warnings, jsontext_new(
			container_warning(container, i)));
	return warnings;
}

static int describe(const struct subject *subject, json_t *object,
		    const struct info_options *options, struct error *err)
{
	const struct ova *ova = container_ova(subject->container);
	json_t *disks = json_array();

	json_object_set_new(object, "warnings",
			    describe_warnings(subject->container));
	if (ova && !subject->member) {
		json_t *ovf = json_object();

		json_object_set_new(object, "ovf", ovf);
		if (ova_describe(ova, ovf, err))
			return -1;
	}
	if (json_object_set_new(object, "disks", disks))
		return error_nomem(err);
	return describe_disks(subject, disks, options, err);
}

static int run_info(struct info_options *options, char *name,
		    struct error *err)
{
	struct subject subject;
	json_t *object;
	int ret;

	if (subject_open(&subject, name, &options->subject, err))
		return -1;
	object = describe_object(&subject);
	ret = object ? describe(&subject, object, options, err) :
		       error_nomem(err);
	if (ret) {
		json_decref(object);
	} else if (options->subject.json) {
		if (text_dump(object))
			ret = error_set(err, ERR_IO,
					"the output is not complete");
	} else {
		info_print(object);
		json_decref(object);
		if (fflush(stdout))
			ret = error_set(err, ERR_IO, "cannot write the output");
	}
	subject_close(&subject);
	return ret;
}

static int info_run(const struct command *command, int argc, char **argv)
{
	struct info_options options;
	struct error err = { 0 };
	char *args[2];
	int status;

	if (!command_begin(command, &options, argc, argv, args, &status))
		return status;
	status = EXIT_OK;
	if (run_info(&options, args[0], &err)) {
		fprintf(stderr, "vmiefs info: %s\n", err.text);
		status = EXIT_FAILED;
	}
	options_free(command->options, &options);
	return status;
}

static const struct option_row info_rows[] = {
	SUBJECT_ROWS(struct info_options, subject),
	{ .name = "no-guest", .type = OPTION_FLAG,
	  .offset = offsetof(struct info_options, no_guest), .since = "0.1",
	  .help = "do not look for partitions and file systems" },
	SUBJECT_LAST_ROWS(struct info_options, subject),
	{ .name = NULL },
};

static const struct option_set info_option_set = {
	.synopsis = "OBJECT[/MEMBER] [--json] [--no-guest]",
	.args_min = 1,
	.args_max = 1,
	.target_size = sizeof(struct info_options),
	.rows = info_rows,
};

const struct command info_command = {
	.name = "info",
	.summary = "show a container's format, sizes and what is inside",
	.options = &info_option_set,
	.run = info_run,
};
