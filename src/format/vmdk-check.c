/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * `vmiefs check` of a VMDK's tables: both directories and their tables say
 * the same, entries point into the data, no two grains overlap, and the
 * markers of packed grains hold the grain's own sector. Reading the disk
 * finds the rest.
 *
 * Memory: 4 bytes for each grain stored, held against the budget. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/budget.h"
#include "common/bytes.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "format/findings.h"
#include "format/vmdk.h"

#define ENTRY_BYTES 4u

struct check {
	const struct vmdk_sparse *sparse;
	struct findings *findings;
	uint32_t *sectors; /* where grains were found */
	size_t count, size;
	uint64_t reserved;
	struct budget *budget;
};

#define tell(check, fmt, ...)                                                  \
	findings_add((check)->findings, "%s: " fmt,                            \
		     (check)->sparse->source->name __VA_OPT__(,) __VA_ARGS__)

static int remember(struct check *check, uint32_t sector, struct error *err)
{
	size_t size = check->size ? check->size * 2 : 4096;
	uint64_t more = (size - check->size) * sizeof(*check->sectors);
	uint32_t *grown;

	if (check->count == check->size) {
		if (check->budget &&
		    budget_reserve(check->budget, more, "checking", err))
			return -1;
		check->reserved += more;
		grown = reallocarray(check->sectors, size, sizeof(*grown));
		if (!grown)
			return error_nomem(err);
		check->sectors = grown;
		check->size = size;
	}
	check->sectors[check->count++] = sector;
	return 0;
}

/* The grain's marker holds its own sector. */
static int check_marker(struct check *check, uint64_t grain, uint32_t sector,
			struct error *err)
{
	const struct vmdk_sparse *sparse = check->sparse;
	uint64_t at = (uint64_t)sector * VMDK_SECTOR;
	uint64_t want = grain * sparse->header.grain;
	uint8_t marker[VMDK_MARKER_BYTES];

	if (source_read(sparse->source, at, marker, sizeof(marker), 0, err))
		return -1;
	if (le64_get(marker) != want)
		tell(check, "the marker at sector %u is of sector %llu, the "
		     "grain table says %llu", sector,
		     (unsigned long long)le64_get(marker),
		     (unsigned long long)want);
	else if (!in_range(at, VMDK_MARKER_BYTES +
			   (uint64_t)le32_get(marker + 8), sparse->data_end))
		tell(check, "the packed data at sector %u reaches past the "
		     "end", sector);
	return 0;
}

static int check_grain(struct check *check, uint64_t grain, uint32_t sector,
		       struct error *err)
{
	const struct vmdk_sparse *sparse = check->sparse;
	const char *fault;

	if (sector == 0 || (sector == VMDK_GTE_ZEROED &&
			    (sparse->header.flags & VMDK_FLAG_ZEROED)))
		return 0;
	fault = vmdk_grain_fault(sparse, sector);
	if (fault) {
		tell(check, "grain %llu at sector %u: %s",
		     (unsigned long long)grain, sector, fault);
		return 0;
	}
	if (remember(check, sector, err))
		return -1;
	return sparse->header.is_packed ?
	       check_marker(check, grain, sector, err) : 0;
}

/* Read one table; *ok false where it cannot lie there. */
static int load_table(struct check *check, uint32_t sector, uint8_t *entries,
		      bool *ok, struct error *err)
{
	const struct vmdk_sparse *sparse = check->sparse;
	uint32_t bytes = sparse->header.table_entries * ENTRY_BYTES;
	uint64_t at = (uint64_t)sector * VMDK_SECTOR;

	*ok = in_range(at, bytes, sparse->source->size);
	if (!*ok) {
		tell(check, "a grain table at sector %u lies past the end of "
		     "the file", sector);
		return 0;
	}
	return source_read(sparse->source, at, entries, bytes, 0, err);
}

static int check_table(struct check *check, uint64_t table,
		       const uint8_t *entries, struct error *err)
{
	const struct vmdk_header *header = &check->sparse->header;
	uint64_t first = table * header->table_entries;
	uint64_t grains = div_round_up(header->capacity, header->grain);

	for (uint32_t i = 0; i < header->table_entries && first + i < grains;
	     i++)
		if (check_grain(check, first + i,
				le32_get(entries + i * ENTRY_BYTES), err))
			return -1;
	return 0;
}

/* One table and, where there is one, its redundant copy. */
static int check_tables(struct check *check, uint64_t table, uint64_t rgd,
			struct error *err)
{
	const struct vmdk_sparse *sparse = check->sparse;
	uint8_t first[VMDK_TABLE_MAX * ENTRY_BYTES];
	uint8_t second[VMDK_TABLE_MAX * ENTRY_BYTES];
	uint32_t sector = 0, copy = 0;
	bool ok, copy_ok;

	if (vmdk_directory_entry(sparse, sparse->directory, table, 0, &sector,
				 err) ||
	    (rgd && vmdk_directory_entry(sparse, rgd, table, 0, &copy, err)))
		return -1;
	if (rgd && !sector != !copy)
		tell(check, "only one of the two grain directories has table "
		     "%llu", (unsigned long long)table);
	if (!sector)
		return 0;
	if (load_table(check, sector, first, &ok, err))
		return -1;
	if (ok && check_table(check, table, first, err))
		return -1;
	if (!copy)
		return 0;
	if (load_table(check, copy, second, &copy_ok, err))
		return -1;
	if (ok && copy_ok &&
	    memcmp(first, second,
		   sparse->header.table_entries * ENTRY_BYTES) != 0)
		tell(check, "the two copies of grain table %llu differ",
		     (unsigned long long)table);
	return 0;
}

/* Byte of the redundant directory, 0 where there is none to compare. */
static uint64_t redundant_directory(struct check *check)
{
	const struct vmdk_sparse *sparse = check->sparse;
	uint64_t length = vmdk_sparse_tables(sparse) * ENTRY_BYTES, at;

	if (!(sparse->header.flags & VMDK_FLAG_RGD) || !sparse->header.rgd)
		return 0;
	if (!mul_u64(sparse->header.rgd, VMDK_SECTOR, &at) ||
	    !in_range(at, length, sparse->source->size)) {
		tell(check, "the redundant grain directory lies past the end "
		     "of the file");
		return 0;
	}
	return at;
}

static int compare_sectors(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Two grains in one place. Packed ones differ in length, but each has a
 * sector of its own. */
static void check_overlaps(struct check *check)
{
	const struct vmdk_header *header = &check->sparse->header;
	uint64_t least = header->is_packed ? 1 : header->grain;

	if (check->count == 0)
		return;
	qsort(check->sectors, check->count, sizeof(*check->sectors),
	      compare_sectors);
	for (size_t i = 1; i < check->count; i++)
		if (check->sectors[i] - check->sectors[i - 1] < least)
			tell(check, "the grains at sectors %u and %u overlap",
			     check->sectors[i - 1], check->sectors[i]);
}

static int check_scanned(struct check *check, struct error *err)
{
	const struct vmdk_scan *scan = &check->sparse->scan;

	tell(check, "the stream has no usable footer");
	for (size_t i = 0; i < scan->count; i++)
		if (check_grain(check, scan->grains[i].index,
				scan->grains[i].sector, err))
			return -1;
	return 0;
}

static int check_sparse(struct check *check, struct error *err)
{
	const struct vmdk_sparse *sparse = check->sparse;
	uint64_t tables = vmdk_sparse_tables(sparse);
	uint64_t rgd;

	if (sparse->layout == VMDK_SCANNED)
		return check_scanned(check, err);
	rgd = redundant_directory(check);
	for (uint64_t i = 0; i < tables; i++)
		if (check_tables(check, i, rgd, err))
			return -1;
	check_overlaps(check);
	return 0;
}

int vmdk_check(struct map *map, void (*problem)(void *arg, const char *text),
	       void *arg, struct error *err)
{
	struct vmdk *vmdk = (struct vmdk *)map;
	struct findings findings = { .problem = problem, .arg = arg };

	for (size_t i = 0; i < vmdk->count; i++) {
		struct check check = { .sparse = vmdk->extents[i].sparse,
				       .findings = &findings,
				       .budget = vmdk->budget };
		int ret;

		if (!check.sparse)
			continue;
		ret = check_sparse(&check, err);
		if (check.budget)
			budget_release(check.budget, check.reserved);
		free(check.sectors);
		if (ret)
			return error_prefix(err, "%s",
					    check.sparse->source->name);
	}
	findings_finish(&findings);
	return 0;
}
