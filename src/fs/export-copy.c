/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Copying from a disk of the mount to a file being written, without the bytes
 * going through the kernel; holes stay holes. */
#include "config.h"

#include <stdlib.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "fs/export-internal.h"

#define CHUNK_BYTES (1u << 20)
#define DATA_MAX    (64u << 20) /* at one time, so that a copy shows progress */

/* Where the run of data or of holes at the source's `at` ends, at most `end`;
 * *is_data says which. */
static int find_run(const struct export_op *op, uint64_t at, uint64_t end,
		    bool *is_data, uint64_t *until, struct error *err)
{
	if (disk_seek(op->source, at, true, until, err))
		return -1;
	*is_data = *until == at;
	if (*is_data && disk_seek(op->source, at, false, until, err))
		return -1;
	*until = min_u64(*until, end);
	return 0;
}

/* One piece, by way of op's own fields, which are free between pieces. */
static int copy_piece(struct export *export, struct export_op *op,
		      uint64_t from, uint64_t length, bool is_data,
		      struct error *err)
{
	op->length = length;
	op->taken = 0;
	if (is_data)
		return disk_read(op->source, from, op->data, length, err) ||
		       export_take(export, op, err) ? -1 : 0;
	op->grows = true;
	if (export_zero(export, op, err))
		return -1;
	op->taken = length;
	return 0;
}

static int copy_all(struct export *export, struct export_op *op,
		    uint64_t *total, struct error *err)
{
	uint64_t begin = op->source_offset, end = begin + op->length;
	uint64_t target = op->offset, data = 0;

	while (begin + *total < end && data < DATA_MAX &&
	       !atomic_load(&op->is_cancelled)) {
		uint64_t at = begin + *total, until;
		bool is_data;
		int ret;

		if (find_run(op, at, end, &is_data, &until, err))
			return -1;
		if (is_data)
			until = min_u64(until, at + CHUNK_BYTES);
		op->offset = target + *total;
		ret = copy_piece(export, op, at, until - at, is_data, err);
		*total += op->taken;
		data += is_data ? op->taken : 0;
		if (ret)
			return -1;
	}
	return 0;
}

int export_copy(struct export *export, struct export_op *op,
		struct error *err)
{
	AUTO_FREE char *buf = malloc(CHUNK_BYTES);
	uint64_t total = 0;
	int ret;

	if (!buf)
		return error_nomem(err);
	op->data = buf;
	ret = copy_all(export, op, &total, err);
	op->data = NULL;
	op->taken = total;
	return ret;
}
