/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: reads a disk through its map alone (no engine), one piece after
 * the other, and opens containers from a directory with their siblings. */
#ifndef VMIEFS_TESTS_MAPREAD_H
#define VMIEFS_TESTS_MAPREAD_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "format/format.h"
#include "store/store.h"

/* Unpack a PACKED piece into unit[0..piece->unpacked): marker, LBA, size,
 * zlib stream and unpacked length are all checked. */
int mapread_unpack(const struct extent *piece, uint8_t *unit,
		   struct error *err);

/* Read exactly [offset, offset + len), within the disk. */
int mapread(struct map *map, uint64_t offset, void *buf, size_t len,
	    struct error *err);

/* Siblings in one directory of a store. Zero-initialise, set store and prefix
 * ("" or ending in '/'), then use &d.siblings. */
struct mapread_dir {
	struct siblings siblings;
	struct store *store;
	const char *prefix;
};

void mapread_dir_init(struct mapread_dir *dir, struct store *store,
		      const char *prefix);

/* A container file on disk, opened as one disk; map is NULL on failure. */
struct mapread_file {
	struct store *store;
	struct source *source;
	struct mapread_dir dir;
	struct map *map;
};

/* Open the file at path; what lies in its directory are its siblings. args
 * gives format, cache and the rest; its siblings and file_name are ignored. */
int mapread_open(struct mapread_file *file, const char *path,
		 const struct open_args *args, struct error *err);
void mapread_close(struct mapread_file *file);

#endif
