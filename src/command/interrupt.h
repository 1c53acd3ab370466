/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Ctrl-C asks for an early end with what is known so far; a second one kills
 * as usual. */
#ifndef VMIEFS_INTERRUPT_H
#define VMIEFS_INTERRUPT_H

#include <stdbool.h>

/* Watch SIGINT and SIGTERM from now on. */
void interrupt_watch(void);

/* True once one of them came. */
bool interrupt_seen(void);

#endif
