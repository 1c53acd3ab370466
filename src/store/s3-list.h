/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Listings of S3: ListObjectsV2 and ListBuckets, from XML to entries. A page
 * is understood as a whole or refused as a whole. Pure functions. */
#ifndef VMIEFS_S3_LIST_H
#define VMIEFS_S3_LIST_H

#include <stddef.h>

#include "common/error.h"
#include "common/strbuf.h"
#include "store/store.h"

#define S3_PAGE_KEYS 1000 /* S3's own most */

struct s3_page {
	struct store_entry *entries; /* keys owned, without the base */
	size_t count;
	char *token;  /* for the next page; NULL: this is the last */
	size_t seen;  /* entries in the answer, those left out included */
};

/* The query of a request for one page; prefix as the server is to see it. */
void s3_list_query(struct strbuf *out, const struct list_args *args,
		   const char *prefix);

/* An empty object whose key ends in '/' is a directory, as consoles and other
 * file systems write them, and no object. One with bytes is none of those. */
bool s3_is_marker(const char *key, uint64_t size);

/* Parse the answer to it. Keys lose `base`, the store's own prefix ("" or
 * "vms/"), which is the beginning of prefix. Left out, with a line in the log
 * where it is none of the ordinary: markers (s3_is_marker()), the key that is
 * base itself, keys that are too long or hold NUL. ERR_CORRUPT for what is no
 * such answer. Free with s3_page_free() also after a failure. */
int s3_list_parse(struct s3_page *out, const char *text, size_t len,
		  const char *base, const char *prefix, struct error *err);

/* Parse the answer to ListBuckets: names as prefixes. */
int s3_buckets_parse(struct s3_page *out, const char *text, size_t len,
		     struct error *err);

void s3_page_free(struct s3_page *page);

#endif
