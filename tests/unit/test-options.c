/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Options by table: every type, every form, and what is said about mistakes. */
#include "config.h"

#include "common/strbuf.h"
#include "options.h"
#include "tests/tap.h"

struct target {
	bool force, caching;
	unsigned int verbose, jobs, umask, timeout_ms, order;
	uint64_t memory_bytes;
	char *log, *kernel;
};

static const char *const orders[] = { "name", "size", NULL };

#define AT(member) offsetof(struct target, member)

static const struct option_row rows[] = {
	{ .name = "force", .letter = 'f', .type = OPTION_FLAG,
	  .offset = AT(force), .since = "0.1", .help = "do it anyway" },
	{ .name = "verbose", .letter = 'v', .type = OPTION_COUNT,
	  .offset = AT(verbose), .since = "0.1", .help = "say more" },
	{ .name = "jobs", .letter = 'j', .type = OPTION_NUMBER,
	  .offset = AT(jobs), .min = 1, .max = 64, .argument = "N",
	  .fallback = "2", .since = "0.1", .help = "run N at once" },
	{ .name = "caching", .form = OPTION_MOUNT, .type = OPTION_FLAG,
	  .offset = AT(caching), .since = "0.1", .help = "cache" },
	{ .name = "nocaching", .form = OPTION_MOUNT, .type = OPTION_FLAG,
	  .clears = true, .offset = AT(caching), .since = "0.1",
	  .help = "do not" },
	{ .name = "memory", .form = OPTION_MOUNT, .type = OPTION_BYTES,
	  .offset = AT(memory_bytes), .min = 1 << 20, .max = 1ull << 40,
	  .argument = "SIZE", .fallback = "256M", .unit = "bytes",
	  .since = "0.1", .help = "use at most SIZE" },
	{ .name = "timeout", .form = OPTION_MOUNT, .type = OPTION_DURATION,
	  .offset = AT(timeout_ms), .max = 3600000, .argument = "TIME",
	  .fallback = "120", .unit = "seconds", .since = "0.1",
	  .help = "give up after TIME" },
	{ .name = "umask", .form = OPTION_MOUNT, .type = OPTION_OCTAL,
	  .offset = AT(umask), .max = 0777, .argument = "MASK",
	  .fallback = "22", .fallback_text = "that of the shell",
	  .since = "0.1", .help = "clear these bits" },
	{ .name = "order", .form = OPTION_MOUNT, .type = OPTION_CHOICE,
	  .offset = AT(order), .choices = orders, .argument = "KEY",
	  .fallback = "size", .since = "0.1", .help = "sort by" },
	{ .name = "log", .form = OPTION_MOUNT, .type = OPTION_TEXT,
	  .offset = AT(log), .argument = "TARGET", .since = "0.1",
	  .help = "log to TARGET" },
	{ .name = "fsname", .form = OPTION_MOUNT, .type = OPTION_LIST,
	  .offset = AT(kernel), .argument = "NAME", .since = "0.1",
	  .help = "name it" },
	{ .name = "noatime", .form = OPTION_MOUNT, .type = OPTION_LIST,
	  .offset = AT(kernel), .since = "0.1", .help = "no atime" },
	{ .name = "x-*", .form = OPTION_MOUNT, .type = OPTION_IGNORED },
	{ .name = "secret*", .form = OPTION_MOUNT, .type = OPTION_REFUSED,
	  .help = "who would say that aloud" },
	{ .name = "secret*", .type = OPTION_REFUSED,
	  .help = "who would say that aloud" },
	{ .name = NULL },
};

static const struct option_set set = {
	.synopsis = "SOURCE [TARGET]",
	.args_min = 1,
	.args_max = 2,
	.target_size = sizeof(struct target),
	.rows = rows,
};

static const struct command command = { "test", "Tests things", &set, NULL };

/* Parse words (NULL-ended) behind a command name into freshly set defaults. */
static int parse(struct target *t, char **args, const char **words,
		 struct error *err)
{
	int argc = 0;

	while (words[argc])
		argc++;
	if (options_init(&set, t, err))
		return -1;
	return options_parse(&set, t, argc, (char **)words, args, err);
}

static void test_defaults(void)
{
	const char *words[] = { "test", "a", NULL };
	struct target t;
	struct error err;
	char *args[3];

	succeeds(parse(&t, args, words, &err), &err, "no options");
	is_u64(t.memory_bytes, 256 << 20, "bytes default");
	is_u64(t.timeout_ms, 120000, "duration default");
	is_u64(t.jobs, 2, "number default");
	is_u64(t.order, 1, "choice default");
	ok(!t.log && !t.kernel && !t.force, "others are off");
	is_str(args[0], "a", "argument");
	ok(!args[1], "arguments are NULL-ended");
	options_free(&set, &t);
}

static void test_forms(void)
{
	const char *words[] = {
		"test", "-vfv", "src", "-o", "memory=2g,umask=077",
		"-olog=/a\\,b,,order=name", "--jobs=3", "-j4", "--jobs", "5",
		"-o", "caching,nocaching", "-o",
		"fsname=x,noatime,timeout=1500ms,x-systemd.after=y", "--",
		"--dst", NULL };
	struct target t;
	struct error err;
	char *args[3];

	succeeds(parse(&t, args, words, &err), &err, "all forms");
	is_u64(t.verbose, 2, "count");
	ok(t.force, "flag in a cluster");
	ok(!t.caching, "the later of two wins");
	is_u64(t.memory_bytes, 2ull << 30, "suffix in lower case");
	is_u64(t.umask, 077, "octal");
	is_u64(t.jobs, 5, "the last number wins");
	is_u64(t.timeout_ms, 1500, "milliseconds");
	is_u64(t.order, 0, "choice");
	is_str(t.log, "/a,b", "an escaped comma");
	is_str(t.kernel, "fsname=x,noatime", "list for the kernel");
	is_str(args[0], "src", "first argument");
	is_str(args[1], "--dst", "what follows -- is no option");
	options_free(&set, &t);
}

static void test_mistakes(void)
{
	static const struct {
		const char *word, *value, *want;
	} cases[] = {
		{ "-o", "memry=1M", "did you mean -o memory?" },
		{ "-o", "zzzzzzzz", "unknown option -o zzzzzzzz" },
		{ "--job=3", "x", "did you mean --jobs?" },
		{ "--memory=1M", "x", "did you mean -o memory=SIZE?" },
		{ "--noatime", "x", "did you mean -o noatime?" },
		{ "-o", "jobs=3", "did you mean --jobs=N?" },
		{ "-o", "force", "did you mean --force?" },
		{ "-q", "x", "unknown option -q" },
		{ "-o", "memory=1X", "such as 64M" },
		{ "-o", "memory=", "such as 64M" },
		{ "-o", "memory=-1", "such as 64M" },
		{ "-o", "memory=1K", "must lie between 1M and 1T" },
		{ "-o", "memory=99999999999999999999", "such as 64M" },
		{ "-o", "memory=99999999999999P", "such as 64M" },
		{ "-o", "memory", "needs a value: memory=SIZE" },
		{ "-o", "timeout=2h", "must lie between 0s and 3600s" },
		{ "-o", "timeout=3d", "or 500ms, 5m, 1h" },
		{ "-o", "umask=8", "give an octal number" },
		{ "-o", "umask=1000", "must lie between 0 and 777" },
		{ "-o", "order=age", "must be one of name, size" },
		{ "-o", "caching=yes", "takes no value" },
		{ "--jobs=0", "x", "must lie between 1 and 64" },
		{ "--jobs=5000000000", "x", "must lie between 1 and 64" },
		{ "-o", "secret_key=xyz", "-o secret_key: who would say" },
		{ "-o", "secret", "-o secret: who would say" },
		{ "--secret-key=xyz", "x", "--secret-key: who would say" },
		{ "--secret-key", "xyz", "--secret-key: who would say" },
		{ "a", "b", "'c' is one argument too many" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *words[] = { "test", cases[i].word,
				  cases[i].value, "c", NULL };
		struct target t;
		struct error err;
		char *args[3];

		fails_with(parse(&t, args, words, &err), &err, ERR_ARG,
			   cases[i].want, cases[i].want);
		ok(!strstr(err.text, "xyz"), "nothing secret is repeated");
		options_free(&set, &t);
	}
}

/* What may stand in the query of a URL is in no message. */
static void test_query(void)
{
	const char *words[] = { "test", "a", "b", "https://h/p?x=secret",
				NULL };
	struct target t;
	struct error err;
	char *args[3];

	fails_with(parse(&t, args, words, &err), &err, ERR_ARG,
		   "'https://h/p' is one argument too many", "one too many");
	options_free(&set, &t);
}

static void test_ends(void)
{
	const char *none[] = { "test", NULL };
	const char *open_end[] = { "test", "a", "-o", NULL };
	const char *open_long[] = { "test", "a", "--jobs", NULL };
	struct target t;
	struct error err;
	char *args[3];

	fails_with(parse(&t, args, none, &err), &err, ERR_ARG,
		   "an argument is missing: SOURCE", "nothing given");
	options_free(&set, &t);
	fails_with(parse(&t, args, open_end, &err), &err, ERR_ARG,
		   "-o needs a value", "-o at the end");
	options_free(&set, &t);
	fails_with(parse(&t, args, open_long, &err), &err, ERR_ARG,
		   "--jobs needs a value", "--jobs at the end");
	options_free(&set, &t);
}

static void test_help(void)
{
	struct strbuf out = { .max = 1 << 20 };

	options_help(&command, &out);
	ok(strstr(out.data, "  -f, --force"), "help has the letter");
	ok(strstr(out.data, "-o memory=SIZE"), "help has the argument");
	ok(strstr(out.data, "in bytes (default: 256M)"), "unit and default");
	ok(strstr(out.data, "(default: that of the shell)"), "in words");
	ok(strstr(out.data, "sort by: name, size"), "choices");
	ok(!strstr(out.data, "x-*"), "ignored options are not explained");
	ok(!strstr(out.data, "secret"), "nor are those that are refused");
	for (char *at = out.data; *at; at += strspn(at, "\n")) {
		if (strcspn(at, "\n") > 79)
			ok(false, "too wide: %.100s", at);
		at += strcspn(at, "\n");
	}
	strbuf_free(&out);
	options_table(&command, &out);
	ok(strstr(out.data, "test\t-o\tmemory\t-\tSIZE\t256M\tbytes\t0.1\n"),
	   "table row");
	strbuf_free(&out);
}

static void test_nearest(void)
{
	static const char *const names[] = { "mount", "info", "map", "check",
					     NULL };

	is_str(nearest_name("chekc", names), "check", "swapped letters");
	is_str(nearest_name("inf", names), "info", "missing letter");
	is_str(nearest_name("map", names), "map", "exact");
	ok(!nearest_name("convert", names), "nothing near");
	ok(!nearest_name("moo", names), "short words have to be nearer");
	ok(!nearest_name("a-very-long-word-that-is-no-name-at-all", names),
	   "long words are not compared");
}

int main(void)
{
	test_defaults();
	test_forms();
	test_mistakes();
	test_query();
	test_ends();
	test_help();
	test_nearest();
	return tap_done();
}
