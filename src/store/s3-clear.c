/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Aborting what was left behind. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "store/journal.h"
#include "store/s3-clear.h"
#include "store/s3-multipart.h"

#define SKEW_S      60   /* between the clocks of one store's servers */
#define SETTLE_S    60   /* a request of the dead may still be on its way */
#define AGAIN_MS    5000 /* after the first failure */
#define LATEST_MS   600000
#define IDS_MAX     10000

struct s3_clear {
	struct s3_bucket *bucket;
	struct journal *journal;
	char server[S3_URL_MAX];
	pthread_t thread;
	struct error failure; /* the last one that was logged */
};

/* One intent on its way. */
struct search {
	struct s3_clear *clear;
	struct s3_bucket *bucket;
	const struct journal_intent *intent;
	char **ids;
	size_t count;
	bool again;
};

static int abort_one(const struct search *search, const char *id,
		     struct error *err)
{
	const struct journal_intent *intent = search->intent;
	struct s3_upload upload = {
		.bucket = search->bucket,
		.key = intent->key,
	};
	bool was_gone;

	if (strlen(id) >= sizeof(upload.id))
		return error_set(err, ERR_LIMIT, "an upload id of %zu bytes",
				 strlen(id));
	memcpy(upload.id, id, strlen(id) + 1);
	if (s3_upload_abort(&upload, &was_gone, err))
		return -1;
	if (was_gone)
		return 0;
	log_warning("s3://%s/%s: aborted an upload of parts that was left "
		    "behind, %s", intent->bucket, intent->key, id);
	journal_count(search->clear->journal, true, NULL);
	return 0;
}

/* Did the server begin it when the intent was its writer's? */
static bool is_of_that_time(const struct journal_intent *intent,
			    int64_t initiated_ns)
{
	int64_t when = initiated_ns / 1000000000;

	return when >= intent->since_s - SKEW_S &&
	       when <= intent->until_s + SKEW_S;
}

static int take_upload(void *arg, const struct s3_pending *pending,
		       struct error *err)
{
	struct search *search = arg;
	char **ids;

	if (strcmp(pending->key, search->intent->key) != 0 ||
	    !is_of_that_time(search->intent, pending->initiated_ns))
		return 0;
	if (search->count == IDS_MAX)
		return error_set(err, ERR_LIMIT, "more than %d uploads of one "
				 "key", IDS_MAX);
	ids = reallocarray(search->ids, search->count + 1, sizeof(*ids));
	if (!ids)
		return error_nomem(err);
	search->ids = ids;
	ids[search->count] = strdup(pending->id);
	if (!ids[search->count])
		return error_nomem(err);
	search->count++;
	return 0;
}

static int abort_unclaimed(struct search *search, struct error *err)
{
	const struct s3_clear *clear = search->clear;
	const struct journal_intent *intent = search->intent;

	for (size_t i = 0; i < search->count; i++) {
		switch (journal_claim(clear->journal, clear->server,
				      intent->bucket, intent->key,
				      search->ids[i])) {
		case JOURNAL_CLAIMED:
			break;
		case JOURNAL_UNKNOWN:
			search->again = true;
			break;
		case JOURNAL_FREE:
			if (abort_one(search, search->ids[i], err))
				return -1;
		}
	}
	return 0;
}

static int abort_all(struct search *search, struct error *err)
{
	const struct journal_intent *intent = search->intent;
	int ret;

	if (intent->id && abort_one(search, intent->id, err))
		return -1;
	if (intent->is_sure)
		return 0;
	if (s3_client_seen_time(search->bucket->client) <
	    intent->since_s + SETTLE_S)
		search->again = true;
	ret = s3_uploads_list(search->bucket, intent->key, take_upload, search,
			      err);
	if (!ret)
		ret = abort_unclaimed(search, err);
	for (size_t i = 0; i < search->count; i++)
		free(search->ids[i]);
	free(search->ids);
	return ret;
}

/* Said once, unless it is another one. */
static void note_failure(struct s3_clear *clear,
			 const struct journal_intent *intent,
			 struct error *err)
{
	if (err->kind == ERR_CANCELLED)
		return;
	error_prefix(err, "s3://%s/%s: an upload of parts that was left "
		     "behind cannot be aborted", intent->bucket, intent->key);
	journal_count(clear->journal, false, err->text);
	if (!strcmp(clear->failure.text, err->text))
		return;
	clear->failure = *err;
	log_warning("%s; trying again", err->text);
}

static enum journal_verdict clear_intent(void *arg,
					 const struct journal_intent *intent)
{
	struct s3_clear *clear = arg;
	struct search search = { .clear = clear, .intent = intent };
	struct s3_bucket own;
	struct error err = { 0 };
	int ret;

	if (strcmp(intent->server, clear->server) != 0 ||
	    (*clear->bucket->name &&
	     strcmp(intent->bucket, clear->bucket->name) != 0))
		return JOURNAL_OTHER;
	search.bucket = clear->bucket;
	if (!*clear->bucket->name) {
		s3_bucket_init(&own, clear->bucket->client, intent->bucket,
			       false);
		search.bucket = &own;
	}
	ret = abort_all(&search, &err);
	if (!*clear->bucket->name)
		s3_bucket_destroy(&own);
	if (!ret)
		return search.again ? JOURNAL_LATER : JOURNAL_DONE;
	if (!strcmp(err.remote.code, "NoSuchBucket"))
		return JOURNAL_DONE;
	note_failure(clear, intent, &err);
	return JOURNAL_LATER;
}

/* What is new is not made to wait by what has failed for long. */
static unsigned int next_pause(unsigned int pause_ms, bool is_new)
{
	if (!pause_ms || is_new)
		return AGAIN_MS;
	return (unsigned int)min_u64(2 * (uint64_t)pause_ms, LATEST_MS);
}

static void *run(void *arg)
{
	struct s3_clear *clear = arg;
	unsigned int pause_ms = 0;
	bool is_new = false;

	do {
		bool again = journal_sweep(clear->journal, clear_intent,
					   clear);

		pause_ms = again ? next_pause(pause_ms, is_new) : 0;
	} while (journal_wait(clear->journal, pause_ms, &is_new));
	return NULL;
}

int s3_clear_new(struct s3_clear **out, struct s3_bucket *bucket,
		 struct error *err)
{
	struct s3_clear *clear = calloc(1, sizeof(*clear));
	int errnum;

	*out = NULL;
	if (!clear)
		return error_nomem(err);
	clear->bucket = bucket;
	clear->journal = s3_client_journal(bucket->client);
	s3_endpoint_name(s3_client_endpoint(bucket->client), clear->server);
	errnum = pthread_create(&clear->thread, NULL, run, clear);
	if (errnum) {
		free(clear);
		return error_errno(err, errnum, "cannot start a thread");
	}
	pthread_setname_np(clear->thread, "clear");
	*out = clear;
	return 0;
}

void s3_clear_free(struct s3_clear *clear)
{
	if (!clear)
		return;
	s3_client_cancel(clear->bucket->client);
	journal_stop(clear->journal);
	pthread_join(clear->thread, NULL);
	free(clear);
}
