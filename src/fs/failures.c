/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The ring of failures. */
#include "config.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fs/failures.h"

struct failure {
	struct timespec when; /* of the last time */
	const char *operation;
	char *path, *text;
	enum error_kind kind;
	int errnum;
	struct error_remote remote;
	uint64_t count;
};

struct failures {
	pthread_mutex_t lock;
	struct failure ring[FAILURES_MAX];
	uint64_t added; /* ever; the newest is at (added - 1) % FAILURES_MAX */
	uint64_t count; /* repetitions included */
};

int failures_new(struct failures **out, struct error *err)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return error_nomem(err);
	pthread_mutex_init(&(*out)->lock, NULL);
	return 0;
}

static void clear(struct failure *failure)
{
	free(failure->path);
	free(failure->text);
	memset(failure, 0, sizeof(*failure));
}

void failures_free(struct failures *failures)
{
	if (!failures)
		return;
	for (size_t i = 0; i < FAILURES_MAX; i++)
		clear(&failures->ring[i]);
	pthread_mutex_destroy(&failures->lock);
	free(failures);
}

/* Is the newest failure the same? Lock held. */
static bool repeats(const struct failures *self, const char *operation,
		    const char *path, const char *text)
{
	const struct failure *last =
		&self->ring[(self->added - 1) % FAILURES_MAX];

	return self->added && last->path && last->text &&
	       !strcmp(last->operation, operation) &&
	       !strcmp(last->path, path) && !strcmp(last->text, text);
}

void failures_add(struct failures *failures, const char *operation,
		  const char *path, const struct error *err, int errnum)
{
	struct failure *failure;
	bool is_new;

	pthread_mutex_lock(&failures->lock);
	is_new = !repeats(failures, operation, path, err->text);
	if (is_new) {
		failure = &failures->ring[failures->added++ % FAILURES_MAX];
		clear(failure);
		failure->operation = operation;
		failure->path = strdup(path);
		failure->text = strdup(err->text);
		failure->kind = err->kind;
		failure->errnum = errnum;
	} else {
		failure = &failures->ring[(failures->added - 1) %
					  FAILURES_MAX];
	}
	failure->remote = err->remote;
	failure->count++;
	failures->count++;
	clock_gettime(CLOCK_REALTIME, &failure->when);
	pthread_mutex_unlock(&failures->lock);
	if (is_new)
		log_warning("%s %s: %s", operation, path, err->text);
}

uint64_t failures_count(struct failures *failures)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&failures->lock);

	(void)held;
	return failures->count;
}

/* Paths are bytes, JSON is UTF-8: what is not becomes \u00XX-like text. */
static json_t *json_bytes(const char *text)
{
	json_t *value = json_string(text ? text : "");
	AUTO_FREE char *ascii = NULL;

	if (value || !text)
		return value;
	ascii = strdup(text);
	for (char *c = ascii; c && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return ascii ? json_string(ascii) : NULL;
}

/* What a server had to do with it. */
static void add_remote(json_t *line, const struct error_remote *remote)
{
	if (remote->http_status)
		json_object_set_new(line, "status",
				    json_integer(remote->http_status));
	if (*remote->code)
		json_object_set_new(line, "code", json_bytes(remote->code));
	if (*remote->request_id)
		json_object_set_new(line, "request_id",
				    json_bytes(remote->request_id));
	if (remote->attempts)
		json_object_set_new(line, "attempts",
				    json_integer(remote->attempts));
}

static void print_failure(const struct failure *failure, struct strbuf *out)
{
	char when[64];
	struct tm tm;
	json_t *line;
	char *text;

	gmtime_r(&failure->when.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	line = json_pack("{s:s, s:s, s:o, s:s, s:i, s:I, s:o}", "time", when,
			 "operation", failure->operation, "path",
			 json_bytes(failure->path), "kind",
			 error_kind_name(failure->kind), "errno",
			 failure->errnum, "count",
			 (json_int_t)failure->count, "error",
			 json_bytes(failure->text));
	if (line)
		add_remote(line, &failure->remote);
	text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	if (text)
		strbuf_printf(out, "%s\n", text);
	free(text);
	json_decref(line);
}

void failures_print(struct failures *failures, struct strbuf *out)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&failures->lock);
	uint64_t first = failures->added > FAILURES_MAX ?
			 failures->added - FAILURES_MAX : 0;

	(void)held;
	for (uint64_t i = first; i < failures->added; i++)
		print_failure(&failures->ring[i % FAILURES_MAX], out);
}
