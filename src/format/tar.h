/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of contents of a tar: where the bytes of each regular file lie.
 * Reads one 512-byte header a member (and the few blocks of long names), never
 * payload, so the cost does not depend on how large the members are. */
#ifndef VMIEFS_TAR_H
#define VMIEFS_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define TAR_MEMBERS_MAX 10000      /* regular files in one tar */
#define TAR_PATH_MAX    4096       /* bytes of one member's path */
#define TAR_PATHS_MAX   (4u << 20) /* bytes of all paths together */

struct open_args;
struct source;

struct tar_member {
	char *path;         /* as stored, without leading "./" and "/" */
	const char *name;   /* its last component; points into path */
	uint64_t offset;    /* of the first data byte */
	uint64_t size;      /* by the header, bytes */
	uint64_t stored;    /* of these, bytes before the tar's end */
	bool is_sparse;     /* GNU sparse: its bytes are not the file's bytes */
};

struct tar {
	struct tar_member *members; /* in the order of the archive */
	size_t count;
	struct tar_member **by_path, **by_name; /* sorted, for tar_find_*() */
	/* Set where the archive stops making sense after its first member;
	 * the members before that place are listed. */
	struct error damage;
};

/* Read the table of contents of source: ustar, GNU, pax and v7. Directories,
 * links, devices and macOS "._" files are left out. Where a path occurs twice
 * the later one wins, as when a tar is unpacked. ERR_CORRUPT if the source
 * does not start like a tar; a compressed one is refused by name
 * (ERR_UNSUPPORTED). Errors of reading fail the whole call, and so does
 * open_goes_on(args). */
int tar_read(struct tar **out, struct source *source,
	     const struct open_args *args, struct error *err);
void tar_free(struct tar *tar); /* NULL is legal */

/* The member with that path, or NULL. */
struct tar_member *tar_find_path(const struct tar *tar, const char *path);

/* The first member with that last component, or NULL; *count gets how many
 * there are. */
struct tar_member *tar_find_name(const struct tar *tar, const char *name,
				 size_t *count);

#endif
