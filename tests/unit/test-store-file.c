/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A directory as a store: what is an object, what a listing shows, pinning,
 * and that nothing outside the directory is ever reached. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "store/store.h"
#include "tests/tap.h"
#include "tests/unit/openat2.h"

static char base[] = "/tmp/vmiefs-store-XXXXXX";
static struct store *store;

static const char *path_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	return path;
}

static void must(int ret, const char *what)
{
	if (ret < 0) {
		printf("Bail out! %s: errno %d\n", what, errno);
		exit(99);
	}
}

static void write_file(const char *name, const char *text)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0666);

	must(fd, name);
	must((int)write(fd, text, strlen(text)), name);
	close(fd);
}

static void link_to(const char *target, const char *name)
{
	must(symlink(target, path_of(name)), name);
}

/* in/ is the store; what lies beside it must stay out of reach. */
static void make_tree(void)
{
	static const char *const dirs[] = { "in", "in/vms", "in/vms/deep",
					    "in/empty", "outside" };

	must(mkdtemp(base) ? 0 : -1, "mkdtemp");
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		must(mkdir(path_of(dirs[i]), 0777), dirs[i]);
	write_file("outside/secret", "secret");
	write_file("in/a.vmdk", "hello");
	write_file("in/vms/db.vmdk", "a database");
	write_file("in/vms/deep/x.raw", "x");
	write_file("in/vms.txt", "not below vms/");
	write_file("in/odd \n\x01\xff%.raw", "odd");
	write_file("in/empty.raw", "");
	must(mkfifo(path_of("in/fifo.raw"), 0666), "fifo");
	link_to("a.vmdk", "in/link.vmdk");
	link_to("vms", "in/dirlink");
	link_to("..", "in/vms/up");
	link_to("../outside/secret", "in/escape.raw");
	link_to("../outside", "in/escape");
	link_to("/etc/passwd", "in/absolute.raw");
	link_to("/proc/self/root/etc/passwd", "in/magic.raw");
	link_to("nowhere", "in/dangling.raw");
	link_to("loop", "in/loop");
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
	char *items[64];
	size_t count;
};

static int collect(void *arg, const struct store_entry *entry,
		   struct error *err)
{
	struct names *names = arg;

	if (names->count == 64)
		return error_set(err, ERR_LIMIT, "too many names");
	names->items[names->count++] = strdup(entry->key);
	if (!entry->is_prefix && !entry->info.etag[0])
		return error_set(err, ERR_BUG, "%s has no ETag", entry->key);
	return 0;
}

/* The sorted listing as one text, names divided by '|'. */
static char *listing(const char *prefix, char delimiter)
{
	struct list_args args = { .prefix = prefix, .delimiter = delimiter };
	struct strbuf all = { .max = 1 << 16 };
	struct names names = { .count = 0 };
	struct error err = { 0 };
	char *more = NULL;

	if (store_list(store, &args, collect, &names, &more, &err))
		strbuf_printf(&all, "error: %s", err.text);
	else if (err.kind)
		strbuf_printf(&all, "err was touched: %s", err.text);
	if (more)
		strbuf_puts(&all, "more");
	qsort(names.items, names.count, sizeof(names.items[0]), compare);
	for (size_t i = 0; i < names.count; i++) {
		strbuf_printf(&all, "%s%s", i ? "|" : "", names.items[i]);
		free(names.items[i]);
	}
	free(more);
	return strbuf_take(&all);
}

static void lists(const char *prefix, char delimiter, const char *want)
{
	char *got = listing(prefix, delimiter);

	is_str(got, want, prefix[0] ? prefix : "everything");
	free(got);
}

static void test_list(void)
{
	lists("", '/', "a.vmdk|dirlink/|empty.raw|empty/|link.vmdk|"
	      "odd \n\x01\xff%.raw|vms.txt|vms/");
	lists("vms/", '/', "vms/db.vmdk|vms/deep/|vms/up/");
	lists("vms", '/', "vms.txt|vms/");
	lists("vms/d", '/', "vms/db.vmdk|vms/deep/");
	lists("dirlink/d", '/', "dirlink/db.vmdk|dirlink/deep/");
	lists("empty/", '/', "");
	lists("absent/", '/', "");
	lists("a.vmdk/", '/', "");
	lists("vms/", 0, "vms/db.vmdk|vms/deep/x.raw");
	lists("", 0, "a.vmdk|empty.raw|link.vmdk|odd \n\x01\xff%.raw|vms.txt|"
	      "vms/db.vmdk|vms/deep/x.raw");
}

static int stop(void *arg, const struct store_entry *entry, struct error *err)
{
	++*(int *)arg;
	return error_set(err, ERR_CANCELLED, "enough");
}

static void test_list_stops(void)
{
	struct list_args args = { .prefix = "", .delimiter = '/' };
	struct error err;
	char *more;
	int calls = 0;

	fails_with(store_list(store, &args, stop, &calls, &more, &err), &err,
		   ERR_CANCELLED, "enough", "the callback's error ends it");
	is_u64((uint64_t)calls, 1, "at once");
	args.prefix = "escape/";
	fails_with(store_list(store, &args, stop, &calls, &more, &err), &err,
		   ERR_DENIED, "out of the mounted directory",
		   "a link to a directory outside is not listed");
}

static void test_stat(void)
{
	struct object_info info, link;
	struct error err;

	succeeds(store_stat(store, "a.vmdk", &info, &err), &err, "stat");
	is_u64(info.size, 5, "size");
	ok(info.mtime_ns > 1600000000ll * 1000000000, "mtime in nanoseconds");
	succeeds(store_stat(store, "link.vmdk", &link, &err), &err, "a link");
	is_str(link.etag, info.etag, "a link has its target's ETag");
	succeeds(store_stat(store, "odd \n\x01\xff%.raw", &info, &err), &err,
		 "any byte but NUL may be in a name");
}

/* Keys that name no object, and those that would lead out. */
static void test_refused(void)
{
	static const struct {
		const char *key;
		enum error_kind kind;
		const char *text;
	} cases[] = {
		{ "", ERR_NOT_FOUND, "no key" },
		{ "/etc/passwd", ERR_NOT_FOUND, "no key" },
		{ "absent", ERR_NOT_FOUND, "cannot open" },
		{ "vms", ERR_NOT_FOUND, "not a regular file" },
		{ "a.vmdk/x", ERR_NOT_FOUND, "" },
		{ "fifo.raw", ERR_NOT_FOUND, "not a regular file" },
		{ "dangling.raw", ERR_NOT_FOUND, "" },
		{ "../outside/secret", ERR_NOT_FOUND, "no key" },
		{ "vms/../a.vmdk", ERR_NOT_FOUND, "no key" },
		{ "vms/./db.vmdk", ERR_NOT_FOUND, "no key" },
		{ "vms//db.vmdk", ERR_NOT_FOUND, "no key" },
		{ "vms/", ERR_NOT_FOUND, "no key" },
		{ "..", ERR_NOT_FOUND, "no key" },
		{ "escape.raw", ERR_DENIED, "out of the mounted" },
		{ "escape/secret", ERR_DENIED, "out of the mounted" },
		{ "vms/up/../outside/secret", ERR_NOT_FOUND, "no key" },
		{ "absolute.raw", ERR_DENIED, "out of the mounted" },
		{ "magic.raw", ERR_DENIED, "out of the mounted" },
		{ "loop", ERR_DENIED, "loop" },
	};
	struct object_info info;
	struct object *object;
	struct error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fails_with(store_stat(store, cases[i].key, &info, &err), &err,
			   cases[i].kind, cases[i].text, cases[i].key);
		fails_with(object_open(&object, store, cases[i].key, NULL,
				       &err), &err, cases[i].kind,
			   cases[i].text, cases[i].key);
		ok(!object, "nothing opened");
	}
}

static void test_long_names(void)
{
	struct object_info info;
	struct error err;
	char key[2000];

	memset(key, 'n', sizeof(key));
	key[300] = '\0';
	fails_with(store_stat(store, key, &info, &err), &err, ERR_NOT_FOUND,
		   "", "a name above 255 bytes is of no file");
	key[300] = 'n';
	key[STORE_KEY_MAX + 1] = '\0';
	fails_with(store_stat(store, key, &info, &err), &err, ERR_NOT_FOUND,
		   "above the limit of 1024", "a key above 1024 bytes");
}

static struct object *open_key(const char *key)
{
	struct object *object;
	struct error err;

	succeeds(object_open(&object, store, key, NULL, &err), &err, key);
	return object;
}

static int read_text(struct object *object, uint64_t offset, char *text,
		     size_t len, unsigned int flags, struct error *err)
{
	struct iovec iov = { text, len };

	memset(text, 0, len);
	return object_readv(object, offset, &iov, 1, flags, err);
}

static void test_read(void)
{
	struct object *object = open_key("a.vmdk");
	char a[3] = "", b[3] = "", none;
	struct iovec iov[] = { { a, 2 }, { &none, 0 }, { b, 2 } };
	struct error err;

	succeeds(object_readv(object, 1, iov, 3, 0, &err), &err, "iov");
	ok(!strcmp(a, "el") && !strcmp(b, "lo"), "spread over the pieces");
	is_u64(iov[0].iov_len, 2, "the caller's iov is left alone");
	succeeds(object_readv(object, 5, iov, 0, 0, &err), &err,
		 "nothing at the end");
	fails_with(object_readv(object, 2, iov, 3, 0, &err), &err,
		   ERR_CORRUPT, "ends before byte 6", "past the end");
	fails_with(object_readv(object, UINT64_MAX, iov, 3, 0, &err), &err,
		   ERR_CORRUPT, "ends before", "far past the end");
	object_close(object);
	object_close(NULL);
}

/* More pieces than one preadv() takes. */
static void test_many_pieces(void)
{
	static struct iovec iov[3000];
	static char want[3001], got[3001];
	struct object *object;
	struct error err;

	for (size_t i = 0; i < 3000; i++) {
		want[i] = (char)('a' + i % 26);
		iov[i] = (struct iovec){ got + i, 1 };
	}
	write_file("in/many", want);
	object = open_key("many");
	succeeds(object_readv(object, 0, iov, 3000, 0, &err), &err,
		 "3000 pieces");
	is_str(got, want, "all in their places");
	object_close(object);
}

static void test_replaced(void)
{
	struct object *object;
	struct object_info info;
	char from[PATH_MAX], text[6] = "";
	struct error err;

	write_file("in/pin", "first");
	object = open_key("pin");
	succeeds(read_text(object, 0, text, 5, 0, &err), &err, "read");
	write_file("in/new", "other");
	snprintf(from, sizeof(from), "%s", path_of("in/new"));
	must(rename(from, path_of("in/pin")), "rename");
	fails_with(read_text(object, 0, text, 5, 0, &err), &err, ERR_STALE,
		   "replaced", "a replaced object");
	fails_with(read_text(object, 0, text, 5, 0, &err), &err, ERR_STALE,
		   "replaced", "stays stale");
	snprintf(info.etag, sizeof(info.etag), "%s", object->info.etag);
	object_close(object);
	fails_with(object_open(&object, store, "pin", &info, &err), &err,
		   ERR_STALE, "replaced", "opening by the old ETag");
	object = open_key("pin");
	succeeds(read_text(object, 0, text, 5, 0, &err), &err, "reopened");
	is_str(text, "other", "the new bytes");
	must(unlink(path_of("in/pin")), "unlink");
	fails_with(read_text(object, 0, text, 5, 0, &err), &err, ERR_STALE,
		   "deleted", "a deleted object");
	object_close(object);
}

static void test_changed(void)
{
	struct object *object;
	struct error err;
	char text[6] = "";

	write_file("in/pin", "first");
	object = open_key("pin");
	must(truncate(path_of("in/pin"), 3), "truncate");
	fails_with(read_text(object, 0, text, 5, 0, &err), &err, ERR_STALE,
		   "while open", "cut off in the asked range");
	fails_with(read_text(object, 0, text, 2, 0, &err), &err, ERR_STALE,
		   "changed", "cut off elsewhere");
	object_close(object);
	write_file("in/pin", "first");
	object = open_key("pin");
	usleep(20000); /* file times tick with the kernel's clock */
	write_file("in/pin", "FIRST");
	fails_with(read_text(object, 0, text, 5, 0, &err), &err, ERR_STALE,
		   "changed", "written in place, same size");
	object_close(object);
}

static void test_nowait(void)
{
	struct object *object = open_key("a.vmdk");
	struct error err = { 0 };
	char text[6] = "";

	succeeds(read_text(object, 0, text, 5, 0, &err), &err, "read");
	if (read_text(object, 0, text, 5, STORE_NOWAIT, &err))
		is_u64(err.kind, ERR_AGAIN, "NOWAIT may say: later");
	else
		is_str(text, "hello", "NOWAIT of what is in memory");
	fails_with(read_text(object, 4, text, 5, STORE_NOWAIT, &err), &err,
		   ERR_CORRUPT, "ends before", "NOWAIT checks the range");
	object_close(object);
}

#define DEPTH 500

/* That of the pool's threads. ThreadSanitizer keeps its own state there. */
#ifdef __SANITIZE_THREAD__
#define STACK_BYTES (2 << 20)
#else
#define STACK_BYTES (512 << 10)
#endif

static void *list_deep(void *arg)
{
	*(char **)arg = listing("deep/", 0);
	return NULL;
}

/* A tree as deep as keys allow, listed on a small stack. */
static void test_depth(void)
{
	struct strbuf path = { .max = PATH_MAX };
	pthread_attr_t attr;
	pthread_t thread;
	char *got = NULL;

	strbuf_puts(&path, "in/deep");
	for (int i = 0; i < DEPTH; i++) {
		must(mkdir(path_of(path.data), 0777), "depth");
		strbuf_puts(&path, "/d");
	}
	write_file(path.data, "leaf");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	must(-pthread_create(&thread, &attr, list_deep, &got), "thread");
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	is_str(got, path.data + strlen("in/"), "a tree of 500 folders");
	strbuf_free(&path);
	free(got);
}

static void test_sources(void)
{
	struct store *other;
	struct error err;
	char url[PATH_MAX + 8];

	snprintf(url, sizeof(url), "file://%s", path_of("in"));
	succeeds(store_open(&other, url, NULL,
			      &err), &err, "file:///dir");
	is_str(other->url, url, "its URL");
	store_close(other);
	fails_with(store_open(&other, path_of("absent"), NULL,
			      &err), &err,
		   ERR_NOT_FOUND, "absent", "no such directory");
	ok(!other, "no store");
	fails_with(store_open(&other, path_of("in/a.vmdk"), NULL,
			      &err), &err,
		   ERR_ARG, "not a directory; to look at one container",
		   "a container as a source");
	fails_with(store_open(&other, "ftp://bucket", NULL,
			      &err), &err,
		   ERR_UNSUPPORTED, "ftp:// is not", "an unknown scheme");
	fails_with(store_open(&other, "file://host/dir", NULL,
			      &err), &err, ERR_ARG,
		   "file:///", "a URL with a host");
	fails_with(store_open(&other, "", NULL,
			      &err), &err, ERR_NOT_FOUND, "",
		   "no name at all");
	store_close(NULL);
}

int main(void)
{
	struct error err;
	char command[100];

	if (!have_openat2())
		return tap_skip_all(NO_OPENAT2);
	make_tree();
	succeeds(store_open(&store, path_of("in"), NULL,
			      &err), &err, "open");
	if (!store)
		return tap_done();
	succeeds(store_start(store, &err), &err, "start");
	test_list();
	test_list_stops();
	test_stat();
	test_refused();
	test_long_names();
	test_read();
	test_many_pieces();
	test_replaced();
	test_changed();
	test_nowait();
	test_depth();
	test_sources();
	store_close(store);
	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	ok(system(command) == 0, "cleaned up");
	return tap_done();
}
