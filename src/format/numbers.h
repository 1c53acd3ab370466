/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A growing list of 32-bit numbers, held against the memory budget: what a
 * writer remembers of each block it has stored. */
#ifndef VMIEFS_NUMBERS_H
#define VMIEFS_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

struct budget;
struct error;

/* Zero-initialise, but for the budget (which may be NULL). */
struct numbers {
	uint32_t *items;
	size_t count, room;
	struct budget *budget;
};

int numbers_add(struct numbers *numbers, uint32_t number, struct error *err);
void numbers_free(struct numbers *numbers);

#endif
