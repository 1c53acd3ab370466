/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The background process. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fs/daemon.h"

/* The child says so when it works; when it ends before, its status tells. It
 * has said why on the stderr that both share. */
static int wait_for_child(pid_t child, int fd)
{
	char byte;
	int status;
	ssize_t n;

	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
	}
	return WIFEXITED(status) && WEXITSTATUS(status) ?
	       WEXITSTATUS(status) : 1;
}

int daemon_fork(bool *is_child, int *fd, int *status, struct error *err)
{
	pid_t child, parent = getpid();
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC))
		return error_errno(err, errno, "cannot make a pipe");
	child = fork();
	if (child < 0) {
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		return error_errno(err, errno, "cannot start a process");
	}
	*is_child = child == 0;
	if (*is_child) {
		close(pipe_fds[0]);
		setsid();
		*fd = pipe_fds[1];
		if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
			return error_set(err, ERR_CANCELLED, "the process "
					 "that waits for the mount is gone");
		return 0;
	}
	close(pipe_fds[1]);
	*status = wait_for_child(child, pipe_fds[0]);
	close(pipe_fds[0]);
	return 0;
}

void daemon_detach(void)
{
	prctl(PR_SET_PDEATHSIG, 0);
}

void daemon_ready(int fd, bool keep_stderr)
{
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!keep_stderr)
			dup2(null, STDERR_FILENO);
	}
	if (write(fd, "", 1) != 1) {
		/* The parent is gone; nobody waits. */
	}
	close(fd);
}

void notify_systemd(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	AUTO_CLOSE int fd = -1;

	if (len < 2 || len >= sizeof(address.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* an abstract name */
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL,
		   (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			       len)) < 0) {
		/* systemd will time out and say so. */
	}
}
