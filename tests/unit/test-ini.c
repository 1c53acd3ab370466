/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * AWS's profile files: sections, keys, nested keys, and what is refused. */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "store/ini.h"
#include "tests/tap.h"

static const struct {
	const char *what, *text, *section, *key, *want; /* NULL: absent */
} rows[] = {
	{ "a key", "[a]\nk = v\n", "a", "k", "v" },
	{ "without blanks", "[a]\nk=v", "a", "k", "v" },
	{ "a colon", "[a]\nk : v", "a", "k", "v" },
	{ "the first of both divides", "[a]\nk=v:w=x", "a", "k", "v:w=x" },
	{ "blanks around it", "[a]\n\tk\t = \t v w \t\n", "a", "k", "v w" },
	{ "lines end in CR LF", "[a]\r\nk = v\r\n", "a", "k", "v" },
	{ "a byte-order mark", "\xef\xbb\xbf[a]\nk=v\n", "a", "k", "v" },
	{ "an empty value", "[a]\nk =\n", "a", "k", "" },
	{ "keys without regard to case", "[a]\nREGION=v\n", "a", "region",
	  "v" },
	{ "sections by case", "[a]\nk=v\n[A]\nk=w\n", "a", "k", "v" },
	{ "sections by case, the other", "[a]\nk=v\n[A]\nk=w\n", "A", "k",
	  "w" },
	{ "a section that is not there", "[a]\nk=v\n", "b", "k", NULL },
	{ "a key that is not there", "[a]\nk=v\n", "a", "kk", NULL },
	{ "the last value counts", "[a]\nk=v\nk=w\n", "a", "k", "w" },
	{ "a section in two parts", "[a]\nk=v\n[b]\nk=x\n[a]\nl=w\n", "a",
	  "k", "v" },
	{ "comments", "# x\n; y\n[a]\n # [b]\n; k=w\nk=v\n", "a", "k", "v" },
	{ "no comment within a value", "[a]\nk=v#w ;x\n", "a", "k",
	  "v#w ;x" },
	{ "text behind a section", "[a] # b\nk=v\n", "a", "k", "v" },
	{ "blanks in brackets", "[ a ]\nk=v\n", "a", "k", "v" },
	{ "a profile", "[profile  x]\nk=v\n", "profile x", "k", "v" },
	{ "a tab behind profile", "[profile\tx]\nk=v\n", "profile x", "k",
	  "v" },
	{ "a quoted profile", "[profile \"x y\"]\nk=v\n", "profile x y", "k",
	  "v" },
	{ "a profile in single quotes", "[profile 'x']\nk=v\n", "profile x",
	  "k", "v" },
	{ "profile without a name", "[profile]\nk=v\n", "profile", "k", "v" },
	{ "a section that begins like one", "[profiles x]\nk=v\n",
	  "profiles x", "k", "v" },
	{ "nested", "[a]\ns3 =\n  endpoint_url = v\nk = w\n", "a",
	  "s3.endpoint_url", "v" },
	{ "nested keys are not the section's", "[a]\ns3 =\n  region = v\n",
	  "a", "region", NULL },
	{ "back from nested", "[a]\ns3 =\n  x = v\nk = w\n", "a", "k", "w" },
	{ "nested after a comment", "[a]\ns3 =\n # c\n\n  x = v\n", "a",
	  "s3.x", "v" },
	{ "indented as a whole", "[a]\n  k = v\n  l = w\n", "a", "l", "w" },
	{ "indented and nested", "[a]\n  s3 =\n    x = v\n  l = w\n", "a",
	  "s3.x", "v" },
	{ "a section ends nesting", "[a]\nk=v\n[b]\n  l = w\n", "b", "l",
	  "w" },
	{ "a line that goes on is not read", "[a]\nk = v\n   more\n", "a",
	  "k", "v" },
	{ "nothing at all", "", "a", "k", NULL },
};

static void test_values(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ini *ini = NULL;
		struct error err;
		const char *value;

		succeeds(ini_parse(&ini, rows[i].text, strlen(rows[i].text),
				   &err), &err, rows[i].what);
		value = ini_get(ini, rows[i].section, rows[i].key);
		if (rows[i].want)
			is_str(value, rows[i].want, rows[i].what);
		else
			ok(!value, "%s: absent", rows[i].what);
		ini_free(ini);
	}
}

static const struct {
	const char *what, *text, *part;
} bad[] = {
	{ "a line without =", "[a]\nk=v\nSECRET\n", "line 3: neither" },
	{ "a line that starts with =", "[a]\n= SECRET\n", "line 2: neither" },
	{ "a key before all sections", "\nSECRET = x\n", "line 2: a key" },
	{ "an open section", "[a]\n[SECRET\nk=v\n", "line 2: a section" },
};

static void test_refusals(void)
{
	struct strbuf many = { .max = INI_FILE_MAX + 1 };
	struct ini *ini = NULL;
	struct error err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fails_with(ini_parse(&ini, bad[i].text, strlen(bad[i].text),
				     &err),
			   &err, ERR_ARG, bad[i].part, bad[i].what);
		ok(!strstr(err.text, "SECRET"), "%s: nothing of its text",
		   bad[i].what);
	}
	fails_with(ini_parse(&ini, "[a]\0k=v\n", 8, &err), &err, ERR_ARG,
		   "NUL", "NUL");
	for (unsigned int i = 0; i <= INI_ENTRIES_MAX; i++)
		strbuf_puts(&many, "[a]\n");
	fails_with(ini_parse(&ini, many.data, many.len, &err), &err,
		   ERR_LIMIT, "20000 sections", "too many sections");
	while (!many.failed)
		strbuf_puts(&many, "#");
	fails_with(ini_parse(&ini, many.data, many.len, &err), &err,
		   ERR_LIMIT, "1048576 bytes", "too long");
	strbuf_free(&many);
}

static void test_long_token(void)
{
	struct strbuf text = { .max = 65536 };
	struct ini *ini = NULL;
	struct error err;
	const char *value;

	strbuf_puts(&text, "[a]\naws_session_token = ");
	for (int i = 0; i < 4096; i++)
		strbuf_puts(&text, "/+A=");
	strbuf_puts(&text, "\n");
	succeeds(ini_parse(&ini, text.data, text.len, &err), &err,
		 "a line of 16 KiB");
	value = ini_get(ini, "a", "aws_session_token");
	is_u64(value ? strlen(value) : 0, 16384, "is not cut");
	ok(ini_has_section(ini, "a") && !ini_has_section(ini, "b") &&
	   !ini_has_section(NULL, "a"), "which sections there are");
	ini_free(ini);
	strbuf_free(&text);
}

static void test_files(void)
{
	char path[] = "/tmp/test-ini-XXXXXX";
	AUTO_CLOSE int fd = mkstemp(path);
	struct ini *ini = NULL;
	struct error err;

	ok(fd >= 0 && write(fd, "[a]\nk=v\nx", 9) == 9, "a file");
	fails_with(ini_load(&ini, path, &err), &err, ERR_ARG,
		   "line 3: neither", "a bad file");
	ok(!strncmp(err.text, path, strlen(path)), "is named");
	ok(ftruncate(fd, 8) == 0, "made good");
	succeeds(ini_load(&ini, path, &err), &err, "a good file");
	is_str(ini_get(ini, "a", "k"), "v", "is read");
	ini_free(ini);
	ini = NULL;
	ok(ftruncate(fd, INI_FILE_MAX + 1) == 0, "made large");
	fails_with(ini_load(&ini, path, &err), &err, ERR_LIMIT, "1048576",
		   "a file above the maximum");
	unlink(path);
	fails_with(ini_load(&ini, path, &err), &err, ERR_NOT_FOUND, path,
		   "no file");
	fails_with(ini_load(&ini, "/", &err), &err, ERR_IO, "/",
		   "a directory");
}

int main(void)
{
	test_values();
	test_refusals();
	test_long_token();
	test_files();
	return tap_done();
}
