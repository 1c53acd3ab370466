/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * One hosted sparse extent of a VMDK: a file that starts with a KDMV header.
 * Internal to the vmdk driver. A monolithicSparse or streamOptimized disk is
 * one such file; a split disk has several, each a disk of its own size. */
#ifndef VMIEFS_VMDK_SPARSE_H
#define VMIEFS_VMDK_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"

#define VMDK_SECTOR        512u
#define VMDK_TABLE_MAX     512u       /* entries in one grain table */
#define VMDK_GD_AT_END     UINT64_MAX
#define VMDK_MARKER_BYTES  12u        /* in front of packed data */

#define VMDK_FOOTER_BYTES  (3u * VMDK_SECTOR) /* marker, footer, end marker */

#define VMDK_FLAG_NEWLINES 0x1u
#define VMDK_FLAG_RGD      0x2u
#define VMDK_FLAG_ZEROED   0x4u
#define VMDK_FLAG_PACKED   0x10000u
#define VMDK_FLAG_MARKERS  0x20000u

#define VMDK_GTE_ZEROED    1u /* with VMDK_FLAG_ZEROED */

/* What follows a metadata marker. */
enum vmdk_marker {
	VMDK_MARKER_END = 0,
	VMDK_MARKER_TABLE = 1,
	VMDK_MARKER_DIRECTORY = 2,
	VMDK_MARKER_FOOTER = 3,
};

/* The header or footer. Once checked, capacity in bytes is at most
 * FORMAT_DISK_MAX, and grain and table_entries are within their limits. */
struct vmdk_header {
	uint32_t version;
	uint32_t flags;
	uint64_t capacity;          /* sectors */
	uint64_t grain;             /* sectors */
	uint64_t descriptor;        /* sector; 0 = none */
	uint64_t descriptor_length; /* sectors */
	uint32_t table_entries;
	uint64_t rgd;               /* sector of the redundant directory */
	uint64_t gd;                /* sector of the directory, or GD_AT_END */
	uint64_t overhead;          /* sectors before the first grain */
	uint8_t newlines[4];
	uint16_t algorithm;
	bool is_packed;             /* grains are zlib streams with markers */
};

/* Where the tables were found. */
enum vmdk_layout {
	VMDK_IN_FRONT, /* the header says where the directory is */
	VMDK_FOOTER,   /* the footer does */
	VMDK_SCANNED,  /* nobody does: found by following the markers */
};

/* A grain that a scan found. */
struct vmdk_grain {
	uint32_t index;  /* number of the grain in the extent */
	uint32_t sector; /* of its marker */
};

/* Everything that a scan found, ascending by index. */
struct vmdk_scan {
	struct vmdk_grain *grains;
	size_t count, size;
	struct budget *budget;
	uint64_t reserved; /* bytes */
};

/* Immutable once open. */
struct vmdk_sparse {
	struct source *source;     /* a reference */
	struct source *tables;     /* the same through the page cache */
	struct vmdk_header header; /* the footer's where there is one */
	enum vmdk_layout layout;
	bool is_delta;             /* what is not stored is the parent's */
	uint64_t grain_bytes;
	uint64_t directory;        /* byte; 0 when scanned */
	uint64_t data_end;         /* byte: no grain reaches past it */
	struct vmdk_scan scan;
};

/* Decode one sector, ERR_CORRUPT without the magic number. Then check it:
 * ERR_UNSUPPORTED for what is understood but not handled, ERR_CORRUPT for
 * what cannot be. The header of a stream may be incomplete until the footer
 * replaces it, so these are two steps. */
int vmdk_header_load(struct vmdk_header *header, const uint8_t *sector,
		     struct error *err);
int vmdk_header_check(const struct vmdk_header *header, struct error *err);

/* The newline test is announced, but its bytes are not filled. */
bool vmdk_newlines_unset(const struct vmdk_header *header);

/* Open the extent in source, whose first sector is at hand. Reads no tables;
 * the footer where the header refers to it, and the whole stream's markers
 * where that is of no use. */
int vmdk_sparse_open(struct vmdk_sparse **out, struct source *source,
		     const uint8_t *first_sector,
		     const struct open_args *args, struct error *err);
void vmdk_sparse_close(struct vmdk_sparse *sparse); /* NULL is legal */

/* Bytes that the extent holds. */
uint64_t vmdk_sparse_size(const struct vmdk_sparse *sparse);

/* Number of grain tables, and of entries in the directory. */
uint64_t vmdk_sparse_tables(const struct vmdk_sparse *sparse);

/* Add pieces for the first `length` bytes of the extent, which lie in the
 * disk from `base` on; starts where ex stands. 1: go on with what comes
 * behind the extent, 0: ex is complete or this is enough for one answer,
 * -1: error (what was added before stays valid). */
int vmdk_sparse_extents(const struct vmdk_sparse *sparse, uint64_t base,
			uint64_t length, struct extents *ex,
			struct error *err);

/* The sector of a directory entry's table, from the directory at byte
 * `directory` (the first or the redundant one). */
int vmdk_directory_entry(const struct vmdk_sparse *sparse, uint64_t directory,
			 uint64_t table, unsigned int flags, uint32_t *sector,
			 struct error *err);

/* Why a grain cannot lie at this sector; NULL when it can. */
const char *vmdk_grain_fault(const struct vmdk_sparse *sparse,
			     uint32_t sector);

/* "footer", "tables in front", "scanned". */
const char *vmdk_layout_name(enum vmdk_layout layout);

/* Follow the stream's markers from its first grain to its end marker. Fails
 * with ERR_CORRUPT where the stream ends early or a marker makes no sense. */
int vmdk_scan_stream(struct vmdk_scan *scan, struct source *source,
		     const struct vmdk_header *header,
		     const struct open_args *args, uint64_t *end,
		     struct error *err);
void vmdk_scan_free(struct vmdk_scan *scan);

/* The first found grain whose index is at least this one: its place in
 * scan->grains, which may be scan->count. */
size_t vmdk_scan_find(const struct vmdk_scan *scan, uint64_t index);

#endif
