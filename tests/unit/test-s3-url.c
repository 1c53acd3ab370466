/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Addresses of S3: sources, names of buckets, endpoints, styles, regions. */
#include "config.h"

#include "store/s3-url.h"
#include "tests/tap.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static void test_sources(void)
{
	static const struct {
		const char *source, *bucket, *prefix;
	} rows[] = {
		{ "s3://", "", "" },
		{ "s3://abc", "abc", "" },
		{ "s3://abc/", "abc", "" },
		{ "s3://my.bucket-1/vms", "my.bucket-1", "vms/" },
		{ "s3://my.bucket-1/vms/", "my.bucket-1", "vms/" },
		{ "s3://abc/a b/%41?x#y", "abc", "a b/%41?x#y/" },
		{ "s3://abc//x", "abc", "/x/" },
		{ "s3://Old_Bucket", "Old_Bucket", "" },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_source source;
		struct error err;

		succeeds(s3_source_parse(&source, rows[i].source, &err), &err,
			 rows[i].source);
		is_str(source.bucket, rows[i].bucket, "bucket");
		is_str(source.prefix, rows[i].prefix, "prefix");
	}
}

static void test_bad_sources(void)
{
	static const struct {
		const char *source;
		enum error_kind kind;
		const char *part;
	} rows[] = {
		{ "s3:///key", ERR_ARG, "bucket is missing" },
		{ "s3://ab", ERR_ARG, "3 to 63 are allowed" },
		{ "s3://0123456789012345678901234567890123456789012345678901"
		  "234567890123", ERR_ARG, "it has 64 characters" },
		{ "s3://user:secret@bucket", ERR_ARG, "never from the URL" },
		{ "s3://bucket:80", ERR_ARG, "only letters, digits" },
		{ "s3://b\xc3\xbc" "cket", ERR_ARG, "only letters, digits" },
		{ "s3://-bucket", ERR_ARG, "begins and ends" },
		{ "s3://bucket.", ERR_ARG, "begins and ends" },
		{ "s3://a..b", ERR_ARG, "begins and ends" },
		{ "s3://10.1.2.3/x", ERR_ARG, "no IP address" },
		{ "s3://arn:aws:s3:eu-west-1:123:accesspoint/x",
		  ERR_UNSUPPORTED, "s3alias" },
		{ "s3://fast--use1-az4--x-s3", ERR_UNSUPPORTED,
		  "directory buckets" },
	};
	struct s3_source source;
	struct error err;
	char text[1200];

	for (size_t i = 0; i < ROWS(rows); i++) {
		fails_with(s3_source_parse(&source, rows[i].source, &err),
			   &err, rows[i].kind, rows[i].part, rows[i].part);
		ok(!strstr(err.text, "secret"), "no password is repeated");
	}
	snprintf(text, sizeof(text), "s3://abc/%01023d", 0);
	fails_with(s3_source_parse(&source, text, &err), &err, ERR_ARG,
		   "1023 bytes, 1022", "a prefix that leaves no room");
	text[strlen(text) - 1] = '\0';
	succeeds(s3_source_parse(&source, text, &err), &err,
		 "the longest prefix");
}

static void test_endpoints(void)
{
	static const struct {
		const char *text, *host, *path;
		bool is_tls, is_ip;
	} rows[] = {
		{ "http://127.0.0.1:8340", "127.0.0.1:8340", "", false, true },
		{ "http://[::1]:8340/", "[::1]:8340", "", false, true },
		{ "https://minio.example", "minio.example", "", true, false },
		{ "https://minio.example:443", "minio.example", "", true,
		  false },
		{ "http://minio.example:80", "minio.example", "", false,
		  false },
		{ "http://minio.example:443", "minio.example:443", "", false,
		  false },
		{ "https://x.example/storage/s3/", "x.example", "/storage/s3",
		  true, false },
	};
	struct s3_endpoint endpoint;
	struct error err;

	for (size_t i = 0; i < ROWS(rows); i++) {
		succeeds(s3_endpoint_parse(&endpoint, rows[i].text, &err),
			 &err, rows[i].text);
		is_str(endpoint.host, rows[i].host, "host");
		is_str(endpoint.path, rows[i].path, "path");
		is_u64(endpoint.is_tls, rows[i].is_tls, "TLS");
		is_u64(endpoint.is_ip, rows[i].is_ip, "IP");
		ok(!endpoint.is_aws, "not AWS");
	}
	succeeds(s3_endpoint_parse(&endpoint, NULL, &err), &err, "none");
	ok(endpoint.is_aws && endpoint.is_tls, "is AWS by TLS");
}

static void test_bad_endpoints(void)
{
	static const struct {
		const char *text, *part;
	} rows[] = {
		{ "minio.example", "https:// or http://" },
		{ "ftp://minio.example", "https:// or http://" },
		{ "https://", "no URL" },
		{ "https://user:secret@minio.example", "no password" },
		{ "https://minio.example/?secret", "no password" },
		{ "https://minio.example/#secret", "no password" },
		{ "https://minio.example:99999", "no URL" },
		{ "https://minio example", "blank" },
		{ "https://a\r\nHost: b", "blank" },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_endpoint endpoint;
		struct error err;

		fails_with(s3_endpoint_parse(&endpoint, rows[i].text, &err),
			   &err, ERR_ARG, rows[i].part, rows[i].text);
		ok(!strstr(err.text, "secret"), "no password is repeated");
	}
}

/* One row: where a request for a key of a bucket goes. */
static const struct {
	const char *endpoint;
	enum s3_addressing addressing;
	const char *region, *bucket, *key, *host, *path;
} address_rows[] = {
	{ NULL, S3_ADDRESSING_AUTO, "eu-west-1", "abc", "a/b c+d",
	  "abc.s3.eu-west-1.amazonaws.com", "/a/b%20c%2Bd" },
	{ NULL, S3_ADDRESSING_AUTO, "us-east-1", "abc", "",
	  "abc.s3.us-east-1.amazonaws.com", "/" },
	{ NULL, S3_ADDRESSING_AUTO, "us-east-1", "", "",
	  "s3.us-east-1.amazonaws.com", "/" },
	{ NULL, S3_ADDRESSING_AUTO, "eu-west-1", "a.b.c", "k",
	  "s3.eu-west-1.amazonaws.com", "/a.b.c/k" },
	{ NULL, S3_ADDRESSING_AUTO, "us-east-1", "Old_Bucket", "k",
	  "s3.us-east-1.amazonaws.com", "/Old_Bucket/k" },
	{ NULL, S3_PATH_STYLE, "eu-west-1", "abc", "",
	  "s3.eu-west-1.amazonaws.com", "/abc" },
	{ NULL, S3_ADDRESSING_AUTO, "cn-north-1", "abc", "k",
	  "abc.s3.cn-north-1.amazonaws.com.cn", "/k" },
	{ "http://127.0.0.1:8340", S3_ADDRESSING_AUTO, "x", "abc", "k",
	  "127.0.0.1:8340", "/abc/k" },
	{ "https://minio.example:9000", S3_ADDRESSING_AUTO, "x", "abc", "k",
	  "minio.example:9000", "/abc/k" },
	{ "https://minio.example:9000", S3_VIRTUAL_HOSTED, "x", "abc", "k",
	  "abc.minio.example:9000", "/k" },
	{ "https://x.example/s3", S3_ADDRESSING_AUTO, "x", "abc", "k",
	  "x.example", "/s3/abc/k" },
	{ "http://127.0.0.1:1", S3_ADDRESSING_AUTO, "x", "", "",
	  "127.0.0.1:1", "/" },
	{ "http://127.0.0.1:1", S3_ADDRESSING_AUTO, "x", "abc",
	  "/../.\x01\xc3\xbc%?#",
	  "127.0.0.1:1", "/abc//../.%01%C3%BC%25%3F%23" },
};

static void test_addresses(void)
{
	for (size_t i = 0; i < ROWS(address_rows); i++) {
		struct strbuf host = { .max = 1000 }, path = { .max = 1000 };
		struct s3_endpoint endpoint;
		struct error err;

		succeeds(s3_endpoint_parse(&endpoint,
					   address_rows[i].endpoint, &err),
			 &err, "endpoint");
		succeeds(s3_address(&endpoint, address_rows[i].addressing,
				    address_rows[i].region,
				    address_rows[i].bucket,
				    address_rows[i].key, &host, &path, &err),
			 &err, address_rows[i].bucket);
		is_str(host.data, address_rows[i].host, "host");
		is_str(path.data, address_rows[i].path, "path");
		strbuf_free(&host);
		strbuf_free(&path);
	}
}

static void test_impossible_addresses(void)
{
	static const struct {
		const char *endpoint, *bucket;
	} rows[] = {
		{ "http://127.0.0.1:8340", "abc" },
		{ "http://[::1]:8340", "abc" },
		{ NULL, "Old_Bucket" },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct strbuf host = { .max = 1000 }, path = { .max = 1000 };
		struct s3_endpoint endpoint;
		struct error err = { 0 };

		if (s3_endpoint_parse(&endpoint, rows[i].endpoint, &err))
			printf("Bail out! %s\n", err.text);
		fails_with(s3_address(&endpoint, S3_VIRTUAL_HOSTED, "x",
				      rows[i].bucket, "k", &host, &path, &err),
			   &err, ERR_ARG, "use path style", rows[i].bucket);
		strbuf_free(&host);
		strbuf_free(&path);
	}
}

static void test_regions(void)
{
	static const struct {
		const char *host, *region;
	} rows[] = {
		{ "s3.eu-west-1.amazonaws.com", "eu-west-1" },
		{ "b.s3.eu-west-1.amazonaws.com", "eu-west-1" },
		{ "b.s3-eu-west-1.amazonaws.com", "eu-west-1" },
		{ "s3-us-gov-west-1.amazonaws.com", "us-gov-west-1" },
		{ "b.s3.dualstack.ap-southeast-2.amazonaws.com",
		  "ap-southeast-2" },
		{ "b.s3.cn-north-1.amazonaws.com.cn", "cn-north-1" },
		{ "s3.amazonaws.com", NULL },
		{ "b.s3.amazonaws.com", NULL },
		{ "s3.eu-west-1.example.com", NULL },
		{ "s3.eu-west-1.evilamazonaws.com", NULL },
		{ ".amazonaws.com", NULL },
		{ "amazonaws.com", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		char region[S3_REGION_MAX] = "before";
		bool found = s3_region_of_host(rows[i].host, region);

		is_u64(found, rows[i].region != NULL, rows[i].host);
		is_str(region, found ? rows[i].region : "", "its region");
	}
	ok(s3_is_aws_host("b.s3.amazonaws.com"), "AWS");
	ok(!s3_is_aws_host("s3.amazonaws.com.evil.example"), "not AWS");
	ok(s3_region_is_valid("eu-west-1"), "a region");
	ok(s3_region_is_valid("default"), "a region of another server");
	ok(!s3_region_is_valid(""), "no name");
	ok(!s3_region_is_valid("a.b"), "a dot would name another host");
	ok(!s3_region_is_valid("a/b"), "a slash would, too");
	ok(!s3_region_is_valid("-a"), "a dash in front");
}

static void test_redirects(void)
{
	static const struct {
		const char *endpoint, *host, *there; /* NULL: refused */
		enum s3_addressing addressing;
	} rows[] = {
		{ "https://s3.example", "s3.example", "s3.example",
		  S3_PATH_STYLE },
		{ "https://s3.example", "vms.s3.example", "s3.example",
		  S3_VIRTUAL_HOSTED },
		{ "https://s3.example", "vms.eu.S3.example", "eu.S3.example",
		  S3_VIRTUAL_HOSTED },
		{ "https://s3.example", "eu.s3.example", "eu.s3.example",
		  S3_PATH_STYLE },
		{ "https://s3.example:99", "vms.s3.example:99",
		  "s3.example:99", S3_VIRTUAL_HOSTED },
		{ "https://vms.s3.example", "vms.s3.example",
		  "vms.s3.example", S3_PATH_STYLE },
		{ "https://s3.example:99", "vms.s3.example", NULL, 0 },
		{ "https://s3.example", "vms.s3.example:99", NULL, 0 },
		{ "https://s3.example", "evils3.example", NULL, 0 },
		{ "https://s3.example", "s3.example.evil", NULL, 0 },
		{ "https://s3.example", "vms.example", NULL, 0 },
		{ "https://s3.example", ".s3.example", NULL, 0 },
		{ "https://s3.example", "", NULL, 0 },
		{ "http://127.0.0.1", "vms.127.0.0.1", NULL, 0 },
		{ NULL, "vms.s3.eu-west-1.amazonaws.com", NULL, 0 },
		{ NULL, "", NULL, 0 },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct s3_endpoint endpoint, there = { .host = "none" };
		enum s3_addressing addressing = S3_ADDRESSING_AUTO;
		struct error err;
		bool follows;

		succeeds(s3_endpoint_parse(&endpoint, rows[i].endpoint, &err),
			 &err, "endpoint");
		follows = s3_redirect(&endpoint, "vms", rows[i].host, &there,
				      &addressing);
		is_u64(follows, rows[i].there != NULL, rows[i].host);
		is_str(there.host, follows ? rows[i].there : "none", "host");
		is_u64(addressing, rows[i].addressing, "addressing");
		ok(!follows || there.is_tls == endpoint.is_tls, "scheme");
	}
}

int main(void)
{
	test_sources();
	test_bad_sources();
	test_endpoints();
	test_bad_endpoints();
	test_addresses();
	test_impossible_addresses();
	test_redirects();
	test_regions();
	return tap_done();
}
