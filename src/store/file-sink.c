/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * New objects in a directory. The file is made without a name (O_TMPFILE), so
 * that a writer that dies leaves nothing, and linked under its own when it is
 * complete. Where a file system has no such files, and for the moment of
 * replacing an object, it has a hidden name; what a killed writer left of
 * those is removed by the next one in the same directory, who sees by the
 * missing lock that nobody writes it.
 *
 * Directories of the key are made first, and removed again when the object
 * does not come to be and they are empty.
 *
 * sink_finish() syncs the file before its name appears and the directory
 * afterwards: what it has reported survives a power failure, and no name ever
 * stands for less than all bytes. Writing back begins while bytes still come,
 * so that little is left to wait for. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/pool.h"
#include "store/file.h"
#include "store/sink.h"

#define TRIES        8          /* against others who make and remove names */
#define FLUSH_BYTES  (8u << 20)
#define STORE_STEPS  4096       /* at most, in which bytes are stored */
#define HIDDEN_BYTES 40         /* a hidden name with its NUL */

struct file_sink {
	struct sink sink;
	const struct file_store *store;
	char *key;
	const char *name;          /* its last part */
	char *if_match;            /* NULL: any */
	bool replace;
	bool is_published;
	atomic_bool is_cancelled;
	int dir;                   /* where the name is to be */
	int fd;
	char hidden[HIDDEN_BYTES]; /* "" = the file has no name */
	size_t made;               /* key[0..made) and what is below it are
				    * directories that we made; 0 = none */
	uint64_t flushed;          /* bytes whose writing back has begun */
};

/* Directories. A directory of the key is named by the length of its path. */

static size_t parent_of(const char *key, size_t len)
{
	while (len && key[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

static int open_dir(const struct file_sink *self, size_t len,
		    struct error *err)
{
	AUTO_FREE char *path = strndup(len ? self->key : ".", len ? len : 1);

	if (!path) {
		errno = ENOMEM;
		return error_nomem(err);
	}
	return file_open_beneath(self->store, path,
				 O_RDONLY | O_DIRECTORY, err);
}

/* Make the directory with that length of path; its parent is there. */
static int make_dir(struct file_sink *self, size_t len, struct error *err)
{
	size_t start = parent_of(self->key, len);
	AUTO_CLOSE int parent = open_dir(self, start, err);
	AUTO_FREE char *name = NULL;

	if (parent < 0)
		return -1;
	start += start ? 1 : 0;
	name = strndup(self->key + start, len - start);
	if (!name)
		return error_nomem(err);
	if (!mkdirat(parent, name, 0777)) {
		if (!self->made)
			self->made = len;
		return 0;
	}
	return errno == EEXIST ? 0 :
		error_errno(err, errno, "cannot make the directory '%s'",
			    name);
}

static int make_dirs(struct file_sink *self, struct error *err)
{
	for (const char *at = self->key; (at = strchr(at, '/')); at++)
		if (make_dir(self, (size_t)(at - self->key), err))
			return -1;
	return 0;
}

/* Open self->dir, made as far as it is missing. */
static int enter_dir(struct file_sink *self, struct error *err)
{
	size_t len = parent_of(self->key, strlen(self->key));

	if (self->dir >= 0)
		close(self->dir);
	for (int i = 0; i < TRIES; i++) {
		struct error own = { 0 };

		self->dir = open_dir(self, len, &own);
		if (self->dir >= 0)
			return 0;
		/* A writer that gave up may remove what we make. */
		if (errno != ENOENT ||
		    (make_dirs(self, &own) && errno != ENOENT)) {
			if (err)
				*err = own;
			return -1;
		}
	}
	return error_set(err, ERR_IO, "the directory of '%s' vanishes again "
			 "and again", self->key);
}

static void remove_dirs(const struct file_sink *self)
{
	size_t len = parent_of(self->key, strlen(self->key));

	for (; self->made && len >= self->made;
	     len = parent_of(self->key, len)) {
		size_t start = parent_of(self->key, len);
		AUTO_CLOSE int parent = open_dir(self, start, NULL);
		AUTO_FREE char *name = NULL;

		start += start ? 1 : 0;
		name = strndup(self->key + start, len - start);
		if (name && parent >= 0 &&
		    unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT)
			return; /* somebody uses it */
	}
}

/* The directory, and those in which we made new ones. There is no way back
 * any more, and some file systems cannot do it: failures are not reported. */
static void sync_dirs(const struct file_sink *self)
{
	size_t len = parent_of(self->key, strlen(self->key));

	(void)!fsync(self->dir);
	for (; self->made && len >= self->made;
	     len = parent_of(self->key, len)) {
		AUTO_CLOSE int fd =
			open_dir(self, parent_of(self->key, len), NULL);

		if (fd < 0 || fsync(fd))
			return;
	}
}

/* Hidden names. */

/* Remove what nobody writes any more. */
static void sweep(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!stream) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((entry = readdir(stream))) {
		AUTO_CLOSE int fd = -1;

		if (!file_is_hidden(entry->d_name))
			continue;
		fd = openat(dir, entry->d_name,
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
			unlinkat(dir, entry->d_name, 0);
	}
	closedir(stream);
}

static int choose_hidden(struct file_sink *self, struct error *err)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return error_errno(err, errno, "no random number");
	snprintf(self->hidden, sizeof(self->hidden),
		 FILE_HIDDEN_PREFIX "%016llx", (unsigned long long)number);
	return 0;
}

/* Lock it as ours. False if somebody who swept was faster. */
static bool lock_hidden(int fd)
{
	struct stat st;

	return !flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &st) && st.st_nlink;
}

static int create_hidden(struct file_sink *self, struct error *err)
{
	sweep(self->dir);
	for (int i = 0; i < TRIES; i++) {
		if (choose_hidden(self, err))
			return -1;
		self->fd = openat(self->dir, self->hidden, O_RDWR | O_CREAT |
				  O_EXCL | O_CLOEXEC, 0666);
		if (self->fd < 0) {
			self->hidden[0] = '\0';
			return error_errno(err, errno, "cannot create a file");
		}
		if (lock_hidden(self->fd))
			return 0;
		unlinkat(self->dir, self->hidden, 0);
		self->hidden[0] = '\0';
		close(self->fd);
		self->fd = -1;
	}
	return error_set(err, ERR_IO, "cannot lock a new file");
}

static int create_file(struct file_sink *self, struct error *err)
{
	for (int i = 0; i < TRIES; i++) {
		self->fd = openat(self->dir, ".",
				  O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
		if (self->fd >= 0)
			return 0;
		if (errno != ENOENT)
			break;
		if (enter_dir(self, err)) /* it was removed */
			return -1;
	}
	if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
		return create_hidden(self, err);
	return error_errno(err, errno, "cannot create a file");
}

/* Publishing. */

static int check_match(const struct file_sink *self, struct error *err)
{
	AUTO_CLOSE int fd = file_open_key(self->store, self->key, O_PATH, err);
	struct object_info info;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st))
		return error_errno(err, errno, "cannot stat");
	file_fill_info(&info, &st);
	return strcmp(info.etag, self->if_match) == 0 ? 0 :
		error_set(err, ERR_STALE, "was changed since it was read");
}

/* May the object come to be, by what is there now? */
static int check_target(const struct file_sink *self, struct error *err)
{
	struct stat st;

	if (fstatat(self->dir, self->name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT)
			return error_errno(err, errno, "cannot stat");
		return self->if_match ? error_set(err, ERR_STALE,
				"was deleted since it was read") : 0;
	}
	if (S_ISDIR(st.st_mode))
		return error_errno(err, EISDIR, "'%s'", self->key);
	if (!self->replace)
		return error_set(err, ERR_EXISTS, "'%s' exists", self->key);
	return self->if_match ? check_match(self, err) : 0;
}

/* Give the nameless file a name. 0, or -1 with errno. */
static int link_file(const struct file_sink *self, const char *name)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	return linkat(AT_FDCWD, path, self->dir, name, AT_SYMLINK_FOLLOW);
}

/* A name that must not be taken, from the hidden one. */
static int rename_new(struct file_sink *self)
{
	if (renameat2(self->dir, self->hidden, self->dir, self->name,
		      RENAME_NOREPLACE)) {
		if (errno != EINVAL)
			return -1;
		/* The file system does not know the flag. */
		if (linkat(self->dir, self->hidden, self->dir, self->name, 0))
			return -1;
		unlinkat(self->dir, self->hidden, 0);
	}
	self->hidden[0] = '\0';
	return 0;
}

/* A name that may be taken: by way of a hidden one. */
static int rename_over(struct file_sink *self, struct error *err)
{
	if (!self->hidden[0]) {
		sweep(self->dir);
		if (choose_hidden(self, err))
			return -1;
		flock(self->fd, LOCK_EX | LOCK_NB); /* nobody else has it */
		if (link_file(self, self->hidden)) {
			self->hidden[0] = '\0';
			return -1;
		}
	}
	if (renameat(self->dir, self->hidden, self->dir, self->name))
		return -1;
	self->hidden[0] = '\0';
	return 0;
}

static int give_name(struct file_sink *self, struct error *err)
{
	if (self->replace)
		return rename_over(self, err);
	return self->hidden[0] ? rename_new(self) :
				 link_file(self, self->name);
}

static int publish(struct file_sink *self, struct error *err)
{
	AUTO_CLOSE int lock = self->if_match ?
		file_lock_key(self->store, self->key) : -1;

	(void)lock;
	for (int i = 0; i < TRIES; i++) {
		if (check_target(self, err))
			return -1;
		if (!give_name(self, err)) {
			self->is_published = true;
			return 0;
		}
		if (errno == EEXIST)
			return error_set(err, ERR_EXISTS, "'%s' exists",
					 self->key);
		if (errno != ENOENT || self->hidden[0])
			break;
		/* Somebody removed the directory, empty as it was. */
		if (enter_dir(self, err))
			return -1;
	}
	return error_errno(err, errno, "cannot give the file its name");
}

/* The sink. */

/* The file is complete up to there. */
static void write_back(struct file_sink *self, uint64_t at)
{
	if (at - self->flushed < FLUSH_BYTES)
		return;
	/* Only a hint; an error of the device comes with fsync(). */
	sync_file_range(self->fd, (off_t)self->flushed,
			(off_t)(at - self->flushed), SYNC_FILE_RANGE_WRITE);
	self->flushed = at;
}

static int append(struct file_sink *self, struct iovec *iov, int iovcnt,
		  struct error *err)
{
	uint64_t at = self->sink.position;

	while (iovcnt) {
		ssize_t n = pwritev(self->fd, iov,
				    iovcnt > IOV_MAX ? IOV_MAX : iovcnt,
				    (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "cannot write %llu",
					   (unsigned long long)at);
		at += (uint64_t)n;
		file_advance(&iov, &iovcnt, (size_t)n);
	}
	write_back(self, at);
	return 0;
}

static int file_sink_write(struct sink *sink, const struct iovec *iov,
			   int iovcnt, struct error *err)
{
	struct file_sink *self = (struct file_sink *)sink;
	AUTO_FREE struct iovec *copy = file_copy_iov(iov, iovcnt, err);
	int ret;

	if (!copy)
		return -1;
	pool_blocking_begin();
	ret = append(self, copy, iovcnt, err);
	pool_blocking_end();
	return ret;
}

ssize_t file_sink_copy(struct sink *sink, int fd, uint64_t offset,
		       uint64_t length)
{
	struct file_sink *self = (struct file_sink *)sink;
	off_t from = (off_t)offset, to = (off_t)sink->position;
	int errnum;
	ssize_t n;

	pool_blocking_begin();
	do {
		n = copy_file_range(fd, &from, self->fd, &to, length, 0);
	} while (n < 0 && errno == EINTR);
	errnum = errno;
	if (n > 0) {
		sink->position += (uint64_t)n;
		write_back(self, sink->position);
	}
	pool_blocking_end();
	errno = errnum;
	return n;
}

/* The file grows when something is written behind, or at the end. */
static int file_sink_zeroes(struct sink *sink, uint64_t length,
			    struct error *err)
{
	return 0;
}

static int file_sink_patch(struct sink *sink, uint64_t offset,
			   const void *data, size_t length, struct error *err)
{
	struct file_sink *self = (struct file_sink *)sink;
	const char *from = data;

	while (length) {
		ssize_t n = pwrite(self->fd, from, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "cannot write %llu",
					   (unsigned long long)offset);
		from += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

/* fsync() of much takes long and tells nothing meanwhile. Whether a device that
 * is slow still works shows in pieces of it, whose failures count: they are
 * told once. */
static int store_bytes(struct file_sink *self, struct error *err)
{
	uint64_t end = self->sink.position;
	uint64_t step = max_u64(FLUSH_BYTES, end / STORE_STEPS);

	for (uint64_t at = 0; at < end; at += step) {
		uint64_t n = min_u64(step, end - at);

		if (sync_file_range(self->fd, (off_t)at, (off_t)n,
				    SYNC_FILE_RANGE_WAIT_BEFORE |
				    SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) &&
		    (errno == EIO || errno == ENOSPC || errno == EDQUOT))
			return error_errno(err, errno,
					   "cannot store the file");
		atomic_store(&self->sink.stored, at + n);
	}
	return fsync(self->fd) ? error_errno(err, errno,
					     "cannot store the file") : 0;
}

static int file_sink_finish(struct sink *sink, struct object_info *info,
			    struct error *err)
{
	struct file_sink *self = (struct file_sink *)sink;
	struct stat st;
	int ret = 0;

	pool_blocking_begin();
	if (ftruncate(self->fd, (off_t)sink->position))
		ret = error_errno(err, errno, "cannot size the file");
	else if (store_bytes(self, err))
		ret = -1;
	else if (fstat(self->fd, &st))
		ret = error_errno(err, errno, "cannot stat");
	else if (atomic_load(&self->is_cancelled))
		ret = error_set(err, ERR_CANCELLED, "was cancelled");
	else
		ret = publish(self, err);
	if (!ret) {
		sync_dirs(self);
		file_fill_info(info, &st);
	}
	pool_blocking_end();
	return ret;
}

/* Storing comes before reading: else bytes that the device has refused could
 * read as something else. */
static int file_sink_seal(struct sink *sink, struct error *err)
{
	struct file_sink *self = (struct file_sink *)sink;
	int ret = 0;

	pool_blocking_begin();
	if (ftruncate(self->fd, (off_t)sink->position))
		ret = error_errno(err, errno, "cannot size the file");
	else
		ret = store_bytes(self, err);
	pool_blocking_end();
	return ret;
}

static int read_back(const struct file_sink *self, uint64_t offset,
		     struct iovec *iov, int iovcnt, struct error *err)
{
	while (iovcnt) {
		ssize_t n = preadv(self->fd, iov,
				   iovcnt > IOV_MAX ? IOV_MAX : iovcnt,
				   (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_errno(err, n ? errno : EIO,
					   "cannot read %llu",
					   (unsigned long long)offset);
		offset += (uint64_t)n;
		file_advance(&iov, &iovcnt, (size_t)n);
	}
	return 0;
}

static int file_sink_readv(struct sink *sink, uint64_t offset,
			   const struct iovec *iov, int iovcnt,
			   struct error *err)
{
	AUTO_FREE struct iovec *copy = file_copy_iov(iov, iovcnt, err);
	int ret;

	if (!copy)
		return -1;
	pool_blocking_begin();
	ret = read_back((struct file_sink *)sink, offset, copy, iovcnt, err);
	pool_blocking_end();
	return ret;
}

/* Nothing here waits for long but storing, before the object appears. */
static void file_sink_cancel(struct sink *sink)
{
	atomic_store(&((struct file_sink *)sink)->is_cancelled, true);
}

static void file_sink_discard(struct sink *sink)
{
	struct file_sink *self = (struct file_sink *)sink;

	if (self->hidden[0])
		unlinkat(self->dir, self->hidden, 0);
	if (self->fd >= 0)
		close(self->fd);
	if (!self->is_published)
		remove_dirs(self);
	if (self->dir >= 0)
		close(self->dir);
	free(self->if_match);
	free(self->key);
	free(self);
}

static const struct sink_ops file_sink_ops = {
	.write = file_sink_write,
	.zeroes = file_sink_zeroes,
	.patch = file_sink_patch,
	.finish = file_sink_finish,
	.cancel = file_sink_cancel,
	.seal = file_sink_seal,
	.readv = file_sink_readv,
	.discard = file_sink_discard,
};

static int copy_args(struct file_sink *self, const char *key,
		     const struct sink_args *args, struct error *err)
{
	const char *slash;

	self->replace = args->replace;
	self->key = strdup(key);
	if (!self->key)
		return error_nomem(err);
	slash = strrchr(self->key, '/');
	self->name = slash ? slash + 1 : self->key;
	if (!args->if_match)
		return 0;
	self->if_match = strdup(args->if_match);
	return self->if_match ? 0 : error_nomem(err);
}

int file_create(struct sink **out, struct store *store, const char *key,
		const struct sink_args *args, struct error *err)
{
	struct file_sink *self;

	if (file_check_key(key, NULL))
		return error_set(err, ERR_ARG, "no file can be made for the "
				 "key '%s'", key);
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_nomem(err);
	self->sink.ops = &file_sink_ops;
	self->sink.can_seal = self->sink.can_hang = true;
	self->store = (struct file_store *)store;
	self->dir = self->fd = -1;
	if (copy_args(self, key, args, err) || enter_dir(self, err) ||
	    check_target(self, err) || create_file(self, err)) {
		file_sink_discard(&self->sink);
		return -1;
	}
	*out = &self->sink;
	return 0;
}
