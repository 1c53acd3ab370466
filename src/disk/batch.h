/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Units of a disk that are packed and emitted together: what one job of
 * disk/pack.h works on. One thread at a time uses a batch. */
#ifndef VMIEFS_BATCH_H
#define VMIEFS_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/pool.h"
#include "format/writer.h"

struct error;
struct packer;

#define BATCH_BYTES (1u << 20) /* of the disk, at most */
#define UNITS_MAX   256u       /* units of at least 4 KiB */

struct batch {
	struct job job;            /* first: a job is cast to its batch */
	struct pack *pack;
	struct batch *next;        /* in the queue, or in the free list */
	bool is_packed;
	unsigned int units;        /* whole or begun */
	uint64_t offsets[UNITS_MAX];
	uint32_t last_bytes;       /* filled of the last unit */
	uint8_t *plain, *packed;   /* packed: one slot a unit; NULL without */
	struct piece pieces[UNITS_MAX];
	size_t piece_count;
};

/* How many units a batch is to have where it may take so many bytes. */
uint32_t batch_units(const struct writer *writer, uint64_t bytes_max);

/* The memory that a batch of so many units takes. */
uint64_t batch_memory(const struct writer *writer, uint32_t units);

/* An empty one. */
int batch_new(struct batch **out, const struct writer *writer,
	      uint32_t units, struct error *err);
void batch_free(struct batch *batch); /* NULL is legal */

/* Exchange the memory of its plain bytes for a buffer of BATCH_BYTES that
 * batch_buffer_new() made. Only where it has so many. */
void batch_swap(struct batch *batch, void **buffer);

/* A buffer for bytes from the kernel: it begins on a page. NULL when out of
 * memory; to be released by free(). */
void *batch_buffer_new(size_t bytes);

/* Make pieces of its units, those of zeroes left out. From any thread. */
int batch_pack(struct batch *batch, const struct writer *writer,
	       struct packer *packer, struct error *err);

#endif
