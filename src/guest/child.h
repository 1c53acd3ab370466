/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The two ends of the line between guest_probe() and its child. The child
 * sends frames; the parent answers each GUEST_WANT and GUEST_DROP with one
 * byte and takes GUEST_RESULT or GUEST_FAILED as the last one.
 *
 * The child's descriptors: 0 the line, 1 the disk (read only), 2 /dev/null. */
#ifndef VMIEFS_CHILD_H
#define VMIEFS_CHILD_H

#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/error.h"

enum guest_frame_type {
	GUEST_WANT = 1, /* offset, length: fill this window */
	GUEST_DROP,     /* windows made so far may go */
	GUEST_RESULT,   /* length bytes of JSON follow */
	GUEST_FAILED,   /* length bytes of text follow */
};

struct guest_frame {
	uint32_t type;
	uint32_t length;
	uint64_t offset;
};

#define GUEST_LINE_FD      0
#define GUEST_DISK_FD      1
#define GUEST_JSON_MAX     (1u << 20) /* bytes of result */
#define GUEST_TEXT_OUT_MAX 512        /* bytes of an error's text */

/* The parent's handle. Zero-initialise with line = -1. */
struct guest_child {
	pid_t pid;
	int line;
	int patience_ms; /* how much longer the parent waits, in all */
};

/* Run this program again with `arg`; disk_fd becomes its GUEST_DISK_FD. */
MUST_CHECK int guest_child_start(struct guest_child *child, const char *arg,
				 int disk_fd, int patience_ms,
				 struct error *err);

/* Read exactly len bytes. ERR_TIMEOUT when patience is at its end; where the
 * child has gone ERR_CORRUPT. */
MUST_CHECK int guest_child_receive(struct guest_child *child, void *buf,
				   size_t len, struct error *err);
MUST_CHECK int guest_child_answer(struct guest_child *child,
				  struct error *err);

/* Kill the child if it still runs, and reap it. Returns how it ended as
 * waitpid() says, or -1. */
int guest_child_stop(struct guest_child *child);

/* In the child, first thing: close all descriptors but its three. */
void guest_child_settle(void);

#endif
