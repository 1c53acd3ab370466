/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A progress bar on stderr: bytes, rate, time left. On a terminal one line
 * that is drawn anew; elsewhere a plain line every ten seconds. */
#ifndef VMIEFS_PROGRESS_H
#define VMIEFS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
	uint64_t total, done;  /* bytes */
	bool quiet, is_terminal;
	bool is_drawn;         /* a bar stands on the terminal now */
	int64_t start_ms, shown_ms;
};

void progress_start(struct progress *progress, uint64_t total, bool quiet);

/* Count more bytes; draws now and then. bytes may be 0. */
void progress_add(struct progress *progress, uint64_t bytes);

/* Take the bar away, so that something else can be printed. */
void progress_clear(struct progress *progress);

/* The text of a bar of at most `width` columns, into buf. */
void progress_text(const struct progress *progress, int64_t elapsed_ms,
		   char *buf, size_t size, size_t width);

#endif
