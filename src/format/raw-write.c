/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing a raw disk: its bytes as they are, also of sizes that no sector
 * divides. */
#include "config.h"

#include <stdlib.h>

#include "format/raw.h"
#include "format/writer.h"

#define UNIT_BYTES (64u << 10) /* zeroes are looked for in such units */

static int raw_pieces(struct writer *writer, const struct piece *pieces,
		      size_t count, struct error *err)
{
	struct sink *sink = writer->sink;

	for (size_t i = 0; i < count; i++)
		if (sink_zeroes(sink, pieces[i].offset - sink->position, err) ||
		    sink_write(sink, pieces[i].data, pieces[i].stored, err))
			return -1;
	return 0;
}

static int raw_finish(struct writer *writer, uint64_t size, struct error *err)
{
	return sink_zeroes(writer->sink, size - writer->sink->position, err);
}

static void raw_free(struct writer *writer)
{
	free(writer);
}

static const struct writer_ops raw_writer_ops = {
	.pieces = raw_pieces,
	.finish = raw_finish,
	.free = raw_free,
};

int raw_create(struct writer **out, const struct write_args *args,
	       struct error *err)
{
	static const char *const words[] = { "raw", NULL };
	struct writer *writer;
	unsigned int choice;

	if (writer_choose(args, words, &choice, err))
		return -1;
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return error_nomem(err);
	writer->ops = &raw_writer_ops;
	writer->unit_bytes = UNIT_BYTES;
	writer->sector_bytes = 1;
	writer->size_max = INT64_MAX;
	writer->object_bytes_max = writer_likely_size(args);
	*out = writer;
	return 0;
}
