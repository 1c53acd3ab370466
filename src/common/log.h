/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The log sink: one line per message to stderr, a file, or syslog/journal.
 * Chosen in main before threads start; log_*() may be called from any thread.
 * Who handles an error logs it, once; who passes it up does not. */
#ifndef VMIEFS_LOG_H
#define VMIEFS_LOG_H

#include <stdbool.h>

struct error;

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Open the sink. target: NULL or "stderr", "syslog" (the journal where
 * systemd runs), or a file's path, appended to. Call before threads start. */
int log_open(const char *target, struct error *err);

/* Reopen a log file after it was moved away (SIGHUP); log rotation itself is
 * logrotate's work. */
void log_reopen(void);

void log_set_level(enum log_level level);
enum log_level log_level(void);

/* "error", "warning", "info", "debug" and back; -1 for an unknown name. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *name, enum log_level *level);

void log_message(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...)   log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                         \
	do {                                                                   \
		if (log_level() >= LOG_LEVEL_DEBUG)                            \
			log_message(LOG_LEVEL_DEBUG, __VA_ARGS__);             \
	} while (0)

#endif
