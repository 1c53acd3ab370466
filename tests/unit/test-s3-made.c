/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Prefixes that a mount remembers: sorted, bounded, listed by level. */
#include "config.h"

#include "store/s3-made.h"
#include "tests/tap.h"

static struct s3_made made;
static char listed[256];

static int note(void *arg, const struct store_entry *entry, struct error *err)
{
	size_t len = strlen(listed);

	ok(entry->is_prefix, "a prefix");
	snprintf(listed + len, sizeof(listed) - len, "%s ", entry->key);
	return *(unsigned int *)arg && !--*(unsigned int *)arg ?
		error_set(err, ERR_IO, "enough") : 0;
}

static const char *list(const char *prefix)
{
	unsigned int never = 0;
	struct error err;

	listed[0] = '\0';
	succeeds(s3_made_list(&made, prefix, note, &never, &err), &err,
		 "listed");
	return listed;
}

static void test_levels(void)
{
	static const char *const prefixes[] = { "b/", "a/", "a/x/y/", "a/x/",
						"a-/", "a/b c/" };
	unsigned int first = 1;
	struct error err;

	for (size_t i = 0; i < 6; i++)
		succeeds(s3_made_add(&made, prefixes[i], &err), &err, "added");
	fails_with(s3_made_add(&made, "a/x/", &err), &err, ERR_EXISTS,
		   "'a/x/' exists", "once");
	is_str(list(""), "a-/ a/ b/ ", "the first level");
	is_str(list("a/"), "a/b c/ a/x/ ", "the second");
	is_str(list("a/x/"), "a/x/y/ ", "the third");
	is_str(list("a/x"), "a/x/ ", "by the beginning of a name");
	is_str(list("c"), "", "nothing");
	listed[0] = '\0';
	fails_with(s3_made_list(&made, "", note, &first, &err), &err, ERR_IO,
		   "enough", "listing can be stopped");
	is_str(listed, "a-/ ", "at once");
}

static void test_members(void)
{
	ok(s3_made_has(&made, "a/x/"), "one");
	ok(!s3_made_has(&made, "a/y/"), "another one");
	ok(s3_made_forget(&made, "a/x/"), "forgotten");
	ok(!s3_made_forget(&made, "a/x/"), "once");
	ok(s3_made_has(&made, "a/x/"), "there as long as one is below it");
	ok(s3_made_has_below(&made, "a/x/"), "as is");
	ok(s3_made_forget(&made, "a/x/y/"), "without that");
	ok(!s3_made_has(&made, "a/x/"), "it is not");
	ok(s3_made_has_below(&made, "a/"), "one with something below it");
	ok(!s3_made_has_below(&made, "b/"), "and one without");
	s3_made_keep_parent(&made, "k/l/key");
	s3_made_keep_parent(&made, "k/l/other");
	s3_made_keep_parent(&made, "key");
	is_str(list("k/"), "k/l/ ", "where a key was");
	is_str(list(""), "a-/ a/ b/ ", "and nothing else");
}

static void test_limit(void)
{
	struct error err = { 0 };
	size_t n = made.count;
	char prefix[32];

	for (unsigned int i = 0; n < S3_MADE_MAX; i++, n++) {
		snprintf(prefix, sizeof(prefix), "%u/", i * 7919 % 100003);
		if (s3_made_add(&made, prefix, &err))
			break;
	}
	is_u64(n, S3_MADE_MAX, "as many as may be");
	fails_with(s3_made_add(&made, "z/", &err), &err, ERR_LIMIT, "10000",
		   "and not one more");
	s3_made_keep_parent(&made, "z/key");
	ok(!s3_made_has(&made, "z/"), "nor is a parent kept");
	ok(s3_made_forget(&made, "b/") && !s3_made_add(&made, "z/", &err),
	   "unless there is room again");
	for (size_t i = 1; i < made.count; i++)
		if (strcmp(made.prefixes[i - 1], made.prefixes[i]) >= 0)
			ok(false, "%s is in its place", made.prefixes[i]);
}

int main(void)
{
	s3_made_init(&made);
	test_levels();
	test_members();
	test_limit();
	s3_made_destroy(&made);
	return tap_done();
}
