/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Callers. */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fs/caller.h"

#define PF_SIGNALED 0x400 /* of the kernel's include/linux/sched.h */

/* The start of a file in /proc/THREAD, "" where there is none. */
static void read_proc(pid_t thread, const char *name, char *text, size_t size)
{
	char path[64];
	AUTO_CLOSE int fd = -1;
	ssize_t n;

	*text = '\0';
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)thread, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
}

/* What is behind a name ("\nNAME:") in /proc/THREAD/status, or NULL. */
static const char *find_field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? at + strlen(name) : NULL;
}

pid_t caller_process(pid_t thread)
{
	char text[1024];
	const char *id;

	if (thread <= 0)
		return 0;
	read_proc(thread, "status", text, sizeof(text));
	id = find_field(text, "\nTgid:");
	return id ? (pid_t)strtol(id, NULL, 10) : 0;
}

uint64_t caller_signals(pid_t thread)
{
	const char *own, *shared, *blocked;
	char text[4096];

	if (thread <= 0)
		return UINT64_MAX;
	read_proc(thread, "status", text, sizeof(text));
	own = find_field(text, "\nSigPnd:");
	shared = find_field(text, "\nShdPnd:");
	blocked = find_field(text, "\nSigBlk:");
	if (!own || !shared || !blocked)
		return UINT64_MAX;
	return (strtoull(own, NULL, 16) | strtoull(shared, NULL, 16)) &
	       ~strtoull(blocked, NULL, 16);
}

bool caller_was_killed(pid_t thread)
{
	unsigned long flags;
	char text[1024];
	const char *at;

	if (thread <= 0)
		return false;
	read_proc(thread, "stat", text, sizeof(text));
	/* The name in parentheses may hold any character. */
	at = strrchr(text, ')');
	return at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %lu",
			    &flags) == 1 && flags & PF_SIGNALED;
}

static uint64_t device_bytes(const struct statx *st)
{
	AUTO_CLOSE int fd = -1;
	char path[64], text[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/size",
		 st->stx_rdev_major, st->stx_rdev_minor);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return strtoull(text, NULL, 10) * 512;
}

/* What a descriptor, by its link in /proc/PROCESS/fd, is open for reading. The
 * daemon may itself serve that file: so it is only asked what the kernel knows
 * of it already. */
static uint64_t source_bytes(int dir, const char *name)
{
	struct statx st;
	struct stat link;

	if (fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW) ||
	    !(link.st_mode & S_IRUSR) || link.st_mode & S_IWUSR ||
	    statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		  STATX_TYPE | STATX_SIZE, &st))
		return 0;
	if (S_ISBLK(st.stx_mode))
		return device_bytes(&st);
	return S_ISREG(st.stx_mode) ? st.stx_size : 0;
}

uint64_t caller_source_bytes(pid_t process)
{
	const struct dirent *entry;
	unsigned int count = 0;
	uint64_t bytes = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)process);
	dir = process > 0 ? opendir(path) : NULL;
	if (!dir)
		return 0;
	while ((entry = readdir(dir)) && count < 2) {
		uint64_t n = source_bytes(dirfd(dir), entry->d_name);

		count += n ? 1 : 0;
		bytes += n;
	}
	closedir(dir);
	return count == 1 ? bytes : 0;
}
