/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: a store, asked line by line.
 *
 *     storecat [-o OPTION]... SOURCE
 *
 * OPTION: endpoint=URL region=NAME profile=NAME ca-bundle=FILE timeout=MS path
 * virtual anonymous requester-pays unsigned. SOURCE is what store_open()
 * takes; "bare:SOURCE" goes without the retry decorator around it.
 *
 * Each line of standard input is a command, its words percent-encoded where
 * they have to be, and gets its answer: lines that begin with a blank, and one
 * that says "ok ..." or "error KIND STATUS CODE ATTEMPTS: TEXT".
 *
 *     check
 *     list PREFIX        one level            all PREFIX    everything below
 *     page KEYS PREFIX [TOKEN]                at most so many; "ok TOKEN"
 *     stat KEY           "ok SIZE ETAG"       has PREFIX    "ok yes" or "no"
 *     open KEY [SIZE ETAG]                    with what is known
 *     read OFFSET LENGTH [PIECES]             "ok SHA256", into so many pieces
 *     nowait OFFSET LENGTH                    the same, but without waiting
 *     bucket NAME        go on in a bucket of the service
 *     stats */
#include "config.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "store/http-fields.h"
#include "store/sigv4.h"
#include "store/store.h"

#define LINE_MAX_BYTES 16384
#define WORDS_MAX      4
#define PIECES_MAX     64

struct cat {
	struct store *store, *service; /* service: what a bucket came from */
	struct object *object;
};

static const struct {
	const char *name;
	size_t offset;
} texts[] = {
	{ "endpoint=", offsetof(struct store_options, endpoint) },
	{ "region=", offsetof(struct store_options, region) },
	{ "profile=", offsetof(struct store_options, profile) },
	{ "ca-bundle=", offsetof(struct store_options, ca_bundle) },
};

static void set_option(struct store_options *options, const char *text)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!strncmp(text, texts[i].name, strlen(texts[i].name))) {
			const char *value = text + strlen(texts[i].name);

			memcpy((char *)options + texts[i].offset, &value,
			       sizeof(value));
			return;
		}
	if (!strncmp(text, "timeout=", 8))
		options->timeout_ms = (unsigned int)strtoul(text + 8, NULL,
							    10);
	else if (!strcmp(text, "path"))
		options->addressing = S3_PATH_STYLE;
	else if (!strcmp(text, "virtual"))
		options->addressing = S3_VIRTUAL_HOSTED;
	else if (!strcmp(text, "anonymous"))
		options->is_anonymous = true;
	else if (!strcmp(text, "requester-pays"))
		options->requester_pays = true;
	else if (!strcmp(text, "unsigned"))
		options->unsigned_payload = true;
	else
		fprintf(stderr, "storecat: no such option: %s\n", text);
}

static int print_entry(void *arg, const struct store_entry *entry,
		       struct error *err)
{
	struct strbuf key = { .max = 8 * STORE_KEY_MAX };

	++*(unsigned int *)arg;
	uri_encode(&key, entry->key, true);
	if (entry->is_prefix)
		printf(" %s\n", key.data);
	else
		printf(" %s %" PRIu64 " %" PRId64 " %s\n", key.data,
		       entry->info.size, entry->info.mtime_ns,
		       entry->info.etag);
	strbuf_free(&key);
	return 0;
}

static int list_all(struct cat *cat, struct list_args *args,
		    struct error *err)
{
	char *token = NULL;
	unsigned int count = 0;
	int ret;

	do {
		AUTO_FREE char *from = take_ptr(token);

		args->continuation = from;
		ret = store_list(cat->store, args, print_entry, &count, &token,
				 err);
	} while (!ret && token);
	free(token);
	if (!ret)
		printf("ok %u\n", count);
	return ret;
}

static int cat_list(struct cat *cat, char **words, struct error *err)
{
	struct list_args args = { .prefix = words[0], .delimiter = '/' };

	return list_all(cat, &args, err);
}

static int cat_all(struct cat *cat, char **words, struct error *err)
{
	struct list_args args = { .prefix = words[0] };

	return list_all(cat, &args, err);
}

static int cat_page(struct cat *cat, char **words, struct error *err)
{
	struct list_args args = {
		.prefix = words[1],
		.delimiter = '/',
		.continuation = *words[2] ? words[2] : NULL,
		.max_keys = (unsigned int)strtoul(words[0], NULL, 10),
	};
	AUTO_FREE char *token = NULL;
	unsigned int count = 0;

	if (store_list(cat->store, &args, print_entry, &count, &token, err))
		return -1;
	printf("ok %s\n", token ? token : "");
	return 0;
}

static int cat_check(struct cat *cat, char **words, struct error *err)
{
	if (store_check(cat->store, err))
		return -1;
	printf("ok\n");
	return 0;
}

static int print_info(const struct object_info *info)
{
	printf("ok %" PRIu64 " %s\n", info->size, info->etag);
	return 0;
}

static int cat_stat(struct cat *cat, char **words, struct error *err)
{
	struct object_info info;

	if (store_stat(cat->store, words[0], &info, err))
		return -1;
	return print_info(&info);
}

static int cat_has(struct cat *cat, char **words, struct error *err)
{
	bool found;

	if (store_has_prefix(cat->store, words[0], &found, err))
		return -1;
	printf("ok %s\n", found ? "yes" : "no");
	return 0;
}

static int cat_open(struct cat *cat, char **words, struct error *err)
{
	struct object_info known = { .size = strtoull(words[1], NULL, 10) };

	snprintf(known.etag, sizeof(known.etag), "%s", words[2]);
	object_close(take_ptr(cat->object));
	if (object_open(&cat->object, cat->store, words[0],
			*words[1] ? &known : NULL, err))
		return -1;
	return print_info(&cat->object->info);
}

/* Read into so many pieces of equal length, but for the last. */
static int read_pieces(struct cat *cat, char **words, unsigned int flags,
		       struct error *err)
{
	uint64_t offset = strtoull(words[0], NULL, 10);
	size_t length = strtoul(words[1], NULL, 10);
	int pieces = *words[2] ? (int)strtol(words[2], NULL, 10) : 1;
	AUTO_FREE char *data = malloc(length + 1);
	struct iovec iov[PIECES_MAX];
	char hex[SIGV4_HASH_SIZE];

	if (!data || !cat->object || pieces < 1 || pieces > PIECES_MAX)
		return error_set(err, ERR_ARG, "cannot read this");
	for (int i = 0; i < pieces; i++) {
		size_t each = length / (size_t)pieces;
		size_t at = each * (size_t)i;

		iov[i] = (struct iovec){ data + at, i + 1 < pieces ?
					 each : length - at };
	}
	if (object_readv(cat->object, offset, iov, pieces, flags, err))
		return -1;
	sigv4_hash(hex, data, length);
	printf("ok %s\n", hex);
	return 0;
}

static int cat_read(struct cat *cat, char **words, struct error *err)
{
	return read_pieces(cat, words, 0, err);
}

static int cat_nowait(struct cat *cat, char **words, struct error *err)
{
	return read_pieces(cat, words, STORE_NOWAIT, err);
}

static int cat_bucket(struct cat *cat, char **words, struct error *err)
{
	struct store *bucket;

	if (cat->service)
		return error_set(err, ERR_ARG, "is in a bucket already");
	if (store_open_bucket(&bucket, cat->store, words[0], err))
		return -1;
	cat->service = cat->store;
	cat->store = bucket;
	printf("ok %s\n", bucket->url);
	return 0;
}

static int cat_stats(struct cat *cat, char **words, struct error *err)
{
	json_t *object = json_object();
	AUTO_FREE char *text = NULL;
	int ret = store_stats(cat->store, object, err);

	if (!ret)
		text = json_dumps(object, JSON_SORT_KEYS);
	json_decref(object);
	if (text)
		printf("ok %s\n", text);
	return ret;
}

static const struct {
	const char *name;
	int (*run)(struct cat *cat, char **words, struct error *err);
} commands[] = {
	{ "all", cat_all }, { "bucket", cat_bucket }, { "check", cat_check },
	{ "has", cat_has }, { "list", cat_list }, { "nowait", cat_nowait },
	{ "open", cat_open }, { "page", cat_page }, { "read", cat_read },
	{ "stat", cat_stat }, { "stats", cat_stats },
};

static int run_line(struct cat *cat, char *line, struct error *err)
{
	static char none[] = "";
	char *name = strsep(&line, " \n");
	char *words[WORDS_MAX];

	for (int i = 0; i < WORDS_MAX; i++) {
		words[i] = strsep(&line, " \n");
		if (!words[i])
			words[i] = none;
		else if (!field_unescape(words[i], false))
			return error_set(err, ERR_ARG, "bad escape");
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return commands[i].run(cat, words, err);
	return error_set(err, ERR_ARG, "no such command: %s", name);
}

static void print_error(const struct error *err)
{
	printf("error %s %d %s %u: %s\n", error_kind_name(err->kind),
	       err->remote.http_status,
	       *err->remote.code ? err->remote.code : "-",
	       err->remote.attempts, err->text);
}

static void run_lines(struct cat *cat)
{
	char line[LINE_MAX_BYTES];

	while (fgets(line, sizeof(line), stdin)) {
		struct error err = { 0 };

		if (run_line(cat, line, &err))
			print_error(&err);
		fflush(stdout);
	}
	object_close(cat->object);
	store_close(cat->store);
	store_close(cat->service);
}

static int open_source(struct store **out, const char *source,
		       const struct store_options *options, struct error *err)
{
	static const char bare[] = "bare:";

	if (strncmp(source, bare, strlen(bare)))
		return store_open(out, source, options, err);
	source += strlen(bare);
	if (!strncmp(source, "s3://", 5))
		return s3_store_open(out, source, options, err);
	return https_store_open(out, source, options, err);
}

int main(int argc, char **argv)
{
	struct store_options options = { 0 };
	struct cat cat = { 0 };
	struct error err = { 0 };
	int option;

	while ((option = getopt(argc, argv, "o:")) == 'o')
		set_option(&options, optarg);
	if (option != -1 || optind + 1 != argc) {
		fprintf(stderr, "usage: storecat [-o OPTION]... SOURCE\n");
		return 2;
	}
	if (open_source(&cat.store, argv[optind], &options, &err) ||
	    store_start(cat.store, &err)) {
		print_error(&err);
		store_close(cat.store);
		return 1;
	}
	printf("ok %s\n", cat.store->url);
	fflush(stdout);
	run_lines(&cat);
	return 0;
}
