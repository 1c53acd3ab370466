/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Signatures: the published test suite of Signature Version 4, the examples
 * of S3's documentation, and every odd character in paths and queries. */
#include "config.h"

#include "common/cleanup.h"
#include "store/sigv4.h"
#include "tests/tap.h"

#define EMPTY_HASH                                                             \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define VANILLA                                                                \
	"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define HOST  "Host:example.amazonaws.com"
#define DATE  "X-Amz-Date:20150830T123600Z"
#define FORM  "Content-Type:application/x-www-form-urlencoded"
#define TOKEN                                                                  \
	"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWL" \
	"WsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd"   \
	"QrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU"  \
	"9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz"  \
	"+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

static const struct sigv4_keys suite_keys = {
	"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL
};
static const struct sigv4_keys s3_keys = {
	"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	NULL
};

/* 2015-08-30T12:36:00Z and 2013-05-24T00:00:00Z. */
#define SUITE_TIME 1440938160
#define S3_TIME    1369353600

struct suite_case {
	const char *name, *method, *path, *query;
	const char *header[4]; /* besides Host and X-Amz-Date */
	const char *body;
	/* Lines 2 and 3 of the canonical request, its headers besides host and
	 * x-amz-date (all sort before or after both), and the signature. */
	const char *canonical_path, *canonical_query;
	const char *before, *between, *after, *signature;
};

/* Of the suite's files .req, .creq and .authz, by its names. */
static const struct suite_case suite[] = {
	{ "get-vanilla", "GET", "/", "", .canonical_path = "/",
	  .signature = VANILLA },
	{ "get-vanilla-query", "GET", "/", NULL, .canonical_path = "/",
	  .signature = VANILLA },
	{ "get-vanilla-empty-query-key", "GET", "/", "Param1=value1",
	  .canonical_path = "/", .canonical_query = "Param1=value1",
	  .signature = "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45ae"
		       "c72011b9aeb" },
	{ "get-vanilla-query-order-key-case", "GET", "/",
	  "Param2=value2&Param1=value1", .canonical_path = "/",
	  .canonical_query = "Param1=value1&Param2=value2",
	  .signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219"
		       "ec94cdf2500" },
	{ "get-vanilla-query-order-key", "GET", "/",
	  "Param1=value2&Param1=Value1", .canonical_path = "/",
	  .canonical_query = "Param1=Value1&Param1=value2",
	  .signature = "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300"
		       "a15b2382bd1" },
	{ "get-vanilla-query-order-value", "GET", "/",
	  "Param1=value2&Param1=value1", .canonical_path = "/",
	  .canonical_query = "Param1=value1&Param1=value2",
	  .signature = "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c6048615"
		       "7bd471c4694" },
	{ "get-vanilla-query-unreserved", "GET", "/",
	  "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	  "=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	  .canonical_path = "/",
	  .canonical_query =
	  "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	  "=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	  .signature = "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21"
		       "bb143a40197" },
	{ "get-vanilla-utf8-query", "GET", "/", "\xe1\x88\xb4=bar",
	  .canonical_path = "/", .canonical_query = "%E1%88%B4=bar",
	  .signature = "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c"
		       "9027818dd04" },
	{ "get-utf8", "GET", "/\xe1\x88\xb4", "",
	  .canonical_path = "/%E1%88%B4",
	  .signature = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd"
		       "03141be5d85" },
	{ "get-unreserved", "GET",
	  "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	  "", .canonical_path =
	  "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	  .signature = "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52"
		       "a65bbf5f24f" },
	{ "get-space", "GET", "/example space/", "",
	  .canonical_path = "/example%20space/",
	  .signature = "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39"
		       "ddec1366741" },
	{ "get-slash", "GET", "//", "", .canonical_path = "/",
	  .signature = VANILLA },
	{ "get-slashes", "GET", "//example//", "",
	  .canonical_path = "/example/",
	  .signature = "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846"
		       "570885f57e84" },
	{ "get-slash-dot-slash", "GET", "/./", "", .canonical_path = "/",
	  .signature = VANILLA },
	{ "get-slash-pointless-dot", "GET", "/./example", "",
	  .canonical_path = "/example",
	  .signature = "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7"
		       "089db637ec5" },
	{ "get-relative", "GET", "/example/..", "", .canonical_path = "/",
	  .signature = VANILLA },
	{ "get-relative-relative", "GET", "/example1/example2/../..", "",
	  .canonical_path = "/", .signature = VANILLA },
	{ "get-header-key-duplicate", "GET", "/", "",
	  { "My-Header1:value2", "My-Header1:value2", "My-Header1:value1" },
	  .canonical_path = "/", .between = "my-header1:value2,value2,value1\n",
	  .signature = "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f85825"
		       "9531a5138ea" },
	{ "get-header-value-multiline", "GET", "/", "",
	  { "My-Header1:value1\n  value2\n     value3" },
	  .canonical_path = "/", .between = "my-header1:value1 value2 value3\n",
	  .signature = "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a5"
		       "1a73575eefd" },
	{ "get-header-value-order", "GET", "/", "",
	  { "My-Header1:value4", "My-Header1:value1", "My-Header1:value3",
	    "My-Header1:value2" }, .canonical_path = "/",
	  .between = "my-header1:value4,value1,value3,value2\n",
	  .signature = "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643"
		       "f830c755c01" },
	{ "get-header-value-trim", "GET", "/", "",
	  { "My-Header1: value1", "My-Header2: \"a   b   c\"" },
	  .canonical_path = "/",
	  .between = "my-header1:value1\nmy-header2:\"a b c\"\n",
	  .signature = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee3"
		       "59757a9c736" },
	{ "post-vanilla", "POST", "/", "", .canonical_path = "/",
	  .signature = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68"
		       "e92efbe5d6b" },
	{ "post-vanilla-query", "POST", "/", "Param1=value1",
	  .canonical_path = "/", .canonical_query = "Param1=value1",
	  .signature = "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d42"
		       "0d138af7f11" },
	{ "post-header-key-case", "POST", "/", "", .canonical_path = "/",
	  .signature = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68"
		       "e92efbe5d6b" },
	{ "post-header-key-sort", "POST", "/", "", { "My-Header1:value1" },
	  .canonical_path = "/", .between = "my-header1:value1\n",
	  .signature = "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f89"
		       "16fdf18852c" },
	{ "post-header-value-case", "POST", "/", "", { "My-Header1:VALUE1" },
	  .canonical_path = "/", .between = "my-header1:VALUE1\n",
	  .signature = "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629e"
		       "fa58b974b7d" },
	{ "post-vanilla-empty-query-value", "POST", "/", "Param1=value1",
	  .canonical_path = "/", .canonical_query = "Param1=value1",
	  .signature = "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d42"
		       "0d138af7f11" },
	/* Its token is added when all is signed. */
	{ "post-sts-header-after", "POST", "/", "", .canonical_path = "/",
	  .signature = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68"
		       "e92efbe5d6b" },
	{ "post-sts-header-before", "POST", "/", "",
	  { "X-Amz-Security-Token:" TOKEN }, .canonical_path = "/",
	  .after = "x-amz-security-token:" TOKEN "\n",
	  .signature = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c6453"
		       "3a82be05ead" },
	{ "post-x-www-form-urlencoded", "POST", "/", "", { FORM },
	  "Param1=value1", "/",
	  .before = "content-type:application/x-www-form-urlencoded\n",
	  .signature = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d19"
		       "6a0fe09473a" },
	{ "post-x-www-form-urlencoded-parameters", "POST", "/", "",
	  { FORM "; charset=utf8" }, "Param1=value1", "/",
	  .before = "content-type:application/x-www-form-urlencoded;"
		    " charset=utf8\n",
	  .signature = "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0"
		       "d39fa77a6fe" },
};

static const char *text_of(const char *text)
{
	return text ? text : "";
}

/* The canonical request that the case means. */
static char *expected_canonical(const struct suite_case *row,
				const char *hash)
{
	struct strbuf out = { .max = 65536 };
	const char *parts[] = { row->before, "host:example.amazonaws.com\n",
				row->between, "x-amz-date:20150830T123600Z\n",
				row->after };

	strbuf_printf(&out, "%s\n%s\n%s\n", row->method, row->canonical_path,
		      text_of(row->canonical_query));
	for (int i = 0; i < 5; i++)
		strbuf_puts(&out, text_of(parts[i]));
	strbuf_puts(&out, "\n");
	for (int i = 0; i < 5; i++) {
		const char *line = text_of(parts[i]);

		/* Their names, each once. */
		while (*line) {
			strbuf_printf(&out, "%.*s;",
				      (int)strcspn(line, ":"), line);
			line = strchr(line, '\n') + 1;
		}
	}
	out.data[--out.len] = '\0';
	strbuf_printf(&out, "\n%s", hash);
	return strbuf_take(&out);
}

static void test_suite(void)
{
	for (size_t i = 0; i < sizeof(suite) / sizeof(suite[0]); i++) {
		const struct suite_case *row = &suite[i];
		const char *headers[] = { DATE, HOST, row->header[0],
					  row->header[1], row->header[2],
					  row->header[3], NULL };
		char hash[SIGV4_HASH_SIZE];
		struct sigv4_request request = {
			row->method, row->path, row->query, headers, hash,
			"us-east-1", "service", SUITE_TIME, true
		};
		struct strbuf canonical = { .max = 65536 };
		struct strbuf out = { .max = 65536 };
		AUTO_FREE char *want = NULL;
		const char *signature;
		struct error err;

		sigv4_hash(hash, text_of(row->body),
			   strlen(text_of(row->body)));
		want = expected_canonical(row, hash);
		succeeds(sigv4_canonical(&request, &canonical, &err), &err,
			 row->name);
		is_str(canonical.data, want, row->name);
		succeeds(sigv4_authorization(&request, &suite_keys, &out,
					     &err), &err, row->name);
		signature = out.data ? strstr(out.data, "Signature=") : NULL;
		is_str(signature ? signature + 10 : "", row->signature,
		       row->name);
		strbuf_free(&canonical);
		strbuf_free(&out);
	}
}

struct s3_case {
	const char *name, *method, *path, *query;
	const char *headers[6];
	const char *hash, *names, *signature;
};

#define S3_HOST "Host: examplebucket.s3.amazonaws.com"
#define S3_DATE "x-amz-date: 20130524T000000Z"
#define S3_HASH "x-amz-content-sha256: "
#define S3_SIGNED "host;x-amz-content-sha256;x-amz-date"
#define PUT_HASH                                                               \
	"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

/* "Authenticating Requests: Using the Authorization Header". */
static const struct s3_case s3_cases[] = {
	{ "GET object with a range", "GET", "/test.txt", "",
	  { S3_HOST, "Range: bytes=0-9", S3_HASH EMPTY_HASH, S3_DATE },
	  EMPTY_HASH, "host;range;x-amz-content-sha256;x-amz-date",
	  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "PUT object", "PUT", "/test%24file.text", "",
	  { "Date: Fri, 24 May 2013 00:00:00 GMT", S3_HOST, S3_DATE,
	    "x-amz-storage-class: REDUCED_REDUNDANCY", S3_HASH PUT_HASH },
	  PUT_HASH,
	  "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	  "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "GET bucket lifecycle", "GET", "/", "lifecycle",
	  { S3_HOST, S3_DATE, S3_HASH EMPTY_HASH }, EMPTY_HASH, S3_SIGNED,
	  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "list objects", "GET", "/", "prefix=J&max-keys=2",
	  { S3_HOST, S3_DATE, S3_HASH EMPTY_HASH }, EMPTY_HASH, S3_SIGNED,
	  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};

static void test_s3(void)
{
	for (size_t i = 0; i < sizeof(s3_cases) / sizeof(s3_cases[0]); i++) {
		const struct s3_case *row = &s3_cases[i];
		struct sigv4_request request = {
			row->method, row->path, row->query, row->headers,
			row->hash, "us-east-1", "s3", S3_TIME, false
		};
		struct strbuf out = { .max = 4096 };
		struct strbuf want = { .max = 4096 };
		struct error err;

		strbuf_printf(&want, "AWS4-HMAC-SHA256 Credential="
			      "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
			      "aws4_request, SignedHeaders=%s, Signature=%s",
			      row->names, row->signature);
		succeeds(sigv4_authorization(&request, &s3_keys, &out, &err),
			 &err, row->name);
		is_str(out.data, want.data, row->name);
		strbuf_free(&out);
		strbuf_free(&want);
	}
}

/* Lines 2 and 3 of a canonical request of S3. */
static const struct {
	const char *what, *path, *query, *want;
} odd[] = {
	{ "S3 paths stay as they are",
	  "/a%20b/%2B%25/%E1%88%B4//x/../y/.", "",
	  "/a%20b/%2B%25/%E1%88%B4//x/../y/.\n\n" },
	{ "no path is the root", "", "", "/\n\n" },
	{ "a bare name gets =", "/", "uploads", "/\nuploads=\n" },
	{ "an empty value", "/", "prefix=&delimiter=%2F",
	  "/\ndelimiter=%2F&prefix=\n" },
	{ "an empty name", "/", "=v", "/\n=v\n" },
	{ "= in a value", "/", "a=b=c%3D", "/\na=b%3Dc%3D\n" },
	{ "one name twice", "/", "a=2&a=10&a=&a=1", "/\na=&a=1&a=10&a=2\n" },
	{ "names sort before their values", "/", "a-=1&a=2&a%21=3",
	  "/\na=2&a%21=3&a-=1\n" },
	{ "sorted as encoded", "/", "%C3%A4=1&z=1&Z=1&0=1",
	  "/\n%C3%A4=1&0=1&Z=1&z=1\n" },
	{ "lower-case escapes", "/", "a=%2f%c3%a4", "/\na=%2F%C3%A4\n" },
	{ "escapes that were not needed", "/", "%61=%7e", "/\na=~\n" },
	{ "escapes that were needed", "/", "a=/:@!$'()*,;[]",
	  "/\na=%2F%3A%40%21%24%27%28%29%2A%2C%3B%5B%5D\n" },
	{ "+ is a space", "/", "a=b+c%2Bd%20e", "/\na=b%20c%2Bd%20e\n" },
	{ "% without digits", "/", "a=100%&b=%zz&c=%4", "/\na=100%25&b=%25zz"
	  "&c=%254\n" },
	{ "NUL and bytes that are not UTF-8", "/", "a=%00%ff\xfe",
	  "/\na=%00%FF%FE\n" },
	{ "empty parameters", "/", "&&b=1&&a=1&", "/\na=1&b=1\n" },
};

static void test_odd_characters(void)
{
	const char *headers[] = { HOST, NULL };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct sigv4_request request = {
			"GET", odd[i].path, odd[i].query, headers, EMPTY_HASH,
			"us-east-1", "s3", SUITE_TIME, false
		};
		struct strbuf out = { .max = 4096 };
		struct error err;
		char *end;

		succeeds(sigv4_canonical(&request, &out, &err), &err,
			 odd[i].what);
		end = out.data ? strstr(out.data, "host:") : NULL;
		if (end)
			*end = '\0';
		is_str(end ? out.data + 4 : "", odd[i].want, odd[i].what);
		strbuf_free(&out);
	}
}

/* Computed by botocore 1.29 (SigV4Auth, S3SigV4Auth). */
static void test_peers(void)
{
	const char *headers[] = {
		HOST, DATE, S3_HASH EMPTY_HASH,
		"X-Amz-Security-Token: AQoDYXdzEPT//////////wEXAMPLE", NULL
	};
	const char *sts_headers[] = { HOST, DATE, NULL };
	struct sigv4_request s3 = {
		"GET", "/a%20b/%2B%25/%E1%88%B4//x/../y",
		"delimiter=%2F&prefix=a%2Bb%20c%25&list-type=2&uploads=",
		headers, EMPTY_HASH, "us-east-1", "s3", SUITE_TIME, false
	};
	struct sigv4_request other = {
		"GET", "/a%20b/", "b=2&a=1&a=0&c=", sts_headers, EMPTY_HASH,
		"us-east-1", "service", SUITE_TIME, true
	};
	struct strbuf out = { .max = 4096 };
	struct error err;

	succeeds(sigv4_authorization(&s3, &suite_keys, &out, &err), &err,
		 "S3 with odd characters and a session token");
	ok(out.data && strstr(out.data, "Signature=0aa54258a24d6057691bceda87a"
			      "78ff3b1045663d8095dd165342466d991a7cb"),
	   "as botocore signs it");
	strbuf_free(&out);
	succeeds(sigv4_authorization(&other, &suite_keys, &out, &err), &err,
		 "another service: the path is encoded twice");
	ok(out.data && strstr(out.data, "Signature=a2a06ba16e26e408d4615347b7"
			      "9fbc97cfe450fbb6bd74b9a9b75970709d5188"),
	   "as botocore signs it");
	strbuf_free(&out);
}

static void test_helpers(void)
{
	char all[256], date[17], hash[SIGV4_HASH_SIZE];
	struct strbuf out = { .max = 1024 };

	sigv4_hash(hash, "", 0);
	is_str(hash, EMPTY_HASH, "the hash of nothing");
	sigv4_date(date, S3_TIME);
	is_str(date, "20130524T000000Z", "a date");
	sigv4_date(date, INT64_MAX);
	is_str(date, "19700101T000000Z", "a date out of range");
	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	all[255] = '\0';
	uri_encode(&out, all, false);
	is_u64(out.len, 66 + 3 * (255 - 66), "66 characters are unreserved");
	ok(strstr(out.data, "%2D") == NULL && strstr(out.data, "%2F") &&
	   strstr(out.data, "%7F%80") && strstr(out.data, "%FF"),
	   "the others are escaped");
	strbuf_free(&out);
	uri_encode(&out, "a/b c", true);
	is_str(out.data, "a/b%20c", "slashes are kept on request");
	strbuf_free(&out);
}

static void test_refusals(void)
{
	const char *nameless[] = { HOST, "no colon", NULL };
	const char *headers[] = { HOST, NULL };
	struct sigv4_keys long_key = { "AKIDEXAMPLE", NULL, NULL };
	struct sigv4_request request = {
		"GET", "/", "", nameless, EMPTY_HASH, "us-east-1", "s3",
		SUITE_TIME, false
	};
	struct strbuf out = { .max = 4096 };
	char secret[1026], query[200000];
	struct error err;

	memset(secret, 'x', 1025);
	secret[1025] = '\0';
	memset(query, 'x', sizeof(query) - 1);
	query[sizeof(query) - 1] = '\0';
	fails_with(sigv4_authorization(&request, &suite_keys, &out, &err),
		   &err, ERR_ARG, "no name", "a header without a name");
	request.headers = headers;
	long_key.secret_key = secret;
	fails_with(sigv4_authorization(&request, &long_key, &out, &err), &err,
		   ERR_LIMIT, "1024 bytes", "a secret above the maximum");
	secret[1024] = '\0';
	succeeds(sigv4_authorization(&request, &long_key, &out, &err), &err,
		 "the longest secret");
	strbuf_free(&out);
	request.path = query;
	fails_with(sigv4_authorization(&request, &suite_keys, &out, &err),
		   &err, ERR_LIMIT, "above", "a path without end");
	request.path = "/";
	request.query = query;
	fails_with(sigv4_authorization(&request, &suite_keys, &out, &err),
		   &err, ERR_LIMIT, "above", "a query without end");
	strbuf_free(&out);
}

int main(void)
{
	test_suite();
	test_s3();
	test_odd_characters();
	test_peers();
	test_helpers();
	test_refusals();
	return tap_done();
}
