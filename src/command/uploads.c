/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * vmiefs uploads: part uploads that were begun and have not ended, whoever
 * began them; and the end of those that nobody works on any more. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "command/interrupt.h"
#include "command/remote.h"
#include "command/text.h"
#include "commands.h"
#include "common/jsontext.h"
#include "store/journal.h"

#define TIME_SIZE 32

struct uploads_options {
	bool json, abort;
	uint64_t older_s; /* 0: of any age */
	char *scratch;    /* NULL: the default */
	struct remote_options remote;
};

/* One that is to be aborted, once the list is there: it would change below
 * its reader. */
struct victim {
	char *key, *id;
	json_t *row; /* borrowed from the rows; NULL: text */
};

struct uploads {
	const struct uploads_options *options;
	const char *bucket;  /* of a service; NULL: the source itself */
	const char *url;     /* of what is being listed */
	json_t *rows;        /* NULL: text */
	struct victim *victims;
	size_t victim_count, victim_room;
	uint64_t count, bytes, aborted;
	bool has_failed;     /* something; it was said */
};

static void complain(struct uploads *uploads, const char *what,
		     const struct error *err)
{
	fprintf(stderr, "vmiefs uploads: %s: %s\n", what, err->text);
	uploads->has_failed = true;
}

static const char *text_time(char text[TIME_SIZE], int64_t seconds)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&when, &tm) ||
	    !strftime(text, TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(text, TIME_SIZE, "?");
	return text;
}

/* "3 h": in the unit in which it is at least 2. */
static const char *text_age(char text[TIME_SIZE], int64_t seconds)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (seconds < 2 * units[i].seconds)
			continue;
		snprintf(text, TIME_SIZE, "%" PRId64 " %s",
			 seconds / units[i].seconds, units[i].name);
		return text;
	}
	snprintf(text, TIME_SIZE, "%" PRId64 " s", seconds);
	return text;
}

static void print_row(const struct uploads *uploads,
		      const struct store_upload *upload)
{
	char when[TIME_SIZE], age[TIME_SIZE], size[TEXT_SIZE_MAX];

	if (uploads->bucket) {
		text_print(stdout, uploads->bucket);
		putchar('/');
	}
	text_print(stdout, upload->key);
	printf(": begun %s, idle for %s, ", text_time(when, upload->begun_s),
	       text_age(age, upload->idle_s));
	if (upload->parts_are_known)
		printf("%s in %u part%s, ", text_size(size, upload->bytes),
		       upload->parts, upload->parts == 1 ? "" : "s");
	if (upload->is_in_use)
		printf("in use by a mount, ");
	printf("id ");
	text_print(stdout, upload->id);
	putchar('\n');
}

static json_t *make_row(const struct uploads *uploads,
			const struct store_upload *upload)
{
	char when[TIME_SIZE];
	json_t *row = json_pack("{s:o, s:o, s:s, s:I}",
				"key", jsontext_new(upload->key),
				"id", jsontext_new(upload->id),
				"begun", text_time(when, upload->begun_s),
				"idle_seconds", (json_int_t)upload->idle_s);

	if (row && uploads->bucket)
		json_object_set_new(row, "bucket",
				    jsontext_new(uploads->bucket));
	if (row)
		json_object_set_new(row, "in_use",
				    json_boolean(upload->is_in_use));
	if (row && upload->parts_are_known) {
		json_object_set_new(row, "parts",
				    json_integer(upload->parts));
		json_object_set_new(row, "size",
				    json_integer((json_int_t)upload->bytes));
	}
	return row;
}

static int add_victim(struct uploads *uploads,
		      const struct store_upload *upload, json_t *row,
		      struct error *err)
{
	struct victim *victim;

	if (uploads->victim_count == uploads->victim_room) {
		size_t room = uploads->victim_room ?
			2 * uploads->victim_room : 64;
		void *victims = reallocarray(uploads->victims, room,
					     sizeof(*uploads->victims));

		if (!victims)
			return error_nomem(err);
		uploads->victims = victims;
		uploads->victim_room = room;
	}
	victim = &uploads->victims[uploads->victim_count];
	victim->key = strdup(upload->key);
	victim->id = strdup(upload->id);
	victim->row = row;
	uploads->victim_count++;
	return victim->key && victim->id ? 0 : error_nomem(err);
}

static int take_upload(void *arg, const struct store_upload *upload,
		       struct error *err)
{
	struct uploads *uploads = arg;
	json_t *row = NULL;

	if (interrupt_seen())
		return error_set(err, ERR_CANCELLED, "interrupted");
	if ((uint64_t)upload->idle_s < uploads->options->older_s)
		return 0;
	uploads->count++;
	uploads->bytes += upload->bytes;
	if (!uploads->rows) {
		print_row(uploads, upload);
	} else {
		row = make_row(uploads, upload);
		if (json_array_append_new(uploads->rows, row))
			return error_nomem(err);
	}
	if (!uploads->options->abort)
		return 0;
	if (!upload->is_in_use)
		return add_victim(uploads, upload, row, err);
	if (row)
		json_object_set_new(row, "aborted", json_false());
	return 0;
}

/* Those of one bucket, which are forgotten. */
static void abort_victims(struct uploads *uploads, struct store *store)
{
	for (size_t i = 0; i < uploads->victim_count; i++) {
		struct victim *victim = &uploads->victims[i];
		struct error err = { 0 };
		bool good = !interrupt_seen() && victim->key && victim->id;

		if (good && store_abort_upload(store, victim->key, victim->id,
					       &err)) {
			error_prefix(&err, "%s", victim->key);
			complain(uploads, uploads->url, &err);
			good = false;
		}
		uploads->aborted += good;
		if (victim->row)
			json_object_set_new(victim->row, "aborted",
					    json_boolean(good));
		free(victim->key);
		free(victim->id);
	}
	uploads->victim_count = 0;
}

static void list_store(struct uploads *uploads, struct store *store)
{
	struct error err = { 0 };

	uploads->url = store->url;
	if (store_list_uploads(store, take_upload, uploads, &err))
		complain(uploads, store->url, &err);
	abort_victims(uploads, store);
}

struct service {
	struct uploads *uploads;
	struct store *store;
};

static int list_bucket(void *arg, const struct store_entry *entry,
		       struct error *err)
{
	struct service *service = arg;
	struct error why = { 0 };
	struct store *bucket;
	AUTO_FREE char *name = strdup(entry->key);

	if (!name)
		return error_nomem(err);
	if (interrupt_seen())
		return error_set(err, ERR_CANCELLED, "interrupted");
	name[strcspn(name, "/")] = '\0';
	if (store_open_bucket(&bucket, service->store, name, &why)) {
		complain(service->uploads, name, &why);
		return 0;
	}
	service->uploads->bucket = name;
	list_store(service->uploads, bucket);
	service->uploads->bucket = NULL;
	store_close(bucket);
	return 0;
}

static void list_service(struct uploads *uploads, struct store *store)
{
	struct service service = { uploads, store };
	struct list_args args = { .prefix = "", .delimiter = '/' };
	struct error err = { 0 };
	char *token = NULL;

	do {
		char *next = NULL;

		args.continuation = token;
		if (store_list(store, &args, list_bucket, &service, &next,
			       &err))
			complain(uploads, store->url, &err);
		free(token);
		token = next;
	} while (token);
}

static int print_end(struct uploads *uploads)
{
	char size[TEXT_SIZE_MAX];

	if (uploads->rows)
		return text_dump(json_pack("{s:I, s:I, s:I, s:O}",
			"count", (json_int_t)uploads->count,
			"size", (json_int_t)uploads->bytes,
			"aborted", (json_int_t)uploads->aborted,
			"uploads", uploads->rows));
	printf("%" PRIu64 " upload%s of parts, %s", uploads->count,
	       uploads->count == 1 ? "" : "s",
	       text_size(size, uploads->bytes));
	if (uploads->options->abort)
		printf(", %" PRIu64 " aborted", uploads->aborted);
	putchar('\n');
	return fflush(stdout);
}

/* mounts: the journals of this machine's. */
static int list_source(struct uploads *uploads, const char *source,
		       struct uploads_options *options,
		       struct journal *mounts, struct error *err)
{
	struct store_options store_options;
	struct store *store;
	int ret;

	if (strncmp(source, "s3://", 5) != 0)
		return error_set(err, ERR_ARG, "%.*s: only buckets have "
				 "uploads of parts; give s3://BUCKET[/PREFIX] "
				 "or, for all buckets, s3://",
				 (int)strcspn(source, "?"), source);
	if (remote_fill(&store_options, &options->remote, err))
		return -1;
	store_options.mounts = mounts;
	if (store_open(&store, source, &store_options, err))
		return -1;
	interrupt_watch();
	ret = store_start(store, err) || store_check(store, err) ? -1 : 0;
	if (ret)
		error_prefix(err, "%s", source);
	else if (remote_is_service(source))
		list_service(uploads, store);
	else
		list_store(uploads, store);
	store_close(store);
	return ret;
}

static int run(struct uploads_options *options, char *word)
{
	struct uploads uploads = { .options = options };
	AUTO_FREE char *source = NULL;
	struct journal *mounts = NULL;
	struct error err = { 0 };
	int ret;

	if (options->abort && !options->older_s) {
		fprintf(stderr, "vmiefs uploads: --abort needs "
			"--older-than=AGE, such as 2h or 7d: an upload that "
			"somebody still works on must not be aborted\n");
		return EXIT_USAGE;
	}
	uploads.rows = options->json ? json_array() : NULL;
	ret = remote_take_source(&source, word, &err);
	if (!ret)
		ret = journal_new(&mounts, options->scratch, &err);
	if (!ret)
		ret = list_source(&uploads, source, options, mounts, &err);
	journal_free(mounts);
	if (ret)
		fprintf(stderr, "vmiefs uploads: %s\n", err.text);
	else if (print_end(&uploads)) {
		fprintf(stderr, "vmiefs uploads: cannot write the output\n");
		ret = -1;
	}
	json_decref(uploads.rows);
	free(uploads.victims);
	if (ret && err.kind == ERR_ARG)
		return EXIT_USAGE;
	return ret || uploads.has_failed || interrupt_seen() ? EXIT_FAILED :
								EXIT_OK;
}

static int uploads_run(const struct command *command, int argc, char **argv)
{
	struct uploads_options options;
	char *args[2];
	int status;

	if (!command_begin(command, &options, argc, argv, args, &status))
		return status;
	status = run(&options, args[0]);
	options_free(command->options, &options);
	return status;
}

static const struct option_row uploads_rows[] = {
	{ .name = "abort", .type = OPTION_FLAG,
	  .offset = offsetof(struct uploads_options, abort), .since = "0.1",
	  .help = "abort them, which frees what was stored" },
	{ .name = "json", .letter = 'j', .type = OPTION_FLAG,
	  .offset = offsetof(struct uploads_options, json), .since = "0.1",
	  .help = "print JSON instead of text" },
	{ .name = "older-than", .type = OPTION_AGE,
	  .offset = offsetof(struct uploads_options, older_s), .min = 1,
	  .argument = "AGE", .unit = "seconds", .since = "0.1",
	  .help = "only those for which nothing was stored for so long "
		  "(2h, 7d)" },
	{ .name = "scratch", .type = OPTION_TEXT,
	  .offset = offsetof(struct uploads_options, scratch),
	  .argument = "DIR", .fallback_text = "/var/tmp/vmiefs-UID",
	  .since = "0.1",
	  .help = "scratch of the mounts whose uploads are left alone" },
	REMOTE_ROWS(OPTION_LONG, struct uploads_options, remote),
	{ .name = NULL },
};

static const struct option_set uploads_option_set = {
	.synopsis = "SOURCE [--older-than=AGE] [--abort] [--json]",
	.args_min = 1,
	.args_max = 1,
	.target_size = sizeof(struct uploads_options),
	.rows = uploads_rows,
};

const struct command uploads_command = {
	.name = "uploads",
	.summary = "list uploads of parts that never ended in a bucket, and "
		   "abort them",
	.options = &uploads_option_set,
	.run = uploads_run,
};
