/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What /proc tells of the thread that made a request. Thread-safe. */
#ifndef VMIEFS_CALLER_H
#define VMIEFS_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The process of a thread; 0 where that cannot be told. */
pid_t caller_process(pid_t thread);

/* Is it ending because a signal killed it? */
bool caller_was_killed(pid_t thread);

/* The signals that wait for it, unless it blocks them: bit N - 1 for signal N.
 * UINT64_MAX where that cannot be told. */
uint64_t caller_signals(pid_t thread);

/* Bytes of the one regular file or block device that the process has open for
 * reading alone: what cp, dd and cat are copying. 0 where there is none, or
 * more than one. Waits for no file system. */
uint64_t caller_source_bytes(pid_t process);

#endif
