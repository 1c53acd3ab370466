/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Starting, hearing and ending the child, from the parent's side. The child
 * is spawned, not forked: a copy of a daemon's memory (with its credentials)
 * is nothing that a parser of hostile bytes should own. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest/child.h"

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Default signals and none blocked, whatever the daemon made of them. */
static int set_signals(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int ret;

	sigemptyset(&none);
	sigfillset(&all);
	ret = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK |
				       POSIX_SPAWN_SETSIGDEF);
	if (!ret)
		ret = posix_spawnattr_setsigmask(attr, &none);
	if (!ret)
		ret = posix_spawnattr_setsigdefault(attr, &all);
	return ret;
}

static int set_files(posix_spawn_file_actions_t *actions, int line, int disk)
{
	int ret = posix_spawn_file_actions_adddup2(actions, line,
						   GUEST_LINE_FD);

	if (!ret)
		ret = posix_spawn_file_actions_adddup2(actions, disk,
						       GUEST_DISK_FD);
	if (!ret)
		ret = posix_spawn_file_actions_addopen(actions, 2, "/dev/null",
						       O_WRONLY, 0);
	return ret;
}

/* The descriptor pins this very program, also after an upgrade. */
static int spawn_self(pid_t *pid, const char *arg, int line, int disk)
{
	AUTO_CLOSE int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *argv[] = { (char *)"vmiefs", (char *)arg, NULL };
	char *envp[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char path[32];
	int ret;

	if (self < 0)
		return errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self);
	ret = posix_spawn_file_actions_init(&actions);
	if (ret)
		return ret;
	ret = posix_spawnattr_init(&attr);
	if (ret) {
		posix_spawn_file_actions_destroy(&actions);
		return ret;
	}
	ret = set_files(&actions, line, disk);
	if (!ret)
		ret = set_signals(&attr);
	if (!ret)
		ret = posix_spawn(pid, path, &actions, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return ret;
}

int guest_child_start(struct guest_child *child, const char *arg, int disk_fd,
		      int patience_ms, struct error *err)
{
	AUTO_CLOSE int theirs = -1;
	int ends[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return error_errno(err, errno, "socketpair");
	theirs = ends[1];
	ret = spawn_self(&child->pid, arg, theirs, disk_fd);
	if (ret) {
		close(ends[0]);
		return error_errno(err, ret, "start the probing process");
	}
	child->line = ends[0];
	child->patience_ms = patience_ms;
	return 0;
}

/* Wait for bytes; the waiting is taken off the child's account. */
static int await(struct guest_child *child, struct error *err)
{
	struct pollfd line = { .fd = child->line, .events = POLLIN };
	int64_t start = now_ms();
	int ret = poll(&line, 1, child->patience_ms);
	int64_t waited = now_ms() - start;

	child->patience_ms = waited < child->patience_ms ?
			     child->patience_ms - (int)waited : 0;
	if (ret < 0 && errno != EINTR)
		return error_errno(err, errno, "poll");
	if (ret > 0)
		return 1;
	if (child->patience_ms == 0)
		return error_set(err, ERR_TIMEOUT, "the probing process did "
				 "not finish in time");
	return 0;
}

int guest_child_receive(struct guest_child *child, void *buf, size_t len,
			struct error *err)
{
	char *at = buf;

	while (len > 0) {
		ssize_t got;
		int ready = await(child, err);

		if (ready < 0)
			return -1;
		if (!ready)
			continue;
		got = recv(child->line, at, len, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return error_set(err, ERR_CORRUPT,
					 "the probing process ended early");
		at += got;
		len -= (size_t)got;
	}
	return 0;
}

int guest_child_answer(struct guest_child *child, struct error *err)
{
	if (send(child->line, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		return error_set(err, ERR_CORRUPT,
				 "the probing process does not listen");
	return 0;
}

int guest_child_stop(struct guest_child *child)
{
	int status = -1;

	if (child->line >= 0)
		close(child->line);
	child->line = -1;
	if (child->pid <= 0)
		return -1;
	/* After its last frame it only has to leave; do not wait for that. */
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	child->pid = 0;
	return status;
}

void guest_child_settle(void)
{
	close_range(3, ~0u, 0);
}
