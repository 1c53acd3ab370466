/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Options of the command line, described once: each command has a const table
 * of rows, and parsing, defaults, --help and the test that compares them with
 * man page and completion all come from that table. To add an option, add a
 * member to the command's struct and a row to its table. */
#ifndef VMIEFS_OPTIONS_H
#define VMIEFS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

struct error;
struct strbuf;

/* What the value means, and with it the type of the member it goes to. */
enum option_type {
	OPTION_FLAG,     /* bool: no value; becomes !row->clears */
	OPTION_COUNT,    /* unsigned int: no value; one more each time */
	OPTION_TEXT,     /* char *: a copy, freed by options_free() */
	OPTION_NUMBER,   /* unsigned int: decimal, min..max */
	OPTION_OCTAL,    /* unsigned int: octal, min..max */
	OPTION_BYTES,    /* uint64_t: bytes, with K M G T P for 1024^n */
	OPTION_DURATION, /* unsigned int, ms: seconds, or with ms s m h */
	OPTION_AGE,      /* uint64_t, seconds: or with m h d */
	OPTION_CHOICE,   /* unsigned int: index into row->choices */
	OPTION_LIST,     /* char *: "name" or "name=value" is appended with a
			  * comma; for what libfuse or the kernel handles */
	OPTION_IGNORED,  /* no member: accepted and without effect (fstab) */
	OPTION_REFUSED,  /* no member: an error, for which help is the reason;
			  * the value is in no message */
};

/* How it is written. */
enum option_form {
	OPTION_LONG, /* --name, --name=VALUE, and -x where letter is set */
	OPTION_MOUNT, /* -o name, -o name=VALUE, several with commas */
};

struct option_row {
	const char *name;
	enum option_form form;
	char letter;          /* OPTION_LONG: short form, or 0 */
	enum option_type type;
	bool clears;          /* OPTION_FLAG: stores false */
	bool optional_value;  /* OPTION_LIST: the value may be missing */
	size_t offset;        /* of the member: offsetof(struct x, member) */
	uint64_t min, max;    /* inclusive; max == 0: the type's own limit */
	const char *const *choices; /* OPTION_CHOICE: NULL-ended */
	const char *argument; /* "SIZE" in help; NULL: takes no value */
	const char *fallback; /* the default as the user would write it; it is
			       * parsed like one. NULL: zero/off/none */
	const char *fallback_text; /* what help says instead of a fallback
				    * that is a mere code: "who mounts" */
	const char *unit;     /* "bytes", "seconds"; NULL: has none */
	const char *since;    /* version: "0.1" */
	const char *help;     /* one or two clauses, lower case, no full stop */
};

struct option_set {
	const char *synopsis; /* "SOURCE MOUNTPOINT [-o OPTION[,...]]" */
	unsigned int args_min, args_max; /* other arguments than options */
	size_t target_size;   /* sizeof the struct that rows fill */
	const struct option_row *rows; /* ended by a row without a name */
};

/* One sub-command. */
struct command {
	const char *name;    /* "info" */
	const char *summary; /* one line of the overview */
	const struct option_set *options;
	/* argv[0] is the command's name. Returns the exit status. */
	int (*run)(const struct command *command, int argc, char **argv);
};

enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1, /* it was tried and failed, or a check found damage */
	EXIT_USAGE = 2,  /* the command line makes no sense */
};

/* Zero *target and give every option its default. */
int options_init(const struct option_set *set, void *target,
		 struct error *err);

/* Free the texts in *target and zero it. */
void options_free(const struct option_set *set, void *target);

/* Parse argv[1..argc) into *target. Other arguments, in their order, go to
 * args (borrowed from argv), which has room for set->args_max + 1 pointers
 * and is NULL-ended. "--" ends options. ERR_ARG with a sentence that names
 * the nearest option, the range or the unit. Does not handle --help. */
int options_parse(const struct option_set *set, void *target, int argc,
		  char **argv, char **args, struct error *err);

/* Set one option by name, as -o NAME=VALUE would (value may be NULL). */
int options_set(const struct option_set *set, void *target,
		enum option_form form, const char *name, const char *value,
		struct error *err);

/* A list of "name=value" with commas, as after -o; "\," is a comma. */
int options_set_list(const struct option_set *set, void *target,
		     const char *list, struct error *err);

/* What --help prints. */
void options_help(const struct command *command, struct strbuf *out);

/* One line for each option, fields divided by tabs: command, "-o" or "--",
 * name, letter, argument, default, unit, since. */
void options_table(const struct command *command, struct strbuf *out);

/* The start of each command's run(): handles --help, sets defaults, parses.
 * True: go on, and options_free() in the end. False: return *status; what
 * there was to say has been said and nothing is to be freed. args as in
 * options_parse(). */
MUST_CHECK bool command_begin(const struct command *command, void *target,
			      int argc, char **argv, char **args,
			      int *status);

/* The names[] entry most like `wrong` (NULL-ended), NULL if none is near. */
const char *nearest_name(const char *wrong, const char *const *names);

#endif
