/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * openat2(2), without which no directory is a store: valgrind 3.19 does not
 * know it. */
#ifndef VMIEFS_TESTS_OPENAT2_H
#define VMIEFS_TESTS_OPENAT2_H

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_OPENAT2 "no openat2(2) here (valgrind?)"

static inline bool have_openat2(void)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY };
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how));

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

#endif
