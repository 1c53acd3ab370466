/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What writes a container. A writer gets the disk's bytes in ascending pieces;
 * what never comes is a hole. It emits to a sink, append-only but for the
 * head. The life of a writer:
 *
 *     writer_new() -> writer_start(sink) -> { pieces() }* -> finish() -> free()
 *
 * writer_new() tells what the sink must be able to do (head_bytes). Packing
 * happens in front of pieces(), by pack() in parallel: disk/pack.h drives
 * both.
 *
 * Threads: pack() from any thread in parallel, also while another call runs;
 * all else one call at a time. Calls that emit may block. */
#ifndef VMIEFS_WRITER_H
#define VMIEFS_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/packer.h"
#include "format/format.h"
#include "store/sink.h"

#define WRITE_SIZE_UNKNOWN UINT64_MAX

/* Texts are borrowed for the call. Zero is the default of each member but
 * size. */
struct write_args {
	const char *name;        /* the container's plain name: "db.vmdk" */
	const char *subformat;   /* "dynamic", "fixed"; NULL = the usual */
	uint64_t size;           /* of the disk, where it is known and will not
				  * change; else WRITE_SIZE_UNKNOWN */
	uint64_t size_hint;      /* where it is not known: room is made for so
				  * large a disk; 0 = for the largest */
	enum packer_level level;
	uint32_t block_bytes;    /* of VHDX; 0 = 32 MiB */
	uint32_t sector_bytes;   /* of VHDX, logical: 512 (or 0), 4096 */
	struct budget *budget;   /* for tables; NULL: unbounded */
};

/* Some bytes of the disk, none of its units all zero. */
struct piece {
	uint64_t offset;   /* in the disk: a multiple of unit_bytes */
	uint32_t length;   /* bytes of the disk */
	uint32_t stored;   /* bytes at data: length, or what pack() made */
	const void *data;
};

struct writer;

struct writer_ops {
	/* Emit what stands in front of the first piece. Optional. */
	int (*start)(struct writer *writer, struct error *err);
	/* Pack one unit into out[0..packed_max) and set piece->stored.
	 * Optional: without it pieces are stored as they are, and may be
	 * several units long. */
	int (*pack)(const struct writer *writer, struct packer *packer,
		    struct piece *piece, void *out, struct error *err);
	/* Emit pieces, each behind the one before. */
	int (*pieces)(struct writer *writer, const struct piece *pieces,
		      size_t count, struct error *err);
	/* The head (head_bytes) as finish() would patch it for a disk of that
	 * size. Optional. From any thread. */
	int (*head)(const struct writer *writer, uint64_t size, void *out,
		    struct error *err);
	/* Emit what ends the container of a disk of that many bytes (a
	 * multiple of sector_bytes), and patch the head. */
	int (*finish)(struct writer *writer, uint64_t size,
		      struct error *err);
	void (*free)(struct writer *writer);
};

/* First member of a format's own writer, which its create() fills. */
struct writer {
	const struct writer_ops *ops;
	struct sink *sink;         /* from writer_start() on; borrowed */
	enum packer_level level;
	uint32_t unit_bytes;       /* what pieces are cut at */
	uint32_t packed_max;       /* room for pack(); 0 without it */
	uint32_t sector_bytes;     /* the disk is padded to it: 512; raw 1 */
	uint32_t head_bytes;       /* for sink_args */
	uint64_t object_bytes_max; /* for sink_args: SINK_SIZE_UNKNOWN */
	uint64_t size;             /* as in write_args */
	uint64_t size_max;         /* the largest disk that there is room
				    * for */
};

/* ERR_UNSUPPORTED for a format that is not written or a subformat that it
 * does not have, ERR_LIMIT for a size above its limit. */
int writer_new(struct writer **out, const struct format *format,
	       const struct write_args *args, struct error *err);
void writer_free(struct writer *writer); /* NULL is legal */

/* Once, with a sink that has writer->head_bytes. */
int writer_start(struct writer *writer, struct sink *sink, struct error *err);

/* May a disk have so many bytes? ERR_LIMIT above the format's limit and above
 * the size that was announced. */
int writer_check_size(const struct writer *writer, uint64_t size,
		      struct error *err);

/* Emit all pieces; they are checked to ascend. */
int writer_pieces(struct writer *writer, const struct piece *pieces,
		  size_t count, struct error *err);

/* What the head will be if the disk has that many bytes in the end (padded to
 * a sector): out has writer->head_bytes. False where that cannot be told. */
bool writer_guess_head(const struct writer *writer, uint64_t size, void *out);

/* Complete the container, not the sink. ERR_ARG for a disk of no bytes (but
 * for raw) and where the size is not the one that was announced. */
int writer_finish(struct writer *writer, uint64_t size, struct error *err);

/* For drivers: the subformat asked for is words[i]; words[0] is the usual one,
 * the list ends with NULL. */
int writer_choose(const struct write_args *args, const char *const *words,
		  unsigned int *choice, struct error *err);

/* For drivers: the size that is known, or expected; or WRITE_SIZE_UNKNOWN. */
uint64_t writer_likely_size(const struct write_args *args);

/* For drivers: an identity that the same purpose, name, size and content (a
 * checksum, or 0) always give: what is written must not depend on chance. */
int writer_identity(uint8_t id[16], const char *purpose, const char *name,
		    uint64_t size, uint32_t content, struct error *err);

#endif
