/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The journal's part in an upload. */
#include "config.h"

#include "store/journal.h"
#include "store/retrier.h"
#include "store/s3-intent.h"

static struct journal *journal_of(const struct s3_upload *upload)
{
	return s3_client_journal(upload->bucket->client);
}

int s3_intent_begin(struct s3_upload *upload, struct error *err)
{
	struct s3_client *client = upload->bucket->client;
	struct journal *journal = journal_of(upload);
	unsigned int timeout_ms =
		retrier_options(s3_client_retrier(client))->timeout_ms;
	char server[S3_URL_MAX];

	upload->intent = 0;
	if (!journal)
		return 0;
	s3_endpoint_name(s3_client_endpoint(client), server);
	/* The tries of s3_send_again(). */
	return journal_begin(journal, &upload->intent, server,
			     upload->bucket->name, upload->key,
			     s3_client_seen_time(client), timeout_ms / 500 + 1,
			     err);
}

void s3_intent_know(const struct s3_upload *upload, bool is_sure)
{
	struct s3_client *client = upload->bucket->client;

	if (upload->intent)
		journal_know(journal_of(upload), upload->intent, upload->id,
			     is_sure, s3_client_seen_time(client));
}

void s3_intent_fail(const struct s3_upload *upload, unsigned int tries,
		    const struct error *why)
{
	/* Only an answer to the only try says that there is nothing. */
	bool is_left = tries > 1 || why->remote.http_status < 400 ||
		       why->remote.http_status >= 500;

	s3_intent_end(upload, is_left);
}

void s3_intent_end(const struct s3_upload *upload, bool is_left)
{
	if (upload->intent)
		journal_end(journal_of(upload), upload->intent, is_left);
}
