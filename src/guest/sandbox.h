/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The cage of the process that parses guests' bytes. */
#ifndef VMIEFS_SANDBOX_H
#define VMIEFS_SANDBOX_H

#include "common/cleanup.h"
#include "common/error.h"

/* Give up for good, in the calling process, everything but computing, memory
 * and the descriptors 0 to 2: identity (root becomes nobody), rlimits, and a
 * seccomp filter that kills on any system call outside a short list. Call it
 * with one thread. */
MUST_CHECK int guest_sandbox_enter(struct error *err);

#endif
