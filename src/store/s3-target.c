/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a new object may replace. */
#include "config.h"

#include <string.h>

#include "common/log.h"
#include "store/s3-target.h"

static int fail_exists(const struct s3_target *target, struct error *err)
{
	return error_set(err, ERR_EXISTS, "'%s' exists", target->key);
}

static int fail_stale(bool is_gone, struct error *err)
{
	return error_set(err, ERR_STALE, is_gone ?
			 "was deleted since it was read" :
			 "was changed since it was read");
}

int s3_target_ask(const struct s3_target *target, struct error *err)
{
	struct error why = { 0 };
	struct s3_head head;

	if (target->replace && !target->if_match)
		return 0;
	if (s3_ask(target->bucket, target->key, target->cancelled, 0, &head,
		   &why)) {
		if (why.kind == ERR_NOT_FOUND)
			return target->if_match ? fail_stale(true, err) : 0;
		if (err)
			*err = why;
		return -1;
	}
	if (!target->replace)
		return fail_exists(target, err);
	return strcmp(head.info.etag, target->if_match) == 0 ? 0 :
	       fail_stale(false, err);
}

/* Is it the condition that the server refuses? */
static bool is_refusal(const struct error *err)
{
	return err->remote.http_status == 412 ||
	       err->remote.http_status == 501 ||
	       !strcmp(err->remote.code, "NotImplemented");
}

/* The publishing has failed for the target's sake: say so. */
static int explain(const struct s3_target *target, struct error *err)
{
	struct error_remote remote = err->remote;

	if (remote.http_status == 404 && !strcmp(remote.code, "NoSuchKey") &&
	    target->if_match)
		fail_stale(true, err);
	else if (remote.http_status != 412 &&
		 strcmp(remote.code, "ConditionalRequestConflict") != 0)
		return -1;
	else if (target->replace)
		fail_stale(false, err);
	else
		fail_exists(target, err);
	err->remote = remote;
	return -1;
}

static const char *condition_of(const struct s3_target *target, char *line,
				size_t size)
{
	if (!target->replace)
		snprintf(line, size, "If-None-Match: *");
	else
		snprintf(line, size, "If-Match: \"%s\"", target->if_match);
	return line;
}

/* With the condition. *again: the server cannot do it. */
static int try_condition(const struct s3_target *target,
			 s3_publish_fn *publish, void *arg, bool *again,
			 struct error *err)
{
	bool is_aws = s3_client_is_aws(target->bucket->client);
	char line[STORE_ETAG_MAX + 16];

	*again = false;
	if (!is_aws && s3_target_ask(target, err))
		return -1;
	if (!publish(arg, condition_of(target, line, sizeof(line)), err))
		return 0;
	if (!is_refusal(err) || (is_aws && err->remote.http_status == 412))
		return explain(target, err);
	/* It may be right; then this says so, too. */
	*again = true;
	return -1;
}

int s3_target_publish(const struct s3_target *target,
		      enum s3_condition creates, enum s3_condition matches,
		      s3_publish_fn *publish, void *arg, struct error *err)
{
	enum s3_condition bit = target->replace ? matches : creates;
	struct error why = { 0 };
	bool again = false;

	if (target->replace && !target->if_match)
		return publish(arg, NULL, err);
	if (!(atomic_load(&target->bucket->refuses) & bit)) {
		if (!try_condition(target, publish, arg, &again, &why))
			return 0;
		if (!again) {
			if (err)
				*err = why;
			return -1;
		}
	}
	if (s3_target_ask(target, err))
		return -1;
	if (again) {
		log_info("bucket %s: its server cannot do %s (%s): two "
			 "writers at the same moment are not told apart",
			 target->bucket->name, target->replace ? "If-Match" :
			 "If-None-Match", why.text);
		atomic_fetch_or(&target->bucket->refuses, bit);
	}
	return publish(arg, NULL, err);
}
