/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The log sink. Each message is one write(), so that lines of several threads
 * never mix; the level is atomic, the rest is set before threads start. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/log.h"

#define LINE_MAX_BYTES 2048

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARNING] = { "warning", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

#define LEVEL_COUNT (sizeof(levels) / sizeof(levels[0]))

/* The one sink of the process. */
static struct {
	atomic_int level;
	pthread_rwlock_t lock; /* guards fd against reopening */
	int fd;
	bool use_syslog;
	char *path; /* NULL unless a file */
} sink = {
	.level = LOG_LEVEL_WARNING,
	.lock = PTHREAD_RWLOCK_INITIALIZER,
	.fd = STDERR_FILENO,
};

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

int log_open(const char *target, struct error *err)
{
	int fd;

	if (!target || !strcmp(target, "stderr"))
		return 0;
	if (!strcmp(target, "syslog")) {
		openlog("vmiefs", LOG_PID, LOG_DAEMON);
		sink.use_syslog = true;
		return 0;
	}
	fd = open_file(target);
	if (fd < 0)
		return error_errno(err, errno, "cannot open log file %s",
				   target);
	sink.path = realpath(target, NULL); /* a daemon changes directory */
	sink.fd = fd;
	return 0;
}

void log_reopen(void)
{
	int fd;

	if (!sink.path)
		return;
	fd = open_file(sink.path);
	if (fd < 0)
		return;
	pthread_rwlock_wrlock(&sink.lock);
	dup3(fd, sink.fd, O_CLOEXEC);
	pthread_rwlock_unlock(&sink.lock);
	close(fd);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&sink.level, level, memory_order_relaxed);
}

enum log_level log_level(void)
{
	return (enum log_level)atomic_load_explicit(&sink.level,
						    memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
	return levels[level].name;
}

int log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < LEVEL_COUNT; i++) {
		if (!strcmp(levels[i].name, name)) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

/* "2026-11-21T10:00:00.123Z level: " for files, "vmiefs: level: " for a
 * terminal. */
static int format_head(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	if (!sink.path)
		return snprintf(line, size, "vmiefs: %s: ",
				levels[level].name);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return (int)len + snprintf(line + len, size - len, ".%03ldZ %s: ",
				   now.tv_nsec / 1000000, levels[level].name);
}

/* Keys and file contents are hostile: no control character reaches a log. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void log_message(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;
	int head, len;

	if (level > log_level())
		return;
	head = sink.use_syslog ? 0 : format_head(line, sizeof(line), level);
	va_start(args, fmt);
	len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt,
			args);
	va_end(args);
	if (len < 0)
		return;
	make_printable(line + head);
	if (sink.use_syslog) {
		syslog(levels[level].priority, "%s", line);
		return;
	}
	len = (int)strlen(line);
	line[len++] = '\n';
	pthread_rwlock_rdlock(&sink.lock);
	if (write(sink.fd, line, (size_t)len) < 0) {
		/* There is nobody left to tell. */
	}
	pthread_rwlock_unlock(&sink.lock);
}
