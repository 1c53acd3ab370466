/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects in a directory: they appear complete or not at all, replace what
 * they may replace and nothing else, and whatever system call fails, nothing
 * is left. The linker sends the calls that write through here (--wrap). */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/file.h"
#include "store/sink.h"
#include "tests/tap.h"
#include "tests/unit/openat2.h"

static char base[] = "/tmp/vmiefs-sink-XXXXXX";
static struct store *store;

/* Faults: the call with this number fails so; calls are counted. */
static unsigned int calls, fail_at;
static int fail_errno;
static bool no_tmpfile, no_noreplace;

static bool is_faulty(void)
{
	if (++calls != fail_at)
		return false;
	errno = fail_errno;
	return true;
}

#define WRAP(ret, name, args, pass)                                            \
	ret __real_##name args;                                                \
	ret __wrap_##name args;                                                \
	ret __wrap_##name args                                                 \
	{                                                                      \
		return is_faulty() ? -1 : __real_##name pass;                  \
	}

WRAP(ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t at),
     (fd, iov, n, at))
WRAP(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at),
     (fd, p, n, at))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, sync_file_range,
     (int fd, off_t at, off_t length, unsigned int flags),
     (fd, at, length, flags))
WRAP(int, mkdirat, (int fd, const char *name, mode_t mode), (fd, name, mode))
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))
WRAP(int, renameat, (int a, const char *from, int b, const char *to),
     (a, from, b, to))

int __real_renameat2(int a, const char *from, int b, const char *to,
		     unsigned int flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to,
		     unsigned int flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to,
		     unsigned int flags)
{
	if (no_noreplace) {
		errno = EINVAL;
		return -1;
	}
	return is_faulty() ? -1 : __real_renameat2(a, from, b, to, flags);
}

int __real_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return is_faulty() ? -1 : __real_openat(dir, name, flags, mode);
}

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

/* Files and directories below the store, hidden ones too. */
static unsigned int count_below(const char *name)
{
	AUTO_FREE char *path = strdup(path_of(name));
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned int n = 0;

	must(dir ? 0 : -1, path);
	while ((entry = readdir(dir))) {
		char inner[PATH_MAX];

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		n++;
		snprintf(inner, sizeof(inner), "%s/%s", name, entry->d_name);
		if (entry->d_type == DT_DIR)
			n += count_below(inner);
	}
	closedir(dir);
	return n;
}

static const char *content_of(const char *name)
{
	static char text[256];
	int fd = open(path_of(name), O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof(text) - 1);
	must((int)n, name);
	text[n] = '\0';
	close(fd);
	return text;
}

static int begin(struct sink **sink, const char *key, bool replace,
		 const char *etag, struct error *err)
{
	struct sink_args args = { .replace = replace, .if_match = etag,
				  .head_bytes = 4,
				  .size = SINK_SIZE_UNKNOWN };

	return store_create(sink, store, key, &args, err);
}

/* A whole object with that text; what is there stays when it fails. */
static int put(const char *key, const char *text, bool replace,
	       const char *etag, struct object_info *info, struct error *err)
{
	struct sink *sink;
	int ret;

	if (begin(&sink, key, replace, etag, err))
		return -1;
	ret = sink_write(sink, text, strlen(text), err) ||
	      sink_patch(sink, 0, text, 1, err) ||
	      sink_finish(sink, info, err) ? -1 : 0;
	sink_discard(sink);
	return ret;
}

static void clean(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf %s/..?* %s/.[!.]* %s/*",
		 base, base, base);
	must(system(command), "rm");
}

static void test_content(void)
{
	char ab[] = "ab", cd[] = "cd";
	struct iovec iov[3] = { { ab, 2 }, { ab, 0 }, { cd, 2 } };
	struct object_info info, now;
	struct error err;
	struct sink *sink;
	struct stat st;
	char buf[5];
	int fd;

	succeeds(begin(&sink, "new/er/disk.raw", false, NULL, &err), &err,
		 "an object in directories that are made for it");
	succeeds(sink_writev(sink, iov, 3, &err), &err, "some bytes");
	succeeds(sink_zeroes(sink, 10 << 20, &err), &err, "many zeroes");
	succeeds(sink_write(sink, "end", 3, &err), &err, "the end");
	succeeds(sink_zeroes(sink, 5, &err), &err, "zeroes at the end");
	succeeds(sink_patch(sink, 1, "XY", 2, &err), &err, "a patch");
	fails_with(store_stat(store, "new/er/disk.raw", &now, &err), &err,
		   ERR_NOT_FOUND, "", "no object yet");
	is_u64(count_below("new/er"), 0, "and no file");
	succeeds(sink_finish(sink, &info, &err), &err, "finished");
	sink_discard(sink);
	succeeds(store_stat(store, "new/er/disk.raw", &now, &err), &err,
		 "there it is");
	is_u64(now.size, (10 << 20) + 12, "its size");
	is_str(info.etag, now.etag, "the ETag that finishing told");
	fd = open(path_of("new/er/disk.raw"), O_RDONLY);
	must(fd < 0 || fstat(fd, &st) ? -1 : 0, "disk.raw");
	ok(st.st_blocks < 64, "the zeroes are a hole");
	must((int)pread(fd, buf, 5, 0), "read");
	is_mem(buf, "aXYd\0", 5, "the start");
	must((int)pread(fd, buf, 5, 4 + (10 << 20)), "read");
	is_mem(buf, "end\0\0", 5, "the end");
	close(fd);
	clean();
}

/* What was written is read again, and nothing comes of it. */
static void test_sealed(void)
{
	struct object *object = NULL;
	struct sink *sink;
	struct error err;
	char a[3], b[4];
	struct iovec iov[2] = { { a, 3 }, { b, 4 } };

	must(begin(&sink, "k/sealed", false, NULL, NULL), "create");
	must(sink_write(sink, "abcd", 4, NULL), "write");
	must(sink_zeroes(sink, 1 << 20, NULL), "zeroes");
	must(sink_patch(sink, 0, "X", 1, NULL), "patch");
	succeeds(sink_seal(sink, &err), &err, "sealed");
	succeeds(sink_object(&object, sink, &err), &err, "as an object");
	is_u64(object->info.size, 4 + (1 << 20), "its size");
	succeeds(object_readv(object, 0, iov, 2, 0, &err), &err, "read");
	ok(!memcmp(a, "Xbc", 3) && !memcmp(b, "d\0\0\0", 4), "its start");
	iov[0].iov_base = b;
	iov[0].iov_len = 4;
	succeeds(object_readv(object, 1 << 20, iov, 1, 0, &err), &err, "read");
	is_mem(b, "\0\0\0\0", 4, "zeroes at the end");
	fails_with(object_readv(object, 5 << 20, iov, 1, 0, &err), &err,
		   ERR_CORRUPT, "ends before", "and no more");
	object_close(object);
	is_u64(count_below(""), 0, "nothing is left");
	must(begin(&sink, "k/sealed", false, NULL, NULL), "create");
	must(sink_write(sink, "abcd", 4, NULL), "write");
	calls = 0;
	fail_at = 3; /* fsync() */
	fail_errno = EIO;
	fails_with(sink_seal(sink, &err), &err, ERR_IO, "cannot store",
		   "what the device refuses");
	fail_at = 0;
	sink_discard(sink);
	is_u64(count_below(""), 0, "leaves nothing");
}

static void test_rules(void)
{
	struct object_info first, second;
	struct error err;
	struct sink *sink;

	succeeds(put("a", "first", false, NULL, &first, &err), &err, "new");
	fails_with(put("a", "2", false, NULL, NULL, &err), &err, ERR_EXISTS,
		   "'a' exists", "a taken key");
	is_u64((uint64_t)error_to_errno(&err), EEXIST, "as errno");
	succeeds(put("a", "second", true, NULL, &second, &err), &err,
		 "replaced");
	is_str(content_of("a"), "second", "its content");
	fails_with(put("a", "3", true, first.etag, NULL, &err), &err,
		   ERR_STALE, "was changed", "not by an old ETag");
	succeeds(put("a", "third", true, second.etag, NULL, &err), &err,
		 "by its ETag");
	fails_with(put("b", "3", true, second.etag, NULL, &err), &err,
		   ERR_STALE, "was deleted", "nothing has that ETag");
	fails_with(begin(&sink, "a/b", false, NULL, &err), &err,
		   ERR_NOT_FOUND, "", "below an object");
	must(mkdir(path_of("d"), 0777), "mkdir");
	fails_with(put("d", "4", true, NULL, NULL, &err), &err, ERR_IO,
		   "directory", "a directory is not replaced");
	fails_with(begin(&sink, "x/../y", false, NULL, &err), &err, ERR_ARG,
		   "x/../y", "a key that no file has");
	fails_with(begin(&sink, "d/.vmiefs-part-1", false, NULL, &err), &err,
		   ERR_ARG, "part", "nor one of hidden files");
	is_u64(count_below(""), 2, "nothing else is there");
	clean();
}

/* Another object gets the key while this one is written. */
static void test_race(void)
{
	struct object_info other;
	struct error err;
	struct sink *sink;

	must(begin(&sink, "r", false, NULL, NULL), "create");
	must(put("r", "other", false, NULL, &other, NULL), "put");
	fails_with(sink_finish(sink, NULL, &err), &err, ERR_EXISTS, "'r'",
		   "the key was taken meanwhile");
	fails_with(sink_finish(sink, NULL, &err), &err, ERR_EXISTS, "'r'",
		   "the error stays");
	sink_discard(sink);
	must(begin(&sink, "r", true, other.etag, NULL), "create");
	must(put("r", "third", true, NULL, NULL, NULL), "put");
	fails_with(sink_finish(sink, NULL, &err), &err, ERR_STALE, "changed",
		   "the object was changed meanwhile");
	sink_discard(sink);
	is_str(content_of("r"), "third", "what was there first stays");
	must(begin(&sink, "x/y/z", false, NULL, NULL), "create");
	must(rmdir(path_of("x/y")), "rmdir");
	must(rmdir(path_of("x")), "rmdir");
	succeeds(sink_finish(sink, NULL, &err), &err,
		 "somebody removed the empty directories");
	sink_discard(sink);
	is_u64(count_below(""), 4, "they are made again");
	clean();
}

static void test_discard(void)
{
	struct error err;
	struct sink *sink;

	must(begin(&sink, "k/l/m", false, NULL, NULL), "create");
	must(sink_write(sink, "text", 4, NULL), "write");
	is_u64(count_below(""), 2u + no_tmpfile,
	       "directories while it is written");
	sink_discard(sink);
	is_u64(count_below(""), 0, "nothing when it was discarded");
	must(mkdir(path_of("k"), 0777), "mkdir");
	must(begin(&sink, "k/l/m", false, NULL, NULL), "create");
	must(put("k/l/n", "n", false, NULL, NULL, NULL), "put");
	sink_discard(sink);
	is_str(content_of("k/l/n"), "n", "a directory in use stays");
	must(begin(&sink, "k/x", false, NULL, NULL), "create");
	fails_with(sink_patch(sink, 0, "a", 1, &err), &err, ERR_BUG, "head",
		   "a patch of what was not written");
	sink_discard(sink);
	must(begin(&sink, "k/x", false, NULL, NULL), "create");
	must(sink_write(sink, "12345", 5, NULL), "write");
	fails_with(sink_patch(sink, 3, "ab", 2, &err), &err, ERR_BUG, "head",
		   "a patch behind the head");
	fails_with(sink_write(sink, "6", 1, &err), &err, ERR_BUG, "head",
		   "then nothing goes on");
	sink_discard(sink);
	sink_discard(NULL);
	clean();
}

/* Write an object while call number `nth` fails: either nothing happens, or
 * the failure hinders nothing. 1: failed, 0: worked, -1: had fewer calls. */
static int try_fault(unsigned int nth, bool replace)
{
	const char *key = replace ? "p" : "q/r/s";
	struct error err = { 0 };
	int ret;

	if (replace)
		must(put("p", "old", true, NULL, NULL, NULL), "put");
	calls = 0;
	fail_at = nth;
	ret = put(key, "new", replace, NULL, NULL, &err);
	fail_at = 0;
	if (!ret && strcmp(content_of(key), "new") != 0)
		ok(false, "call %u: wrong content", nth);
	if (ret && (replace ? strcmp(content_of("p"), "old") != 0 ||
			      count_below("") != 1 : count_below("") != 0))
		ok(false, "call %u: something changed", nth);
	if (ret && error_to_errno(&err) != fail_errno)
		ok(false, "call %u: %s", nth, err.text);
	clean();
	return ret ? 1 : calls < nth ? -1 : 0;
}

/* A full file system, a quota, a broken device. */
static void try_faults(const char *what, bool replace, int errnum)
{
	unsigned int nth = 1, failures = 0;
	int ret;

	fail_errno = errnum;
	while ((ret = try_fault(nth, replace)) >= 0 && nth++ < 100)
		failures += (unsigned int)ret;
	ok(failures >= 4 && failures < 20, "%s: %u calls that may fail by %d",
	   what, failures, errnum);
}

static int see(void *arg, const struct store_entry *entry, struct error *err)
{
	++*(unsigned int *)arg;
	return 0;
}

/* What a killed writer leaves where files without a name do not exist. */
static void test_killed(void)
{
	struct list_args list = { .prefix = "", .delimiter = '/' };
	unsigned int seen = 0;
	struct object_info info;
	struct error err;
	struct sink *sink, *other;
	char *more;
	int status;

	if (!fork()) {
		must(begin(&sink, "gone", false, NULL, NULL), "create");
		must(sink_write(sink, "half", 4, NULL), "write");
		raise(SIGKILL);
	}
	must(wait(&status), "wait");
	is_u64(count_below(""), 1, "a killed writer leaves a hidden file");
	must(store_list(store, &list, see, &seen, &more, NULL), "list");
	is_u64(seen, 0, "that no listing shows");
	fails_with(store_stat(store, ".vmiefs-part-0", &info, &err), &err,
		   ERR_NOT_FOUND, "", "and that is no object");
	must(begin(&sink, "one", false, NULL, NULL), "create");
	is_u64(count_below(""), 1, "the next writer removes it");
	must(begin(&other, "two", false, NULL, NULL), "create");
	is_u64(count_below(""), 2, "but not that of a living one");
	succeeds(sink_finish(sink, NULL, &err), &err, "which finishes");
	sink_discard(sink);
	sink_discard(other);
	is_u64(count_below(""), 1, "one object");
	clean();
}

int main(void)
{
	struct error err;

	if (!have_openat2())
		return tap_skip_all(NO_OPENAT2);
	must(mkdtemp(base) ? 0 : -1, "mkdtemp");
	succeeds(store_open(&store, base, NULL, &err), &err, "the store");
	if (!store)
		return tap_done();
	for (int mode = 0; mode < 3; mode++) {
		static const char *const names[] = { "files without a name",
			"hidden names", "hidden names and hard links" };

		no_tmpfile = mode >= 1;
		no_noreplace = mode == 2;
		printf("# %s\n", names[mode]);
		if (!no_tmpfile)
			test_content();
		test_rules();
		test_sealed();
		if (!no_tmpfile)
			test_race();
		test_discard();
		try_faults("new", false, ENOSPC);
		try_faults("new", false, EDQUOT);
		try_faults("replaced", true, ENOSPC);
		try_faults("replaced", true, EDQUOT);
		try_faults("replaced", true, EIO);
	}
	test_killed();
	store_close(store);
	must(rmdir(base), "rmdir");
	return tap_done();
}
