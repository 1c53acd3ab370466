/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * How large each part of an upload is. S3 takes 10,000 parts of at least
 * 5 MiB, and nobody tells how many bytes a container will have: so parts grow
 * while they come, first those in memory, from 8 to 64 MiB,
 *
 *     parts      1..1000   2000   3000   7400            10000
 *     MiB            8      16     32     64   2048, in scratch space
 *
 * and at most a quarter of the memory budget. Where the size is known and
 * equal parts in memory can hold it, there are only those. Pure functions. */
#ifndef VMIEFS_S3_SCHEDULE_H
#define VMIEFS_S3_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct s3_schedule {
	uint64_t memory_max; /* bytes of a part in memory */
	uint64_t equal;      /* all parts have so many; 0: they grow */
	uint64_t spooled;    /* those from the 7401st on; 0: as the others */
	uint64_t fallback;   /* the same where memory was too short for parts
			      * to grow; 0: there is none */
	uint64_t size, budget, scratch; /* as given */
};

/* For an object of at most `size` bytes (SINK_SIZE_UNKNOWN: nobody knows), so
 * many bytes of memory (UINT64_MAX: without a bound) and of scratch space (0:
 * there is none). ERR_LIMIT where its parts cannot hold `size`. */
int s3_schedule_init(struct s3_schedule *schedule, uint64_t size,
		     uint64_t budget, uint64_t scratch, struct error *err);

/* Bytes of part `number`, from 1; 0: there is no such part. */
uint64_t s3_schedule_part(const struct s3_schedule *schedule,
			  unsigned int number, bool *is_spooled);

/* Parts have not grown as they were to, for others have the memory: those of
 * part_bytes, from `number` on, would not hold what is behind `offset`. Then
 * this one is spooled and has so many bytes; otherwise 0. */
uint64_t s3_schedule_fallback(const struct s3_schedule *schedule,
			      unsigned int number, uint64_t part_bytes,
			      uint64_t offset);

/* Bytes of all parts together, at most what S3 takes. */
uint64_t s3_schedule_bytes(const struct s3_schedule *schedule);

/* There is no room for byte `offset`: say why, and what helps. Returns -1. */
int s3_schedule_ends(const struct s3_schedule *schedule, uint64_t offset,
		     struct error *err);

#endif
