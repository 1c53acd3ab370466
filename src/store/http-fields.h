/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Values that servers send: ranges, ETags, dates, numbers, percent-encoded
 * text; and what the answer to a ranged GET must be. Pure functions. */
#ifndef VMIEFS_HTTP_FIELDS_H
#define VMIEFS_HTTP_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/http.h"
#include "store/store.h"

/* All digits and below 2^63, as sizes are; false otherwise. */
bool field_number(const char *text, uint64_t *value);

/* "bytes 100-199/1000". total is UINT64_MAX where it says "*". False unless
 * first <= last < total. */
struct content_range {
	uint64_t first, last, total;
};
bool field_content_range(const char *text, struct content_range *range);

/* An ETag without its quotes (which may be missing). False where it is empty,
 * too long or has a character that no ETag has. *is_weak may be NULL. */
bool field_etag(const char *text, char etag[STORE_ETAG_MAX], bool *is_weak);

/* Nanoseconds since 1970 of "2026-11-20T19:24:22.472Z" (fraction optional)
 * and of "Fri, 20 Nov 2026 19:24:18 GMT"; false outside of 1970..2262. */
bool field_iso_time(const char *text, int64_t *time_ns);
bool field_http_time(const char *text, int64_t *time_ns);

/* Decode %XX, and '+' as a blank on request, in place. False, with text
 * unchanged up to there, at an escape that is none or is NUL. */
bool field_unescape(char *text, bool plus_is_blank);

/* Size (of the whole object, also in answer to a range), ETag ("" where there
 * is none) and Last-Modified of an answer with status 200 or 206. ERR_NETWORK
 * for values that make no sense, ERR_UNSUPPORTED where no size is told. */
int field_object_info(const struct http_response *response,
		      struct object_info *info, bool *etag_is_weak,
		      struct error *err);

/* What was asked for by a ranged GET. */
struct range_wanted {
	uint64_t offset, length;        /* length > 0 */
	const struct object_info *info; /* of the open object */
	bool by_time; /* the server has no ETags: pinned by Last-Modified */
};

/* Before any byte of the body is taken: does the answer (of status 200 or
 * 206) hold this range of this object? A whole object passes where the range
 * is all of it. ERR_STALE for another object, ERR_UNSUPPORTED for a server
 * that ignores ranges, ERR_NETWORK for what contradicts the request: that is
 * the work of something in between, and the next answer may be right. */
int field_check_range(const struct http_response *response,
		      const struct range_wanted *wanted, struct error *err);

/* Add the client's counters to a JSON object, for control/stats. */
int http_stats_json(struct http *http, struct json_t *object,
		    struct error *err);

#endif
