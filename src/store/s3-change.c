/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Changing what a bucket holds, other than by writing. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/compose.h"
#include "store/retrier.h"
#include "store/s3-change.h"
#include "store/s3-internal.h"
#include "store/s3-target.h"
#include "store/sink.h"

/* Removing. */

struct deletion {
	struct s3_bucket *bucket;
	const char *key;
};

static int send_delete(void *arg, const char *condition, struct error *err)
{
	const struct deletion *deletion = arg;
	const char *headers[] = { condition, NULL };
	struct s3_request request = {
		.method = "DELETE",
		.key = deletion->key,
		.headers = headers,
	};
	struct http_response response;
	struct error why = { 0 };
	struct s3_head head;
	int ret = s3_send_again(deletion->bucket, S3_CALL_CHANGE, &request,
				&response, &why);

	http_response_free(&response);
	if (!ret)
		return 0;
	/* A second try finds what the first has done, when its answer was
	 * lost; libcurl, too, tries again where an old connection broke. */
	if (why.remote.attempts > 1 || why.remote.http_status == 404) {
		struct error ask = { 0 };

		if (s3_ask(deletion->bucket, deletion->key, NULL, 0, &head,
			   &ask) && ask.kind == ERR_NOT_FOUND)
			return 0;
	}
	if (err)
		*err = why;
	return -1;
}

int s3_delete(struct s3_bucket *bucket, const char *key, const char *if_match,
	      struct error *err)
{
	struct deletion deletion = { bucket, key };
	struct s3_target target = { .bucket = bucket, .key = key,
				    .replace = true, .if_match = if_match };
	struct s3_head head;

	/* S3 says nothing about removing what is not there. */
	if (s3_ask(bucket, key, NULL, 0, &head, err))
		return -1;
	if (if_match && strcmp(head.info.etag, if_match) != 0)
		return error_set(err, ERR_STALE, "was changed since it was "
				 "listed");
	return s3_target_publish(&target, S3_DELETE_MATCH, S3_DELETE_MATCH,
				 send_delete, &deletion, err);
}

int s3_remove(struct store *store, const char *key, const char *if_match,
	      struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	char full[S3_KEY_SIZE];

	if (s3_full_key(self, key, full, err) ||
	    s3_delete(&self->bucket, full, if_match, err))
		return -1;
	s3_made_keep_parent(&self->made, key);
	return 0;
}

/* Renaming. */

static int copy_all(struct s3_store *self, const char *from,
		    const struct object_info *info, const char *to,
		    const struct rename_args *args, struct error *err)
{
	struct sink_args sink_args = { .replace = args->replace,
				       .size = info->size,
				       .budget = args->budget,
				       .scratch = args->scratch,
				       .patience.wait_ms = SINK_WAIT_MS };
	struct store_piece piece = { .key = from, .info = info,
				     .length = info->size };

	return store_compose(&self->store, to, &sink_args, &piece, 1,
			     args->goes_on, args->arg, NULL, err);
}

static int both_exist(const char *from, const char *to, struct error *err)
{
	return error_prefix(err, "was copied to '%s', but '%s' could not be "
			    "removed, so that both exist", to, from);
}

int s3_rename(struct store *store, const char *from, const char *to,
	      const struct rename_args *args, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	char from_full[S3_KEY_SIZE], to_full[S3_KEY_SIZE];
	struct s3_head head;

	if (s3_full_key(self, from, from_full, err) ||
	    s3_full_key(self, to, to_full, err) ||
	    s3_ask(&self->bucket, from_full, NULL, 0, &head, err))
		return -1;
	if (!strcmp(from, to))
		return 0;
	if (copy_all(self, from, &head.info, to, args, err))
		return -1;
	if (s3_delete(&self->bucket, from_full, head.info.etag, err))
		return both_exist(from, to, err);
	s3_made_keep_parent(&self->made, from);
	return 0;
}

/* Prefixes. */

/* "a/b/" of "a/b". Freed by the caller. */
static char *with_slash(const char *prefix)
{
	size_t len = strlen(prefix);
	char *text = malloc(len + 2);

	if (!text)
		return NULL;
	memcpy(text, prefix, len);
	memcpy(text + len, "/", 2);
	return text;
}

struct content {
	const char *prefix;
	bool is_empty;
};

static int note_entry(void *arg, const struct store_entry *entry,
		      struct error *err)
{
	struct content *content = arg;

	if (strcmp(entry->key, content->prefix) != 0)
		content->is_empty = false;
	return 0;
}

struct list_call {
	struct retry_call call; /* first: it is cast */
	struct store *store;
	struct content *content;
};

static int try_list(struct retry_call *base, struct error *err)
{
	struct list_call *call = (struct list_call *)base;
	struct content *content = call->content;
	struct list_args args = { .prefix = content->prefix,
				  .delimiter = '/', .max_keys = 2 };
	char *next = NULL;
	int ret;

	do {
		AUTO_FREE char *from = take_ptr(next);

		args.continuation = from;
		ret = store_list(call->store, &args, note_entry, content,
				 &next, err);
	} while (!ret && content->is_empty && next);
	free(next);
	return ret;
}

/* Is anything there below the prefix? */
static int look_below(struct s3_store *self, struct content *content,
		      struct error *err)
{
	struct list_call call = {
		.call = { .make_try = try_list, .kind = S3_CALL_ASK,
			  .url = self->store.url, .key = content->prefix },
		.store = &self->store,
		.content = content,
	};

	return retrier_run(s3_client_retrier(self->bucket.client), &call.call,
			   err);
}

int s3_make_prefix(struct store *store, const char *prefix, struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	AUTO_FREE char *path = with_slash(prefix);
	struct content content = { path, true };
	char full[S3_KEY_SIZE];

	if (!path)
		return error_nomem(err);
	if (s3_full_key(self, path, full, err) ||
	    look_below(self, &content, err))
		return -1;
	if (!content.is_empty)
		return error_set(err, ERR_EXISTS, "'%s' exists", prefix);
	return s3_made_add(&self->made, path, err);
}

/* What other tools leave for an empty directory: an empty object. */
static int remove_marker(struct s3_store *self, const char *full,
			 bool *was_there, struct error *err)
{
	struct error why = { 0 };

	*was_there = true;
	if (!s3_delete(&self->bucket, full, NULL, &why))
		return 0;
	*was_there = false;
	if (why.kind == ERR_NOT_FOUND)
		return 0;
	if (err)
		*err = why;
	return -1;
}

int s3_remove_prefix(struct store *store, const char *prefix,
		     struct error *err)
{
	struct s3_store *self = (struct s3_store *)store;
	AUTO_FREE char *path = with_slash(prefix);
	struct content content = { path, true };
	char full[S3_KEY_SIZE];
	bool was_there;

	if (!path)
		return error_nomem(err);
	if (s3_full_key(self, path, full, err) ||
	    look_below(self, &content, err))
		return -1;
	if (!content.is_empty || s3_made_has_below(&self->made, path))
		return error_errno(err, ENOTEMPTY, "'%s'", prefix);
	if (remove_marker(self, full, &was_there, err))
		return -1;
	if (s3_made_forget(&self->made, path) || was_there) {
		s3_made_keep_parent(&self->made, prefix);
		return 0;
	}
	return error_set(err, ERR_NOT_FOUND, "no such directory: '%s'",
			 prefix);
}
