/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Units that are packed together. */
#include "config.h"

#include <stdlib.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/packer.h"
#include "common/zeroes.h"
#include "disk/batch.h"

#define PAGE_BYTES 4096u

uint32_t batch_units(const struct writer *writer, uint64_t bytes_max)
{
	uint64_t bytes = min_u64(BATCH_BYTES, bytes_max);

	return (uint32_t)max_u64(1, min_u64(UNITS_MAX,
					    bytes / writer->unit_bytes));
}

uint64_t batch_memory(const struct writer *writer, uint32_t units)
{
	return sizeof(struct batch) + (uint64_t)units *
	       (writer->unit_bytes + writer->packed_max);
}

void *batch_buffer_new(size_t bytes)
{
	return aligned_alloc(PAGE_BYTES,
			     div_round_up(bytes, PAGE_BYTES) * PAGE_BYTES);
}

int batch_new(struct batch **out, const struct writer *writer,
	      uint32_t units, struct error *err)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	*out = NULL;
	if (!batch)
		return error_nomem(err);
	batch->last_bytes = writer->unit_bytes;
	batch->plain = batch_buffer_new((size_t)units * writer->unit_bytes);
	if (writer->packed_max)
		batch->packed = reallocarray(NULL, units, writer->packed_max);
	if (!batch->plain || (writer->packed_max && !batch->packed)) {
		batch_free(batch);
		return error_nomem(err);
	}
	*out = batch;
	return 0;
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	free(batch->packed);
	free(batch->plain);
	free(batch);
}

void batch_swap(struct batch *batch, void **buffer)
{
	void *plain = batch->plain;

	batch->plain = *buffer;
	*buffer = plain;
}

int batch_pack(struct batch *batch, const struct writer *writer,
	       struct packer *packer, struct error *err)
{
	const struct writer_ops *ops = writer->ops;
	uint8_t *out = batch->packed;

	batch->piece_count = 0;
	for (unsigned int i = 0; i < batch->units; i++) {
		bool is_last = i + 1 == batch->units;
		struct piece *before = batch->piece_count ?
			&batch->pieces[batch->piece_count - 1] : NULL;
		struct piece piece = {
			.offset = batch->offsets[i],
			.length = is_last ? batch->last_bytes :
					    writer->unit_bytes,
			.data = batch->plain + (size_t)i * writer->unit_bytes,
		};

		if (is_all_zero(piece.data, piece.length))
			continue;
		piece.stored = piece.length;
		if (ops->pack) {
			if (ops->pack(writer, packer, &piece, out, err))
				return -1;
			piece.data = out;
			out += piece.stored;
		} else if (before &&
			   before->offset + before->length == piece.offset &&
			   (const uint8_t *)before->data + before->length ==
			   piece.data) {
			before->length += piece.length;
			before->stored += piece.stored;
			continue;
		}
		batch->pieces[batch->piece_count++] = piece;
	}
	return 0;
}
