/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * vmiefs status: the files being written in a mount, from its control/stats;
 * on a terminal drawn anew every second. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command/interrupt.h"
#include "command/text.h"
#include "commands.h"
#include "common/cleanup.h"
#include "common/error.h"

#define BAR_COLUMNS 20

struct status_options {
	bool json, once;
};

/* The part "writing" of the counters, a reference. */
static int load(json_t **out, const char *mountpoint, struct error *err)
{
	AUTO_FREE char *path = NULL;
	AUTO_FILE FILE *file = NULL;
	json_t *stats;

	*out = NULL;
	/* The query of a URL may be a secret. */
	if (strstr(mountpoint, "://"))
		return error_set(err, ERR_ARG, "status takes the mount point, "
				 "not what is mounted there");
	if (asprintf(&path, "%s/control/stats", mountpoint) < 0) {
		path = NULL;
		return error_nomem(err);
	}
	file = fopen(path, "re");
	if (!file)
		return error_errno(err, errno, "%s: is no mount of vmiefs",
				   mountpoint);
	stats = json_loadf(file, 0, NULL);
	*out = json_incref(json_object_get(stats, "writing"));
	json_decref(stats);
	if (!json_is_object(*out)) {
		json_decref(*out);
		*out = NULL;
		return error_set(err, ERR_CORRUPT, "%s: has no such counters",
				 path);
	}
	return 0;
}

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 ? 0 : (uint64_t)value;
}

/* How much of the size that the file has, where it was sized before. */
static void bar_text(char bar[BAR_COLUMNS + 3], const json_t *write)
{
	uint64_t in = number(write, "in"), size = number(write, "size");
	double part = size ? (double)in / (double)size : 0;
	size_t filled;

	if (part > 1)
		part = 1;
	filled = (size_t)(part * BAR_COLUMNS);
	bar[0] = '[';
	memset(bar + 1, '#', filled);
	memset(bar + 1 + filled, '.', BAR_COLUMNS - filled);
	memcpy(bar + 1 + BAR_COLUMNS, "]", 2);
}

/* What became of it; its width is that of a bar. */
static void result_text(char text[BAR_COLUMNS + 3], const json_t *write)
{
	const char *result =
		json_string_value(json_object_get(write, "result"));
	double ago = json_number_value(json_object_get(write, "ago"));

	snprintf(text, BAR_COLUMNS + 3, "%s %.0f s ago", result, ago);
}

static void print_row(const json_t *write)
{
	const char *error = json_string_value(json_object_get(write, "error"));
	const char *name = json_string_value(json_object_get(write, "object"));
	char in[TEXT_SIZE_MAX], out[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX];
	char size[TEXT_SIZE_MAX], bar[BAR_COLUMNS + 3];

	if (json_object_get(write, "result"))
		result_text(bar, write);
	else
		bar_text(bar, write);
	printf("%10s %10s %10s/s %10s %-*s ",
	       text_size(in, number(write, "in")),
	       text_size(out, number(write, "out")),
	       text_size(rate, number(write, "rate")),
	       text_size(size, number(write, "size")), BAR_COLUMNS + 2,
	       bar);
	text_print(stdout, name ? name : "?");
	if (error) {
		printf(": ");
		text_print(stdout, error);
	}
	printf("\n");
}

static void print_table(const json_t *writing)
{
	const json_t *now = json_object_get(writing, "now");
	const json_t *ended = json_object_get(writing, "ended");
	const json_t *scratch = json_object_get(writing, "scratch");
	char used[TEXT_SIZE_MAX], limit[TEXT_SIZE_MAX];
	const json_t *write;
	size_t i;

	printf("%10s %10s %12s %10s %-*s %s\n", "IN", "OUT", "RATE", "SIZE",
	       BAR_COLUMNS + 2, "WRITTEN", "OBJECT");
	json_array_foreach(ended, i, write)
		print_row(write);
	json_array_foreach(now, i, write)
		print_row(write);
	printf("%zu being written, %" PRIu64 " published, %" PRIu64
	       " dropped; scratch %s of %s\n", json_array_size(now),
	       number(writing, "published"), number(writing, "failed"),
	       text_size(used, number(scratch, "used")),
	       text_size(limit, number(scratch, "limit")));
}

static int show(const struct status_options *options, const char *mountpoint,
		bool is_live)
{
	struct error err = { 0 };
	json_t *writing;

	if (load(&writing, mountpoint, &err)) {
		fprintf(stderr, "vmiefs status: %s\n", err.text);
		return EXIT_FAILED;
	}
	if (options->json)
		return text_dump(writing) ? EXIT_FAILED : EXIT_OK;
	if (is_live)
		fputs("\033[H\033[J", stdout);
	print_table(writing);
	json_decref(writing);
	if (!fflush(stdout))
		return EXIT_OK;
	fprintf(stderr, "vmiefs status: cannot write the output\n");
	return EXIT_FAILED;
}

/* Until Ctrl-C, or until the mount goes away. */
static int watch(const struct status_options *options, const char *mountpoint)
{
	const struct timespec second = { .tv_sec = 1 };
	int status;

	interrupt_watch();
	do {
		status = show(options, mountpoint, true);
		if (!status && !interrupt_seen())
			nanosleep(&second, NULL);
	} while (!status && !interrupt_seen());
	return status;
}

static const struct option_row status_rows[] = {
	{ .name = "json", .form = OPTION_LONG, .letter = 'j',
	  .type = OPTION_FLAG, .since = "0.1",
	  .offset = offsetof(struct status_options, json),
	  .help = "print JSON instead of text" },
	{ .name = "once", .form = OPTION_LONG, .letter = '1',
	  .type = OPTION_FLAG, .since = "0.1",
	  .offset = offsetof(struct status_options, once),
	  .help = "print the table once, also on a terminal" },
	{ .name = NULL },
};

static const struct option_set status_set = {
	.synopsis = "MOUNTPOINT [--once] [--json]",
	.args_min = 1,
	.args_max = 1,
	.target_size = sizeof(struct status_options),
	.rows = status_rows,
};

static int status_run(const struct command *command, int argc, char **argv)
{
	struct status_options options;
	char *args[2];
	int status;

	if (!command_begin(command, &options, argc, argv, args, &status))
		return status;
	if (options.json || options.once || !isatty(STDOUT_FILENO))
		status = show(&options, args[0], false);
	else
		status = watch(&options, args[0]);
	options_free(&status_set, &options);
	return status;
}

const struct command status_command = {
	.name = "status",
	.summary = "show which files are being written in a mount, and how "
		   "fast",
	.options = &status_set,
	.run = status_run,
};
