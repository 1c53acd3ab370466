/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * URLs of single files: names, what is shown, what is refused, redirects. */
#include "config.h"

#include "store/https-url.h"
#include "tests/tap.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static void test_good(void)
{
	static const struct {
		const char *text, *shown, *key;
		bool is_local;
	} rows[] = {
		{ "https://host.example/a/disk.vmdk",
		  "https://host.example/a/disk.vmdk", "disk.vmdk", false },
		{ "https://host.example:8443/my%20disk.vhd?X-Amz-Signature="
		  "secret&b=c#frag", "https://host.example:8443/my%20disk.vhd",
		  "my disk.vhd", false },
		{ "https://host.example/a%2Fb.vmdk",
		  "https://host.example/a%2Fb.vmdk", "a_b.vmdk", false },
		{ "https://host.example/%zz.vmdk",
		  "https://host.example/%zz.vmdk", "%zz.vmdk", false },
		{ "https://host.example/", "https://host.example/", "",
		  false },
		{ "https://host.example/x/..%2f", NULL, ".._", false },
		{ "https://host.example/%2e%2e", NULL, "", false },
		{ "http://127.0.0.1:8000/d.vmdk",
		  "http://127.0.0.1:8000/d.vmdk", "d.vmdk", true },
		{ "http://[::1]:8000/d.vmdk", "http://[::1]:8000/d.vmdk",
		  "d.vmdk", true },
		{ "http://localhost/d.vmdk", "http://localhost/d.vmdk",
		  "d.vmdk", true },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct https_url url;
		struct error err;

		succeeds(https_url_parse(&url, rows[i].text, &err), &err,
			 rows[i].text);
		if (rows[i].shown)
			is_str(url.shown, rows[i].shown, "shown");
		is_str(url.key, rows[i].key, "key");
		is_u64(url.is_local, rows[i].is_local, "this machine");
		ok(!strstr(url.shown, "secret"), "its secret is not shown");
		https_url_free(&url);
	}
}

static void test_bad(void)
{
	static const struct {
		const char *text, *part;
	} rows[] = {
		{ "https://", "no URL" },
		{ "ftp://127.0.0.1/x?secret", "no https:// URL" },
		{ "file:///etc/passwd", "no https:// URL" },
		{ "http://host.example/x?secret", "this machine only" },
		{ "http://127.0.0.1.example/x?secret", "this machine only" },
		{ "https://user:secret@host.example/x", "presigned" },
		{ "https://secret@host.example/x", "presigned" },
		{ "https://host.example/a b?secret", "percent-encoded" },
		{ "https://host.example/\xc3\xbc?secret", "percent-encoded" },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct https_url url;
		struct error err;

		fails_with(https_url_parse(&url, rows[i].text, &err), &err,
			   ERR_ARG, rows[i].part, rows[i].text);
		ok(!strstr(err.text, "secret"), "no secret is repeated");
	}
}

static void test_redirects(void)
{
	static const struct {
		const char *from, *location, *to, *part;
	} rows[] = {
		{ "https://a.example/x/d?q", "https://b.example/e?f",
		  "https://b.example/e?f", NULL },
		{ "https://a.example/x/d?q", "/e", "https://a.example/e",
		  NULL },
		{ "https://a.example/x/d?q", "e?r", "https://a.example/x/e?r",
		  NULL },
		{ "https://a.example/x/d", "//b.example/e",
		  "https://b.example/e", NULL },
		{ "http://127.0.0.1/d", "http://127.0.0.1:99/e",
		  "http://127.0.0.1:99/e", NULL },
		{ "http://127.0.0.1/d", "https://b.example/e",
		  "https://b.example/e", NULL },
		{ "https://a.example/d", "http://127.0.0.1/e", NULL,
		  "from https to http" },
		{ "https://a.example/d", "https://127.0.0.1/e", NULL,
		  "to this machine" },
		{ "https://a.example/d", "https://169.254.169.254/e", NULL,
		  "to this machine" },
		{ "https://a.example/d", "https://2130706433/e", NULL,
		  "to this machine" },
		{ "https://a.example/d", "https://[::ffff:127.0.0.1]/e", NULL,
		  "to this machine" },
		{ "https://a.example/d", "https://x.localhost/e", NULL,
		  "to this machine" },
		{ "https://a.example/d", "http://b.example/e", NULL,
		  "this machine only" },
		{ "https://a.example/d", "file:///etc/passwd", NULL,
		  "no https:// URL" },
		{ "https://a.example/d", "https://u:p@b.example/e", NULL,
		  "presigned" },
		{ "https://a.example/d", "", NULL, "no URL" },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct https_url from, to;
		struct error err = { 0 };
		int ret;

		if (https_url_parse(&from, rows[i].from, &err))
			printf("Bail out! %s\n", err.text);
		ret = https_url_follow(&to, &from, rows[i].location, &err);
		if (rows[i].to)
			is_str(ret ? err.text : to.url, rows[i].to,
			       rows[i].location);
		else if (!ok(ret && strstr(err.text, rows[i].part), "%s",
			     rows[i].location))
			printf("# %s\n", ret ? err.text : to.url);
		if (!ret)
			https_url_free(&to);
		https_url_free(&from);
	}
}

int main(void)
{
	test_good();
	test_bad();
	test_redirects();
	return tap_done();
}
