/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What is below NAME.ova.part/ lies below the state prefix and is seen where it
 * was put; listings are merged, with one question for all of them; digests are
 * kept where the bytes that passed by tell them, and trusted only for them. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "store/compose.h"
#include "store/parts.h"
#include "store/sink.h"
#include "tests/tap.h"
#include "tests/unit/openat2.h"

#define HEAD 4096u
#define PART "vms/app.ova.part"

static char base[] = "/tmp/vmiefs-parts-XXXXXX";
static struct store *inner, *store;
static struct store_ops counting;
static const struct store_ops *counted;
static unsigned int questions;
static struct error err;

static void must(int ret, const char *what)
{
	if (ret) {
		printf("Bail out! %s: %s\n", what, err.text);
		exit(99);
	}
}

static int counting_has_prefix(struct store *self, const char *prefix,
			       bool *found, struct error *error)
{
	questions += !strcmp(prefix, PARTS_PREFIX);
	return counted->has_prefix(self, prefix, found, error);
}

static void open_stores(void)
{
	must(store_open(&inner, base, NULL, &err), "store");
	counted = inner->ops;
	counting = *counted;
	counting.has_prefix = counting_has_prefix;
	inner->ops = &counting;
	must(parts_store_new(&store, inner, false, &err), "parts");
	questions = 0;
}

static void put(struct store *to, const char *key, const char *text)
{
	struct sink_args args = { .replace = true, .size = strlen(text) };
	struct sink *sink;

	must(store_create(&sink, to, key, &args, &err), key);
	must(sink_write(sink, text, strlen(text), &err), key);
	must(sink_finish(sink, NULL, &err), key);
	sink_discard(sink);
}

/* What an object holds; "-" if it is not there. */
static const char *get(struct store *from, const char *key)
{
	static char text[256];
	struct iovec iov = { text, 0 };
	struct object *object;

	if (object_open(&object, from, key, NULL, &err))
		return "-";
	iov.iov_len = object->info.size;
	must(object_readv(object, 0, &iov, 1, 0, &err), key);
	text[iov.iov_len] = '\0';
	object_close(object);
	return text;
}

static int add_line(void *arg, const struct store_entry *entry,
		    struct error *error)
{
	char (*lines)[128] = arg;

	(void)error;
	for (size_t i = 0; i < 16; i++) {
		if (*lines[i])
			continue;
		snprintf(lines[i], sizeof(lines[i]), "%s", entry->key);
		break;
	}
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	const char *x = a, *y = b;

	return !*x || !*y ? !*x - !*y : strcmp(x, y);
}

/* The keys of a level, in order. */
static const char *list(struct store *from, const char *prefix, char delimiter)
{
	static char text[16 * 129];
	size_t len = 0;
	char lines[16][128] = { "" };
	struct list_args args = { .prefix = prefix, .delimiter = delimiter };
	char *next;

	must(store_list(from, &args, add_line, lines, &next, &err), "list");
	free(next);
	qsort(lines, 16, sizeof(lines[0]), compare_lines);
	*text = '\0';
	for (size_t i = 0; i < 16 && *lines[i]; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
					len ? " " : "", lines[i]);
	return text;
}

static bool has(struct store *from, const char *prefix)
{
	bool found;

	must(store_has_prefix(from, prefix, &found, &err), prefix);
	return found;
}

static void test_names(void)
{
	ok(parts_is_name("a.ova.part"), "a directory for an OVA");
	ok(parts_is_name("A.OVA.Part"), "in any case");
	ok(!parts_is_name(".ova.part"), "not without a name");
	ok(!parts_is_name("a.ova.part.x"), "not with more behind");
	ok(!parts_is_name("a.ova.part/b"), "a plain name");
}

static void test_objects(void)
{
	const struct rename_args args = { .replace = false };

	put(store, "vms/plain", "1");
	succeeds(store_make_prefix(store, PART, &err), &err, "is made");
	fails_with(store_make_prefix(store, PART, &err), &err, ERR_EXISTS, "",
		   "once");
	is_str(list(inner, "", 0), "vms/plain", "it is nothing in the store");
	ok(has(inner, PARTS_PREFIX PART "/"), "but below the state prefix");
	ok(has(store, PART "/"), "and where it was made");
	put(store, PART "/d1.txt", "disk");
	is_str(get(inner, PARTS_PREFIX PART "/d1.txt"), "disk",
	       "so are its objects");
	is_str(get(store, PART "/d1.txt"), "disk", "which are read");
	is_str(list(store, PART "/", '/'), PART "/d1.txt", "and listed");
	is_str(list(store, "vms/", '/'), PART "/ vms/plain", "the level above");
	is_str(list(store, "", '/'), ".vmiefs/ vms/", "and that above it");
	fails_with(store_remove_prefix(store, PART, &err), &err, ERR_IO,
		   "not empty", "it is not empty");
	fails_with(store_remove_prefix(store, "vms", &err), &err, ERR_IO,
		   "not empty", "nor is what it is in");
	succeeds(store_rename(store, PART "/d1.txt", PART "/d2.txt", &args,
			      &err), &err, "renamed within it");
	succeeds(store_rename(store, PART "/d2.txt", "vms/d2", &args, &err),
		 &err, "and out of it");
	is_str(get(inner, "vms/d2"), "disk", "to the store itself");
	succeeds(store_rename(store, "vms/d2", PART "/d3.txt", &args, &err),
		 &err, "and into it");
	fails_with(store_stat(store, PART "/d2.txt", &(struct object_info){ 0 },
			      &err), &err, ERR_NOT_FOUND, "", "the old name");
	succeeds(store_remove(store, PART "/d3.txt", NULL, &err), &err,
		 "removed");
	succeeds(store_remove_prefix(store, PART, &err), &err, "it goes");
	ok(!has(inner, ".vmiefs/"), "and so does the state prefix");
	fails_with(store_remove_prefix(store, PART, &err), &err, ERR_NOT_FOUND,
		   "", "once");
	fails_with(store_create(&(struct sink *){ NULL }, store,
				PART "/d.sha256", &(struct sink_args){ 0 },
				&err), &err, ERR_ARG, "daemon's own",
		   "a name for a digest");
	must(store_remove(store, "vms/plain", NULL, &err), "plain");
}

/* Somebody else put one into the store itself. */
static void test_foreign(void)
{
	struct object_info info;

	put(inner, PART "/old.txt", "old");
	ok(has(store, PART "/"), "is there");
	fails_with(store_make_prefix(store, PART, &err), &err, ERR_EXISTS, "",
		   "so it is not made");
	is_str(get(store, PART "/old.txt"), "old", "it is read");
	fails_with(store_create(&(struct sink *){ NULL }, store,
				PART "/old.txt", &(struct sink_args){ 0 },
				&err), &err, ERR_EXISTS, "",
		   "its objects are not hidden by new ones");
	put(store, PART "/old.txt", "changed");
	is_str(get(inner, PART "/old.txt"), "changed", "but replaced");
	put(store, PART "/new.txt", "new");
	is_str(list(inner, PART "/", '/'), PART "/old.txt", "new ones go to "
	       "the state prefix");
	is_str(list(store, PART "/", '/'), PART "/new.txt " PART "/old.txt",
	       "and are listed together");
	is_str(list(store, "vms/", '/'), PART "/", "once");
	put(inner, PARTS_PREFIX PART "/old.txt", "ours");
	is_str(list(store, PART "/", '/'), PART "/new.txt " PART "/old.txt",
	       "one name is listed once");
	is_str(get(store, PART "/old.txt"), "ours", "and is the one of ours");
	must(store_stat(store, PART "/old.txt", &info, &err), "stat");
	is_u64(info.size, 4, "in stat, too");
	must(store_remove(store, PART "/old.txt", NULL, &err), "remove");
	is_str(get(store, PART "/old.txt"), "changed", "the other one is next");
	must(store_remove(store, PART "/old.txt", NULL, &err), "remove");
	must(store_remove(store, PART "/new.txt", NULL, &err), "remove");
	succeeds(store_remove_prefix(store, PART, &err), &err, "both go");
	is_str(list(inner, "", '/'), "vms/", "so that nothing is left");
}

/* Another daemon's is seen after a while, and not asked for each time. */
static void test_questions(void)
{
	questions = 0;
	store_close(store);
	open_stores();
	for (int i = 0; i < 10; i++)
		list(store, i % 2 ? "vms/" : "", '/');
	is_u64(questions, 1, "ten listings ask once");
	succeeds(store_make_prefix(store, PART, &err), &err, "one of our own");
	is_str(list(store, "vms/", '/'), PART "/", "is there at once");
	is_u64(questions, 1, "without a question");
	store_close(store);
	open_stores();
	is_str(list(store, "vms/", '/'), PART "/", "and for the next mount");
	is_u64(questions, 1, "by a question");
	must(store_remove_prefix(store, PART, &err), "remove");
	store_close(store);
	open_stores();
	succeeds(store_check(store, &err), &err, "who checks a store");
	is_u64(questions, 1, "asks before");
	ok(!has(store, "nothing/"), "so that a name");
	is_u64(questions, 1, "costs no question");
}

/* Digests. */

static bool guess_letters(void *arg, void *head)
{
	memset(head, *(const char *)arg, HEAD);
	return true;
}

static const char body[20000] = "body";

/* Write a head of zeroes that becomes 'h', and a body. */
static void write_disk(const char *key, const char *guess, bool is_short)
{
	struct sink_args args = { .replace = true, .head_bytes = HEAD,
				  .guess_head = guess ? guess_letters : NULL,
				  .guess_arg = (void *)guess };
	static char head[HEAD];
	struct sink *sink;

	memset(head, 'h', sizeof(head));
	must(store_create(&sink, store, key, &args, &err), key);
	must(sink_zeroes(sink, HEAD, &err), "head");
	if (!is_short) {
		must(sink_write(sink, body, sizeof(body), &err), "body");
		must(sink_zeroes(sink, 100000, &err), "zeroes");
	}
	must(sink_patch(sink, 0, head, sizeof(head), &err), "patch");
	must(sink_finish(sink, NULL, &err), "finish");
	sink_discard(sink);
}

static void hash_object(const char *key, uint8_t digest[PARTS_DIGEST_BYTES])
{
	struct object *object;
	struct iovec iov;

	must(object_open(&object, store, key, NULL, &err), key);
	iov.iov_len = object->info.size;
	iov.iov_base = malloc(iov.iov_len);
	must(object_readv(object, 0, &iov, 1, 0, &err), key);
	EVP_Digest(iov.iov_base, iov.iov_len, digest, NULL, EVP_sha256(),
		   NULL);
	free(iov.iov_base);
	object_close(object);
}

static bool has_digest(const char *key, const char *what)
{
	uint8_t got[PARTS_DIGEST_BYTES], want[PARTS_DIGEST_BYTES];
	struct object_info info;

	must(store_stat(store, key, &info, &err), key);
	if (!parts_digest(store, key, &info, got))
		return false;
	hash_object(key, want);
	is_mem(got, want, sizeof(want), what);
	return true;
}

static void test_digests(void)
{
	const char *key = PART "/d.vmdk", *sum = PARTS_PREFIX PART
						 "/d.vmdk.sha256";
	struct object_info info;
	uint8_t digest[PARTS_DIGEST_BYTES];

	write_disk(key, "h", false);
	ok(has_digest(key, "the digest is right"), "the head was guessed");
	is_str(list(store, PART "/", '/'), PART "/d.vmdk", "it is not listed");
	must(store_stat(store, key, &info, &err), "stat");
	ok(!parts_digest(inner, key, &info, digest), "not of another store");
	info.size++;
	ok(!parts_digest(store, key, &info, digest), "not of another size");
	info.size--;
	info.etag[0] ^= 1;
	ok(!parts_digest(store, key, &info, digest), "not of another ETag");
	write_disk(key, "x", false);
	ok(!has_digest(key, ""), "a wrong guess gives none");
	write_disk(key, NULL, false);
	ok(!has_digest(key, ""), "no guess gives none");
	write_disk(key, NULL, true);
	ok(has_digest(key, "of nothing but a head"), "that needs no guess");
	put(store, key, "no head at all");
	ok(has_digest(key, "of what has no head"), "nor does that");
	put(inner, sum, "{\"sha256\": \"00\", \"etag\": 1}");
	ok(!has_digest(key, ""), "nonsense is none");
	must(store_remove(store, key, NULL, &err), "remove");
	is_str(get(inner, sum), "-", "it goes with its disk");
	write_disk("vms/d.vmdk", "h", false);
	is_str(list(inner, "", 0), "vms/d.vmdk", "elsewhere there is none");
	must(store_remove(store, "vms/d.vmdk", NULL, &err), "remove");
}

static void test_compose(void)
{
	struct sink_args args = { 0 };
	struct object_info info;
	struct store_piece pieces[] = {
		{ .data = "<", .length = 1 },
		{ .key = PART "/a.txt", .info = &info, .offset = 1,
		  .length = 2 },
		{ .data = ">", .length = 1 },
	};

	put(store, PART "/a.txt", "abcd");
	must(store_stat(store, PART "/a.txt", &info, &err), "stat");
	succeeds(store_compose(store, "vms/x", &args, pieces, 3, NULL, NULL,
			       NULL, &err), &err, "from a part");
	is_str(get(inner, "vms/x"), "<bc>", "its range");
	succeeds(store_compose(store, PART "/b.txt", &args, pieces, 3, NULL,
			       NULL, NULL, &err), &err, "to a part");
	is_str(get(inner, PARTS_PREFIX PART "/b.txt"), "<bc>", "as well");
	must(store_remove(store, PART "/a.txt", NULL, &err), "remove");
	/* Somebody else's leftover does not hold the directory. */
	put(inner, PARTS_PREFIX PART "/gone.vmdk.sha256", "{}");
	must(store_remove(store, PART "/b.txt", NULL, &err), "remove");
	succeeds(store_remove_prefix(store, PART, &err), &err, "digests of "
		 "nothing go with it");
	must(store_remove(store, "vms/x", NULL, &err), "remove");
}

static void test_long_keys(void)
{
	char key[STORE_KEY_MAX + 1];
	struct object_info info;

	snprintf(key, sizeof(key), "%s/", PART);
	memset(key + strlen(key), 'k', sizeof(key) - 1 - strlen(key));
	key[STORE_KEY_MAX] = '\0';
	for (size_t i = 100; i < STORE_KEY_MAX - 1; i += 100)
		key[i] = '/';
	fails_with(store_create(&(struct sink *){ NULL }, store, key,
				&(struct sink_args){ 0 }, &err), &err, ERR_IO,
		   "at most 1003 bytes", "a key that is too long below it");
	fails_with(store_stat(store, key, &info, &err), &err, ERR_NOT_FOUND,
		   "", "is not there");
}

int main(void)
{
	if (!have_openat2())
		return tap_skip_all(NO_OPENAT2);
	if (!mkdtemp(base))
		must(-1, "mkdtemp");
	open_stores();
	test_names();
	test_objects();
	test_foreign();
	test_questions();
	test_digests();
	test_compose();
	test_long_keys();
	must(store_remove_prefix(store, "vms", &err), "rmdir");
	store_close(store);
	ok(!rmdir(base), "nothing is left");
	return tap_done();
}
