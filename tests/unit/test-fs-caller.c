/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a process is copying, by what it has open: one file for reading alone,
 * not two, none for writing, and nothing of no size. */
#include "config.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/caller.h"
#include "tests/tap.h"

static char path[] = "/tmp/vmiefs-caller-XXXXXX";

/* What a process that has these open is taken to be copying. */
static uint64_t bytes_with(const char *const *names, const int *flags)
{
	int ready[2], end[2];
	uint64_t bytes;
	pid_t child;
	char c = 0;

	if (pipe(ready) || pipe(end))
		return UINT64_MAX;
	child = fork();
	if (!child) {
		dup2(ready[1], 1); /* what it was given goes: a log, a test */
		dup2(end[0], 0);
		dup2(0, 2);
		closefrom(3);
		for (int i = 0; names[i]; i++)
			if (open(names[i], flags[i]) < 0)
				_exit(1);
		/* Another program has nothing open of what this one runs in
		 * (valgrind). */
		execl("/bin/sh", "sh", "-c", "echo && read end", NULL);
		_exit(1);
	}
	close(ready[1]);
	close(end[0]);
	bytes = read(ready[0], &c, 1) == 1 ? caller_source_bytes(child) :
					     UINT64_MAX;
	close(end[1]);
	waitpid(child, NULL, 0);
	close(ready[0]);
	return bytes;
}

int main(void)
{
	static const int both[] = { O_RDONLY, O_RDONLY, O_RDONLY };
	static const int writing[] = { O_RDONLY, O_WRONLY, O_RDWR };
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, 123456)) {
		printf("Bail out! no file\n");
		return 99;
	}
	close(fd);
	is_u64(bytes_with((const char *[]){ path, NULL }, both), 123456,
	       "a file that is open for reading");
	is_u64(bytes_with((const char *[]){ path, path, path, NULL }, writing),
	       123456, "beside what is open for writing");
	is_u64(bytes_with((const char *[]){ path, path, NULL }, both), 0,
	       "two could be either");
	is_u64(bytes_with((const char *[]){ path, path, NULL }, writing + 1),
	       0, "none for reading alone");
	is_u64(bytes_with((const char *[]){ "/dev/null", "/", path, NULL },
			  both), 123456,
	       "devices and directories have no size");
	is_u64(bytes_with((const char *[]){ NULL }, both), 0, "nothing");
	is_u64(caller_source_bytes(0), 0, "a process that is not known");
	ok(!unlink(path), "cleaned up");
	return tap_done();
}
