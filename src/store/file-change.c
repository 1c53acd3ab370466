/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Changing what a directory holds, other than by writing: objects are removed
 * and renamed, directories made and removed. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "store/file.h"

/* Where a key's name is: a descriptor of its directory. *name is in *copy,
 * which the caller frees. */
static int open_parent(const struct file_store *self, const char *key,
		       char **copy, const char **name, struct error *err)
{
	char *slash;
	int fd;

	*copy = NULL;
	if (file_check_key(key, err))
		return -1;
	*copy = strdup(key);
	if (!*copy)
		return error_nomem(err);
	slash = strrchr(*copy, '/');
	*name = slash ? slash + 1 : *copy;
	if (slash)
		*slash = '\0';
	fd = file_open_beneath(self, slash ? *copy : ".",
			       O_RDONLY | O_DIRECTORY, err);
	return fd;
}

static int check_match(const struct file_store *self, const char *key,
		       const char *if_match, struct error *err)
{
	AUTO_CLOSE int fd = file_open_key(self, key, O_PATH, err);
	struct object_info info;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st))
		return error_errno(err, errno, "cannot stat");
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_NOT_FOUND, "is not a regular file");
	file_fill_info(&info, &st);
	if (if_match && strcmp(info.etag, if_match) != 0)
		return error_set(err, ERR_STALE, "was changed since it was "
				 "listed");
	return 0;
}

int file_remove(struct store *store, const char *key, const char *if_match,
		struct error *err)
{
	const struct file_store *self = (struct file_store *)store;
	AUTO_FREE char *copy = NULL;
	const char *name;
	AUTO_CLOSE int dir = open_parent(self, key, &copy, &name, err);
	AUTO_CLOSE int lock = if_match ? file_lock_key(self, key) : -1;

	(void)lock;
	if (dir < 0 || check_match(self, key, if_match, err))
		return -1;
	if (unlinkat(dir, name, 0))
		return error_errno(err, errno, "cannot remove");
	(void)!fsync(dir);
	return 0;
}

int file_rename(struct store *store, const char *from, const char *to,
		const struct rename_args *args, struct error *err)
{
	const struct file_store *self = (struct file_store *)store;
	AUTO_FREE char *from_copy = NULL;
	AUTO_FREE char *to_copy = NULL;
	const char *from_name, *to_name;
	AUTO_CLOSE int from_dir = open_parent(self, from, &from_copy,
					      &from_name, err);
	AUTO_CLOSE int to_dir = -1;
	int ret;

	if (from_dir < 0 || check_match(self, from, NULL, err))
		return -1;
	to_dir = open_parent(self, to, &to_copy, &to_name, err);
	if (to_dir < 0)
		return -1;
	ret = renameat2(from_dir, from_name, to_dir, to_name,
			args->replace ? 0 : RENAME_NOREPLACE);
	if (ret && errno == EINVAL && !args->replace) {
		/* The file system does not know the flag. */
		ret = linkat(from_dir, from_name, to_dir, to_name, 0);
		if (!ret)
			ret = unlinkat(from_dir, from_name, 0);
	}
	if (ret)
		return error_errno(err, errno, "cannot rename to '%s'", to);
	(void)!fsync(to_dir);
	(void)!fsync(from_dir);
	return 0;
}

int file_make_prefix(struct store *store, const char *prefix,
		     struct error *err)
{
	const struct file_store *self = (struct file_store *)store;
	AUTO_FREE char *copy = NULL;
	const char *name;
	AUTO_CLOSE int dir = open_parent(self, prefix, &copy, &name, err);

	if (dir < 0)
		return -1;
	if (mkdirat(dir, name, 0777))
		return error_errno(err, errno, "cannot make the directory");
	(void)!fsync(dir);
	return 0;
}

int file_remove_prefix(struct store *store, const char *prefix,
		       struct error *err)
{
	const struct file_store *self = (struct file_store *)store;
	AUTO_FREE char *copy = NULL;
	const char *name;
	AUTO_CLOSE int dir = open_parent(self, prefix, &copy, &name, err);

	if (dir < 0)
		return -1;
	if (unlinkat(dir, name, AT_REMOVEDIR))
		return error_errno(err, errno, "cannot remove the directory");
	(void)!fsync(dir);
	return 0;
}
