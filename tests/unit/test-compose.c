/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects from pieces: over a store in memory, which reads and writes,
 * and over a directory, where the kernel copies; there whatever call fails,
 * nothing is left. The linker sends the calls that copy through here
 * (--wrap). */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "store/compose.h"
#include "store/sink.h"
#include "store/store.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"
#include "tests/unit/openat2.h"

#define A_BYTES ((3u << 20) + 5)
#define B_BYTES (1u << 20)

static char base[] = "/tmp/vmiefs-compose-XXXXXX";
static struct store *store;
static char a_data[A_BYTES], b_data[B_BYTES];

/* Of the wrapped calls. */
static unsigned int copies, fail_at;
static int fail_errno;
static void (*before_copy)(void);

ssize_t __real_copy_file_range(int from, off_t *from_at, int to, off_t *to_at,
			       size_t length, unsigned int flags);
ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at,
			       size_t length, unsigned int flags);
ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at,
			       size_t length, unsigned int flags)
{
	copies++;
	if (before_copy)
		before_copy();
	if (copies == fail_at) {
		errno = fail_errno;
		return fail_errno ? -1 : 0;
	}
	/* Short ones happen. */
	if (length > B_BYTES)
		length = B_BYTES + 1;
	return __real_copy_file_range(from, from_at, to, to_at, length, flags);
}

static bool pwritev_fails;

ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	if (!pwritev_fails)
		return __real_pwritev(fd, iov, n, at);
	errno = ENOSPC;
	return -1;
}

static void must(int ret, const char *what)
{
	if (ret < 0) {
		printf("Bail out! %s: errno %d\n", what, errno);
		exit(99);
	}
}

static const char *path_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	return path;
}

static void put(const char *key, const char *data, size_t size)
{
	static const struct sink_args args = { .replace = true };
	struct sink *sink;

	must(store_create(&sink, store, key, &args, NULL), key);
	must(sink_write(sink, data, size, NULL), key);
	must(sink_finish(sink, NULL, NULL), key);
	sink_discard(sink);
}

static struct object_info info_of(const char *key)
{
	struct object_info info;

	must(store_stat(store, key, &info, NULL), key);
	return info;
}

static bool exists(const char *key)
{
	struct object_info info;

	return !store_stat(store, key, &info, NULL);
}

static void fill(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < A_BYTES; i++)
		a_data[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
	for (size_t i = 0; i < B_BYTES; i++)
		b_data[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
}

struct progress {
	uint64_t last, total;
	unsigned int calls, stop_at;
	bool shrank;
	void (*at_call)(void);
};

static bool goes_on(void *arg, uint64_t done, uint64_t total)
{
	struct progress *progress = arg;

	progress->shrank |= done < progress->last || done > total;
	progress->last = done;
	progress->total = total;
	if (progress->at_call)
		progress->at_call();
	return ++progress->calls != progress->stop_at;
}

static int compose(const char *key, const struct store_piece *pieces,
		   size_t count, struct progress *progress,
		   struct object_info *info, struct error *err)
{
	static const struct sink_args args = { .replace = false };

	return store_compose(store, key, &args, pieces, count,
			     progress ? goes_on : NULL, progress, info, err);
}

/* The object has these bytes of a and b, as the pieces say. */
static void has_pieces(const char *key, const struct store_piece *pieces,
		       size_t count)
{
	struct object_info info = info_of(key);
	AUTO_FREE char *got = malloc((size_t)info.size + 1);
	struct iovec iov = { got, (size_t)info.size };
	struct object *object;
	size_t at = 0;

	must(got ? 0 : -1, "malloc");
	must(object_open(&object, store, key, NULL, NULL), key);
	must(object_readv(object, 0, &iov, 1, 0, NULL), key);
	object_close(object);
	for (size_t i = 0; i < count; i++) {
		const struct store_piece *piece = &pieces[i];
		const char *from = piece->data;

		if (!from && piece->length)
			from = (*piece->key == 'a' ? a_data : b_data) +
			       piece->offset;
		if (!ok(at + piece->length <= info.size, "room for a piece"))
			return;
		is_mem(got + at, from, piece->length, "a piece");
		at += piece->length;
	}
	is_u64(at, info.size, "the sum of the pieces");
}

static void test_pieces(void)
{
	struct object_info a = info_of("a"), b = info_of("b"), info, now;
	const struct store_piece pieces[] = {
		{ .data = "head", .length = 4 },
		{ .key = "a", .info = &a, .offset = 3, .length = A_BYTES - 7 },
		{ .key = "gone", .info = &a, .length = 0 },
		{ .data = "", .length = 0 },
		{ .data = b_data, .length = B_BYTES },
		{ .key = "b", .info = &b, .length = B_BYTES },
		{ .key = "a", .info = &a, .offset = A_BYTES, .length = 0 },
		{ .key = "a", .info = &a, .offset = 1, .length = 1 },
	};
	struct progress progress = { 0 };
	struct error err;

	succeeds(compose("new/object", pieces, 8, &progress, &info, &err),
		 &err, "eight pieces");
	has_pieces("new/object", pieces, 8);
	now = info_of("new/object");
	is_str(info.etag, now.etag, "the ETag that it told");
	is_u64(info.size, A_BYTES - 2 + 2 * B_BYTES, "and the size");
	ok(!progress.shrank && progress.calls > 5, "it told how far it was");
	is_u64(progress.last, info.size, "up to the end");
	is_u64(progress.total, info.size, "of all");
	succeeds(compose("empty", pieces + 2, 2, NULL, NULL, &err), &err,
		 "no bytes at all");
	is_u64(info_of("empty").size, 0, "an empty object");
	succeeds(compose("none", NULL, 0, NULL, NULL, &err), &err, "no piece");
	is_u64(info_of("none").size, 0, "an empty object, too");
}

static void test_arguments(void)
{
	struct object_info a = info_of("a"), huge = { .size = UINT64_MAX };
	const struct store_piece behind = {
		.key = "a", .info = &a, .offset = A_BYTES, .length = 1
	};
	const struct store_piece around = {
		.key = "a", .info = &a, .offset = 8, .length = UINT64_MAX - 4
	};
	const struct store_piece much[] = {
		{ .key = "a", .info = &huge, .length = INT64_MAX },
		{ .key = "a", .info = &huge, .length = 1 },
	};
	const struct store_piece nothing = { .length = 1 };
	const struct store_piece nameless = { .key = "", .info = &a,
					      .length = 1 };
	struct error err;

	fails_with(compose("x", &behind, 1, NULL, NULL, &err), &err, ERR_ARG,
		   "a: 1 bytes from 3145733 on are not in its 3145733 bytes",
		   "a range behind its object");
	fails_with(compose("x", &around, 1, NULL, NULL, &err), &err, ERR_ARG,
		   "are not in", "a range that wraps around");
	fails_with(compose("x", much, 2, NULL, NULL, &err), &err, ERR_LIMIT,
		   "no object has more than", "more than an object can have");
	fails_with(compose("x", &nothing, 1, NULL, NULL, &err), &err, ERR_BUG,
		   "neither", "a piece of nothing");
	fails_with(compose("x", &nameless, 1, NULL, NULL, &err), &err,
		   ERR_NOT_FOUND, "no key", "an object without a name");
	fails_with(compose("", NULL, 0, NULL, NULL, &err), &err,
		   ERR_NOT_FOUND, "no key", "no key for the new one");
	fails_with(compose("a", NULL, 0, NULL, NULL, &err), &err, ERR_EXISTS,
		   "'a' exists", "a key that is taken");
	ok(!exists("x"), "none of it left an object");
}

static void replace_a(void)
{
	put("a", b_data, B_BYTES);
}

/* A source that is not what it was: before it is copied, or meanwhile. */
static void test_stale(void)
{
	struct object_info a = info_of("a"), b = info_of("b");
	const struct store_piece pieces[] = {
		{ .key = "b", .info = &b, .length = B_BYTES },
		{ .key = "a", .info = &a, .length = A_BYTES },
	};
	struct progress progress = { .at_call = replace_a };
	struct error err;

	fails_with(compose("new/s", pieces, 2, &progress, NULL, &err), &err,
		   ERR_STALE, "a: ", "a source that is replaced meanwhile");
	ok(!exists("new/s"), "nothing appears");
	fails_with(compose("new/s", pieces, 2, NULL, NULL, &err), &err,
		   ERR_STALE, "a: ", "one that was replaced before");
	must(store->ops->remove ? store_remove(store, "a", NULL, NULL) :
				  memory_store_remove(store, "a", NULL), "a");
	fails_with(compose("new/s", pieces, 2, NULL, NULL, &err), &err,
		   ERR_NOT_FOUND, "a: ", "one that is no more");
	ok(!exists("new/s"), "nothing appears");
	put("a", a_data, A_BYTES);
}

static void test_cancel(void)
{
	struct object_info a = info_of("a");
	const struct store_piece pieces[] = {
		{ .key = "a", .info = &a, .length = A_BYTES },
		{ .data = b_data, .length = B_BYTES },
	};
	struct progress progress = { .stop_at = 1 };
	struct error err;

	fails_with(compose("c/c", pieces, 2, &progress, NULL, &err), &err,
		   ERR_CANCELLED, "", "cancelled while a range is copied");
	is_u64(progress.calls, 1, "at once");
	progress = (struct progress){ .stop_at = 5 };
	fails_with(compose("c/c", pieces, 2, &progress, NULL, &err), &err,
		   ERR_CANCELLED, "", "cancelled at the last piece");
	ok(!exists("c/c"), "nothing appears");
}

static void test_rules(void)
{
	struct object_info b = info_of("b"), old;
	const struct store_piece piece = { .key = "b", .info = &b,
					   .length = B_BYTES };
	struct sink_args args = { .replace = true };
	struct error err;

	put("t", "old", 3);
	old = info_of("t");
	args.if_match = old.etag;
	succeeds(store_compose(store, "t", &args, &piece, 1, NULL, NULL, NULL,
			       &err), &err, "over the object with that ETag");
	is_u64(info_of("t").size, B_BYTES, "replaced");
	fails_with(store_compose(store, "t", &args, &piece, 1, NULL, NULL,
				 NULL, &err), &err, ERR_STALE, "was changed",
		   "not over another");
	args.if_match = NULL;
	succeeds(store_compose(store, "b", &args, &piece, 1, NULL, NULL, NULL,
			       &err), &err, "an object over itself");
	has_pieces("b", &piece, 1);
}

static void test_store(const char *what)
{
	printf("# %s\n", what);
	put("a", a_data, A_BYTES);
	put("b", b_data, B_BYTES);
	test_pieces();
	test_arguments();
	test_stale();
	test_cancel();
	test_rules();
}

/* What only a directory has. */

static unsigned int count_files(void)
{
	DIR *dir = opendir(base);
	unsigned int n = 0;

	must(dir ? 0 : -1, base);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void test_kernel_copies(void)
{
	struct object_info a = info_of("a");
	const struct store_piece piece = { .key = "a", .info = &a, .offset = 1,
					   .length = A_BYTES - 1 };
	static const int cannot[] = { EXDEV, EINVAL, EOPNOTSUPP, ENOSYS, 0 };
	struct error err;

	copies = 0;
	pwritev_fails = true;
	succeeds(compose("k", &piece, 1, NULL, NULL, &err), &err,
		 "the kernel copies all of a range");
	pwritev_fails = false;
	is_u64(copies, 4, "in as many calls as it wants");
	has_pieces("k", &piece, 1);
	for (size_t i = 0; i < 5; i++) {
		must(unlink(path_of("k")), "k");
		copies = 0;
		fail_at = 2;
		fail_errno = cannot[i];
		succeeds(compose("k", &piece, 1, NULL, NULL, &err), &err,
			 "what it cannot copy is read");
		is_u64(copies, 2, "from there on");
		has_pieces("k", &piece, 1);
	}
	fail_at = 0;
	must(unlink(path_of("k")), "k");
}

static void test_disk_full(void)
{
	struct object_info a = info_of("a");
	const struct store_piece pieces[] = {
		{ .key = "a", .info = &a, .length = A_BYTES },
		{ .data = "tail", .length = 4 },
	};
	unsigned int before = count_files();
	struct error err;

	for (unsigned int nth = 1; nth <= 3; nth++) {
		copies = 0;
		fail_at = nth;
		fail_errno = ENOSPC;
		fails_with(compose("x/y", pieces, 2, NULL, NULL, &err), &err,
			   ERR_IO, "No space left", "the disk is full");
		is_u64((uint64_t)error_to_errno(&err), ENOSPC, "as errno");
	}
	fail_at = 0;
	pwritev_fails = true;
	fails_with(compose("x/y", pieces, 2, NULL, NULL, &err), &err, ERR_IO,
		   "No space left", "full at the last bytes");
	pwritev_fails = false;
	is_u64(count_files(), before, "nothing is left");
}

static void touch_a(void)
{
	static const struct timespec times[2] = { { 1, 0 }, { 1, 1 } };

	must(utimensat(AT_FDCWD, path_of("a"), times, 0), "a");
}

static void cut_a(void)
{
	must(truncate(path_of("a"), 5), "a");
}

/* Written to in place while the kernel copies. */
static void test_changed_in_place(void)
{
	void (*const changes[])(void) = { touch_a, cut_a };

	for (size_t i = 0; i < 2; i++) {
		struct object_info a = info_of("a");
		const struct store_piece piece = { .key = "a", .info = &a,
						   .length = A_BYTES };
		struct error err;

		before_copy = changes[i];
		fails_with(compose("p", &piece, 1, NULL, NULL, &err), &err,
			   ERR_STALE, "a: was ", "a source that changes");
		before_copy = NULL;
		ok(!exists("p"), "nothing appears");
		put("a", a_data, A_BYTES);
	}
}

static void test_holes(void)
{
	struct object_info info;
	struct store_piece piece = { .key = "h", .info = &info };
	struct error err;
	struct stat st;
	char buf[4];
	int fd = open(path_of("h"), O_WRONLY | O_CREAT, 0666);

	must(fd, "h");
	must((int)pwrite(fd, "one", 3, 40 << 20), "write");
	must((int)pwrite(fd, "two", 3, 80 << 20), "write");
	must(ftruncate(fd, 100 << 20), "truncate");
	must(fstat(fd, &st), "h");
	close(fd);
	info = info_of("h");
	piece.offset = 5;
	piece.length = info.size - 5;
	succeeds(compose("holes", &piece, 1, NULL, NULL, &err), &err,
		 "an object of holes");
	fd = open(path_of("holes"), O_RDONLY);
	must(fd < 0 ? -1 : fstat(fd, &st), "holes");
	is_u64((uint64_t)st.st_size, (100 << 20) - 5, "its size");
	ok(st.st_blocks <= 4 * 16, "its holes are holes");
	must((int)pread(fd, buf, 4, (40 << 20) - 6), "read");
	is_mem(buf, "\0one", 4, "bytes between holes");
	must((int)pread(fd, buf, 4, (80 << 20) - 5), "read");
	is_mem(buf, "two\0", 4, "more of them");
	close(fd);
}

int main(void)
{
	char command[PATH_MAX];

	fill();
	must(memory_store_new(&store, NULL), "memory store");
	test_store("in memory");
	store_close(store);
	if (!have_openat2()) {
		printf("# no directory: %s\n", NO_OPENAT2);
		return tap_done();
	}
	must(mkdtemp(base) ? 0 : -1, "mkdtemp");
	must(store_open(&store, base, NULL, NULL), base);
	test_store("in a directory");
	test_kernel_copies();
	test_disk_full();
	test_changed_in_place();
	test_holes();
	store_close(store);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	must(system(command), command);
	return tap_done();
}
