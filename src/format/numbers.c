/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Lists of numbers under the memory budget. */
#include "config.h"

#include <stdlib.h>

#include "common/budget.h"
#include "common/error.h"
#include "format/numbers.h"

#define ROOM_FIRST 1024u

static int grow(struct numbers *numbers, struct error *err)
{
	size_t room = numbers->room ? 2 * numbers->room : ROOM_FIRST;
	uint64_t more = (room - numbers->room) * sizeof(*numbers->items);
	uint32_t *items;

	if (numbers->budget && budget_reserve(numbers->budget, more,
					      "tables of a new disk", err))
		return -1;
	items = reallocarray(numbers->items, room, sizeof(*items));
	if (!items) {
		if (numbers->budget)
			budget_release(numbers->budget, more);
		return error_nomem(err);
	}
	numbers->items = items;
	numbers->room = room;
	return 0;
}

int numbers_add(struct numbers *numbers, uint32_t number, struct error *err)
{
	if (numbers->count == numbers->room && grow(numbers, err))
		return -1;
	numbers->items[numbers->count++] = number;
	return 0;
}

void numbers_free(struct numbers *numbers)
{
	if (numbers->budget)
		budget_release(numbers->budget,
			       numbers->room * sizeof(*numbers->items));
	free(numbers->items);
	numbers->items = NULL;
	numbers->count = numbers->room = 0;
}
