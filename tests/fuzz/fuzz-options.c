/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: command lines, by the tables of the real commands. The input is
 * words that are divided by NUL; the first one's first byte picks the command.
 * What was accepted is held against the table: every number in its range,
 * every argument a word of the input. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "common/cleanup.h"
#include "common/error.h"

#define WORDS_MAX 256
#define ARGS_MAX  8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "contract broken: %s\n", what);
	abort();
}

static const struct command *pick_command(uint8_t byte)
{
	static const struct command *const commands[] = {
		&mount_command, &info_command, &map_command, &check_command };

	return commands[byte % (sizeof(commands) / sizeof(commands[0]))];
}

/* Cut text into words; argv[argc] is NULL. Returns argc. */
static int cut_words(char *text, size_t size, char **argv)
{
	int argc = 0;

	for (size_t at = 0; at < size && argc < WORDS_MAX;
	     at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	argv[argc] = NULL;
	return argc;
}

static uint64_t type_max(const struct option_row *row)
{
	if (row->max)
		return row->max;
	return row->type == OPTION_BYTES ? UINT64_MAX : UINT32_MAX;
}

static void check_member(const struct option_row *row, const void *target)
{
	const void *at = (const char *)target + row->offset;
	unsigned int n, count = 0;
	uint64_t number;

	switch (row->type) {
	case OPTION_NUMBER:
	case OPTION_OCTAL:
	case OPTION_DURATION:
	case OPTION_BYTES:
		number = row->type == OPTION_BYTES ? *(const uint64_t *)at :
						     *(const unsigned int *)at;
		insist(number >= row->min && number <= type_max(row),
		       "a number outside its range");
		break;
	case OPTION_CHOICE:
		n = *(const unsigned int *)at;
		while (row->choices[count])
			count++;
		insist(n < count, "a choice that is none");
		break;
	default:
		break;
	}
}

static void check_accepted(const struct option_set *set, const void *target,
			   char **args, const char *text, size_t size)
{
	unsigned int count = 0;

	for (; args[count]; count++)
		insist(args[count] >= text && args[count] < text + size,
		       "an argument from elsewhere");
	insist(count >= set->args_min && count <= set->args_max,
	       "a wrong number of arguments");
	for (const struct option_row *row = set->rows; row->name; row++)
		check_member(row, target);
}

static void check_refused(const struct error *err)
{
	insist(err->kind == ERR_ARG || err->kind == ERR_LIMIT,
	       "refused for another reason");
	insist(err->text[0], "refused without a sentence");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct option_set *set;
	AUTO_FREE char *text = malloc(size + 1);
	AUTO_FREE void *target = NULL;
	char *argv[WORDS_MAX + 1], *args[ARGS_MAX + 1];
	struct error err = { 0 };
	int argc;

	if (!size || !text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	set = pick_command(data[0])->options;
	insist(set->args_max <= ARGS_MAX, "more arguments than there is room");
	target = malloc(set->target_size);
	if (!target)
		return 0;
	insist(!options_init(set, target, &err), "a default that is refused");
	argc = cut_words(text, size, argv);
	if (options_parse(set, target, argc, argv, args, &err))
		check_refused(&err);
	else
		check_accepted(set, target, args, text, size);
	options_free(set, target);
	return 0;
}
