/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The flag that a signal handler sets; a handler can reach nothing else. */
#include "config.h"

#include <signal.h>

#include "command/interrupt.h"

static volatile sig_atomic_t seen;

static void note_signal(int signum)
{
	seen = 1;
}

void interrupt_watch(void)
{
	struct sigaction action = {
		.sa_handler = note_signal,
		.sa_flags = SA_RESETHAND | SA_RESTART,
	};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool interrupt_seen(void)
{
	return seen;
}
