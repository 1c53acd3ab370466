/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Planning a copy.
 *
 * Pieces are first joined to spans: ranges that can be copied, and between
 * them gaps, bytes that must be sent. A gap of less than part_min is no part;
 * it borrows what it lacks (its lack) from the copied spans beside it, and
 * these must keep part_min themselves. A span that cannot lend enough, or
 * that stands between two gaps which both lack more than it has, is better
 * fetched as a whole.
 *
 * What a lack costs does not depend on who lends; it only decides what is
 * left to be lent to the next gap. So a gap borrows from the span in front as
 * much as that has left (its slack), since it is no use to anybody else, and
 * the rest from the span behind. Which spans are fetched is found going
 * through them once: for each are kept the cheapest ways up to it, one if it
 * is fetched, and if it is copied those of which none is both dearer and
 * leaves less slack than another. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "store/compose.h"
#include "store/copy-plan.h"
#include "store/store.h"

#define WAYS    4    /* to copy a span, at most */
#define FETCHED WAYS /* the index behind them */
#define NO_WAY  UINT64_MAX

const struct copy_limits s3_copy_limits = {
	.part_min = 5 << 20,
	.part_max = 5ull << 30,
	.parts_max = 10000,
	.source_min = 5 << 20,
	.whole_max = 5ull << 30,
	.copy_bytes = 256 << 20,
	.put_bytes = 16 << 20,
	.put_max = 64 << 20,
};

struct span {
	size_t piece;            /* the first */
	uint64_t offset, length; /* in the new object */
	bool is_range;           /* of one object */
	bool can_copy, is_copied;
	uint64_t need;           /* the least of it that can be copied */
	uint64_t before, behind; /* bytes lent, where it is copied */
	size_t rank;             /* by length, of those that can be copied */
};

/* A way to do all up to some span. */
struct way {
	uint64_t cost;  /* bytes that it fetches; NO_WAY: there is none */
	uint64_t slack; /* what the span can lend to the gap behind it */
	uint8_t from;   /* which way of the span before it goes on */
};

struct ways {
	struct way ways[WAYS + 1];
};

struct planner {
	struct copy_plan *plan;
	const struct copy_limits *limits;
	struct span *spans;
	size_t count;
	struct ways *ways;    /* of each span that can be copied */
	size_t can_copy;      /* how many these are */
	size_t forced;        /* the shortest ones are fetched, so many */
	uint64_t copy_bytes, put_bytes; /* how large parts are now */
};

/* Spans. */

static bool continues(const struct store_piece *a, uint64_t a_length,
		      const struct store_piece *b)
{
	return !a->data && !b->data && b->offset == a->offset + a_length &&
	       !strcmp(a->key, b->key) &&
	       !strcmp(a->info->etag, b->info->etag);
}

static void add_span(struct planner *p, size_t i)
{
	const struct store_piece *pieces = p->plan->pieces;
	struct span *last = p->count ? &p->spans[p->count - 1] : NULL;

	if (!pieces[i].length)
		return;
	if (last && continues(&pieces[last->piece], last->length, &pieces[i])) {
		last->length += pieces[i].length;
		return;
	}
	p->spans[p->count++] = (struct span){
		.piece = i,
		.offset = p->plan->starts[i],
		.length = pieces[i].length,
		.is_range = !pieces[i].data,
	};
}

static bool is_source(const struct store_piece *piece,
		      const struct copy_limits *limits)
{
	return piece->info->size > limits->source_min &&
	       !(limits->odd && strpbrk(piece->key, limits->odd));
}

/* Which can be copied? Neighbours that cannot become one span. */
static void classify_spans(struct planner *p)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->count; i++) {
		struct span span = p->spans[i];
		const struct store_piece *piece =
			&p->plan->pieces[span.piece];

		/* The last part may have any size. */
		span.need = i + 1 < p->count ? p->limits->part_min : 1;
		span.can_copy = span.is_range && span.length >= span.need &&
				is_source(piece, p->limits);
		p->can_copy += span.can_copy;
		if (kept && !span.can_copy && !p->spans[kept - 1].can_copy)
			p->spans[kept - 1].length += span.length;
		else
			p->spans[kept++] = span;
	}
	p->count = kept;
}

static int make_spans(struct planner *p, struct error *err)
{
	struct copy_plan *plan = p->plan;

	p->spans = calloc(plan->piece_count + 1, sizeof(*p->spans));
	plan->starts = calloc(plan->piece_count + 1, sizeof(*plan->starts));
	if (!p->spans || !plan->starts)
		return error_nomem(err);
	for (size_t i = 0; i < plan->piece_count; i++) {
		plan->starts[i + 1] = plan->starts[i] + plan->pieces[i].length;
		add_span(p, i);
	}
	return 0;
}

/* Which spans are copied? */

static uint64_t lack(const struct planner *p, uint64_t gap)
{
	return gap && gap < p->limits->part_min ? p->limits->part_min - gap :
						  0;
}

static void add_way(struct ways *ways, struct way way)
{
	struct way *worst = NULL;

	for (size_t i = 0; i < WAYS; i++) {
		struct way *other = &ways->ways[i];

		if (other->cost <= way.cost && other->slack >= way.slack)
			return;
		if (way.cost <= other->cost && way.slack >= other->slack)
			other->cost = NO_WAY;
		if (!worst || other->cost > worst->cost)
			worst = other;
	}
	if (worst->cost > way.cost)
		*worst = way;
}

/* From the ways up to one span to those up to the next. */
static void find_ways(const struct planner *p, const struct ways *from,
		      struct ways *to, const struct span *span, uint64_t gap)
{
	struct way *fetched = &to->ways[FETCHED];
	uint64_t missing = lack(p, gap);

	for (size_t i = 0; i <= WAYS; i++)
		to->ways[i] = (struct way){ .cost = NO_WAY };
	for (uint8_t i = 0; i <= WAYS; i++) {
		struct way way = from->ways[i];
		uint64_t borrowed = 0;

		if (way.cost == NO_WAY)
			continue;
		if (way.cost + span->length < fetched->cost)
			*fetched = (struct way){ way.cost + span->length, 0,
						 i };
		/* What is fetched in front of the gap is enough for a part. */
		if (i != FETCHED) {
			way.cost += missing;
			borrowed = missing - min_u64(missing, way.slack);
		}
		if (span->rank < p->forced ||
		    span->length < span->need + borrowed)
			continue;
		way.slack = span->length - span->need - borrowed;
		way.from = i;
		add_way(to, way);
	}
}

/* Mark the spans that the cheapest way copies, from the last one back. */
static void follow_back(struct planner *p)
{
	size_t step = p->can_copy, best = 0;

	for (size_t i = 1; step && i <= WAYS; i++)
		if (p->ways[step - 1].ways[i].cost <
		    p->ways[step - 1].ways[best].cost)
			best = i;
	for (size_t i = p->count; i > 0; i--) {
		struct span *span = &p->spans[i - 1];

		if (!span->can_copy)
			continue;
		span->is_copied = best != FETCHED;
		best = p->ways[--step].ways[best].from;
	}
}

/* Let gaps borrow what they lack. */
static void lend(struct planner *p)
{
	struct span *last = NULL;
	uint64_t gap = 0, slack = 0;

	for (size_t i = 0; i < p->count; i++) {
		struct span *span = &p->spans[i];

		if (!span->is_copied) {
			gap += span->length;
			continue;
		}
		span->before = lack(p, gap);
		span->behind = 0;
		if (last) {
			last->behind = min_u64(span->before, slack);
			span->before -= last->behind;
		}
		slack = span->length - span->need - span->before;
		last = span;
		gap = 0;
	}
}

static void choose_spans(struct planner *p)
{
	struct ways begin = { { { .cost = 0 } } };
	const struct ways *from = &begin;
	struct ways *to = p->ways;
	uint64_t gap = 0;

	for (size_t i = 1; i <= WAYS; i++)
		begin.ways[i].cost = NO_WAY;
	for (size_t i = 0; i < p->count; i++) {
		if (!p->spans[i].can_copy) {
			gap = p->spans[i].length;
			continue;
		}
		find_ways(p, from, to, &p->spans[i], gap);
		from = to++;
		gap = 0;
	}
	follow_back(p);
	lend(p);
}

/* Parts. */

/* Divide a range evenly; parts may be NULL. How many parts it takes. */
static uint64_t divide(struct copy_part *parts, uint64_t offset,
		       uint64_t length, bool is_copy, uint64_t about)
{
	uint64_t n = div_round_up(length, about);

	for (uint64_t i = 0; parts && i < n; i++) {
		parts[i].offset = offset;
		parts[i].length = length / n + (i < length % n);
		parts[i].is_copy = is_copy;
		offset += parts[i].length;
	}
	return n;
}

/* All parts of the chosen spans, into parts unless that is NULL. */
static uint64_t make_parts(const struct planner *p, struct copy_part *parts)
{
	const struct copy_plan *plan = p->plan;
	uint64_t total = plan->starts[plan->piece_count], done = 0, n = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct span *span = &p->spans[i];
		uint64_t begin = span->offset + span->before;
		uint64_t end = span->offset + span->length - span->behind;

		if (!span->is_copied)
			continue;
		n += divide(parts ? parts + n : NULL, done, begin - done,
			    false, p->put_bytes);
		n += divide(parts ? parts + n : NULL, begin, end - begin, true,
			    p->copy_bytes);
		done = end;
	}
	return n + divide(parts ? parts + n : NULL, done, total - done, false,
			  p->put_bytes);
}

/* Larger parts until there are not too many. False: there are. */
static bool fit(struct planner *p)
{
	const struct copy_limits *limits = p->limits;

	p->copy_bytes = limits->copy_bytes;
	p->put_bytes = limits->put_bytes;
	while (make_parts(p, NULL) > limits->parts_max) {
		if (p->copy_bytes < limits->part_max)
			p->copy_bytes = min_u64(2 * p->copy_bytes,
						limits->part_max);
		else if (p->put_bytes < limits->put_max)
			p->put_bytes = min_u64(2 * p->put_bytes,
					       limits->put_max);
		else
			return false;
	}
	return true;
}

static bool fits_forced(struct planner *p, size_t forced)
{
	p->forced = forced;
	choose_spans(p);
	return fit(p);
}

static int compare_lengths(const void *a, const void *b)
{
	const struct span *x = *(struct span *const *)a;
	const struct span *y = *(struct span *const *)b;

	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	return x->offset < y->offset ? -1 : 1;
}

static int rank_spans(struct planner *p, struct error *err)
{
	AUTO_FREE struct span **order = calloc(p->can_copy + 1,
					       sizeof(struct span *));
	size_t n = 0;

	if (!order)
		return error_nomem(err);
	for (size_t i = 0; i < p->count; i++)
		if (p->spans[i].can_copy)
			order[n++] = &p->spans[i];
	qsort(order, n, sizeof(struct span *), compare_lengths);
	while (n--)
		order[n]->rank = n;
	return 0;
}

/* Spans of which two can share a part when they are fetched. */
static size_t count_short(const struct planner *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->count; i++)
		n += p->spans[i].can_copy &&
		     p->spans[i].length < p->limits->put_max;
	return n;
}

/* Where even the largest parts are too many, the shortest spans are fetched
 * and share parts: as few of them as will do. */
static int choose_all(struct planner *p, struct error *err)
{
	size_t low = 0, high = count_short(p);

	p->ways = calloc(p->can_copy + 1, sizeof(*p->ways));
	if (!p->ways)
		return error_nomem(err);
	if (rank_spans(p, err))
		return -1;
	if (fits_forced(p, 0))
		return 0;
	if (!fits_forced(p, high))
		return error_set(err, ERR_LIMIT, "%zu pieces take more than "
				 "%llu parts, or parts of more than %llu "
				 "bytes of memory", p->plan->piece_count,
				 (unsigned long long)p->limits->parts_max,
				 (unsigned long long)p->limits->put_max);
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (fits_forced(p, middle))
			high = middle;
		else
			low = middle;
	}
	fits_forced(p, high);
	return 0;
}

static void count_bytes(struct copy_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		if (!plan->parts[i].is_copy)
			plan->sent += plan->parts[i].length;
	plan->fetched = plan->sent;
	for (size_t i = 0; i < plan->piece_count; i++)
		if (plan->pieces[i].data)
			plan->fetched -= plan->pieces[i].length;
}

static bool is_whole(const struct planner *p)
{
	const struct store_piece *piece;

	if (p->count != 1 || !p->spans->is_range)
		return false;
	piece = &p->plan->pieces[p->spans->piece];
	return !piece->offset && p->spans->length == piece->info->size &&
	       p->spans->length <= p->limits->whole_max;
}

static int make_plan(struct planner *p, struct error *err)
{
	struct copy_plan *plan = p->plan;

	if (make_spans(p, err))
		return -1;
	if (is_whole(p)) {
		plan->way = COPY_WHOLE;
		return 0;
	}
	classify_spans(p);
	if (choose_all(p, err))
		return -1;
	plan->count = (size_t)make_parts(p, NULL);
	plan->parts = calloc(plan->count + 1, sizeof(*plan->parts));
	if (!plan->parts)
		return error_nomem(err);
	make_parts(p, plan->parts);
	count_bytes(plan);
	plan->way = COPY_PARTS;
	if (plan->sent == plan->starts[plan->piece_count] && plan->count <= 1) {
		plan->way = COPY_PUT;
		plan->count = 1;
	}
	return 0;
}

static int check_size(const struct store_piece *pieces, size_t count,
		      const struct copy_limits *limits, struct error *err)
{
	uint64_t total = 0, most = limits->parts_max * limits->part_max;

	if (count > COPY_PIECES_MAX)
		return error_set(err, ERR_LIMIT, "%zu pieces are above the "
				 "limit of %d", count, COPY_PIECES_MAX);
	for (size_t i = 0; i < count; i++)
		if (!add_u64(total, pieces[i].length, &total) || total > most)
			return error_set(err, ERR_LIMIT, "an object of more "
					 "than %llu bytes cannot be made of "
					 "parts", (unsigned long long)most);
	return 0;
}

int copy_plan_make(struct copy_plan *plan, const struct store_piece *pieces,
		   size_t count, const struct copy_limits *limits,
		   struct error *err)
{
	struct planner planner = { .plan = plan, .limits = limits };
	int ret;

	memset(plan, 0, sizeof(*plan));
	if (check_size(pieces, count, limits, err))
		return -1;
	plan->pieces = pieces;
	plan->piece_count = count;
	ret = make_plan(&planner, err);
	free(planner.spans);
	free(planner.ways);
	if (ret)
		copy_plan_free(plan);
	return ret;
}

void copy_plan_free(struct copy_plan *plan)
{
	free(plan->parts);
	free(plan->starts);
	memset(plan, 0, sizeof(*plan));
}

size_t copy_plan_find(const struct copy_plan *plan, uint64_t offset,
		      uint64_t *within)
{
	size_t low = 0, high = plan->piece_count;

	/* The last one that begins there or before; those without bytes
	 * begin where the next one does. */
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (plan->starts[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	*within = offset - plan->starts[low];
	return low;
}
