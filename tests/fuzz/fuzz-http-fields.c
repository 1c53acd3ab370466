/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: the headers of an answer, as object, as range, as fault; and
 * its first line as the texts that listings have. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/http-fields.h"
#include "store/s3-error.h"

#define WAIT_MAX_MS 300000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int statuses[] = { 200, 206, 301, 307, 403, 503, 416, 412 };

static const struct object_info known = {
	.size = 1000, .mtime_ns = 1795202658000000000, .etag = "abc-7",
};

/* What can be shown on a terminal, in one line. */
static void check_text(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			abort();
}

static void check_result(int ret, const struct error *err)
{
	if (ret && (!err->kind || !*err->text))
		abort();
	check_text(err->text);
}

static void try_info(const struct http_response *response)
{
	struct error err = { 0 };
	struct object_info info;
	bool is_weak;
	int ret = field_object_info(response, &info, &is_weak, &err);

	check_result(ret, &err);
	if (!ret && (info.size > INT64_MAX || info.mtime_ns < 0 ||
		     strpbrk(info.etag, "\" ")))
		abort();
	check_text(info.etag);
}

/* An answer that is taken says what was asked for. */
static void try_range(const struct http_response *response, uint64_t offset,
		      uint64_t length, bool by_time)
{
	struct range_wanted wanted = { offset, length, &known, by_time };
	char value[128], etag[STORE_ETAG_MAX];
	struct content_range range;
	struct error err = { 0 };
	int ret = field_check_range(response, &wanted, &err);

	check_result(ret, &err);
	if (ret)
		return;
	http_header(response, "etag", value, sizeof(value));
	if (!by_time && (!field_etag(value, etag, NULL) ||
			 strcmp(etag, known.etag) != 0))
		abort();
	http_header(response, "content-range", value, sizeof(value));
	if (response->status == 206 &&
	    (!field_content_range(value, &range) || range.first != offset ||
	     range.last != offset + length - 1 ||
	     (range.total != known.size && range.total != UINT64_MAX)))
		abort();
	if (response->status != 206 && length != known.size)
		abort();
}

static void try_fault(const struct http_response *response, const char *body,
		      size_t len)
{
	static const struct s3_asker asker = {
		"bucket", "host", "region", false, "AKID", "environment",
		"token",
	};
	struct error err = { 0 };
	struct s3_fault fault;

	s3_fault_read(&fault, response, body, len);
	if (fault.retry_after_ms > WAIT_MAX_MS || http_date(response) < 0 ||
	    (*fault.region && !s3_region_is_valid(fault.region)))
		abort();
	check_text(fault.endpoint);
	check_text(fault.request_id);
	check_result(s3_fault_error(&fault, &asker, &err), &err);
}

/* A line as time, number and escaped key. */
static void try_texts(const char *data, size_t size)
{
	char *text = strndup(data, size);
	size_t len = text ? strlen(text) : 0;
	uint64_t number;
	int64_t time_ns;

	if (!text)
		return;
	text[strcspn(text, "\r\n")] = '\0';
	if (field_number(text, &number) && number > INT64_MAX)
		abort();
	if (field_iso_time(text, &time_ns) && time_ns < 0)
		abort();
	if (field_http_time(text, &time_ns) && time_ns < 0)
		abort();
	if (field_unescape(text, len % 2) && strlen(text) > len)
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_response response = { .headers = {
						.max = HTTP_HEADERS_MAX } };
	const char *text = (const char *)data + 1, *body;
	size_t head;

	if (!size)
		return 0;
	response.status = statuses[data[0] % 8];
	body = memmem(text, size - 1, "\r\n\r\n", 4);
	head = body ? (size_t)(body - text) : size - 1;
	strbuf_add(&response.headers, text, head);
	if (!response.headers.failed) {
		try_info(&response);
		try_range(&response, 100, 100, false);
		try_range(&response, 100, 100, true);
		try_range(&response, 0, 1000, false);
		try_fault(&response, body ? body : "",
			  body ? size - 1 - head : 0);
		try_texts(text, head);
	}
	strbuf_free(&response.headers);
	return 0;
}
