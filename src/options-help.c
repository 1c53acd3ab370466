/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the option tables say to people: --help, suggestions for mistyped
 * names, and the start of each command. */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/error.h"
#include "common/strbuf.h"
#include "options.h"

#define HELP_COLUMN 28 /* where explanations start */
#define HELP_WIDTH  79
#define NAME_MAX_LEN 32 /* longer names are not compared */

/* Append text broken into lines that start at HELP_COLUMN; `used` columns of
 * the first line are taken. */
static void add_wrapped(struct strbuf *out, const char *text, size_t used)
{
	size_t column = used;

	if (used >= HELP_COLUMN) {
		strbuf_puts(out, "\n");
		column = 0;
	}
	strbuf_printf(out, "%*s", (int)(HELP_COLUMN - column), "");
	column = HELP_COLUMN;
	while (*text) {
		size_t len = strcspn(text, " ");

		if (column > HELP_COLUMN && column + len + 1 > HELP_WIDTH) {
			strbuf_printf(out, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (column > HELP_COLUMN) {
			strbuf_puts(out, " ");
			column++;
		}
		strbuf_add(out, text, len);
		column += len;
		text += len;
		text += strspn(text, " ");
	}
	strbuf_puts(out, "\n");
}

static void add_usage(const struct option_row *row, struct strbuf *out)
{
	if (row->form == OPTION_MOUNT)
		strbuf_printf(out, "  -o %s", row->name);
	else if (row->letter)
		strbuf_printf(out, "  -%c, --%s", row->letter, row->name);
	else
		strbuf_printf(out, "      --%s", row->name);
	if (row->argument)
		strbuf_printf(out, row->optional_value ? "[=%s]" : "=%s",
			      row->argument);
}

/* The default as people are told it; NULL where there is none. */
static const char *default_of(const struct option_row *row)
{
	return row->fallback_text ? row->fallback_text : row->fallback;
}

static void add_row(const struct option_row *row, struct strbuf *out)
{
	struct strbuf text = { .max = 4096 };
	size_t start = out->len;

	add_usage(row, out);
	strbuf_puts(&text, row->help);
	for (size_t i = 0; row->choices && row->choices[i]; i++)
		strbuf_printf(&text, "%s%s", i ? ", " : ": ",
			      row->choices[i]);
	if (row->unit)
		strbuf_printf(&text, ", in %s", row->unit);
	if (default_of(row))
		strbuf_printf(&text, " (default: %s)", default_of(row));
	add_wrapped(out, text.data ? text.data : "", out->len - start);
	strbuf_free(&text);
}

/* Is it an option that has a use? */
static bool is_shown(const struct option_row *row)
{
	return row->type != OPTION_IGNORED && row->type != OPTION_REFUSED;
}

void options_help(const struct command *command, struct strbuf *out)
{
	const struct option_row *rows = command->options->rows;

	strbuf_printf(out, "Usage: vmiefs %s %s\n\n%c%s.\n\nOptions:\n",
		      command->name, command->options->synopsis,
		      toupper(command->summary[0]), command->summary + 1);
	for (const struct option_row *row = rows; row->name; row++)
		if (is_shown(row) && row->form == OPTION_LONG)
			add_row(row, out);
	strbuf_puts(out, "  -h, --help");
	add_wrapped(out, "show this text", strlen("  -h, --help"));
	for (const struct option_row *row = rows; row->name; row++)
		if (is_shown(row) && row->form == OPTION_MOUNT)
			add_row(row, out);
}

static const char *or_dash(const char *text)
{
	return text ? text : "-";
}

void options_table(const struct command *command, struct strbuf *out)
{
	const struct option_row *row = command->options->rows;

	for (; row->name; row++) {
		char letter[2] = { row->letter ? row->letter : '-', '\0' };

		if (!is_shown(row))
			continue;
		strbuf_printf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			      command->name,
			      row->form == OPTION_MOUNT ? "-o" : "--",
			      row->name, letter, or_dash(row->argument),
			      or_dash(default_of(row)), or_dash(row->unit),
			      or_dash(row->since));
	}
}

/* How many insertions, deletions and changes of a byte lead from a to b
 * (Levenshtein), by the usual row of a table. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LEN + 1], b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			size_t best = row[j] < row[j - 1] ? row[j] :
							    row[j - 1];

			diagonal = row[j];
			row[j] = best + 1 < change ? best + 1 : change;
		}
	}
	return row[b_len];
}

const char *nearest_name(const char *wrong, const char *const *names)
{
	size_t len = strlen(wrong);
	size_t best = len < 4 ? 1 : len / 3 + 1;
	const char *found = NULL;

	if (len > NAME_MAX_LEN)
		return NULL;
	for (; *names; names++) {
		size_t distance;

		if (strlen(*names) > NAME_MAX_LEN)
			continue;
		distance = edit_distance(wrong, *names);
		if (distance < best || (distance == best && !found)) {
			best = distance;
			found = *names;
		}
	}
	return found;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

bool command_begin(const struct command *command, void *target, int argc,
		   char **argv, char **args, int *status)
{
	struct error err = { 0 };

	if (wants_help(argc, argv)) {
		struct strbuf out = { .max = 256 << 10 };

		options_help(command, &out);
		*status = fputs(out.data ? out.data : "", stdout) == EOF ||
			  fflush(stdout) ? EXIT_FAILED : EXIT_OK;
		strbuf_free(&out);
		return false;
	}
	if (!options_init(command->options, target, &err) &&
	    !options_parse(command->options, target, argc, argv, args, &err))
		return true;
	options_free(command->options, target);
	fprintf(stderr, "vmiefs %s: %s\nTry 'vmiefs %s --help'.\n",
		command->name, err.text, command->name);
	*status = EXIT_USAGE;
	return false;
}
