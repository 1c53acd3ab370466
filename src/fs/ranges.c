/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sets of byte ranges: a sorted array. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/checked.h"
#include "fs/ranges.h"

#define FIRST_ROOM 16

/* Index of the first range that ends at or behind `from`. */
static size_t find_touching(const struct ranges *ranges, uint64_t from)
{
	size_t low = 0, high = ranges->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ranges->at[mid].end < from)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int make_room(struct ranges *ranges, struct error *err)
{
	size_t more = ranges->room ? 2 * ranges->room : FIRST_ROOM;
	uint64_t bytes = (more - ranges->room) * sizeof(struct range);
	struct range *bigger;

	if (ranges->count < ranges->room)
		return 0;
	if (more > RANGES_MAX)
		return error_set(err, ERR_LIMIT, "more than %u pieces are "
				 "written out of order", RANGES_MAX);
	if (ranges->budget &&
	    budget_reserve(ranges->budget, bytes, "what was written", err))
		return -1;
	bigger = reallocarray(ranges->at, more, sizeof(*bigger));
	if (!bigger) {
		if (ranges->budget)
			budget_release(ranges->budget, bytes);
		return error_nomem(err);
	}
	ranges->at = bigger;
	ranges->room = more;
	return 0;
}

/* Put `with`[0..n) where ranges [first, last) are; there is room. */
static void replace(struct ranges *ranges, size_t first, size_t last,
		    const struct range *with, size_t n)
{
	for (size_t i = first; i < last; i++)
		ranges->bytes -= ranges->at[i].end - ranges->at[i].begin;
	memmove(ranges->at + first + n, ranges->at + last,
		(ranges->count - last) * sizeof(struct range));
	ranges->count = ranges->count - (last - first) + n;
	for (size_t i = 0; i < n; i++) {
		ranges->at[first + i] = with[i];
		ranges->bytes += with[i].end - with[i].begin;
	}
}

int ranges_add(struct ranges *ranges, uint64_t begin, uint64_t end,
	       struct error *err)
{
	size_t first = find_touching(ranges, begin), last = first;
	struct range sum = { begin, end };

	if (begin >= end)
		return 0;
	if (make_room(ranges, err))
		return -1;
	while (last < ranges->count && ranges->at[last].begin <= end)
		last++;
	if (last > first) {
		sum.begin = min_u64(begin, ranges->at[first].begin);
		sum.end = max_u64(end, ranges->at[last - 1].end);
	}
	replace(ranges, first, last, &sum, 1);
	return 0;
}

int ranges_remove(struct ranges *ranges, uint64_t begin, uint64_t end,
		  struct error *err)
{
	size_t first, last, n = 0;
	struct range rest[2];

	if (begin >= end)
		return 0;
	if (make_room(ranges, err))
		return -1;
	first = find_touching(ranges, begin + 1);
	for (last = first; last < ranges->count &&
	     ranges->at[last].begin < end; last++) {
	}
	if (last == first)
		return 0;
	if (ranges->at[first].begin < begin)
		rest[n++] = (struct range){ ranges->at[first].begin, begin };
	if (ranges->at[last - 1].end > end)
		rest[n++] = (struct range){ end, ranges->at[last - 1].end };
	replace(ranges, first, last, rest, n);
	return 0;
}

uint64_t ranges_missing(const struct ranges *ranges, uint64_t begin,
			uint64_t end)
{
	uint64_t missing = end - begin;

	for (size_t i = find_touching(ranges, begin);
	     i < ranges->count && ranges->at[i].begin < end; i++) {
		uint64_t from = max_u64(begin, ranges->at[i].begin);
		uint64_t to = min_u64(end, ranges->at[i].end);

		missing -= to > from ? to - from : 0;
	}
	return missing;
}

bool ranges_find(const struct ranges *ranges, uint64_t from,
		 struct range *found)
{
	size_t i = find_touching(ranges, from);

	if (i < ranges->count && ranges->at[i].end == from)
		i++;
	if (i == ranges->count)
		return false;
	*found = ranges->at[i];
	return true;
}

uint64_t ranges_end(const struct ranges *ranges)
{
	return ranges->count ? ranges->at[ranges->count - 1].end : 0;
}

void ranges_free(struct ranges *ranges)
{
	free(ranges->at);
	if (ranges->budget)
		budget_release(ranges->budget,
			       ranges->room * sizeof(struct range));
	*ranges = (struct ranges){ .budget = ranges->budget };
}
