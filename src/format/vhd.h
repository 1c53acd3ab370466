/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHD: what its files share. Big-endian; the layout and what is supported are
 * at the head of vhd.c. */
#ifndef VMIEFS_VHD_H
#define VMIEFS_VHD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "format/format.h"
#include "format/parent.h"

#define VHD_SECTOR       512u
#define VHD_FOOTER_BYTES 512u
#define VHD_HEADER_BYTES 1024u
#define VHD_HEAD_BYTES   4096u
#define VHD_UNALLOCATED  0xffffffffu
#define VHD_LOCATORS     8
#define VHD_UUID_TEXT    37 /* with the NUL */
#define VHD_EPOCH        946684800 /* 2000-01-01 in Unix time */

struct vhd_footer_disk {
	uint8_t cookie[8]; /* "conectix" */
	uint8_t features[4];
	uint8_t version[4];
	uint8_t data_offset[8];
	uint8_t timestamp[4];
	uint8_t creator[4];
	uint8_t creator_version[4];
	uint8_t creator_host[4];
	uint8_t original_size[8];
	uint8_t current_size[8];
	uint8_t cylinders[2];
	uint8_t heads;
	uint8_t sectors;
	uint8_t type[4];
	uint8_t checksum[4];
	uint8_t uuid[16];
	uint8_t saved_state;
	uint8_t reserved[427];
};

struct vhd_locator_disk {
	uint8_t platform[4];
	uint8_t space[4];
	uint8_t length[4];
	uint8_t reserved[4];
	uint8_t offset[8];
};

struct vhd_header_disk {
	uint8_t cookie[8]; /* "cxsparse" */
	uint8_t data_offset[8];
	uint8_t table_offset[8];
	uint8_t version[4];
	uint8_t entries[4];
	uint8_t block_bytes[4];
	uint8_t checksum[4];
	uint8_t parent_uuid[16];
	uint8_t parent_timestamp[4];
	uint8_t reserved[4];
	uint8_t parent_name[512]; /* UTF-16 */
	struct vhd_locator_disk locators[VHD_LOCATORS];
	uint8_t reserved2[256];
};

_Static_assert(sizeof(struct vhd_footer_disk) == VHD_FOOTER_BYTES, "footer");
_Static_assert(sizeof(struct vhd_header_disk) == VHD_HEADER_BYTES, "header");
_Static_assert(offsetof(struct vhd_footer_disk, uuid) == 68, "footer");
_Static_assert(offsetof(struct vhd_header_disk, locators) == 576, "header");

enum vhd_type {
	VHD_FIXED = 2,
	VHD_DYNAMIC = 3,
	VHD_DIFFERENCING = 4,
};

struct vhd_footer {
	struct vhd_footer_disk disk; /* as stored, for comparing */
	bool there;                  /* it has the cookie */
	bool checksum_good;
	uint32_t length;             /* 511 or 512; of the copy at 0: 512 */
	uint32_t type;
	uint64_t data_offset;
	uint64_t current_size;       /* bytes */
};

/* What opening reads: both ends of the file. */
struct vhd_ends {
	struct vhd_footer tail, copy;
	uint8_t head[VHD_HEAD_BYTES]; /* mostly holds the dynamic header too */
	uint32_t head_bytes; /* 0 where the tail shows a fixed disk */
};

struct vhd_map {
	struct map map;
	struct source *tables;       /* map.source through the cache */
	struct budget *budget;       /* may be NULL */
	struct vhd_footer footer;    /* the one that counts */
	struct vhd_header_disk header; /* not for fixed disks */
	uint64_t data_end;           /* where the footer at the end starts */
	uint64_t table_offset;
	uint64_t table_entries;      /* those needed for the disk's size */
	uint32_t block_bytes;
	uint32_t bitmap_bytes;       /* in front of each block */
};

/* vhd-footer.c */

/* Both kinds of checksum: the complement of the sum of all bytes but those of
 * the checksum itself, which lies at `at`. */
uint32_t vhd_checksum(const void *data, size_t len, size_t at);

/* Read the footer at the end (512 bytes, or the 511 of old writers); then the
 * start with its copy, unless the footer tells of a fixed disk: one read each.
 * The last does both. Only reading fails. */
int vhd_read_tail(struct vhd_ends *ends, struct source *source,
		  struct error *err);
int vhd_read_head(struct vhd_ends *ends, struct source *source,
		  struct error *err);
int vhd_read_ends(struct vhd_ends *ends, struct source *source,
		  struct error *err);

/* Which of the two counts: *out is one of ends'. Refuses when both are bad
 * or contradict each other; warns when one is bad. */
int vhd_choose_footer(const struct vhd_footer **out,
		      const struct vhd_ends *ends, uint64_t file_size,
		      const struct open_args *args, struct error *err);

/* The size by the geometry where the creator's disks have that size. */
uint64_t vhd_chs_size(const struct vhd_footer_disk *footer);

void vhd_uuid_text(char text[VHD_UUID_TEXT], const uint8_t uuid[16]);

/* vhd.c */

/* Does [at, at + len) touch the footer copy, the dynamic header or the BAT? */
bool vhd_in_headers(const struct vhd_map *map, uint64_t at, uint64_t len);

/* vhd-parent.c */

/* Find and open the parent of a differencing disk. */
int vhd_open_parent(struct vhd_map *map, const struct open_args *args,
		    struct error *err);

/* vhd-write.c: struct format. */
int vhd_create(struct writer **out, const struct write_args *args,
	       struct error *err);

/* vhd-info.c */

int vhd_describe(struct map *map, json_t *object, struct error *err);
int vhd_check(struct map *map, void (*problem)(void *arg, const char *),
	      void *arg, struct error *err);

#endif
