/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reading a stream whose footer is of no use: every grain and every table is
 * announced by a marker sector, so following them from the front finds all
 * grains. A marker is
 *
 *     0  u64  grain: its first sector in the disk; else sectors that follow
 *     8  u32  grain: bytes of packed data, which start at 12; else 0
 *    12  u32  enum vmdk_marker, where the size is 0
 *
 * and all of it is padded to a sector. The stream counts as whole only when
 * an end marker follows the directory or the footer: a download that stopped
 * (or left zeroes behind) must not pass for a smaller disk.
 *
 * Memory: 8 bytes for each grain stored, held against the budget. */
#include "config.h"

#include <stdlib.h>

#include "common/budget.h"
#include "common/bytes.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "format/vmdk-sparse.h"

#define WINDOW_MIN   4096u
#define WINDOW_MAX   (1u << 20)
#define MARKER_LOOK  16u /* bytes of a marker that are looked at */
#define GROW_GRAINS  (8u << 10)
#define PACKED_FACTOR 2u /* packed data is at most this times the grain */
#define PADDING_MAX  (1u << 20) /* bytes of zeroes before the first marker */

/* What was read of the stream last: markers that lie close together (or are
 * costly to fetch one by one) come in one read. */
struct window {
	struct source *source;
	const struct open_args *args;
	uint8_t *data;
	uint32_t size;     /* bytes allocated */
	uint64_t at;       /* source offset of data[0] */
	uint32_t length;   /* bytes valid */
};

static const uint8_t *look(struct window *window, uint64_t at,
			   struct error *err)
{
	if (at < window->at || !in_range(at - window->at, MARKER_LOOK,
					 window->length)) {
		window->length = (uint32_t)min_u64(window->size,
						   window->source->size - at);
		window->at = at;
		if (open_goes_on(window->args, err) ||
		    source_read(window->source, at, window->data,
				window->length, 0, err)) {
			window->length = 0;
			return NULL;
		}
	}
	return window->data + (at - window->at);
}

/* The state of one scan. */
struct walk {
	struct vmdk_scan *scan;
	const struct vmdk_header *header;
	uint64_t size;    /* of the source */
	uint64_t start;   /* where the first marker was looked for */
	uint64_t at;      /* of the next marker */
	bool any;         /* a marker was seen */
	bool tables_seen; /* the directory's or footer's marker was seen */
};

static int cut_short(const struct walk *walk, struct error *err)
{
	return error_set(err, ERR_CORRUPT, "the stream is cut off at byte "
			 "%llu: it has no footer and no end; copy it again",
			 (unsigned long long)walk->size);
}

static int grow(struct vmdk_scan *scan, struct error *err)
{
	size_t size = scan->size ? scan->size * 2 : GROW_GRAINS;
	uint64_t more = (size - scan->size) * sizeof(*scan->grains);
	struct vmdk_grain *grains;

	if (scan->budget &&
	    budget_reserve(scan->budget, more, "the index of a stream", err))
		return -1;
	scan->reserved += more;
	grains = reallocarray(scan->grains, size, sizeof(*grains));
	if (!grains)
		return error_nomem(err);
	scan->grains = grains;
	scan->size = size;
	return 0;
}

static int add_grain(struct walk *walk, uint64_t lba, uint32_t size,
		     struct error *err)
{
	const struct vmdk_header *header = walk->header;
	uint64_t most = PACKED_FACTOR * header->grain * VMDK_SECTOR;
	uint64_t end = walk->at + VMDK_MARKER_BYTES + size;
	struct vmdk_scan *scan = walk->scan;

	if (lba >= header->capacity || lba % header->grain || size > most)
		return error_set(err, ERR_CORRUPT, "the marker at byte %llu "
				 "makes no sense (sector %llu, %u bytes), and "
				 "there is no usable footer",
				 (unsigned long long)walk->at,
				 (unsigned long long)lba, size);
	if (end > walk->size)
		return cut_short(walk, err);
	if (walk->at / VMDK_SECTOR > UINT32_MAX ||
	    lba / header->grain > UINT32_MAX)
		return error_set(err, ERR_LIMIT,
				 "a stream without footer is too large");
	if (scan->count == scan->size && grow(scan, err))
		return -1;
	scan->grains[scan->count].index = (uint32_t)(lba / header->grain);
	scan->grains[scan->count++].sector =
		(uint32_t)(walk->at / VMDK_SECTOR);
	walk->at = div_round_up(end, VMDK_SECTOR) * VMDK_SECTOR;
	return 0;
}

/* A marker of metadata. 1: that was the end; 0: go on; -1 error. */
static int pass_metadata(struct walk *walk, uint64_t sectors, uint32_t type,
			 struct error *err)
{
	uint64_t bytes;

	if (sectors == 0 && type == VMDK_MARKER_END) {
		if (walk->tables_seen)
			return 1;
		if (walk->any || walk->at - walk->start >= PADDING_MAX)
			return error_set(err, ERR_CORRUPT, "the stream is "
					 "incomplete: zeroes at byte %llu and "
					 "no directory before; copy it again",
					 (unsigned long long)walk->at);
		walk->at += VMDK_SECTOR; /* padding before the first marker */
		return 0;
	}
	if (type == VMDK_MARKER_DIRECTORY || type == VMDK_MARKER_FOOTER)
		walk->tables_seen = true;
	else if (type != VMDK_MARKER_TABLE)
		return error_set(err, ERR_CORRUPT, "the marker at byte %llu "
				 "has unknown type %u, and there is no usable "
				 "footer", (unsigned long long)walk->at, type);
	if (!add_u64(sectors, 1, &sectors) ||
	    !mul_u64(sectors, VMDK_SECTOR, &bytes) ||
	    !in_range(walk->at, bytes, walk->size))
		return cut_short(walk, err);
	walk->at += bytes;
	return 0;
}

static int step(struct walk *walk, const uint8_t *marker, struct error *err)
{
	uint64_t value = le64_get(marker);
	uint32_t size = le32_get(marker + 8);
	int ret = size ? add_grain(walk, value, size, err) :
			 pass_metadata(walk, value, le32_get(marker + 12), err);

	if (size || value || le32_get(marker + 12))
		walk->any = true;
	return ret;
}

/* By index, then by place: of two grains with one index the later is last. */
static int compare_grains(const void *a, const void *b)
{
	const struct vmdk_grain *x = a, *y = b;

	if (x->index != y->index)
		return x->index < y->index ? -1 : 1;
	return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static bool is_ascending(const struct vmdk_scan *scan)
{
	for (size_t i = 1; i < scan->count; i++)
		if (scan->grains[i - 1].index >= scan->grains[i].index)
			return false;
	return true;
}

/* Writers go upwards; for others: sort, the later of two equals counts. */
static void put_in_order(struct vmdk_scan *scan)
{
	size_t kept = 0;

	if (is_ascending(scan))
		return;
	qsort(scan->grains, scan->count, sizeof(*scan->grains),
	      compare_grains);
	for (size_t i = 0; i < scan->count; i++) {
		if (i + 1 < scan->count &&
		    scan->grains[i].index == scan->grains[i + 1].index)
			continue;
		scan->grains[kept++] = scan->grains[i];
	}
	scan->count = kept;
}

/* Where the first marker can be. */
static uint64_t first_marker(const struct vmdk_header *header, uint64_t size)
{
	uint64_t first = max_u64(header->overhead, 1);

	if (header->overhead == 0 && header->descriptor)
		first = min_u64(header->descriptor, size) +
			min_u64(header->descriptor_length, size);
	return min_u64(first, size / VMDK_SECTOR) * VMDK_SECTOR;
}

int vmdk_scan_stream(struct vmdk_scan *scan, struct source *source,
		     const struct vmdk_header *header,
		     const struct open_args *args, uint64_t *end,
		     struct error *err)
{
	struct walk walk = { .scan = scan, .header = header,
			     .size = source->size };
	struct window window = { .source = source, .args = args };
	AUTO_FREE uint8_t *data = NULL;

	scan->budget = args->budget;
	window.size = (uint32_t)min_u64(max_u64(source->fetch_bytes,
						WINDOW_MIN), WINDOW_MAX);
	data = malloc(window.size);
	if (!data)
		return error_nomem(err);
	window.data = data;
	walk.start = walk.at = first_marker(header, source->size);
	for (;;) {
		const uint8_t *marker;
		int ret;

		if (!in_range(walk.at, VMDK_SECTOR, walk.size))
			return cut_short(&walk, err);
		marker = look(&window, walk.at, err);
		if (!marker)
			return -1;
		ret = step(&walk, marker, err);
		if (ret < 0)
			return -1;
		if (ret > 0)
			break;
	}
	put_in_order(scan);
	*end = walk.at;
	return 0;
}

void vmdk_scan_free(struct vmdk_scan *scan)
{
	free(scan->grains);
	if (scan->budget)
		budget_release(scan->budget, scan->reserved);
}

size_t vmdk_scan_find(const struct vmdk_scan *scan, uint64_t index)
{
	size_t low = 0, high = scan->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (scan->grains[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
