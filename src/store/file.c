/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A directory as a store: keys are paths below it. Nothing outside the
 * directory can be reached (openat2 with RESOLVE_BENEATH), and only regular
 * files are objects. The ETag is made of inode, size and mtime in
 * nanoseconds; fstat() after each read narrows, but cannot close, the window
 * in which a write in place goes unseen. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/pool.h"
#include "store/file.h"

#define LOCK_MS    10
#define LOCK_TRIES 100

struct file_object {
	struct object object;
	int fd;
};

/* errno of a failed open as an error. Returns -1; leaves errno alone. */
static int open_failed(struct error *err)
{
	if (errno == EXDEV)
		return error_set(err, ERR_DENIED,
				 "leads out of the mounted directory");
	if (errno == ELOOP)
		return error_set(err, ERR_DENIED, "leads out of the mounted "
				 "directory or is a loop of links");
	if (errno == ENAMETOOLONG)
		return error_set(err, ERR_NOT_FOUND,
				 "no file can have this name");
	return error_errno(err, errno, "cannot open");
}

int file_open_beneath(const struct file_store *self, const char *key,
		      int flags, struct error *err)
{
	struct open_how how = {
		.flags = (unsigned int)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	do {
		fd = (int)syscall(SYS_openat2, self->root, key, &how,
				  sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? open_failed(err) : fd;
}

bool file_is_hidden(const char *name)
{
	return !strncmp(name, FILE_HIDDEN_PREFIX, strlen(FILE_HIDDEN_PREFIX));
}

/* Two keys must not name one file: empty segments, "." and ".." are in no key
 * of this store. */
int file_check_key(const char *key, struct error *err)
{
	for (const char *at = key;; at++) {
		size_t len = strcspn(at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') ||
		    (len == 2 && at[0] == '.' && at[1] == '.') ||
		    file_is_hidden(at))
			return error_set(err, ERR_NOT_FOUND, "'%s' is no key",
					 key);
		at += len;
		if (!*at)
			return 0;
	}
}

int file_open_key(const struct file_store *self, const char *key, int flags,
		  struct error *err)
{
	if (file_check_key(key, err))
		return -1;
	return file_open_beneath(self, key, flags, err);
}

int file_lock_key(const struct file_store *self, const char *key)
{
	const struct timespec pause = { .tv_nsec = LOCK_MS * 1000000l };
	int fd = file_open_key(self, key, O_RDONLY | O_NONBLOCK | O_NOCTTY,
			       NULL);

	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		if (errno != EWOULDBLOCK)
			break;
		nanosleep(&pause, NULL);
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

void file_fill_info(struct object_info *info, const struct stat *st)
{
	info->size = (uint64_t)st->st_size;
	info->mtime_ns = mtime_ns(st);
	snprintf(info->etag, sizeof(info->etag), "%llx-%llx-%llx",
		 (unsigned long long)st->st_ino,
		 (unsigned long long)st->st_size,
		 (unsigned long long)info->mtime_ns);
}

/* What an object's descriptor says of it; only regular files are objects. */
static int regular_info(int fd, struct object_info *info, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_errno(err, errno, "cannot stat");
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_NOT_FOUND, "is not a regular file");
	file_fill_info(info, &st);
	return 0;
}

static int file_stat(struct store *store, const char *key,
		     struct object_info *info, struct error *err)
{
	struct file_store *self = (struct file_store *)store;
	AUTO_CLOSE int fd = file_open_key(self, key, O_PATH, err);

	return fd < 0 ? -1 : regular_info(fd, info, err);
}

int file_object_check(const struct object *object, struct error *err)
{
	const struct file_object *self = (const struct file_object *)object;
	const struct object_info *info = &object->info;
	struct stat st;

	if (fstat(self->fd, &st))
		return error_errno(err, errno, "cannot stat");
	if (st.st_nlink == 0)
		return error_set(err, ERR_STALE,
				 "was deleted or replaced while open");
	if ((uint64_t)st.st_size != info->size ||
	    mtime_ns(&st) != info->mtime_ns)
		return error_set(err, ERR_STALE, "was changed while open");
	return 0;
}

/* One preadv2() call; the number of bytes, or -1. */
static ssize_t read_some(const struct file_object *self, uint64_t offset,
			 const struct iovec *iov, int iovcnt,
			 unsigned int flags, struct error *err)
{
	ssize_t n;

	do {
		n = preadv2(self->fd, iov, iovcnt > IOV_MAX ? IOV_MAX : iovcnt,
			    (off_t)offset,
			    flags & STORE_NOWAIT ? RWF_NOWAIT : 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && flags & STORE_NOWAIT &&
	    (errno == EAGAIN || errno == EOPNOTSUPP))
		return error_set(err, ERR_AGAIN, "not in memory");
	if (n < 0)
		return error_errno(err, errno, "cannot read %llu",
				   (unsigned long long)offset);
	return n;
}

struct iovec *file_copy_iov(const struct iovec *iov, int iovcnt,
			    struct error *err)
{
	size_t bytes = sizeof(*iov) * (size_t)iovcnt;
	struct iovec *copy = malloc(bytes);

	if (!copy)
		error_nomem(err);
	else
		memcpy(copy, iov, bytes);
	return copy;
}

void file_advance(struct iovec **iov, int *iovcnt, size_t n)
{
	while (*iovcnt && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		++*iov;
		--*iovcnt;
	}
	if (n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

static int read_rest(const struct file_object *self, uint64_t offset,
		     const struct iovec *iov, int iovcnt, unsigned int flags,
		     size_t done, struct error *err)
{
	AUTO_FREE struct iovec *copy = file_copy_iov(iov, iovcnt, err);
	struct iovec *rest = copy;

	if (!copy)
		return -1;
	for (size_t n = done;;) {
		ssize_t more;

		file_advance(&rest, &iovcnt, n);
		offset += n;
		if (!iovcnt)
			return 0;
		more = read_some(self, offset, rest, iovcnt, flags, err);
		if (more < 0)
			return -1;
		if (more == 0)
			return error_set(err, ERR_STALE,
					 "was cut off while open");
		n = (size_t)more;
	}
}

static int file_readv(struct object *object, uint64_t offset,
		      const struct iovec *iov, int iovcnt, unsigned int flags,
		      uint64_t *filled, struct error *err)
{
	struct file_object *self = (struct file_object *)object;
	size_t length = 0;
	ssize_t n;
	int ret = 0;

	for (int i = 0; i < iovcnt; i++)
		length += iov[i].iov_len;
	if (!(flags & STORE_NOWAIT))
		pool_blocking_begin();
	n = read_some(self, offset, iov, iovcnt, flags, err);
	if (n < 0)
		ret = -1;
	else if ((size_t)n < length)
		ret = read_rest(self, offset, iov, iovcnt, flags, (size_t)n,
				err);
	if (!(flags & STORE_NOWAIT))
		pool_blocking_end();
	if (ret || file_object_check(object, err))
		return -1;
	*filled = length;
	return 0;
}

static void file_object_close(struct object *object)
{
	struct file_object *self = (struct file_object *)object;

	close(self->fd);
	free(self);
}

int file_object_fd(const struct object *object)
{
	return ((const struct file_object *)object)->fd;
}

static const struct object_ops file_object_ops = {
	.readv = file_readv,
	.close = file_object_close,
};

static int file_open(struct object **out, struct store *store,
		     const char *key, const struct object_info *known,
		     struct error *err)
{
	struct file_store *self = (struct file_store *)store;
	AUTO_FREE struct file_object *object = calloc(1, sizeof(*object));
	AUTO_CLOSE int fd = -1;

	if (!object)
		return error_nomem(err);
	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	fd = file_open_key(self, key, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);
	if (fd < 0 || regular_info(fd, &object->object.info, err))
		return -1;
	if (known && strcmp(known->etag, object->object.info.etag) != 0)
		return error_set(err, ERR_STALE,
				 "was replaced since it was listed");
	object->object.ops = &file_object_ops;
	object->fd = fd;
	fd = -1;
	*out = &take_ptr(object)->object;
	return 0;
}

/* Listing. A page is a whole directory: entries are streamed to the caller,
 * so memory does not depend on how many there are. */

struct listing {
	const struct file_store *store;
	const struct list_args *args;
	store_list_fn *fn;
	void *arg;
	/* The name that is being looked at. Here and not on the stack of each
	 * level, since folders may be 512 deep. */
	char key[STORE_KEY_MAX + 2];
};

static int list_dir(struct listing *ls, const char *filter,
		    struct error *err);

/* What ls->key names, without a slash at its end. A name may have vanished
 * since readdir(), or be a link that leads nowhere or outside: then it is no
 * object, and 0 is returned. */
static mode_t look_at(const struct listing *ls, int dir_fd, const char *name,
		      struct object_info *info)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	if (S_ISLNK(st.st_mode)) {
		AUTO_CLOSE int target =
			file_open_beneath(ls->store, ls->key, O_PATH, NULL);

		if (target < 0 || fstat(target, &st))
			return 0;
		if (S_ISDIR(st.st_mode) && !ls->args->delimiter)
			return 0; /* a loop of links must end */
	}
	file_fill_info(info, &st);
	return st.st_mode;
}

/* The name that was put at the end of ls->key. */
static int list_name(struct listing *ls, int dir_fd, const char *name,
		     size_t len, struct error *err)
{
	struct store_entry entry = { .key = ls->key };
	mode_t mode = look_at(ls, dir_fd, name, &entry.info);

	if (S_ISREG(mode))
		return ls->fn(ls->arg, &entry, err);
	if (!S_ISDIR(mode))
		return 0;
	entry.info = (struct object_info){ 0 };
	entry.is_prefix = true;
	ls->key[len] = '/';
	ls->key[len + 1] = '\0';
	if (ls->args->delimiter)
		return ls->fn(ls->arg, &entry, err);
	return list_dir(ls, "", err);
}

static int list_entries(struct listing *ls, DIR *stream, const char *filter,
			struct error *err)
{
	size_t dir_len = strlen(ls->key), filter_len = strlen(filter);
	const struct dirent *entry;

	while (errno = 0, entry = readdir(stream)) {
		const char *name = entry->d_name;
		size_t len = dir_len + strlen(name);

		if (!strcmp(name, ".") || !strcmp(name, "..") ||
		    strncmp(name, filter, filter_len) != 0 ||
		    file_is_hidden(name))
			continue;
		if (len > STORE_KEY_MAX)
			continue; /* no key can be that long */
		memcpy(ls->key + dir_len, name, strlen(name) + 1);
		if (list_name(ls, dirfd(stream), name, len, err))
			return -1;
	}
	ls->key[dir_len] = '\0';
	return errno ? error_errno(err, errno, "cannot list '%s'", ls->key) : 0;
}

/* The folder ls->key ("" or "a/b/"); one that is not there is empty. */
static int list_dir(struct listing *ls, const char *filter, struct error *err)
{
	int fd = file_open_beneath(ls->store, ls->key[0] ? ls->key : ".",
				   O_RDONLY | O_DIRECTORY, NULL);
	DIR *stream;
	int ret;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return open_failed(err);
	stream = fdopendir(fd);
	if (!stream) {
		close(fd);
		return error_nomem(err);
	}
	ret = list_entries(ls, stream, filter, err);
	closedir(stream);
	return ret;
}

static int file_list(struct store *store, const struct list_args *args,
		     store_list_fn *fn, void *arg, char **continuation,
		     struct error *err)
{
	const char *slash = strrchr(args->prefix, '/');
	size_t dir_len = slash ? (size_t)(slash + 1 - args->prefix) : 0;
	struct listing ls = { (struct file_store *)store, args, fn, arg, "" };

	if (dir_len > STORE_KEY_MAX)
		return 0;
	memcpy(ls.key, args->prefix, dir_len);
	return list_dir(&ls, args->prefix + dir_len, err);
}

static int file_has_prefix(struct store *store, const char *prefix,
			   bool *found, struct error *err)
{
	struct file_store *self = (struct file_store *)store;
	AUTO_FREE char *dir = strndup(prefix, strlen(prefix) - 1);
	AUTO_CLOSE int fd = -1;
	struct error own = { 0 };

	if (!dir)
		return error_nomem(err);
	fd = file_open_key(self, dir, O_PATH | O_DIRECTORY, &own);
	*found = fd >= 0;
	/* A link that leads out is not listed either. */
	if (fd >= 0 || own.kind == ERR_NOT_FOUND || own.kind == ERR_DENIED)
		return 0;
	if (err)
		*err = own;
	return -1;
}

static void file_close(struct store *store)
{
	struct file_store *self = (struct file_store *)store;

	close(self->root);
	free(self);
}

static const struct store_ops file_store_ops = {
	.list = file_list,
	.stat = file_stat,
	.has_prefix = file_has_prefix,
	.open = file_open,
	.create = file_create,
	.compose = file_compose,
	.remove = file_remove,
	.rename = file_rename,
	.make_prefix = file_make_prefix,
	.remove_prefix = file_remove_prefix,
	.close = file_close,
};

int file_store_open(struct store **out, const char *path, struct error *err)
{
	AUTO_FREE struct file_store *self = calloc(1, sizeof(*self));
	AUTO_FREE char *real = NULL;

	*out = NULL;
	if (!self)
		return error_nomem(err);
	real = realpath(path, NULL);
	if (!real)
		return error_errno(err, errno, "%s", path);
	if (asprintf(&self->store.url, "file://%s", real) < 0)
		return error_nomem(err);
	self->root = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (self->root < 0) {
		int errnum = errno;

		free(self->store.url);
		if (errnum == ENOTDIR)
			return error_set(err, ERR_ARG, "%s: is not a "
					 "directory; to look at one container "
					 "use vmiefs info", path);
		return error_errno(err, errnum, "%s", path);
	}
	self->store.ops = &file_store_ops;
	self->store.fetch_bytes = 4096;
	self->store.request_bytes = 512 << 10;
	*out = &take_ptr(self)->store;
	return 0;
}
