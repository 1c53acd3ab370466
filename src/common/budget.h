/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The memory budget (-o memory=): one byte count shared by everything whose
 * size depends on input: cached blocks, fetch buffers, format tables. Owners
 * of evictable memory register a reclaimer; a reservation that does not fit
 * asks them to evict before it fails. */
#ifndef VMIEFS_BUDGET_H
#define VMIEFS_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

struct budget;
struct error;

/* Evict at least `bytes` if possible, releasing them with budget_release();
 * returns how many were freed. Called without the budget's lock, from any
 * thread that reserves; must not block on I/O. */
typedef uint64_t budget_reclaim_fn(void *arg, uint64_t bytes);

struct budget_stats {
	uint64_t limit, used, peak; /* bytes */
};

int budget_new(struct budget **out, uint64_t limit_bytes, struct error *err);
void budget_free(struct budget *budget);

/* At most 4 reclaimers, registered before threads use the budget. They are
 * asked in the order of registration. */
void budget_add_reclaimer(struct budget *budget, budget_reclaim_fn *fn,
			  void *arg);

/* Take `bytes`, evicting if needed. False when that is impossible now. */
MUST_CHECK bool budget_try(struct budget *budget, uint64_t bytes);

/* As budget_try(), but without asking anybody to evict. */
MUST_CHECK bool budget_try_free(struct budget *budget, uint64_t bytes);

/* As budget_try(), but an error (ERR_NOMEM naming -o memory=) on failure. */
MUST_CHECK int budget_reserve(struct budget *budget, uint64_t bytes,
			      const char *what, struct error *err);

/* How long to wait for what others hold. */
struct patience {
	unsigned int wait_ms;
	bool (*goes_on)(void *arg); /* asked now and then; NULL: always */
	void *arg;
};

/* As budget_reserve(), but waits until others have given enough back.
 * ERR_CANCELLED when it is not to go on. patience NULL: does not wait. */
MUST_CHECK int budget_reserve_wait(struct budget *budget, uint64_t bytes,
				   const char *what,
				   const struct patience *patience,
				   struct error *err);

void budget_release(struct budget *budget, uint64_t bytes);
struct budget_stats budget_stats(struct budget *budget);

#endif
