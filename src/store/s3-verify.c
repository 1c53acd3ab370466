/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Is an object the one that was sent? */
#include "config.h"

#include <string.h>

#include "common/log.h"
#include "store/retrier.h"
#include "store/s3-verify.h"

#define GIVEN_UP_MS 3000       /* somebody has given up, but is to know */
#define CLOCK_NS    2000000000 /* servers round times */
#define LOOKS       6          /* 3 s in all */

/* 1: it is; 0: it is not, and err says so where nothing is there; -1: nobody
 * can tell. */
static int is_there(struct s3_bucket *bucket, const char *key,
		    const struct s3_expected *expected, unsigned int within_ms,
		    struct object_info *info, struct error *err)
{
	struct s3_head head;

	memset(info, 0, sizeof(*info));
	if (s3_ask(bucket, key, NULL, within_ms, &head, err))
		return err->kind == ERR_NOT_FOUND ? 0 : -1;
	*info = head.info;
	if (head.info.size != expected->size)
		return 0;
	if (*expected->etag && head.etag_is_md5)
		return !strcmp(head.info.etag, expected->etag);
	return head.info.mtime_ns >= expected->since_ns - CLOCK_NS;
}

/* The answer was lost; or it is that of a second try, which says that there
 * is no such upload, or that the object exists, since the first was done. */
static bool may_be_done(const struct error *err)
{
	const struct error_remote *remote = &err->remote;

	return err->kind == ERR_NETWORK || err->kind == ERR_TIMEOUT ||
	       err->kind == ERR_CANCELLED ||
	       !strcmp(remote->code, "NoSuchUpload") ||
	       (remote->attempts > 1 && (remote->http_status == 412 ||
					 remote->http_status == 409));
}

int s3_find_lost(struct s3_bucket *bucket, const char *key,
		 const struct s3_expected *expected, struct object_info *info,
		 struct error *err)
{
	bool was_given_up = err->kind == ERR_CANCELLED;
	struct error why = { 0 };
	int found;

	if (!may_be_done(err))
		return -1;
	found = is_there(bucket, key, expected,
			 was_given_up ? GIVEN_UP_MS : 0, info, &why);
	if (found > 0) {
		log_info("%s is stored, although its answer was lost: %s", key,
			 err->text);
		return 0;
	}
	if (found < 0 && !was_given_up)
		error_prefix(err, "whether it is stored is not known");
	return -1;
}

int s3_verify(struct s3_bucket *bucket, const char *key,
	      const struct s3_expected *expected, struct object_info *info,
	      struct error *err)
{
	struct retrier *retrier = s3_client_retrier(bucket->client);
	struct error why = { 0 };
	int found = 0;

	for (unsigned int i = 0; i < LOOKS && !found; i++) {
		if (i && !retrier_pause(retrier, 50u << i, NULL))
			break;
		error_clear(&why);
		found = is_there(bucket, key, expected, 0, info, &why);
	}
	if (found > 0)
		return 0;
	if (why.kind) {
		if (err)
			*err = why;
		return error_prefix(err, "it was stored, but cannot be looked "
				    "at");
	}
	if (info->size != expected->size && !strcmp(info->etag, expected->etag))
		return error_set(err, ERR_CORRUPT, "the server has %llu bytes "
				 "of the %llu that it was sent",
				 (unsigned long long)info->size,
				 (unsigned long long)expected->size);
	return error_set(err, ERR_STALE, "was replaced by somebody else as "
			 "soon as it was stored");
}
