/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Error values: texts, prefixes, cutting, and what users see as errno. */
#include "config.h"

#include <errno.h>

#include "tests/tap.h"

static void test_set(void)
{
	struct error err = { 0 };

	is_u64((uint64_t)-error_set(&err, ERR_LIMIT, "%d of %s", 5, "x"), 1,
	       "error_set() returns -1");
	is_str(err.text, "5 of x", "text");
	is_u64(err.kind, ERR_LIMIT, "kind");
	ok(error_set(NULL, ERR_ARG, "nobody listens") == -1, "without err");
	ok(error_prefix(NULL, "nobody") == -1, "prefix without err");
	error_clear(&err);
	ok(err.kind == ERR_NONE && !err.text[0], "cleared");
	error_prefix(&err, "noun");
	is_str(err.text, "", "what is not set gets no prefix");
}

static void test_errno(void)
{
	static const struct {
		int errnum;
		enum error_kind kind;
		int shown;
	} cases[] = {
		{ ENOENT, ERR_NOT_FOUND, ENOENT },
		{ ENOTDIR, ERR_NOT_FOUND, ENOENT },
		{ EACCES, ERR_DENIED, EACCES },
		{ EPERM, ERR_DENIED, EACCES },
		{ ENOMEM, ERR_NOMEM, ENOMEM },
		{ ESTALE, ERR_STALE, ESTALE },
		{ ETIMEDOUT, ERR_TIMEOUT, ETIMEDOUT },
		{ ENOSPC, ERR_IO, ENOSPC },
		{ EIO, ERR_IO, EIO },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = { 0 };

		error_errno(&err, cases[i].errnum, "cannot open %s", "f");
		is_u64(err.kind, cases[i].kind, "kind of an errno");
		is_u64((uint64_t)error_to_errno(&err),
		       (uint64_t)cases[i].shown, "errno of a kind");
		ok(strstr(err.text, "cannot open f: "), "its text");
	}
	is_u64((uint64_t)error_to_errno(&(struct error){ ERR_CORRUPT }), EIO,
	       "corrupt is EIO");
	is_u64((uint64_t)error_to_errno(&(struct error){ ERR_UNSUPPORTED }),
	       EOPNOTSUPP, "unsupported is EOPNOTSUPP");
	is_u64((uint64_t)error_to_errno(&(struct error){ ERR_CANCELLED }),
	       EINTR, "cancelled is EINTR");
}

static void test_prefix(void)
{
	struct error err = { 0 };
	char noun[1000];

	error_set(&err, ERR_CORRUPT, "grain 3 is damaged");
	error_prefix(&err, "%s", "disk.vmdk");
	error_prefix(&err, "file:///srv/%s", "a");
	is_str(err.text, "file:///srv/a: disk.vmdk: grain 3 is damaged",
	       "each layer adds its noun");
	is_u64(err.kind, ERR_CORRUPT, "the kind stays");
	for (int i = 0; i < 100; i++)
		error_prefix(&err, "%s", "another layer");
	is_u64(strlen(err.text), sizeof(err.text) - 1, "cut at the end");
	memset(noun, 'n', sizeof(noun) - 1);
	noun[sizeof(noun) - 1] = '\0';
	error_set(&err, ERR_CORRUPT, "%s", noun);
	is_u64(strlen(err.text), sizeof(err.text) - 1, "a long text is cut");
	error_prefix(&err, "%s", noun);
	is_u64(strlen(err.text), sizeof(err.text) - 1, "a long noun is cut");
	error_set(&err, ERR_CORRUPT, "because");
	noun[sizeof(err.text) - 3] = '\0';
	error_prefix(&err, "%s", noun);
	is_str(err.text + sizeof(err.text) - 6, "nnn: ", "cut to the byte");
}

static void test_names(void)
{
	for (int kind = ERR_NONE; kind <= ERR_BUG; kind++)
		for (int other = ERR_NONE; other < kind; other++)
			if (!strcmp(error_kind_name((enum error_kind)kind),
				    error_kind_name((enum error_kind)other)))
				ok(false, "two kinds have one name");
	is_str(error_kind_name(ERR_NOT_FOUND), "not-found", "a kind's name");
}

int main(void)
{
	test_set();
	test_errno();
	test_prefix();
	test_names();
	return tap_done();
}
