/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * vmiefs map: where the bytes of a disk lie, one row a run. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "command/subject.h"
#include "command/text.h"
#include "command/walk.h"
#include "commands.h"
#include "common/jsontext.h"

struct map_options {
	struct subject_options subject;
	bool units;
};

/* A run of pieces of one kind; packed units are joined unless --units. */
struct row {
	struct extent piece;
	uint64_t units;
};

struct listing {
	const struct map_options *options;
	json_t *rows; /* JSON */
	struct row row;
	uint64_t count, bytes[EXTENT_BAD + 1];
};

static const char *const kind_names[] = {
	[EXTENT_ZERO] = "zero", [EXTENT_DATA] = "data",
	[EXTENT_PACKED] = "packed", [EXTENT_PARENT] = "parent",
	[EXTENT_BAD] = "bad",
};

static bool is_stored(const struct extent *piece)
{
	return piece->kind == EXTENT_DATA || piece->kind == EXTENT_PACKED;
}

static void print_row(const struct row *row)
{
	const struct extent *piece = &row->piece;

	printf("%" PRIu64 " %" PRIu64 " %s", piece->offset, piece->length,
	       kind_names[piece->kind]);
	if (is_stored(piece)) {
		printf(" %" PRIu64 " ", piece->at);
		text_print(stdout, piece->source->name);
	}
	if (piece->kind == EXTENT_BAD && piece->why) {
		printf(" - ");
		text_print(stdout, piece->why);
	}
	printf("\n");
}

static int add_row(json_t *rows, const struct row *row, struct error *err)
{
	const struct extent *piece = &row->piece;
	json_t *object = json_pack("{s:I, s:I, s:s}",
				   "offset", (json_int_t)piece->offset,
				   "length", (json_int_t)piece->length,
				   "kind", kind_names[piece->kind]);

	if (json_array_append_new(rows, object))
		return error_nomem(err);
	if (is_stored(piece)) {
		json_object_set_new(object, "source_offset",
				    json_integer((json_int_t)piece->at));
		json_object_set_new(object, "source",
				    jsontext_new(piece->source->name));
	}
	if (piece->kind == EXTENT_PACKED)
		json_object_set_new(object, "units",
				    json_integer((json_int_t)row->units));
	if (piece->kind == EXTENT_BAD && piece->why)
		json_object_set_new(object, "reason",
				    jsontext_new(piece->why));
	return 0;
}

static int flush_row(struct listing *list, struct error *err)
{
	struct row row = list->row;

	list->row.piece.length = 0;
	if (!row.piece.length)
		return 0;
	list->count++;
	list->bytes[row.piece.kind] += row.piece.length;
	if (list->rows)
		return add_row(list->rows, &row, err);
	print_row(&row);
	return 0;
}

static int take_piece(void *arg, const struct extent *piece,
		      struct error *err)
{
	struct listing *list = arg;
	struct extent *last = &list->row.piece;

	if (last->length && last->kind == EXTENT_PACKED &&
	    piece->kind == EXTENT_PACKED && last->source == piece->source &&
	    !list->options->units) {
		last->length += piece->length;
		list->row.units++;
		return 0;
	}
	if (flush_row(list, err))
		return -1;
	list->row.piece = *piece;
	list->row.units = 1;
	/* The reason of a bad piece does not outlive this call. */
	return piece->kind == EXTENT_BAD ? flush_row(list, err) : 0;
}

static json_t *summary(const struct listing *list)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}",
			 "extents", (json_int_t)list->count,
			 "data", (json_int_t)list->bytes[EXTENT_DATA],
			 "packed", (json_int_t)list->bytes[EXTENT_PACKED],
			 "zero", (json_int_t)list->bytes[EXTENT_ZERO],
			 "bad", (json_int_t)list->bytes[EXTENT_BAD]);
}

static int map_disk_json(json_t *disks, const struct container_disk *disk,
			 struct listing *list, struct error *err)
{
	json_t *object = json_pack("{s:o, s:I, s:[]}",
				   "name", jsontext_new(disk->name),
				   "size", (json_int_t)disk->map->size,
				   "extents");

	if (json_array_append_new(disks, object))
		return error_nomem(err);
	list->rows = json_object_get(object, "extents");
	if (walk_map(disk->map, take_piece, list, err) || flush_row(list, err))
		return -1;
	json_object_set_new(object, "summary", summary(list));
	return 0;
}

static int map_disk_text(const struct container_disk *disk,
			 struct listing *list, struct error *err)
{
	printf("# disk ");
	text_print(stdout, disk->name);
	printf(" size %" PRIu64 "\n# offset length kind source-offset source\n",
	       disk->map->size);
	if (walk_map(disk->map, take_piece, list, err) || flush_row(list, err))
		return -1;
	printf("# %" PRIu64 " extents: %" PRIu64 " bytes data, %" PRIu64
	       " packed, %" PRIu64 " zero, %" PRIu64 " bad\n", list->count,
	       list->bytes[EXTENT_DATA], list->bytes[EXTENT_PACKED],
	       list->bytes[EXTENT_ZERO], list->bytes[EXTENT_BAD]);
	return 0;
}

/* All disks that can be read; an error for the first one that cannot. */
static int map_disks(const struct subject *subject, json_t *disks,
		     const struct map_options *options, struct error *err)
{
	size_t count = container_disk_count(subject->container);
	int ret = 0;

	for (size_t i = 0; i < count; i++) {
		const struct container_disk *disk =
			container_disk(subject->container, i);
		struct listing list = { .options = options };

		if (!subject_selects(subject, disk))
			continue;
		if (!disk->map) {
			if (!ret) {
				*err = disk->error;
				error_prefix(err, "%s", disk->name);
			}
			ret = -1;
			continue;
		}
		if (disks ? map_disk_json(disks, disk, &list, err) :
			    map_disk_text(disk, &list, err))
			return -1;
	}
	return ret;
}

static int run_map(struct map_options *options, char *object,
		   struct error *err)
{
	struct subject subject;
	json_t *disks = NULL;
	int ret;

	if (subject_open(&subject, object, &options->subject, err))
		return -1;
	if (options->subject.json)
		disks = json_array();
	ret = map_disks(&subject, disks, options, err);
	if (disks && text_dump(json_pack("{s:o, s:o}", "object",
					 jsontext_new(subject.key), "disks",
					 disks)))
		ret = error_set(err, ERR_IO, "the output is not complete");
	else if (!disks && fflush(stdout))
		ret = error_set(err, ERR_IO, "cannot write the output");
	subject_close(&subject);
	return ret;
}

static int map_run(const struct command *command, int argc, char **argv)
{
	struct map_options options;
	struct error err = { 0 };
	char *args[2];
	int status;

	if (!command_begin(command, &options, argc, argv, args, &status))
		return status;
	status = EXIT_OK;
	if (run_map(&options, args[0], &err)) {
		fprintf(stderr, "vmiefs map: %s\n", err.text);
		status = EXIT_FAILED;
	}
	options_free(command->options, &options);
	return status;
}

static const struct option_row map_rows[] = {
	SUBJECT_ROWS(struct map_options, subject),
	{ .name = "units", .letter = 'u', .type = OPTION_FLAG,
	  .offset = offsetof(struct map_options, units), .since = "0.1",
	  .help = "a row for each packed unit instead of each run of them" },
	SUBJECT_LAST_ROWS(struct map_options, subject),
	{ .name = NULL },
};

static const struct option_set map_option_set = {
	.synopsis = "OBJECT[/MEMBER] [--json] [--units]",
	.args_min = 1,
	.args_max = 1,
	.target_size = sizeof(struct map_options),
	.rows = map_rows,
};

const struct command map_command = {
	.name = "map",
	.summary = "list where the bytes of a container's disks lie",
	.options = &map_option_set,
	.run = map_run,
};
