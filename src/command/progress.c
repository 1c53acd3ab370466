/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Drawing progress. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "command/progress.h"
#include "command/text.h"
#include "common/checked.h"

#define TERMINAL_EVERY_MS 200
#define LINE_EVERY_MS     10000
#define BAR_MIN           10 /* columns; below that there is no bar */
#define BAR_MAX           40

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_start(struct progress *progress, uint64_t total, bool quiet)
{
	memset(progress, 0, sizeof(*progress));
	progress->total = total;
	progress->quiet = quiet;
	progress->is_terminal = isatty(STDERR_FILENO);
	progress->start_ms = progress->shown_ms = now_ms();
}

static void time_text(char *buf, size_t size, uint64_t seconds)
{
	if (seconds >= 3600)
		snprintf(buf, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64,
			 seconds / 3600, seconds / 60 % 60, seconds % 60);
	else
		snprintf(buf, size, "%" PRIu64 ":%02" PRIu64, seconds / 60,
			 seconds % 60);
}

/* "1.2 GiB of 3 GiB, 250 MiB/s, 0:07 left" */
static void figures_text(const struct progress *progress, int64_t elapsed_ms,
			 char *buf, size_t size)
{
	char done[TEXT_SIZE_MAX], total[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX];
	char left[32] = "-:--";
	double per_ms = elapsed_ms > 0 ?
			(double)progress->done / (double)elapsed_ms : 0;

	if (per_ms > 0 && progress->total >= progress->done)
		time_text(left, sizeof(left),
			  (uint64_t)((double)(progress->total -
					      progress->done) / per_ms / 1000));
	snprintf(buf, size, "%s of %s, %s/s, %s left",
		 text_size(done, progress->done),
		 text_size(total, progress->total),
		 text_size(rate, (uint64_t)(per_ms * 1000)), left);
}

void progress_text(const struct progress *progress, int64_t elapsed_ms,
		   char *buf, size_t size, size_t width)
{
	static const char full[] = "########################################";
	static const char none[] = "........................................";
	double part = progress->total ? (double)progress->done /
					(double)progress->total : 1;
	char figures[160];
	size_t used, bar, filled;

	if (part > 1)
		part = 1;
	figures_text(progress, elapsed_ms, figures, sizeof(figures));
	used = strlen(figures) + strlen("[] 100% ");
	bar = width > used ? min_u64(width - used, BAR_MAX) : 0;
	filled = (size_t)(part * (double)bar);
	if (bar < BAR_MIN)
		snprintf(buf, min_u64(size, width + 1), "%3.0f%% %s",
			 part * 100, figures);
	else
		snprintf(buf, size, "[%.*s%.*s] %3.0f%% %s", (int)filled, full,
			 (int)(bar - filled), none, part * 100, figures);
}

static void draw(struct progress *progress, int64_t elapsed_ms)
{
	struct winsize window = { 0 };
	size_t width = 79;
	char text[256];

	if (progress->is_terminal &&
	    ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 &&
	    window.ws_col > 1)
		width = window.ws_col - 1u;
	progress_text(progress, elapsed_ms, text, sizeof(text), width);
	if (progress->is_terminal)
		fprintf(stderr, "\r%s\033[K", text);
	else
		fprintf(stderr, "%s\n", text);
	progress->is_drawn = progress->is_terminal;
}

void progress_add(struct progress *progress, uint64_t bytes)
{
	int64_t now = now_ms();

	progress->done += bytes;
	if (progress->quiet ||
	    now - progress->shown_ms < (progress->is_terminal ?
					TERMINAL_EVERY_MS : LINE_EVERY_MS))
		return;
	progress->shown_ms = now;
	draw(progress, now - progress->start_ms);
}

void progress_clear(struct progress *progress)
{
	if (progress->is_drawn)
		fputs("\r\033[K", stderr);
	progress->is_drawn = false;
}
