/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * VHDX: what its files share. Little-endian; the layout and what is supported
 * are at the head of vhdx.c. */
#ifndef VMIEFS_VHDX_H
#define VMIEFS_VHDX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "format/format.h"

#define VHDX_MIB           (1ull << 20)
#define VHDX_HEADER1_AT    (64u << 10)
#define VHDX_HEADER2_AT    (128u << 10)
#define VHDX_HEADER_BYTES  4096u
#define VHDX_REGION1_AT    (192u << 10)
#define VHDX_REGION2_AT    (256u << 10)
#define VHDX_REGION_BYTES  (64u << 10)
#define VHDX_START_BYTES   (320u << 10) /* all of the above */
#define VHDX_CHUNK_SECTORS (1ull << 23) /* covered by one bitmap block */
#define VHDX_BITMAP_BYTES  VHDX_MIB
#define VHDX_GUID_TEXT     37 /* with the NUL */

struct vhdx_header_disk {
	uint8_t signature[4]; /* "head" */
	uint8_t checksum[4];
	uint8_t sequence[8];
	uint8_t file_write_guid[16];
	uint8_t data_write_guid[16];
	uint8_t log_guid[16];
	uint8_t log_version[2];
	uint8_t version[2];
	uint8_t log_length[4];
	uint8_t log_offset[8];
};

_Static_assert(sizeof(struct vhdx_header_disk) == 80, "VHDX header");

struct vhdx_header {
	uint64_t sequence;
	uint8_t file_write_guid[16];
	uint8_t data_write_guid[16];
	uint8_t log_guid[16];
	uint16_t log_version, version;
	uint32_t log_length;
	uint64_t log_offset;
	bool is_dirty; /* the log holds what must be replayed */
};

/* A region's or an item's place: absolute in the file. */
struct vhdx_range {
	uint64_t offset, length; /* length 0: there is none */
};

enum vhdx_item {
	VHDX_FILE_PARAMETERS,
	VHDX_DISK_SIZE,
	VHDX_DISK_ID,
	VHDX_LOGICAL_SECTOR,
	VHDX_PHYSICAL_SECTOR,
	VHDX_PARENT_LOCATOR,
	VHDX_ITEMS,
};

enum vhdx_state {
	VHDX_NOT_PRESENT = 0,
	VHDX_UNDEFINED = 1,
	VHDX_ZERO = 2,
	VHDX_UNMAPPED = 3,
	VHDX_UNMAPPED_DRAFT = 5, /* version 0.95 */
	VHDX_FULLY_PRESENT = 6,  /* of a bitmap block: present */
	VHDX_PARTIALLY_PRESENT = 7,
};

struct vhdx_map {
	struct map map;
	struct source *content;      /* the file, its log replayed */
	struct source *tables;       /* content through the cache */
	struct budget *budget;       /* may be NULL */
	struct vhdx_header header;
	struct vhdx_range bat, metadata;
	struct vhdx_range items[VHDX_ITEMS];
	uint64_t block_count, entry_count;
	uint64_t chunk_ratio;        /* blocks to a chunk */
	uint32_t block_bytes;
	uint32_t sector_bytes, physical_sector_bytes;
	uint32_t log_entries;        /* replayed */
	uint8_t disk_id[16];
	char *creator;               /* UTF-8; owned */
	bool keeps_blocks;           /* "fixed" */
	bool has_parent;
	bool is_cut;                 /* the file ends inside a MiB */
};

static inline enum vhdx_state vhdx_entry_state(uint64_t entry)
{
	return (enum vhdx_state)(entry & 7);
}

static inline uint64_t vhdx_entry_offset(uint64_t entry)
{
	return entry & ~(VHDX_MIB - 1);
}

/* BAT index of a payload block, and of the bitmap block of a chunk. */
static inline uint64_t vhdx_block_index(const struct vhdx_map *map, uint64_t n)
{
	return n + n / map->chunk_ratio;
}

static inline uint64_t vhdx_bitmap_index(const struct vhdx_map *map,
					 uint64_t chunk)
{
	return (chunk + 1) * map->chunk_ratio + chunk;
}

static inline bool vhdx_overlap(const struct vhdx_range *a,
				const struct vhdx_range *b)
{
	return a->length && b->length &&
	       a->offset < b->offset + b->length &&
	       b->offset < a->offset + a->length;
}

/* vhdx-header.c */

extern const uint8_t vhdx_bat_guid[16], vhdx_metadata_guid[16];

/* The CRC-32C at byte 4 of a structure, which counts as zero itself. */
bool vhdx_checksum_good(const uint8_t *data, size_t len);

/* Which of the two stored headers counts. */
int vhdx_choose_header(struct vhdx_header *out, const uint8_t *first,
		       const uint8_t *second, const struct open_args *args,
		       struct error *err);

/* Find map->bat and map->metadata in the two stored region tables. */
int vhdx_find_regions(struct vhdx_map *map, const uint8_t *first,
		      const uint8_t *second, const struct open_args *args,
		      struct error *err);

/* "2dc27766-f623-4200-9d64-115e9bfd4a08" */
void vhdx_guid_text(char text[VHDX_GUID_TEXT], const uint8_t guid[16]);

/* vhdx-metadata.c */

const uint8_t *vhdx_item_guid(enum vhdx_item item); /* 16 bytes */

/* Read what the metadata region says about the disk. */
int vhdx_read_metadata(struct vhdx_map *map, struct error *err);

/* vhdx-log.c */

/* map->content: the file as it is, or with its log replayed. */
int vhdx_replay_log(struct vhdx_map *map, const struct open_args *args,
		    struct error *err);

/* vhdx-bat.c */

int vhdx_extents(struct map *map, struct extents *ex, struct error *err);

/* vhdx-parent.c */

/* Find and open the parent of a differencing disk. */
int vhdx_open_parent(struct vhdx_map *map, const struct open_args *args,
		     struct error *err);

/* The parent locator's values by key, as a JSON object. */
int vhdx_describe_locator(struct vhdx_map *map, json_t **out,
			  struct error *err);

/* vhdx-write.c: struct format. */
int vhdx_create(struct writer **out, const struct write_args *args,
		struct error *err);

/* vhdx-info.c */

int vhdx_describe(struct map *map, json_t *object, struct error *err);
int vhdx_check(struct map *map, void (*problem)(void *arg, const char *),
	       void *arg, struct error *err);

#endif
