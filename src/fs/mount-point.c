/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Mount points. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fs/mount-point.h"

#define FUSE_SUPER_MAGIC 0x65735546

static int explain(const char *path, int errnum, struct error *err)
{
	switch (errnum) {
	case ENOENT:
		return error_set(err, ERR_ARG, "mount point %s does not exist; "
				 "make it with mkdir", path);
	case ENOTCONN:
		return error_set(err, ERR_ARG, "mount point %s is left over "
				 "from a daemon that died; free it with "
				 "'fusermount3 -u %s' and try again", path,
				 path);
	case ENOTDIR:
		return error_set(err, ERR_ARG, "mount point %s is not a "
				 "directory", path);
	default:
		return error_errno(err, errnum, "mount point %s", path);
	}
}

static int check_empty(const char *path, struct error *err)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return explain(path, errno, err);
	do {
		entry = readdir(dir);
	} while (entry && (!strcmp(entry->d_name, ".") ||
			   !strcmp(entry->d_name, "..")));
	closedir(dir);
	if (entry)
		return error_set(err, ERR_ARG, "mount point %s is not empty, "
				 "and what is in it would be hidden; choose an "
				 "empty directory", path);
	return 0;
}

/* Is something of FUSE mounted exactly here? */
static bool is_fuse_mount(const char *path, const struct stat *st)
{
	AUTO_FREE char *above = NULL;
	struct stat st_above;
	struct statfs fs;

	if (asprintf(&above, "%s/..", path) < 0) {
		above = NULL;
		return false;
	}
	return !stat(above, &st_above) && st_above.st_dev != st->st_dev &&
	       !statfs(path, &fs) && fs.f_type == FUSE_SUPER_MAGIC;
}

/* Is path `dir` itself or below it? */
static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	while (len && dir[len - 1] == '/')
		len--;
	return !strncmp(path, dir, len) &&
	       (path[len] == '/' || path[len] == '\0');
}

int mount_point_check(const char *path, const char *source_dir, char **real,
		      struct error *err)
{
	struct stat st;

	*real = NULL;
	if (stat(path, &st))
		return explain(path, errno, err);
	if (!S_ISDIR(st.st_mode))
		return explain(path, ENOTDIR, err);
	if (is_fuse_mount(path, &st))
		return error_set(err, ERR_ARG, "mount point %s is in use; "
				 "unmount it with 'fusermount3 -u %s'", path,
				 path);
	*real = realpath(path, NULL);
	if (!*real)
		return explain(path, errno, err);
	if (source_dir && is_below(*real, source_dir))
		return error_set(err, ERR_ARG, "mount point %s lies in the "
				 "source %s, which would then contain itself",
				 path, source_dir);
	return check_empty(path, err);
}

int mount_point_set_readahead(const char *path, unsigned int kib,
			      struct error *err)
{
	AUTO_FREE char *name = NULL;
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (stat(path, &st))
		return error_errno(err, errno, "%s", path);
	if (asprintf(&name, "/sys/class/bdi/%u:%u/read_ahead_kb",
		     major(st.st_dev), minor(st.st_dev)) < 0) {
		name = NULL;
		return error_nomem(err);
	}
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%u\n", kib) < 0)
		return error_errno(err, errno, "cannot set %s", name);
	return 0;
}
