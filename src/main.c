/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The program: finds the sub-command and runs it. Without one, `mount`. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "common/codec.h"
#include "common/strbuf.h"
#include "guest/probe.h"

/* In the order of the overview. */
static const struct command *const commands[] = {
	&mount_command,
	&info_command,
	&map_command,
	&check_command,
	&status_command,
	&uploads_command,
	NULL,
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; commands[i]; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

/* Print what was gathered; the exit status. */
static int print(struct strbuf *out)
{
	bool bad = out->failed ||
		   (out->len && fputs(out->data, stdout) == EOF) ||
		   fflush(stdout);

	strbuf_free(out);
	if (bad)
		fprintf(stderr, "vmiefs: cannot write the output\n");
	return bad ? EXIT_FAILED : EXIT_OK;
}

static int overview(void)
{
	struct strbuf out = { .max = 64 << 10 };

	strbuf_puts(&out, "vmiefs shows VM disk containers (VMDK, VHD, VHDX, "
			  "OVA) as raw disks.\n\nUsage:\n");
	for (size_t i = 0; commands[i]; i++)
		strbuf_printf(&out, "  vmiefs %s %s\n      %s\n",
			      commands[i]->name,
			      commands[i]->options->synopsis,
			      commands[i]->summary);
	strbuf_puts(&out,
		    "  vmiefs help [COMMAND|options]\n"
		    "      explain a command, or list all options as a table\n"
		    "  vmiefs --version\n"
		    "\n`mount` may be left out: vmiefs SOURCE MOUNTPOINT. "
		    "`vmiefs COMMAND --help`\nexplains a command; the manual "
		    "is vmiefs(1).\n");
	return print(&out);
}

static int version(void)
{
	struct strbuf out = { .max = 4096 };

	strbuf_printf(&out, "vmiefs %s (unpacks with %s)\n", PACKAGE_VERSION,
		      codec_unpacker_name());
	return print(&out);
}

static const char *nearest_command(const char *name)
{
	const char *names[sizeof(commands) / sizeof(commands[0])] = { NULL };

	for (size_t i = 0; commands[i]; i++)
		names[i] = commands[i]->name;
	return nearest_name(name, names);
}

/* A word that is no option, no source that exists, and nearly a command. */
static bool is_mistyped(const char *word)
{
	return word[0] != '-' && !strchr(word, '/') &&
	       access(word, F_OK) != 0 && nearest_command(word);
}

static int unknown_command(const char *name)
{
	const char *near = nearest_command(name);

	fprintf(stderr, "vmiefs: unknown command '%s'", name);
	if (near)
		fprintf(stderr, "; did you mean '%s'?", near);
	fprintf(stderr, "\nTry 'vmiefs --help'.\n");
	return EXIT_USAGE;
}

static int help(int argc, char **argv)
{
	struct strbuf out = { .max = 256 << 10 };
	const struct command *command;

	if (argc < 2)
		return overview();
	if (!strcmp(argv[1], "options")) {
		for (size_t i = 0; commands[i]; i++)
			options_table(commands[i], &out);
		return print(&out);
	}
	command = find_command(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	options_help(command, &out);
	return print(&out);
}

/* Descriptors 0-2 must not be free, or the first file that is opened would
 * take the place of stderr. */
static void hold_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct command *command;
	const char *first = argc > 1 ? argv[1] : "--help";

	if (!strcmp(first, GUEST_PROBE_ARG))
		return guest_probe_main();
	hold_standard_descriptors();
	if (!strcmp(first, "--help") || !strcmp(first, "-h"))
		return argc > 1 ? overview() : (overview(), EXIT_USAGE);
	if (!strcmp(first, "--version") || !strcmp(first, "-V"))
		return version();
	if (!strcmp(first, "help"))
		return help(argc - 1, argv + 1);
	command = find_command(first);
	if (command)
		return command->run(command, argc - 1, argv + 1);
	if (is_mistyped(first))
		return unknown_command(first);
	return mount_command.run(&mount_command, argc, argv);
}
