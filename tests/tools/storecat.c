/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: a store, asked line by line.
 *
 *     storecat [-o OPTION]... SOURCE
 *
 * OPTION: endpoint=URL region=NAME profile=NAME ca-bundle=FILE timeout=MS path
 * virtual anonymous requester-pays unsigned; for put: memory=BYTES scratch=DIR
 * size=BYTES (announced) acl= content-type= sse= sse-kms-key= storage-class=
 * tags= metadata, as in vmiefs(1); for compose: stop=MS (then it is given up).
 * SOURCE is what store_open() takes; "bare:SOURCE" goes without the retry
 * decorator around it.
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
 *     put KEY FILE [HOW] [HEAD]
 *                        a new object, "ok SIZE ETAG"; HOW: new (at first),
 *                        any, or the ETag that it replaces. The file's first
 *                        HEAD bytes come last
 *     pin KEY            stat, and remember it for compose
 *     compose KEY HOW PIECE...                a new object, "ok SIZE ETAG"; a
 *                        PIECE is "=TEXT", "0xN" (N zeroes of ours) or
 *                        "KEY:OFFSET:LENGTH"; of a KEY that was not pinned,
 *                        what it is now
 *     remove KEY [ETAG]  rename FROM TO [any] mkdir PREFIX   rmdir PREFIX
 *     bucket NAME        go on in a bucket of the service
 *     stats */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/cleanup.h"
#include "common/scratch.h"
#include "store/compose.h"
#include "store/http-fields.h"
#include "store/sigv4.h"
#include "store/sink.h"
#include "store/store.h"

#define LINE_MAX_BYTES 16384
#define WORDS_MAX      32
#define PINS_MAX       16
#define PIECES_MAX     64
#define PUT_BYTES      (1u << 20)

struct pin {
	char *key;
	struct object_info info;
};

struct cat {
	struct pin pins[PINS_MAX];
	unsigned int pin_count;
	struct store *store, *service; /* service: what a bucket came from */
	struct object *object;
	struct budget *budget;
	struct scratch *scratch;
	uint64_t size;
	uint64_t stop_ms, begun_ms; /* compose gives up then; 0: never */
};

static const struct {
	const char *name;
	size_t offset;
} texts[] = {
	{ "endpoint=", offsetof(struct store_options, endpoint) },
	{ "region=", offsetof(struct store_options, region) },
	{ "profile=", offsetof(struct store_options, profile) },
	{ "ca-bundle=", offsetof(struct store_options, ca_bundle) },
	{ "acl=", offsetof(struct store_options, new_objects.acl) },
	{ "content-type=",
	  offsetof(struct store_options, new_objects.content_type) },
	{ "sse=", offsetof(struct store_options, new_objects.sse) },
	{ "sse-kms-key=",
	  offsetof(struct store_options, new_objects.sse_kms_key) },
	{ "storage-class=",
	  offsetof(struct store_options, new_objects.storage_class) },
	{ "tags=", offsetof(struct store_options, new_objects.tags) },
};

/* What is not the store's. */
static bool set_own_option(struct cat *cat, const char *text)
{
	struct error err = { 0 };
	int ret = 0;

	if (!strncmp(text, "memory=", 7))
		ret = budget_new(&cat->budget, strtoull(text + 7, NULL, 10),
				 &err);
	else if (!strncmp(text, "scratch=", 8))
		ret = scratch_new(&cat->scratch, text + 8, 16ull << 30, &err);
	else if (!strncmp(text, "size=", 5))
		cat->size = strtoull(text + 5, NULL, 10);
	else if (!strncmp(text, "stop=", 5))
		cat->stop_ms = strtoull(text + 5, NULL, 10);
	else
		return false;
	if (ret)
		fprintf(stderr, "storecat: %s\n", err.text);
	return true;
}

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
	else if (!strcmp(text, "metadata"))
		options->new_objects.metadata = true;
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

/* Holes of the file are zeroes that nobody reads. */
static int put_file(struct sink *sink, int fd, uint64_t size,
		    struct error *err)
{
	AUTO_FREE char *data = malloc(PUT_BYTES);
	uint64_t at = 0;

	while (data && at < size) {
		off_t found = lseek(fd, (off_t)at, SEEK_DATA);
		uint64_t begin = found < 0 ? size : (uint64_t)found;
		ssize_t n;

		if (sink_zeroes(sink, begin - at, err))
			return -1;
		at = begin;
		n = at < size ? pread(fd, data, PUT_BYTES, (off_t)at) : 0;
		if (n < 0)
			return error_errno(err, errno, "cannot read");
		if (sink_write(sink, data, (size_t)n, err))
			return -1;
		at += (uint64_t)n;
	}
	return data ? 0 : error_nomem(err);
}

/* The head is written over with itself, as late as a head comes. */
static int put_head(struct sink *sink, int fd, size_t head, struct error *err)
{
	AUTO_FREE char *data = malloc(head + 1);

	if (!data || pread(fd, data, head, 0) != (ssize_t)head)
		return error_set(err, ERR_ARG, "no head");
	return sink_patch(sink, 0, data, head, err);
}

static struct sink_args args_of(const struct cat *cat, const char *how)
{
	static const char *const metadata[] = { "format=raw", "tool=storecat",
						NULL };
	bool is_new = !*how || !strcmp(how, "new");

	return (struct sink_args){
		.replace = !is_new,
		.if_match = is_new || !strcmp(how, "any") ? NULL : how,
		.size = cat->size,
		.budget = cat->budget,
		.scratch = cat->scratch,
		.metadata = metadata,
	};
}

static int cat_put(struct cat *cat, char **words, struct error *err)
{
	size_t head = strtoul(words[3], NULL, 10);
	struct sink_args args = args_of(cat, words[2]);
	AUTO_CLOSE int fd = open(words[1], O_RDONLY | O_CLOEXEC);
	struct object_info info;
	struct sink *sink;
	struct stat st;
	int ret;

	args.head_bytes = (uint32_t)head;
	if (fd < 0 || fstat(fd, &st))
		return error_errno(err, errno, "%s", words[1]);
	if (store_create(&sink, cat->store, words[0], &args, err))
		return -1;
	ret = put_file(sink, fd, (uint64_t)st.st_size, err);
	if (!ret && head)
		ret = put_head(sink, fd, head, err);
	if (!ret)
		ret = sink_finish(sink, &info, err);
	sink_discard(sink);
	return ret ? -1 : print_info(&info);
}

/* What is pinned of key, or pinned now. */
static const struct object_info *pin(struct cat *cat, const char *key,
				     struct error *err)
{
	struct pin *new;

	for (unsigned int i = 0; i < cat->pin_count; i++)
		if (!strcmp(cat->pins[i].key, key))
			return &cat->pins[i].info;
	if (cat->pin_count == PINS_MAX) {
		error_set(err, ERR_LIMIT, "too many pins");
		return NULL;
	}
	new = &cat->pins[cat->pin_count];
	if (store_stat(cat->store, key, &new->info, err))
		return NULL;
	new->key = strdup(key);
	if (new->key)
		cat->pin_count++;
	return new->key ? &new->info : NULL;
}

static int cat_pin(struct cat *cat, char **words, struct error *err)
{
	const struct object_info *info = pin(cat, words[0], err);

	return info ? print_info(info) : -1;
}

/* "KEY:OFFSET:LENGTH"; cuts the word. */
static int parse_range(struct cat *cat, char *word, struct store_piece *piece,
		       struct error *err)
{
	char *length = strrchr(word, ':'), *offset;

	if (length)
		*length++ = '\0';
	offset = length ? strrchr(word, ':') : NULL;
	if (!offset)
		return error_set(err, ERR_ARG, "no piece: %s", word);
	*offset++ = '\0';
	piece->key = word;
	piece->info = pin(cat, word, err);
	piece->offset = strtoull(offset, NULL, 10);
	piece->length = strtoull(length, NULL, 10);
	return piece->info ? 0 : -1;
}

static int parse_piece(struct cat *cat, char *word, void **zeroes,
		       struct store_piece *piece, struct error *err)
{
	if (*word == '=') {
		piece->data = word + 1;
		piece->length = strlen(word + 1);
		return 0;
	}
	if (strncmp(word, "0x", 2) != 0)
		return parse_range(cat, word, piece, err);
	piece->length = strtoull(word + 2, NULL, 10);
	piece->data = *zeroes = calloc(1, (size_t)piece->length + 1);
	return piece->data ? 0 : error_nomem(err);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool goes_on(void *arg, uint64_t done, uint64_t total)
{
	const struct cat *cat = arg;

	return done <= total &&
	       (!cat->stop_ms || now_ms() - cat->begun_ms < cat->stop_ms);
}

static int cat_compose(struct cat *cat, char **words, struct error *err)
{
	struct store_piece pieces[WORDS_MAX] = { { .data = NULL } };
	void *zeroes[WORDS_MAX] = { NULL };
	struct sink_args args = args_of(cat, words[1]);
	struct object_info info;
	size_t n = 0;
	int ret = 0;

	cat->begun_ms = now_ms();
	for (; !ret && n < WORDS_MAX - 2 && *words[n + 2]; n++)
		ret = parse_piece(cat, words[n + 2], &zeroes[n], &pieces[n],
				  err);
	if (!ret)
		ret = store_compose(cat->store, words[0], &args, pieces, n,
				    goes_on, cat, &info, err);
	while (n)
		free(zeroes[--n]);
	while (cat->pin_count)
		free(cat->pins[--cat->pin_count].key);
	return ret ? -1 : print_info(&info);
}

static int say_ok(int ret)
{
	if (!ret)
		printf("ok\n");
	return ret;
}

static int cat_remove(struct cat *cat, char **words, struct error *err)
{
	return say_ok(store_remove(cat->store, words[0],
				   *words[1] ? words[1] : NULL, err));
}

static int cat_rename(struct cat *cat, char **words, struct error *err)
{
	struct rename_args args = { .replace = !strcmp(words[2], "any") };

	return say_ok(store_rename(cat->store, words[0], words[1], &args,
				   err));
}

static int cat_mkdir(struct cat *cat, char **words, struct error *err)
{
	return say_ok(store_make_prefix(cat->store, words[0], err));
}

static int cat_rmdir(struct cat *cat, char **words, struct error *err)
{
	return say_ok(store_remove_prefix(cat->store, words[0], err));
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
	{ "compose", cat_compose }, { "has", cat_has }, { "list", cat_list },
	{ "mkdir", cat_mkdir }, { "nowait", cat_nowait },
	{ "open", cat_open }, { "page", cat_page }, { "pin", cat_pin },
	{ "put", cat_put }, { "read", cat_read }, { "remove", cat_remove },
	{ "rename", cat_rename }, { "rmdir", cat_rmdir },
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
	while (cat->pin_count)
		free(cat->pins[--cat->pin_count].key);
	object_close(cat->object);
	store_close(cat->store);
	store_close(cat->service);
	scratch_free(cat->scratch);
	budget_free(cat->budget);
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
	struct cat cat = { .size = SINK_SIZE_UNKNOWN };
	struct error err = { 0 };
	int option;

	while ((option = getopt(argc, argv, "o:")) == 'o')
		if (!set_own_option(&cat, optarg))
			set_option(&options, optarg);
	if (option != -1 || optind + 1 != argc) {
		fprintf(stderr, "usage: storecat [-o OPTION]... SOURCE\n");
		return 2;
	}
	if (open_source(&cat.store, argv[optind], &options, &err) ||
	    store_start(cat.store, &err)) {
		print_error(&err);
		store_close(cat.store);
		scratch_free(cat.scratch);
		budget_free(cat.budget);
		return 1;
	}
	printf("ok %s\n", cat.store->url);
	fflush(stdout);
	run_lines(&cat);
	return 0;
}
