/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Linked with the whole program, makes tests/vmiefs-spooling, where the large
 * parts of an upload, which wait in scratch space, begin with the third one
 * and not behind 400 GiB: the linker's --wrap sends all questions for the
 * schedule here. VMIEFS_TEST_SPOOLED is how many bytes such a part has; without
 * it as many as in the program that is shipped. */
#include "config.h"

#include <stdlib.h>

#include "store/s3-schedule.h"

#define IN_MEMORY 2    /* parts, of those that the schedule begins with */
#define BEFORE    7400 /* the same in the real one */

/* Names that --wrap prescribes. */
int __real_s3_schedule_init(struct s3_schedule *schedule, uint64_t size,
			    uint64_t budget, uint64_t scratch,
			    struct error *err);
int __wrap_s3_schedule_init(struct s3_schedule *schedule, uint64_t size,
			    uint64_t budget, uint64_t scratch,
			    struct error *err);
uint64_t __real_s3_schedule_part(const struct s3_schedule *schedule,
				 unsigned int number, bool *is_spooled);
uint64_t __wrap_s3_schedule_part(const struct s3_schedule *schedule,
				 unsigned int number, bool *is_spooled);

int __wrap_s3_schedule_init(struct s3_schedule *schedule, uint64_t size,
			    uint64_t budget, uint64_t scratch,
			    struct error *err)
{
	const char *text = getenv("VMIEFS_TEST_SPOOLED");
	int ret = __real_s3_schedule_init(schedule, size, budget, scratch,
					  err);

	if (!ret && text)
		schedule->spooled = strtoull(text, NULL, 10);
	return ret;
}

uint64_t __wrap_s3_schedule_part(const struct s3_schedule *schedule,
				 unsigned int number, bool *is_spooled)
{
	if (number > IN_MEMORY)
		number += BEFORE - IN_MEMORY;
	return __real_s3_schedule_part(schedule, number, is_spooled);
}
