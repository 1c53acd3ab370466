/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Callers. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

pid_t caller_process(pid_t thread)
{
	static const char field[] = "\nTgid:";
	char text[1024];
	const char *at;

	if (thread <= 0)
		return 0;
	read_proc(thread, "status", text, sizeof(text));
	at = strstr(text, field);
	return at ? (pid_t)strtol(at + strlen(field), NULL, 10) : 0;
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
