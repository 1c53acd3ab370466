/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Values that servers send. */
#include "config.h"

#include <ctype.h>
#include <curl/curl.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/checked.h"
#include "store/http-fields.h"

#define NS_PER_S 1000000000
#define TIME_MAX (INT64_MAX / NS_PER_S)

/* Take a number from *text; false if there is none or it is too large. */
static bool take_number(const char **text, uint64_t *value)
{
	const char *at = *text;
	uint64_t v = 0;

	for (; isdigit((unsigned char)*at); at++)
		if (!mul_u64(v, 10, &v) ||
		    !add_u64(v, (uint64_t)(*at - '0'), &v) || v > INT64_MAX)
			return false;
	if (at == *text)
		return false;
	*text = at;
	*value = v;
	return true;
}

bool field_number(const char *text, uint64_t *value)
{
	return take_number(&text, value) && !*text;
}

bool field_content_range(const char *text, struct content_range *range)
{
	static const char unit[] = "bytes";

	if (strncasecmp(text, unit, strlen(unit)))
		return false;
	text += strlen(unit);
	if (*text != ' ')
		return false;
	text += strspn(text, " ");
	if (!take_number(&text, &range->first) || *text++ != '-' ||
	    !take_number(&text, &range->last) || *text++ != '/')
		return false;
	if (!strcmp(text, "*"))
		range->total = UINT64_MAX;
	else if (!field_number(text, &range->total))
		return false;
	return range->first <= range->last && range->last < range->total;
}

bool field_etag(const char *text, char etag[STORE_ETAG_MAX], bool *is_weak)
{
	bool weak = !strncmp(text, "W/", 2);
	size_t len;

	if (weak)
		text += 2;
	len = strlen(text);
	if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= STORE_ETAG_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~' || text[i] == '"')
			return false;
	memcpy(etag, text, len);
	etag[len] = '\0';
	if (is_weak)
		*is_weak = weak;
	return true;
}

/* Exactly `digits` digits and then the character `end`. */
static bool take_digits(const char **text, int digits, char end, int *value)
{
	const char *at = *text;

	*value = 0;
	for (int i = 0; i < digits; i++, at++) {
		if (!isdigit((unsigned char)*at))
			return false;
		*value = *value * 10 + (*at - '0');
	}
	if (*at != end)
		return false;
	*text = at + 1;
	return true;
}

/* ".472Z" or "Z", the '.' or 'Z' being taken already. */
static bool take_fraction(const char *text, char first, int64_t *ns)
{
	int64_t unit = NS_PER_S / 10;

	*ns = 0;
	if (first == 'Z')
		return !*text;
	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++, unit /= 10)
		*ns += (*text - '0') * unit;
	return !strcmp(text, "Z");
}

static bool to_ns(int64_t seconds, int64_t ns, int64_t *time_ns)
{
	if (seconds < 0 || seconds >= TIME_MAX)
		return false;
	*time_ns = seconds * NS_PER_S + ns;
	return true;
}

bool field_iso_time(const char *text, int64_t *time_ns)
{
	struct tm tm = { 0 };
	const char *at = text;
	int64_t ns;
	char end;

	if (!take_digits(&at, 4, '-', &tm.tm_year) ||
	    !take_digits(&at, 2, '-', &tm.tm_mon) ||
	    !take_digits(&at, 2, 'T', &tm.tm_mday) ||
	    !take_digits(&at, 2, ':', &tm.tm_hour) ||
	    !take_digits(&at, 2, ':', &tm.tm_min))
		return false;
	end = strchr(at, '.') ? '.' : 'Z';
	if (!take_digits(&at, 2, end, &tm.tm_sec) ||
	    !take_fraction(at, end, &ns))
		return false;
	if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return to_ns(timegm(&tm), ns, time_ns);
}

bool field_http_time(const char *text, int64_t *time_ns)
{
	return *text && to_ns(curl_getdate(text, NULL), 0, time_ns);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool field_unescape(char *text, bool plus_is_blank)
{
	char *out = text;

	for (; *text; text++) {
		int high, low;

		if (*text == '+' && plus_is_blank) {
			*out++ = ' ';
			continue;
		}
		if (*text != '%') {
			*out++ = *text;
			continue;
		}
		high = hex_digit(text[1]);
		low = high < 0 ? -1 : hex_digit(text[2]);
		if (low < 0 || (high == 0 && low == 0))
			return false;
		*out++ = (char)(high << 4 | low);
		text += 2;
	}
	*out = '\0';
	return true;
}

/* The size of the whole object that a 200 or 206 answer tells. */
static int object_size(const struct http_response *response, uint64_t *size,
		       struct error *err)
{
	char value[128];
	struct content_range range;

	if (response->status == 200) {
		http_header(response, "Content-Length", value, sizeof(value));
		if (field_number(value, size))
			return 0;
		return error_set(err, ERR_UNSUPPORTED, "the server does not "
				 "say how large it is (Content-Length is "
				 "'%.40s')", value);
	}
	http_header(response, "Content-Range", value, sizeof(value));
	if (!field_content_range(value, &range))
		return error_set(err, ERR_NETWORK, "the answer's Content-Range "
				 "'%.60s' makes no sense", value);
	if (range.total == UINT64_MAX)
		return error_set(err, ERR_UNSUPPORTED, "the server does not "
				 "say how large it is (Content-Range is "
				 "'%.60s')", value);
	*size = range.total;
	return 0;
}

int field_object_info(const struct http_response *response,
		      struct object_info *info, bool *etag_is_weak,
		      struct error *err)
{
	char value[2 * STORE_ETAG_MAX];

	memset(info, 0, sizeof(*info));
	*etag_is_weak = false;
	if (object_size(response, &info->size, err))
		return -1;
	http_header(response, "ETag", value, sizeof(value));
	if (*value && !field_etag(value, info->etag, etag_is_weak))
		return error_set(err, ERR_NETWORK,
				 "the answer's ETag makes no sense");
	http_header(response, "Last-Modified", value, sizeof(value));
	if (*value && !field_http_time(value, &info->mtime_ns))
		return error_set(err, ERR_NETWORK, "the answer's Last-Modified "
				 "'%.40s' makes no sense", value);
	return 0;
}

/* Bytes as they are stored? "aws-chunked" is a trace of how some client
 * uploaded them. */
static int check_encoding(const struct http_response *response,
			  struct error *err)
{
	char value[64];

	http_header(response, "Content-Encoding", value, sizeof(value));
	if (!*value || !strcasecmp(value, "identity") ||
	    !strcasecmp(value, "aws-chunked"))
		return 0;
	return error_set(err, ERR_UNSUPPORTED, "the answer has "
			 "Content-Encoding '%s': only stored bytes are of use",
			 value);
}

/* Of the object that was opened? A weak mark on an ETag that fits is the work
 * of a proxy in between: If-Match has compared them strongly before. */
static int check_pinned(const struct http_response *response,
			const struct range_wanted *wanted, struct error *err)
{
	char value[2 * STORE_ETAG_MAX], etag[STORE_ETAG_MAX];
	int64_t time_ns;

	if (wanted->by_time) {
		http_header(response, "Last-Modified", value, sizeof(value));
		if (!field_http_time(value, &time_ns))
			return error_set(err, ERR_NETWORK, "the answer has no "
					 "Last-Modified: it may be of another "
					 "file");
		if (time_ns != wanted->info->mtime_ns)
			return error_set(err, ERR_STALE,
					 "was replaced while open");
		return 0;
	}
	http_header(response, "ETag", value, sizeof(value));
	if (!field_etag(value, etag, NULL))
		return error_set(err, ERR_NETWORK, "the answer has no ETag: "
				 "it may be of another object");
	if (strcmp(etag, wanted->info->etag) != 0)
		return error_set(err, ERR_STALE, "was replaced while open");
	return 0;
}

/* A 200 answer has the whole object, whatever was asked for. */
static int check_whole(const struct http_response *response,
		       const struct range_wanted *wanted, struct error *err)
{
	char value[32];
	uint64_t length;

	http_header(response, "Content-Length", value, sizeof(value));
	if (wanted->offset == 0 && wanted->length == wanted->info->size &&
	    (!*value ||
	     (field_number(value, &length) && length == wanted->length)))
		return 0;
	if (*value && (!field_number(value, &length) ||
		       length != wanted->info->size))
		return error_set(err, ERR_NETWORK, "the answer is no range and "
				 "not the whole object: it has %.20s bytes, "
				 "the object %llu", value,
				 (unsigned long long)wanted->info->size);
	return error_set(err, ERR_UNSUPPORTED, "the server sends the whole "
			 "object in answer to a range: it does not support "
			 "ranges, or a proxy removes them");
}

int field_check_range(const struct http_response *response,
		      const struct range_wanted *wanted, struct error *err)
{
	uint64_t last = wanted->offset + wanted->length - 1;
	struct content_range range;
	char value[128];

	if (check_encoding(response, err) ||
	    check_pinned(response, wanted, err))
		return -1;
	if (response->status == 200)
		return check_whole(response, wanted, err);
	if (response->status != 206)
		return error_set(err, ERR_NETWORK, "a ranged GET was answered "
				 "with HTTP status %d", response->status);
	http_header(response, "Content-Range", value, sizeof(value));
	if (!field_content_range(value, &range))
		return error_set(err, ERR_NETWORK, "the answer's Content-Range "
				 "is '%.60s', which makes no sense", value);
	if (range.first != wanted->offset || range.last != last)
		return error_set(err, ERR_NETWORK, "asked for bytes %llu-%llu, "
				 "the answer has %llu-%llu",
				 (unsigned long long)wanted->offset,
				 (unsigned long long)last,
				 (unsigned long long)range.first,
				 (unsigned long long)range.last);
	if (range.total == UINT64_MAX || range.total == wanted->info->size)
		return 0;
	if (wanted->by_time)
		return error_set(err, ERR_STALE, "was replaced while open: it "
				 "has %llu bytes now, not %llu",
				 (unsigned long long)range.total,
				 (unsigned long long)wanted->info->size);
	return error_set(err, ERR_NETWORK, "the answer is of an object of %llu "
			 "bytes with the same ETag; this one has %llu",
			 (unsigned long long)range.total,
			 (unsigned long long)wanted->info->size);
}

static int add_count(struct json_t *object, const char *name, uint64_t count,
		     struct error *err)
{
	if (json_object_set_new(object, name, json_integer((json_int_t)count)))
		return error_nomem(err);
	return 0;
}

int http_stats_json(struct http *http, struct json_t *object,
		    struct error *err)
{
	struct http_stats stats = http_stats(http);

	return add_count(object, "requests", stats.requests, err) ||
	       add_count(object, "connections", stats.connections, err) ||
	       add_count(object, "bytes_in", stats.bytes_in, err) ||
	       add_count(object, "bytes_out", stats.bytes_out, err) ? -1 : 0;
}
