/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A sink into memory that logs what is done with it, and fails or hangs where
 * it is told to. Counts as one call each write, zeroes, patch, seal and
 * finish.
 *
 * Threads: as of any sink; log_sink_wait_hung() from another thread. */
#ifndef VMIEFS_TESTS_LOG_SINK_H
#define VMIEFS_TESTS_LOG_SINK_H

#include <pthread.h>
#include <stdbool.h>

#include "store/sink.h"

/* Outlives its sink. Set the first part, zero the rest. */
struct sink_log {
	unsigned int fail_call; /* this call fails with ERR_IO; from 1 */
	uint64_t fail_byte;     /* so does a write that reaches it; 0: none */
	unsigned int hang_call; /* this call waits for sink_cancel() */
	bool can_seal;          /* what was written can be read again */

	unsigned char *data;    /* what was written; owned by the log */
	uint64_t size;
	unsigned int calls, patches, seals, finishes, discards, cancels;
	bool is_head_used;      /* it was not all zero before the first
				 * patch */
	bool is_appended_late;  /* something came behind a patch */
	bool is_hung;           /* under lock */
	bool is_cancelled;      /* under lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

void sink_log_init(struct sink_log *log);
void sink_log_free(struct sink_log *log);

/* A new sink with that head; bails out where memory is short. */
struct sink *log_sink_new(struct sink_log *log, uint32_t head_bytes);

/* Wait until hang_call hangs. */
void sink_log_wait_hung(struct sink_log *log);

#endif
