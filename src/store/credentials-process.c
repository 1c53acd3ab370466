/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * credential_process: a command of the user's that prints keys as JSON. It is
 * run by the shell, as most SDKs do, in a process group of its own, which is
 * killed when it takes longer than a minute, and in the directory that we were
 * started in. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "common/cleanup.h"
#include "store/credentials-internal.h"
#include "store/secret.h"

#define PROCESS_MS    60000
#define COMPLAINT_MAX 240 /* bytes of stderr that are shown */

extern char **environ;

struct process_source {
	struct key_source source;
	char *command, *directory;
};

/* A running command, and what it has said. */
struct command {
	pid_t pid;
	int out, err;       /* -1: at its end */
	struct strbuf text; /* stdout: has secrets */
	char complaint[COMPLAINT_MAX + 1];
	size_t complaint_len;
	bool is_reaped;
	int status;
};

/* Its signals are as a program expects them, whatever our threads block. */
static int set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	return posix_spawnattr_setpgroup(attributes, 0) ||
	       posix_spawnattr_setsigmask(attributes, &none) ||
	       posix_spawnattr_setsigdefault(attributes, &all) ||
	       posix_spawnattr_setflags(attributes,
					POSIX_SPAWN_SETPGROUP |
					POSIX_SPAWN_SETSIGMASK |
					POSIX_SPAWN_SETSIGDEF);
}

/* Without the directory where that is gone: not every command needs it. */
static int add_actions(posix_spawn_file_actions_t *actions,
		       const char *directory, int out, int err_fd)
{
	if (!access(directory, X_OK) &&
	    posix_spawn_file_actions_addchdir_np(actions, directory))
		return ENOMEM;
	return posix_spawn_file_actions_addopen(actions, 0, "/dev/null",
						O_RDONLY, 0) ||
	       posix_spawn_file_actions_adddup2(actions, out, 1) ||
	       posix_spawn_file_actions_adddup2(actions, err_fd, 2) ? ENOMEM :
								      0;
}

static int spawn(struct command *command, const struct process_source *process,
		 int out, int err_fd, struct error *err)
{
	char *argv[] = { (char *)"sh", (char *)"-c", process->command, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int code;

	code = posix_spawn_file_actions_init(&actions);
	if (code)
		return error_errno(err, code, "starting it");
	code = posix_spawnattr_init(&attributes);
	if (!code) {
		code = add_actions(&actions, process->directory, out, err_fd);
		if (!code && set_attributes(&attributes))
			code = ENOMEM;
		if (!code)
			code = posix_spawn(&command->pid, "/bin/sh", &actions,
					   &attributes, argv, environ);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return code ? error_errno(err, code, "starting it") : 0;
}

static int start(struct command *command, const struct process_source *process,
		 struct error *err)
{
	int out[2], errors[2], ret;

	if (pipe2(out, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	if (pipe2(errors, O_CLOEXEC) < 0) {
		ret = error_errno(err, errno, "pipe");
		close(out[0]);
		close(out[1]);
		return ret;
	}
	command->out = out[0];
	command->err = errors[0];
	ret = spawn(command, process, out[1], errors[1], err);
	close(out[1]);
	close(errors[1]);
	return ret;
}

static void close_at_end(int *fd)
{
	close(*fd);
	*fd = -1;
}

static int read_output(struct command *command, struct error *err)
{
	char *end = command->text.data + command->text.len;
	size_t room = command->text.max - command->text.len;
	ssize_t got;

	if (!room)
		return error_set(err, ERR_LIMIT,
				 "it printed more than %u bytes",
				 KEYS_BODY_MAX);
	/* Straight into the buffer that is cleared. */
	got = read(command->out, end, room);
	if (got > 0)
		command->text.len += (size_t)got;
	else if (got == 0 || errno != EINTR)
		close_at_end(&command->out);
	command->text.data[command->text.len] = '\0';
	return 0;
}

/* The start of what it complains of, in one line. */
static void read_complaint(struct command *command)
{
	char buffer[512];
	ssize_t got = read(command->err, buffer, sizeof(buffer));

	if (got == 0 || (got < 0 && errno != EINTR))
		close_at_end(&command->err);
	for (ssize_t i = 0; i < got; i++) {
		char c = buffer[i];

		if (command->complaint_len == COMPLAINT_MAX)
			break;
		if (c < ' ' || c > '~')
			c = ' ';
		command->complaint[command->complaint_len++] = c;
	}
}

/* Not for each read, which may end anywhere in what was said. */
static void end_complaint(struct command *command)
{
	while (command->complaint_len &&
	       command->complaint[command->complaint_len - 1] == ' ')
		command->complaint_len--;
	command->complaint[command->complaint_len] = '\0';
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int reap(struct command *command, int flags, struct error *err)
{
	pid_t got = waitpid(command->pid, &command->status, flags);

	if (got < 0 && errno != EINTR)
		return error_errno(err, errno, "waitpid");
	command->is_reaped = got == command->pid;
	return 0;
}

/* Until both pipes are at their end and the process is, too. */
static int listen_to(struct command *command, int stop_fd, struct error *err)
{
	int64_t deadline = now_ms() + PROCESS_MS;

	while (!command->is_reaped) {
		struct pollfd fds[] = { { command->out, POLLIN, 0 },
					{ command->err, POLLIN, 0 },
					{ stop_fd, POLLIN, 0 } };
		bool is_mute = command->out < 0 && command->err < 0;
		int64_t left = deadline - now_ms();

		if (left <= 0)
			return error_set(err, ERR_TIMEOUT,
					 "it did not end within %d s",
					 PROCESS_MS / 1000);
		if (is_mute && reap(command, WNOHANG, err) < 0)
			return -1;
		if (command->is_reaped)
			return 0;
		if (poll(fds, 3, is_mute ? 10 : (int)left) < 0 &&
		    errno != EINTR)
			return error_errno(err, errno, "poll");
		if (fds[2].revents)
			return error_set(err, ERR_CANCELLED, "stopped");
		if (fds[0].revents && read_output(command, err) < 0)
			return -1;
		if (fds[1].revents)
			read_complaint(command);
	}
	return 0;
}

static int check_status(const struct command *command, struct error *err)
{
	bool is_exit = WIFEXITED(command->status);

	if (is_exit && WEXITSTATUS(command->status) == 0)
		return 0;
	return error_set(err, ERR_DENIED, "it ended with %s %d%s%s",
			 is_exit ? "status" : "signal",
			 is_exit ? WEXITSTATUS(command->status) :
				   WTERMSIG(command->status),
			 command->complaint_len ? ": " : "",
			 command->complaint);
}

static int run(struct command *command, const struct process_source *process,
	       int stop_fd, struct error *err)
{
	int ret = start(command, process, err);

	if (ret == 0) {
		ret = listen_to(command, stop_fd, err);
		end_complaint(command);
		if (ret == 0)
			ret = check_status(command, err);
		if (!command->is_reaped)
			kill(-command->pid, SIGKILL);
		while (!command->is_reaped && reap(command, 0, NULL) == 0)
			;
	}
	if (command->out >= 0)
		close(command->out);
	if (command->err >= 0)
		close(command->err);
	return ret;
}

static int process_fetch(struct key_source *source,
			 const struct fetching *fetching, struct key_set **out,
			 struct error *err)
{
	struct process_source *process = (struct process_source *)source;
	struct command command = { .out = -1, .err = -1 };
	int ret = secret_buf_new(&command.text, KEYS_BODY_MAX, err);

	if (ret == 0)
		ret = run(&command, process, fetching->stop_fd, err);
	if (ret == 0)
		ret = key_set_from_json(out, &command.text, "SessionToken",
					true, err);
	secret_buf_free(&command.text);
	return ret < 0 ? error_prefix(err, "%s", source->origin) : 0;
}

static void process_close(struct key_source *source)
{
	struct process_source *process = (struct process_source *)source;

	free(process->command);
	free(process->directory);
	free(process);
}

static const struct key_source_ops process_ops = {
	.fetch = process_fetch,
	.close = process_close,
};

int process_source_new(struct key_source **out, const char *origin,
		       const char *command, struct error *err)
{
	struct process_source *process = calloc(1, sizeof(*process));

	if (!process)
		return error_nomem(err);
	process->source.ops = &process_ops;
	process->source.origin = strdup(origin);
	process->command = strdup(command);
	process->directory = working_directory();
	if (!process->source.origin || !process->command ||
	    !process->directory) {
		key_source_close(&process->source);
		return error_nomem(err);
	}
	*out = &process->source;
	return 0;
}
