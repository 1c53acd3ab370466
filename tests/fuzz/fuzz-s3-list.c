/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: XML of S3 servers, as a listing, as buckets, as an error, as
 * lists of uploads and parts. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "store/s3-error.h"
#include "store/s3-list.h"
#include "store/s3-uploads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_page(struct s3_page *page, int ret, const struct error *err)
{
	if (ret && (!err->kind || !*err->text))
		abort();
	for (size_t i = 0; !ret && i < page->count; i++) {
		const struct store_entry *entry = &page->entries[i];
		size_t len = strlen(entry->key);

		if (len == 0 || len > STORE_KEY_MAX ||
		    entry->info.size > INT64_MAX)
			abort();
		if (entry->is_prefix ? entry->key[len - 1] != '/' :
				       s3_is_marker(entry->key,
						    entry->info.size))
			abort();
	}
	s3_page_free(page);
}

static void check_fault(const char *text, size_t size)
{
	static const struct s3_asker asker = {
		"bucket", "host", "region", false, "AKID", "environment",
		"token",
	};
	struct http_response response = { .status = 403 };
	struct error err = { 0 };
	struct s3_fault fault;

	s3_fault_read(&fault, &response, text, size);
	if (s3_fault_error(&fault, &asker, &err) != -1 || !err.kind ||
	    !*err.text || strpbrk(err.text, "\r\n"))
		abort();
}

static int see_upload(void *arg, const struct s3_pending *pending,
		      struct error *err)
{
	if (!*pending->key || !*pending->id)
		abort();
	return 0;
}

static int see_part(void *arg, const struct s3_part *part, struct error *err)
{
	if (part->number > S3_PARTS_MAX || !*part->etag ||
	    part->size > INT64_MAX)
		abort();
	return 0;
}

static void check_uploads(const char *text, size_t size)
{
	static const struct s3_bucket bucket = { .name = "bucket" };
	struct s3_marker marker;
	struct error err = { 0 };
	char *next = NULL;

	if (s3_uploads_parse(&marker, text, size, see_upload, NULL, &err) &&
	    (!err.kind || marker.key || marker.id))
		abort();
	s3_marker_free(&marker);
	memset(&err, 0, sizeof(err));
	if (s3_parts_parse(&next, &bucket, text, size, see_part, NULL, &err) &&
	    (!err.kind || next))
		abort();
	free(next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct error err = { 0 };
	struct s3_page page;
	int ret;

	log_set_level(LOG_LEVEL_ERROR);
	ret = s3_list_parse(&page, text, size, "vms/", "vms/d", &err);
	check_page(&page, ret, &err);
	ret = s3_list_parse(&page, text, size, "", "", &err);
	check_page(&page, ret, &err);
	ret = s3_buckets_parse(&page, text, size, &err);
	check_page(&page, ret, &err);
	check_fault(text, size);
	check_uploads(text, size);
	return 0;
}
