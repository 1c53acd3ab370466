/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The log: what a line looks like, that hostile text stays on its line, and
 * rotation. */
#include "config.h"

#include <pthread.h>
#include <regex.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/tap.h"

static char dir[] = "/tmp/vmiefs-log-XXXXXX";
static char path[64], moved[64];

/* The file's contents; a static buffer. */
static const char *contents(const char *name)
{
	static char text[1 << 20];
	FILE *file = fopen(name, "r");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file)
		fclose(file);
	text[n] = '\0';
	return text;
}

static bool matches(const char *text, const char *pattern)
{
	regex_t regex;
	bool match;

	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB))
		return false;
	match = !regexec(&regex, text, 0, NULL, 0);
	regfree(&regex);
	return match;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void test_levels(void)
{
	enum log_level level;

	is_str(log_level_name(LOG_LEVEL_DEBUG), "debug", "a level's name");
	ok(!log_level_parse("info", &level) && level == LOG_LEVEL_INFO,
	   "and back");
	ok(log_level_parse("loud", &level) == -1, "an unknown one");
	ok(log_level() == LOG_LEVEL_WARNING, "warnings by default");
	log_info("not shown");
	log_debug("not shown");
	is_str(contents(path), "", "what is below the level is not written");
	log_set_level(LOG_LEVEL_INFO);
	log_info("%s %d", "shown", 1);
	ok(matches(contents(path), "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:"
		   "[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z info: shown 1\n$"),
	   "a line: %s", contents(path));
}

static void test_hostile(void)
{
	static char longer[10000];

	ok(truncate(path, 0) == 0, "emptied");
	log_error("key '%s'", "a\nb\x1b[31m\x7f");
	ok(matches(contents(path), "error: key 'a\\?b\\?\\[31m\\?'\n$"),
	   "control characters do not get through: %s", contents(path));
	memset(longer, 'x', sizeof(longer) - 1);
	log_error("%s", longer);
	is_u64(count_lines(contents(path)), 2, "a long message is one line");
	ok(strlen(contents(path)) < 3000, "and is cut");
}

static void test_rotation(void)
{
	ok(rename(path, moved) == 0, "moved away");
	log_error("old");
	ok(strstr(contents(moved), "error: old"), "goes on in the old file");
	log_reopen();
	log_error("new");
	ok(strstr(contents(path), "error: new"), "then in the new one");
	ok(!strstr(contents(moved), "error: new"), "and not in the old");
}

static void *talk(void *arg)
{
	for (int i = 0; i < 500; i++) {
		log_error("thread x talks");
		if (i % 50 == 0)
			log_reopen();
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[4];
	size_t whole = 0;

	ok(truncate(path, 0) == 0, "emptied");
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, talk, NULL))
			abort();
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (const char *at = contents(path);
	     (at = strstr(at, "Z error: thread x talks\n")); at++)
		whole++;
	is_u64(whole, 2000, "every line is whole");
	is_u64(count_lines(contents(path)), 2000, "and alone");
}

int main(void)
{
	struct error err;

	if (!mkdtemp(dir))
		return 99;
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(moved, sizeof(moved), "%s/log.1", dir);
	fails_with(log_open("/nonexistent/log", &err), &err, ERR_NOT_FOUND,
		   "cannot open log file /nonexistent/log", "no such folder");
	succeeds(log_open("stderr", &err), &err, "stderr");
	succeeds(log_open(path, &err), &err, "a file");
	test_levels();
	test_hostile();
	test_rotation();
	test_threads();
	unlink(path);
	unlink(moved);
	rmdir(dir);
	return tap_done();
}
