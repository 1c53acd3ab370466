/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Going to the background, and telling those who wait: the shell that started
 * it, and systemd. */
#ifndef VMIEFS_DAEMON_H
#define VMIEFS_DAEMON_H

#include <stdbool.h>

#include "common/error.h"

/* Fork; no threads may exist. In the parent this waits for the child to call
 * daemon_ready() or to end, and sets *status to what the program is to exit
 * with; *is_child is false. In the child *fd is for daemon_ready(). When who
 * waits gives up, the child gets SIGTERM. */
int daemon_fork(bool *is_child, int *fd, int *status, struct error *err);

/* In the thread that forked, once there is something to lose: from now on the
 * child lives on without its parent. */
void daemon_detach(void);

/* The child works: let the parent go. Standard descriptors are replaced by
 * /dev/null, stderr only unless it is kept for the log. Closes fd. */
void daemon_ready(int fd, bool keep_stderr);

/* Tell systemd (sd_notify(3)): "READY=1". No-op where it does not listen. */
void notify_systemd(const char *state);

#endif
