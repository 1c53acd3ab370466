/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the writers of block-mapped formats (VHD, VHDX) share: blocks are
 * appended as their first bytes come, each filled up with zeroes, so the place
 * of a block follows from how many were stored before it. */
#ifndef VMIEFS_BLOCK_WRITE_H
#define VMIEFS_BLOCK_WRITE_H

#include <stdbool.h>

#include "format/numbers.h"
#include "format/writer.h"

/* Zero-initialise, but for what the writer sets. */
struct block_writer {
	uint32_t block_bytes;
	const void *prefix;     /* in front of each block; set by the writer */
	uint32_t prefix_bytes;
	bool stores_all;        /* also blocks of zeroes */
	uint32_t filled;        /* of the last block; block_bytes: whole */
	uint64_t first;         /* where the first block starts in the file */
	uint32_t content;       /* a checksum of a sample of what is stored */
	struct numbers blocks;  /* numbers of those stored, ascending */
};

/* As writer_ops.pieces, with sink->position being the end of the last block. */
int block_write(struct block_writer *blocks, struct sink *sink,
		const struct piece *pieces, size_t count, struct error *err);

/* Fill the last block; store what is missing of a disk of `count` blocks. */
int block_write_end(struct block_writer *blocks, struct sink *sink,
		    uint64_t count, struct error *err);

/* Where in the file the i-th block of the list starts, with its prefix. */
static inline uint64_t block_place(const struct block_writer *blocks,
				   size_t i)
{
	return blocks->first + (uint64_t)i * (blocks->prefix_bytes +
					      blocks->block_bytes);
}

#endif
