/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Uploads of parts as a store's. What each of them holds is asked for one by
 * one: the list of uploads does not say. */
#include "config.h"

#include <string.h>

#include "common/checked.h"
#include "store/journal.h"
#include "store/s3-internal.h"
#include "store/s3-multipart.h"
#include "store/s3-pending.h"

#define NS 1000000000

struct listing {
	struct s3_store *store;
	store_upload_fn *fn;
	void *arg;
};

/* What the list of one upload's parts says. */
struct counting {
	unsigned int parts;
	uint64_t bytes;
	int64_t last_ns;
};

static int set_id(struct s3_upload *upload, const char *id, struct error *err)
{
	size_t len = strlen(id);

	if (!len || len >= sizeof(upload->id))
		return error_set(err, ERR_LIMIT, "an upload id of %zu bytes; "
				 "it has 1 to %zu", len,
				 sizeof(upload->id) - 1);
	memcpy(upload->id, id, len + 1);
	return 0;
}

static int count_part(void *arg, const struct s3_part *part,
		      struct error *err)
{
	struct counting *counting = arg;

	if (!add_u64(counting->bytes, part->size, &counting->bytes))
		return error_set(err, ERR_CORRUPT, "its parts are above all "
				 "limits");
	counting->parts++;
	if (part->stored_ns > counting->last_ns)
		counting->last_ns = part->stored_ns;
	return 0;
}

/* Whoever may list uploads may perhaps not list parts, some servers cannot,
 * and XML has no control characters, which keys may have. An upload may also
 * end between the two. */
static int count_parts(const struct s3_upload *upload,
		       struct counting *counting, bool *is_known, bool *is_over,
		       struct error *err)
{
	struct error why = { 0 };

	*is_known = !s3_parts_list(upload, count_part, counting, &why);
	*is_over = !*is_known && !strcmp(why.remote.code, "NoSuchUpload");
	if (*is_known || *is_over || !error_is_passing(why.kind))
		return 0;
	if (err)
		*err = why;
	return error_prefix(err, "%s", upload->key);
}

/* What is not known does not count as old. */
static int64_t seconds_since(struct s3_client *client, int64_t ns)
{
	int64_t since = s3_client_seen_time(client) - ns / NS;

	return ns > 0 && since > 0 ? since : 0;
}

/* One that may just be being begun is, too. */
static bool is_in_use(const struct s3_bucket *bucket,
		      const struct s3_pending *pending)
{
	struct journal *mounts = s3_client_mounts(bucket->client);
	char server[S3_URL_MAX];

	if (!mounts)
		return false;
	s3_endpoint_name(s3_client_endpoint(bucket->client), server);
	return journal_claim(mounts, server, bucket->name, pending->key,
			     pending->id) != JOURNAL_FREE;
}

static int tell(void *arg, const struct s3_pending *pending,
		struct error *err)
{
	struct listing *listing = arg;
	struct s3_bucket *bucket = &listing->store->bucket;
	struct s3_upload upload = { .bucket = bucket, .key = pending->key };
	struct counting counting = { .last_ns = pending->initiated_ns };
	struct store_upload found = {
		.key = pending->key + strlen(listing->store->prefix),
		.id = pending->id,
		.begun_s = pending->initiated_ns / NS,
	};
	bool is_over;

	if (strncmp(pending->key, listing->store->prefix,
		    strlen(listing->store->prefix)) != 0 || !*found.key)
		return 0;
	if (set_id(&upload, pending->id, err) ||
	    count_parts(&upload, &counting, &found.parts_are_known, &is_over,
			err))
		return -1;
	if (is_over)
		return 0;
	found.parts = counting.parts;
	found.bytes = counting.bytes;
	found.idle_s = seconds_since(bucket->client, counting.last_ns);
	found.is_in_use = is_in_use(bucket, pending);
	return listing->fn(listing->arg, &found, err);
}

int s3_list_uploads(struct store *store, store_upload_fn *fn, void *arg,
		    struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	struct listing listing = { self, fn, arg };

	if (!*self->bucket.name)
		return error_set(err, ERR_BUG, "a service has buckets, no "
				 "uploads");
	return s3_uploads_list(&self->bucket, self->prefix, tell, &listing,
			       err);
}

int s3_abort_upload(struct store *store, const char *key, const char *id,
		    struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	char full[S3_KEY_SIZE];
	struct s3_upload upload = { .bucket = &self->bucket, .key = full };
	bool was_gone;

	if (s3_full_key(self, key, full, err) || set_id(&upload, id, err))
		return -1;
	return s3_upload_abort(&upload, &was_gone, err);
}
