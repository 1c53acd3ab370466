/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Listings of S3: queries, pages as AWS, Ceph and Swift send them, hostile
 * ones. */
#include "config.h"

#include "common/strbuf.h"
#include "store/s3-list.h"
#include "tests/tap.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))
#define PAGE(...)                                                              \
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "       \
	"xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" __VA_ARGS__       \
	"</ListBucketResult>"
#define URL "<EncodingType>url</EncodingType>"
#define OBJECT(key, size)                                                      \
	"<Contents><Key>" key "</Key><LastModified>2026-11-20T19:24:22.472Z"   \
	"</LastModified><ETag>&quot;25ed&quot;</ETag><Size>" size "</Size>"    \
	"<StorageClass>STANDARD</StorageClass></Contents>"
#define PREFIX(prefix)                                                         \
	"<CommonPrefixes><Prefix>" prefix "</Prefix></CommonPrefixes>"

/* Keys of a page: "a:5 b/ ", the size behind an object's. */
static char *keys_of(const struct s3_page *page)
{
	struct strbuf text = { .max = 1 << 20 };

	for (size_t i = 0; i < page->count; i++) {
		const struct store_entry *entry = &page->entries[i];

		strbuf_puts(&text, entry->key);
		if (!entry->is_prefix)
			strbuf_printf(&text, ":%llu", (unsigned long long)
				      entry->info.size);
		strbuf_puts(&text, " ");
	}
	return strbuf_take(&text);
}

static const struct {
	const char *what, *base, *prefix, *xml, *keys, *token;
} good_rows[] = {
	{ "objects and prefixes", "", "",
	  PAGE(URL OBJECT("a.vmdk", "5") PREFIX("b%2F") OBJECT("c", "0")),
	  "a.vmdk:5 b/ c:0 ", NULL },
	{ "without namespace, prefixes first", "", "",
	  "<ListBucketResult>" PREFIX("b/") OBJECT("a", "1")
	  "</ListBucketResult>", "b/ a:1 ", NULL },
	{ "a prefix of elements", "", "",
	  "<s:ListBucketResult xmlns:s='urn:x'><s:Contents><s:Key>a</s:Key>"
	  "<s:Size>7</s:Size><s:LastModified>2026-11-20T19:24:31Z"
	  "</s:LastModified></s:Contents></s:ListBucketResult>", "a:7 ",
	  NULL },
	{ "encoded where it says so", "", "",
	  PAGE(URL OBJECT("a%2Bb%25c%26d%20e+f%01", "1")),
	  "a+b%c&d e f\x01:1 ", NULL },
	{ "literal where it does not", "", "",
	  PAGE(OBJECT("a%2Bb+c&amp;&lt;d", "1")), "a%2Bb+c&<d:1 ", NULL },
	{ "the store's own prefix is taken away", "vms/", "vms/db/",
	  PAGE(URL OBJECT("vms/db/x", "1") PREFIX("vms/db/y/")),
	  "db/x:1 db/y/ ", NULL },
	{ "markers are left out", "vms/", "vms/",
	  PAGE(OBJECT("vms/", "0") OBJECT("vms/a", "1")), "a:1 ", NULL },
	{ "markers below, without delimiter", "", "a",
	  PAGE(OBJECT("a/", "0") OBJECT("a/b", "1")), "a/b:1 ", NULL },
	{ "but not those with bytes", "", "a",
	  PAGE(OBJECT("a/", "7") OBJECT("a//", "0") OBJECT("a/b", "1")),
	  "a/:7 a/b:1 ", NULL },
	{ "nor an empty one without a slash", "vms/", "vms/",
	  PAGE(OBJECT("vms/", "7") OBJECT("vms/a", "0")), "a:0 ", NULL },
	{ "empty segments are keys", "", "",
	  PAGE(PREFIX("/") OBJECT("//x", "1")), "/ //x:1 ", NULL },
	{ "what cannot be a key is left out", "", "",
	  PAGE(URL OBJECT("a%00b", "1") OBJECT("%zz", "1") OBJECT("%4", "1")
	       OBJECT("ok", "1")), "ok:1 ", NULL },
	{ "more to come", "", "",
	  PAGE("<IsTruncated>true</IsTruncated><NextContinuationToken>1/x+y="
	       "</NextContinuationToken>" OBJECT("a", "1")), "a:1 ", "1/x+y=" },
	{ "a token behind the last page means nothing", "", "",
	  PAGE("<IsTruncated>false</IsTruncated><NextContinuationToken>x"
	       "</NextContinuationToken>"), "", NULL },
	{ "nothing", "", "vms/", PAGE("<Prefix>vms/</Prefix>"), "", NULL },
};

static void test_good(void)
{
	for (size_t i = 0; i < ROWS(good_rows); i++) {
		struct s3_page page;
		struct error err;
		char *keys;

		succeeds(s3_list_parse(&page, good_rows[i].xml,
				       strlen(good_rows[i].xml),
				       good_rows[i].base, good_rows[i].prefix,
				       &err), &err, good_rows[i].what);
		keys = keys_of(&page);
		is_str(keys, good_rows[i].keys, "keys");
		is_str(page.token ? page.token : "(none)",
		       good_rows[i].token ? good_rows[i].token : "(none)",
		       "token");
		free(keys);
		s3_page_free(&page);
	}
}

static const struct {
	const char *xml;
	enum error_kind kind;
	const char *part;
} bad_rows[] = {
	{ "", ERR_CORRUPT, "no listing of S3's" },
	{ "Hello", ERR_CORRUPT, "no listing of S3's" },
	{ " <!DOCTYPE HTML><html><body>Router</body></html>", ERR_ARG,
	  "is a web page" },
	{ "<html/>", ERR_ARG, "is a web page" },
	{ "<Error><Code>SlowDown</Code></Error>", ERR_CORRUPT, "<Error>" },
	{ "<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult>&a;"
	  "</ListBucketResult>", ERR_UNSUPPORTED, "DOCTYPE" },
	{ PAGE(OBJECT("other/x", "1")), ERR_CORRUPT, "with the prefix" },
	{ PAGE(URL OBJECT("vm%2", "1")), ERR_NONE, "" },
	{ PAGE(PREFIX("vms/db")), ERR_CORRUPT, "without '/'" },
	{ PAGE(OBJECT("vms/x", "")), ERR_CORRUPT, "a size of ''" },
	{ PAGE(OBJECT("vms/x", "-1")), ERR_CORRUPT, "a size of '-1'" },
	{ PAGE(OBJECT("vms/x", "9223372036854775808")), ERR_CORRUPT,
	  "a size of '9223372036854775808'" },
	{ PAGE("<Contents><Key>vms/x</Key><Size>1</Size><LastModified>soon"
	       "</LastModified></Contents>"), ERR_CORRUPT, "a time of 'soon'" },
	{ PAGE("<Contents><Key>vms/x</Key><Size>1</Size></Contents>"),
	  ERR_CORRUPT, "a time of ''" },
	{ PAGE("<IsTruncated>true</IsTruncated>"), ERR_UNSUPPORTED,
	  "ListObjectsV2" },
	{ PAGE("<IsTruncated>true</IsTruncated><NextContinuationToken/>"),
	  ERR_UNSUPPORTED, "ListObjectsV2" },
};

static void test_bad(void)
{
	for (size_t i = 0; i < ROWS(bad_rows); i++) {
		struct s3_page page;
		struct error err = { 0 };
		int ret = s3_list_parse(&page, bad_rows[i].xml,
					strlen(bad_rows[i].xml), "vms/",
					"vms/", &err);

		is_u64(ret != 0, bad_rows[i].kind != ERR_NONE, "result");
		if (!ok(err.kind == bad_rows[i].kind &&
			strstr(err.text, bad_rows[i].part), "%s",
			bad_rows[i].part))
			printf("# %s: %s\n", error_kind_name(err.kind),
			       err.text);
		s3_page_free(&page);
	}
}

static void test_long(void)
{
	struct strbuf text = { .max = 4 << 20 };
	struct s3_page page;
	struct error err;

	strbuf_puts(&text, "<ListBucketResult>");
	for (int length = STORE_KEY_MAX; length <= STORE_KEY_MAX + 1;
	     length++) {
		strbuf_puts(&text, "<Contents><Key>");
		for (int i = 0; i < length; i++)
			strbuf_puts(&text, "k");
		strbuf_puts(&text, "</Key><Size>1</Size><LastModified>"
			    "2026-11-20T19:24:22Z</LastModified></Contents>");
	}
	strbuf_puts(&text, "</ListBucketResult>");
	succeeds(s3_list_parse(&page, text.data, text.len, "", "", &err), &err,
		 "a key that is too long is no failure");
	is_u64(page.count, 1, "it is left out");
	is_u64(page.seen, 2, "but counted");
	s3_page_free(&page);
	text.len = 0;
	strbuf_puts(&text, "<ListBucketResult>");
	for (int i = 0; i < 10001; i++)
		strbuf_puts(&text, "<CommonPrefixes><Prefix>a/</Prefix>"
			    "</CommonPrefixes>");
	strbuf_puts(&text, "</ListBucketResult>");
	fails_with(s3_list_parse(&page, text.data, text.len, "", "", &err),
		   &err, ERR_LIMIT, "more than 10000 keys", "a flood");
	s3_page_free(&page);
	strbuf_free(&text);
}

static void test_details(void)
{
	static const char xml[] = PAGE(OBJECT("a", "1")
		"<Contents><Key>b</Key><Size>1</Size><ETag>\"x\r\ny\"</ETag>"
		"<LastModified>1970-01-01T00:00:01Z</LastModified></Contents>");
	struct s3_page page;
	struct error err;

	succeeds(s3_list_parse(&page, xml, strlen(xml), "", "", &err), &err,
		 "two objects");
	is_str(page.entries[0].info.etag, "25ed", "ETag without quotes");
	is_u64((uint64_t)page.entries[0].info.mtime_ns, 1795202662000000000,
	       "time with its fraction");
	is_str(page.entries[1].info.etag, "", "an ETag that makes no sense");
	is_u64((uint64_t)page.entries[1].info.mtime_ns, 1000000000,
	       "time without fraction");
	s3_page_free(&page);
}

static void test_buckets(void)
{
	static const char xml[] =
		"<ListAllMyBucketsResult><Owner><ID>x</ID></Owner><Buckets>"
		"<Bucket><Name>abc</Name></Bucket><Bucket><Name>a/b</Name>"
		"</Bucket><Bucket/><Bucket><Name>x.y</Name></Bucket></Buckets>"
		"<ContinuationToken>t</ContinuationToken>"
		"</ListAllMyBucketsResult>";
	struct s3_page page;
	struct error err;
	char *keys;

	succeeds(s3_buckets_parse(&page, xml, strlen(xml), &err), &err,
		 "buckets");
	keys = keys_of(&page);
	is_str(keys, "abc/ x.y/ ", "their names, as prefixes");
	is_str(page.token, "t", "more to come");
	free(keys);
	s3_page_free(&page);
	fails_with(s3_buckets_parse(&page, "<ListBucketResult/>", 19, &err),
		   &err, ERR_CORRUPT, "<ListBucketResult>", "another listing");
	s3_page_free(&page);
}

static void test_query(void)
{
	struct list_args first = { .delimiter = '/' };
	struct list_args next = { .continuation = "a/b+c=", .max_keys = 5 };
	struct list_args many = { .max_keys = 100000 };
	struct strbuf text = { .max = 10000 };

	s3_list_query(&text, &first, "v ms/");
	is_str(text.data, "delimiter=%2F&encoding-type=url&list-type=2&"
	       "max-keys=1000&prefix=v%20ms%2F", "the first page");
	text.len = 0;
	s3_list_query(&text, &next, "");
	is_str(text.data, "continuation-token=a%2Fb%2Bc%3D&encoding-type=url&"
	       "list-type=2&max-keys=5&prefix=", "the next page");
	text.len = 0;
	s3_list_query(&text, &many, "");
	is_str(text.data, "encoding-type=url&list-type=2&max-keys=1000&"
	       "prefix=", "at most what S3 gives");
	strbuf_free(&text);
}

int main(void)
{
	test_good();
	test_bad();
	test_long();
	test_details();
	test_buckets();
	test_query();
	return tap_done();
}
