/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * How large each part of an upload is. */
#include "config.h"

#include "common/checked.h"
#include "store/s3-multipart.h"
#include "store/s3-schedule.h"
#include "store/sink.h"

#define MIB          (1ull << 20)
#define FIRST_BYTES  (8 * MIB)
#define MEMORY_BYTES (64 * MIB)
#define STEP_PARTS   1000 /* of one size, until MEMORY_BYTES are reached */
#define SPOOLED_FROM 7401 /* 2600 parts of 2 GiB hold 5 TiB by themselves */
#define SPOOLED_BYTES (2048 * MIB)
#define SPOOLED_LEAST (2 * MEMORY_BYTES) /* less is not worth it */

/* Of memory a part gets a quarter, of scratch space too: some are on their
 * way while the next one is filled. */
#define SHARE 4

static uint64_t grown(const struct s3_schedule *schedule, unsigned int number)
{
	uint64_t bytes = FIRST_BYTES;

	for (unsigned int i = STEP_PARTS; i < number && bytes < MEMORY_BYTES;
	     i += STEP_PARTS)
		bytes *= 2;
	return min_u64(bytes, schedule->memory_max);
}

uint64_t s3_schedule_part(const struct s3_schedule *schedule,
			  unsigned int number, bool *is_spooled)
{
	*is_spooled = schedule->spooled && number >= SPOOLED_FROM;
	if (number < 1 || number > S3_PARTS_MAX)
		return 0;
	if (*is_spooled)
		return schedule->spooled;
	return schedule->equal ? schedule->equal : grown(schedule, number);
}

uint64_t s3_schedule_fallback(const struct s3_schedule *schedule,
			      unsigned int number, uint64_t part_bytes,
			      uint64_t offset)
{
	if (number < SPOOLED_FROM || number > S3_PARTS_MAX ||
	    offset >= schedule->size)
		return 0;
	return schedule->size - offset >
	       (S3_PARTS_MAX - number + 1) * part_bytes ?
		schedule->fallback : 0;
}

uint64_t s3_schedule_bytes(const struct s3_schedule *schedule)
{
	uint64_t bytes = 0;
	bool is_spooled;

	for (unsigned int i = 1; i <= S3_PARTS_MAX; i++)
		bytes += s3_schedule_part(schedule, i, &is_spooled);
	return min_u64(bytes, S3_OBJECT_MAX);
}

int s3_schedule_ends(const struct s3_schedule *schedule, uint64_t offset,
		     struct error *err)
{
	if (offset >= S3_OBJECT_MAX)
		return error_set(err, ERR_LIMIT, "objects in S3 have at most "
				 "%llu bytes", S3_OBJECT_MAX);
	return error_set(err, ERR_LIMIT, "the %d parts that S3 takes end after "
			 "%llu bytes with %llu bytes of memory and %llu of "
			 "scratch space; raise -o memory= or -o scratch-size=",
			 S3_PARTS_MAX,
			 (unsigned long long)s3_schedule_bytes(schedule),
			 (unsigned long long)schedule->budget,
			 (unsigned long long)schedule->scratch);
}

int s3_schedule_init(struct s3_schedule *schedule, uint64_t size,
		     uint64_t budget, uint64_t scratch, struct error *err)
{
	bool is_known = size != SINK_SIZE_UNKNOWN;
	uint64_t equal, spooled = 0;

	*schedule = (struct s3_schedule){
		.memory_max = min_u64(budget / SHARE / MIB * MIB,
				      MEMORY_BYTES),
		.size = size,
		.budget = budget,
		.scratch = scratch,
	};
	schedule->memory_max = max_u64(schedule->memory_max, S3_PART_MIN);
	if (scratch / SHARE >= SPOOLED_LEAST)
		spooled = min_u64(scratch / SHARE / MIB * MIB, SPOOLED_BYTES);
	if (is_known && size <= s3_schedule_bytes(schedule)) {
		schedule->fallback = spooled;
		return 0;
	}
	equal = size / S3_PARTS_MAX / MIB * MIB + MIB;
	if (is_known && equal <= schedule->memory_max) {
		schedule->equal = equal;
		return 0;
	}
	schedule->spooled = spooled;
	if (is_known && size > s3_schedule_bytes(schedule))
		return s3_schedule_ends(schedule, size - 1, err);
	return 0;
}
