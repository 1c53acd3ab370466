/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Values of headers, and what may answer a ranged GET. */
#include "config.h"

#include "store/http-fields.h"
#include "tests/tap.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static void test_content_range(void)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t first, last, total;
	} rows[] = {
		{ "bytes 0-0/1", true, 0, 0, 1 },
		{ "bytes 100-199/1000", true, 100, 199, 1000 },
		{ "Bytes 5-6/*", true, 5, 6, UINT64_MAX },
		{ "bytes 0-9223372036854775806/9223372036854775807", true, 0,
		  INT64_MAX - 1, INT64_MAX },
		{ "", false, 0, 0, 0 },
		{ "bytes", false, 0, 0, 0 },
		{ "bytes=0-1/2", false, 0, 0, 0 },
		{ "bytes 0-1", false, 0, 0, 0 },
		{ "bytes 0-1/", false, 0, 0, 0 },
		{ "bytes 2-1/9", false, 0, 0, 0 },
		{ "bytes 0-9/9", false, 0, 0, 0 },
		{ "bytes 0-1/2x", false, 0, 0, 0 },
		{ "bytes -1-1/2", false, 0, 0, 0 },
		{ "bytes *" "/9", false, 0, 0, 0 },
		{ "bytes 0-1/18446744073709551617", false, 0, 0, 0 },
		{ "items 0-1/2", false, 0, 0, 0 },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct content_range range;

		is_u64(field_content_range(rows[i].text, &range),
		       rows[i].good, rows[i].text);
		if (!rows[i].good)
			continue;
		is_u64(range.first, rows[i].first, "first");
		is_u64(range.last, rows[i].last, "last");
		is_u64(range.total, rows[i].total, "total");
	}
}

static void test_etag(void)
{
	static const struct {
		const char *text, *etag;
		bool is_weak;
	} rows[] = {
		{ "\"abc-7\"", "abc-7", false },
		{ "abc", "abc", false },
		{ "W/\"abc\"", "abc", true },
		{ "", NULL, false },
		{ "\"\"", NULL, false },
		{ "\"a b\"", NULL, false },
		{ "\"a\"b\"", NULL, false },
		{ "\"a\r\nX: y\"", NULL, false },
		{ "\"\xc3\xbc\"", NULL, false },
	};
	char etag[STORE_ETAG_MAX], text[STORE_ETAG_MAX + 1];
	bool is_weak;

	for (size_t i = 0; i < ROWS(rows); i++) {
		bool good = field_etag(rows[i].text, etag, &is_weak);

		is_u64(good, rows[i].etag != NULL, rows[i].text);
		if (!good)
			continue;
		is_str(etag, rows[i].etag, "without quotes");
		is_u64(is_weak, rows[i].is_weak, "weak");
	}
	memset(text, 'x', sizeof(text));
	text[STORE_ETAG_MAX] = '\0';
	ok(!field_etag(text, etag, NULL), "one too long");
	text[STORE_ETAG_MAX - 1] = '\0';
	ok(field_etag(text, etag, NULL), "the longest");
}

static void test_times(void)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: none */
	} iso[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-11-20T19:24:22.472Z", 1795202662472000000 },
		{ "2026-11-20T19:24:22.4720001234567Z", 1795202662472000123 },
		{ "2026-11-20T19:24:22", -1 },
		{ "2026-11-20T19:24:22.Z", -1 },
		{ "2026-11-20T19:24:22.4", -1 },
		{ "2026-13-20T19:24:22Z", -1 },
		{ "2026-11-20 19:24:22Z", -1 },
		{ "1969-12-31T23:59:59Z", -1 },
		{ "2263-01-01T00:00:00Z", -1 },
		{ "", -1 },
	}, http[] = {
		{ "Fri, 20 Nov 2026 19:24:18 GMT", 1795202658000000000 },
		{ "", -1 },
		{ "yesterday", -1 },
	};

	for (size_t i = 0; i < ROWS(iso); i++) {
		int64_t ns = -1;

		ok(field_iso_time(iso[i].text, &ns) == (iso[i].ns != -1),
		   "%s", iso[i].text);
		is_u64((uint64_t)ns, (uint64_t)iso[i].ns, "its time");
	}
	for (size_t i = 0; i < ROWS(http); i++) {
		int64_t ns = -1;

		ok(field_http_time(http[i].text, &ns) == (http[i].ns != -1),
		   "%s", http[i].text);
		is_u64((uint64_t)ns, (uint64_t)http[i].ns, "its time");
	}
}

static void test_unescape(void)
{
	static const struct {
		const char *text, *plain; /* NULL: refused */
		bool plus;
	} rows[] = {
		{ "a%2Bb%2fc+d", "a+b/c+d", false },
		{ "a+b%2B", "a b+", true },
		{ "%C3%BC%01", "\xc3\xbc\x01", true },
		{ "", "", true },
		{ "%00", NULL, true },
		{ "%", NULL, true },
		{ "%4", NULL, true },
		{ "%g0", NULL, true },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		char text[32];
		bool good;

		snprintf(text, sizeof(text), "%s", rows[i].text);
		good = field_unescape(text, rows[i].plus);
		is_u64(good, rows[i].plain != NULL, rows[i].text);
		if (good)
			is_str(text, rows[i].plain, "decoded");
	}
}

/* Answers to "bytes=100-199" of an object of 1000 bytes with ETag "abc", and
 * to all of it. */
static const struct {
	const char *what;
	bool whole, by_time;
	int status;
	const char *headers;
	enum error_kind kind;
	const char *part;
} range_rows[] = {
	{ "the range", false, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_NONE, "" },
	{ "of an unknown total", false, false, 206, "etag: abc\r\n"
	  "content-range: bytes 100-199/*\r\n", ERR_NONE, "" },
	{ "a proxy's weak mark", false, false, 206, "ETag: W/\"abc\"\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_NONE, "" },
	{ "uploaded in chunks", false, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Encoding: aws-chunked\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_NONE, "" },
	{ "packed on the way", false, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Encoding: gzip\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_UNSUPPORTED,
	  "Content-Encoding 'gzip'" },
	{ "no Content-Range", false, false, 206, "ETag: \"abc\"\r\n",
	  ERR_NETWORK, "Content-Range is ''" },
	{ "another range", false, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Range: bytes 0-99/1000\r\n", ERR_NETWORK,
	  "asked for bytes 100-199, the answer has 0-99" },
	{ "a part of the range", false, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Range: bytes 100-198/1000\r\n", ERR_NETWORK,
	  "the answer has 100-198" },
	{ "another total", false, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Range: bytes 100-199/1001\r\n", ERR_NETWORK,
	  "1001 bytes with the same ETag; this one has 1000" },
	{ "another total, without ETags", false, true, 206,
	  "Last-Modified: Fri, 20 Nov 2026 19:24:18 GMT\r\n"
	  "Content-Range: bytes 100-199/1001\r\n", ERR_STALE,
	  "1001 bytes now, not 1000" },
	{ "no ETag", false, false, 206,
	  "Content-Range: bytes 100-199/1000\r\n", ERR_NETWORK, "no ETag" },
	{ "another ETag", false, false, 206, "ETag: \"abd\"\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_STALE, "replaced" },
	{ "all instead of a range", false, false, 200, "ETag: \"abc\"\r\n"
	  "Content-Length: 1000\r\n", ERR_UNSUPPORTED,
	  "the whole object in answer to a range" },
	{ "all, as a range", true, false, 206, "ETag: \"abc\"\r\n"
	  "Content-Range: bytes 0-999/1000\r\n", ERR_NONE, "" },
	{ "all, as all", true, false, 200, "ETag: \"abc\"\r\n"
	  "Content-Length: 1000\r\n", ERR_NONE, "" },
	{ "all of another size", true, false, 200, "ETag: \"abc\"\r\n"
	  "Content-Length: 999\r\n", ERR_NETWORK, "has 999 bytes" },
	{ "a page instead of a range", false, false, 200, "ETag: \"abc\"\r\n"
	  "Content-Length: 50\r\n", ERR_NETWORK,
	  "no range and not the whole object: it has 50 bytes" },
	{ "all of another object", true, false, 200, "ETag: \"abd\"\r\n"
	  "Content-Length: 1000\r\n", ERR_STALE, "replaced" },
	{ "a status that is none of these", true, false, 204,
	  "ETag: \"abc\"\r\n", ERR_NETWORK, "HTTP status 204" },
	{ "the same time", false, true, 206,
	  "Last-Modified: Fri, 20 Nov 2026 19:24:18 GMT\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_NONE, "" },
	{ "another time", false, true, 206,
	  "Last-Modified: Fri, 20 Nov 2026 19:24:19 GMT\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_STALE, "replaced" },
	{ "no time", false, true, 206, "ETag: \"abc\"\r\n"
	  "Content-Range: bytes 100-199/1000\r\n", ERR_NETWORK,
	  "no Last-Modified" },
};

static void test_ranges(void)
{
	struct object_info info = { .size = 1000, .etag = "abc",
				    .mtime_ns = 1795202658000000000 };

	for (size_t i = 0; i < ROWS(range_rows); i++) {
		struct range_wanted wanted = {
			.offset = range_rows[i].whole ? 0 : 100,
			.length = range_rows[i].whole ? 1000 : 100,
			.info = &info,
			.by_time = range_rows[i].by_time,
		};
		struct http_response response = {
			.status = range_rows[i].status,
			.headers = { .max = HTTP_HEADERS_MAX },
		};
		struct error err;

		strbuf_puts(&response.headers, range_rows[i].headers);
		if (range_rows[i].kind)
			fails_with(field_check_range(&response, &wanted, &err),
				   &err, range_rows[i].kind,
				   range_rows[i].part, range_rows[i].what);
		else
			succeeds(field_check_range(&response, &wanted, &err),
				 &err, range_rows[i].what);
		http_response_free(&response);
	}
}

static void test_info(void)
{
	static const struct {
		int status;
		const char *headers;
		enum error_kind kind;
		uint64_t size;
		const char *etag;
	} rows[] = {
		{ 200, "Content-Length: 7\r\nETag: \"x\"\r\nLast-Modified: "
		  "Fri, 20 Nov 2026 19:24:18 GMT\r\n", ERR_NONE, 7, "x" },
		{ 206, "Content-Length: 1\r\nContent-Range: bytes 0-0/7\r\n",
		  ERR_NONE, 7, "" },
		{ 206, "Content-Range: bytes 0-0/*\r\n", ERR_UNSUPPORTED, 0,
		  "" },
		{ 206, "Content-Length: 1\r\n", ERR_NETWORK, 0, "" },
		{ 200, "", ERR_UNSUPPORTED, 0, "" },
		{ 200, "Content-Length: 7\r\nETag: \"a b\"\r\n", ERR_NETWORK,
		  0, "" },
		{ 200, "Content-Length: 7\r\nLast-Modified: soon\r\n",
		  ERR_NETWORK, 0, "" },
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct http_response response = {
			.status = rows[i].status,
			.headers = { .max = HTTP_HEADERS_MAX },
		};
		struct object_info info;
		struct error err = { 0 };
		bool is_weak;
		int ret;

		strbuf_puts(&response.headers, rows[i].headers);
		ret = field_object_info(&response, &info, &is_weak, &err);
		is_u64(err.kind, rows[i].kind, rows[i].headers);
		if (!ret) {
			is_u64(info.size, rows[i].size, "size");
			is_str(info.etag, rows[i].etag, "ETag");
		}
		http_response_free(&response);
	}
}

int main(void)
{
	test_content_range();
	test_etag();
	test_times();
	test_unescape();
	test_ranges();
	test_info();
	return tap_done();
}
