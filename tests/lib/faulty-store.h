/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A store over another store that is slow, fails or hangs as told, and keeps
 * a log of every call. For tests only; several can be stacked. Calls that do
 * not match the faults' `calls` and `key` go through untouched, but are
 * logged. With STORE_NOWAIT a call that would be delayed or hang is answered
 * ERR_AGAIN at once, as a slow store does.
 *
 * Threads: everything here may be called from any thread, in parallel. */
#ifndef VMIEFS_TESTS_FAULTY_STORE_H
#define VMIEFS_TESTS_FAULTY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "store/store.h"

enum faulty_call { FAULTY_LIST, FAULTY_STAT, FAULTY_OPEN, FAULTY_READ };

/* Zero means "no such fault" for every member. */
struct faults {
	unsigned int calls;        /* mask of 1 << FAULTY_...; 0 = all calls */
	char key[256];             /* only keys matching this glob; "" = all */
	unsigned int delay_ms;     /* each call takes that much longer */
	uint64_t bytes_per_second; /* of all reads together */
	unsigned int fail_every;   /* the Nth, 2Nth, ... matching call fails */
	uint64_t bad_offset;       /* reads that touch bytes bad_offset up to */
	uint64_t bad_length;       /* bad_offset + bad_length fail */
	enum error_kind fail_kind; /* how; ERR_NONE = ERR_IO */
	char hang_file[256];       /* calls hang while this file exists */
	char log_file[256];        /* append a line for each call */
	uint32_t fetch_bytes;      /* when the store is made: it says so of */
	uint32_t request_bytes;    /* itself, instead of the inner store; with
				    * fetch_bytes it is a remote one, which an
				    * open with `known` asks nothing */
};

/* One call as it happened. Times are CLOCK_MONOTONIC. */
struct faulty_record {
	enum faulty_call call;
	uint64_t offset, length;   /* FAULTY_READ */
	uint64_t begin_ns, end_ns; /* end 0 = still running */
	unsigned int in_flight;    /* reads running, this one included */
};

#define FAULTY_RECORDS_MAX 65536 /* later calls are counted, not recorded */

struct faulty_stats {
	uint64_t calls[FAULTY_READ + 1]; /* by enum faulty_call */
	uint64_t bytes;                  /* asked for by reads */
	uint64_t refused;                /* NOWAIT calls answered ERR_AGAIN */
	uint64_t failed;                 /* calls failed on purpose */
	unsigned int in_flight_max;      /* most reads at one time */
	unsigned int hanging;            /* calls that hang now */
};

/* Wrap inner, which is taken over on success only. faults may be NULL. */
int faulty_store_new(struct store **out, struct store *inner,
		     const struct faults *faults, struct error *err);

/* From now on behave like this; starts to count for fail_every afresh. */
void faulty_store_set(struct store *store, const struct faults *faults);

/* Make matching calls hang / let them go on. Closing the store needs all
 * calls to have ended, as with any store. */
void faulty_store_hang(struct store *store, bool hang);

struct faulty_stats faulty_store_stats(struct store *store);

/* A copy of the log in the order in which calls began; freed by the caller.
 * NULL when it is empty. */
struct faulty_record *faulty_store_log(struct store *store, size_t *n);

/* Forget log and statistics; no call may be running. */
void faulty_store_reset(struct store *store);

/* Read "delay=20,on=read+open,key=*.vmdk,fail-every=7": see tests/README.md
 * for all words. text is overwritten. */
int faults_parse(struct faults *faults, char *text, struct error *err);

#endif
