/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * vmiefs check: everything that is stored is read, unpacked and compared with
 * what the container says about itself. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "command/interrupt.h"
#include "command/progress.h"
#include "command/subject.h"
#include "command/text.h"
#include "command/verify.h"
#include "commands.h"
#include "common/jsontext.h"

enum check_status {
	CHECK_CLEAN = 0,
	CHECK_PROBLEMS = 1,
	CHECK_TROUBLE = 2, /* not finished; wrong command line */
};

struct check_options {
	struct subject_options subject;
	bool quiet;
};

struct check {
	const struct check_options *options;
	struct subject subject;
	struct progress progress;
	const char *disk;   /* being checked; NULL: the container */
	json_t *problems;   /* of what is being checked; NULL: text */
	uint64_t count;     /* problems so far */
	uint64_t read;      /* bytes so far */
};

static void add_problem(struct check *check, const uint64_t *range,
			const char *why)
{
	json_t *object;

	check->count++;
	if (check->problems) {
		object = json_pack("{s:o}", "reason", jsontext_new(why));
		if (range) {
			json_object_set_new(object, "offset", json_integer(
				(json_int_t)range[0]));
			json_object_set_new(object, "length", json_integer(
				(json_int_t)range[1]));
		}
		json_array_append_new(check->problems, object);
		return;
	}
	progress_clear(&check->progress);
	text_print(stdout, check->disk ? check->disk : check->subject.key);
	if (range)
		printf(": offset %" PRIu64 ", %" PRIu64 " bytes: ", range[0],
		       range[1]);
	else
		printf(": ");
	text_print(stdout, why);
	putchar('\n');
	fflush(stdout);
}

static void take_finding(void *arg, const char *text)
{
	add_problem(arg, NULL, text);
}

static void take_damage(void *arg, uint64_t offset, uint64_t length,
			const char *why)
{
	uint64_t range[2] = { offset, length };

	add_problem(arg, range, why);
}

static void take_progress(void *arg, uint64_t bytes)
{
	struct check *check = arg;

	check->read += bytes;
	progress_add(&check->progress, bytes);
}

static bool is_stopped(void *arg)
{
	return interrupt_seen();
}

static bool manifest_progress(void *arg, uint64_t bytes)
{
	take_progress(arg, bytes);
	return !interrupt_seen();
}

/* What is wrong with the container itself is a finding, and the rest goes on;
 * other errors end all. */
static int finding_or_error(struct check *check, const struct error *why,
			    struct error *err)
{
	switch (why->kind) {
	case ERR_CORRUPT:
	case ERR_IO:
	case ERR_LIMIT:
	case ERR_UNSUPPORTED:
	case ERR_NOT_FOUND:
	case ERR_DENIED:
		add_problem(check, NULL, why->text);
		return 0;
	default:
		*err = *why;
		return -1;
	}
}

/* What formats know besides reading, for the disk and its parents. */
static int check_tables(struct check *check, struct map *map,
			struct error *err)
{
	for (; map; map = map->parent) {
		struct error why = { 0 };

		if (map->ops->check &&
		    map->ops->check(map, take_finding, check, &why) &&
		    finding_or_error(check, &why, err))
			return -1;
	}
	return 0;
}

static int check_map(struct check *check, const struct container_disk *disk,
		     struct error *err)
{
	struct verifier verifier = {
		.engine = check->subject.engine,
		.damage = take_damage,
		.progress = take_progress,
		.is_stopped = is_stopped,
		.arg = check,
	};

	if (check_tables(check, disk->map, err))
		return -1;
	return verify_disk(&verifier, disk, err);
}

/* Where findings of one part go from now on. */
static int begin_part(struct check *check, json_t *parts, const char *name,
		      const struct map *map, struct error *err)
{
	json_t *object;

	check->disk = name;
	if (!parts)
		return 0;
	object = json_pack("{s:o, s:[]}", "name", jsontext_new(name),
			   "problems");
	if (map)
		json_object_set_new(object, "virtual_size",
				    json_integer((json_int_t)map->size));
	if (json_array_append_new(parts, object))
		return error_nomem(err);
	check->problems = json_object_get(object, "problems");
	return 0;
}

static int check_disks(struct check *check, json_t *parts, struct error *err)
{
	struct subject *subject = &check->subject;
	size_t count = container_disk_count(subject->container);

	for (size_t i = 0; i < count; i++) {
		const struct container_disk *disk =
			container_disk(subject->container, i);

		if (!subject_selects(subject, disk))
			continue;
		if (begin_part(check, parts, disk->name, disk->map, err))
			return -1;
		if (!disk->map ? finding_or_error(check, &disk->error, err) :
				 check_map(check, disk, err))
			return -1;
	}
	return 0;
}

static bool has_manifest(const struct ova *ova)
{
	for (size_t i = 0; ova && i < ova_file_count(ova); i++) {
		const char *dot = strrchr(ova_file(ova, i)->name, '.');

		if (dot && !strcasecmp(dot, ".mf"))
			return true;
	}
	return false;
}

static int check_manifest(struct check *check, json_t *parts,
			  struct error *err)
{
	const struct ova *ova = container_ova(check->subject.container);
	struct error why = { 0 };

	if (!ova || check->subject.member)
		return 0;
	if (begin_part(check, parts, "manifest", NULL, err))
		return -1;
	if (ova_check(ova, take_finding, manifest_progress, check, &why) &&
	    finding_or_error(check, &why, err))
		return -1;
	return 0;
}

/* Bytes that will be read; only for the progress bar. */
static uint64_t count_bytes(const struct subject *subject)
{
	const struct ova *ova = container_ova(subject->container);
	uint64_t total = 0, bytes;
	size_t count = container_disk_count(subject->container);

	for (size_t i = 0; i < count; i++) {
		const struct container_disk *disk =
			container_disk(subject->container, i);

		if (disk->map && subject_selects(subject, disk) &&
		    verify_count(disk->map, &bytes, NULL) == 0)
			total += bytes;
	}
	if (!subject->member && has_manifest(ova))
		total += container_info(subject->container)->size;
	return total;
}

static void print_warnings(const struct check *check)
{
	const struct container *container = check->subject.container;

	for (size_t i = 0; i < container_warning_count(container); i++) {
		printf("warning: ");
		text_print(stdout, container_warning(container, i));
		putchar('\n');
	}
}

static json_t *list_warnings(const struct check *check)
{
	const struct container *container = check->subject.container;
	json_t *warnings = json_array();

	for (size_t i = 0; i < container_warning_count(container); i++)
		json_array_append_new(warnings, jsontext_new(
			container_warning(container, i)));
	return warnings;
}

static enum check_status status_of(const struct check *check, int ret)
{
	if (check->count)
		return CHECK_PROBLEMS;
	return ret ? CHECK_TROUBLE : CHECK_CLEAN;
}

static const char *result_name(const struct check *check, int ret,
			       const struct error *err)
{
	if (ret)
		return err->kind == ERR_CANCELLED ? "interrupted" : "failed";
	return check->count ? "damaged" : "clean";
}

static void print_summary(const struct check *check, int ret,
			  const struct error *err)
{
	char size[TEXT_SIZE_MAX];

	if (check->options->quiet)
		return;
	text_print(stdout, check->subject.key);
	printf(": %s, %s read, %" PRIu64 " problem%s\n",
	       result_name(check, ret, err), text_size(size, check->read),
	       check->count, check->count == 1 ? "" : "s");
}

static int print_result(struct check *check, json_t *parts, int ret,
			const struct error *err)
{
	json_t *object;

	if (!parts) {
		print_summary(check, ret, err);
		return fflush(stdout);
	}
	object = json_pack("{s:o, s:s, s:I, s:I, s:o, s:O}",
			   "object", jsontext_new(check->subject.key),
			   "result", result_name(check, ret, err),
			   "problems", (json_int_t)check->count,
			   "bytes_read", (json_int_t)check->read,
			   "warnings", list_warnings(check),
			   "parts", parts);
	if (ret)
		json_object_set_new(object, "error", jsontext_new(err->text));
	return text_dump(object);
}

/* Check all that is open; the exit status. */
static enum check_status check_subject(struct check *check, struct error *err)
{
	json_t *parts = NULL;
	int ret;

	interrupt_watch();
	if (check->options->subject.json)
		parts = json_array();
	else
		print_warnings(check);
	progress_start(&check->progress, count_bytes(&check->subject),
		       check->options->quiet);
	ret = check_disks(check, parts, err);
	if (!ret)
		ret = check_manifest(check, parts, err);
	progress_clear(&check->progress);
	if (print_result(check, parts, ret, err))
		ret = error_set(err, ERR_IO, "cannot write the output");
	json_decref(parts);
	if (ret)
		fprintf(stderr, "vmiefs check: %s\n", err->text);
	/* Reads that nobody waits for may still hang in the store. */
	if (ret && err->kind == ERR_CANCELLED)
		_exit(status_of(check, ret));
	return status_of(check, ret);
}

static int check_run(const struct command *command, int argc, char **argv)
{
	struct check_options options;
	struct check check = { .options = &options };
	struct error err = { 0 };
	char *args[2];
	int status;

	if (!command_begin(command, &options, argc, argv, args, &status))
		return status;
	if (subject_open(&check.subject, args[0], &options.subject, &err)) {
		fprintf(stderr, "vmiefs check: %s\n", err.text);
		status = err.kind == ERR_CORRUPT ? CHECK_PROBLEMS :
						   CHECK_TROUBLE;
	} else {
		status = check_subject(&check, &err);
		subject_close(&check.subject);
	}
	options_free(command->options, &options);
	return status;
}

static const struct option_row check_rows[] = {
	SUBJECT_ROWS(struct check_options, subject),
	{ .name = "quiet", .letter = 'q', .type = OPTION_FLAG,
	  .offset = offsetof(struct check_options, quiet), .since = "0.1",
	  .help = "print nothing but problems" },
	SUBJECT_LAST_ROWS(struct check_options, subject),
	{ .name = NULL },
};

static const struct option_set check_option_set = {
	.synopsis = "OBJECT[/MEMBER] [--json] [--quiet]",
	.args_min = 1,
	.args_max = 1,
	.target_size = sizeof(struct check_options),
	.rows = check_rows,
};

const struct command check_command = {
	.name = "check",
	.summary = "read and verify everything that a container has stored",
	.options = &check_option_set,
	.run = check_run,
};
