/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What ova.c (lists), ova-locate.c (which members a disk's file is) and
 * ova-check.c (describe, check) share. */
#ifndef VMIEFS_OVA_BUILD_H
#define VMIEFS_OVA_BUILD_H

#include <stdatomic.h>

#include "format/ova.h"
#include "format/ovf.h"
#include "format/tar.h"

/* struct siblings over the members. */
struct ova_siblings {
	struct siblings siblings;
	const struct ova *ova;
	atomic_uint opened; /* how often that was asked for */
};

struct ova {
	struct source *source;  /* the whole OVA: payload */
	struct source *cached;  /* the same through the metadata cache */
	struct tar *tar;
	struct ovf *ovf;
	struct tar_member *descriptor; /* the .ovf */
	struct ova_siblings siblings;
	bool *is_disk;          /* by member: part of a disk */
	struct ova_disk *disks;
	size_t *ovf_disks;      /* by disk: its index in ovf->disks */
	size_t disk_count;
	struct ova_file *files;
	size_t file_count;
	void *names;            /* tsearch() tree of names in use */
};

/* The members that hold one file of the OVF, in order. */
struct ova_parts {
	struct tar_member **members; /* owned */
	size_t count;
};

/* Find them. Fails where they are not all there and sound (err is the disk's
 * error then, naming the file), except for ERR_NOMEM and errors of reading. */
int ova_locate(struct ova_parts *parts, const struct ova *ova,
	       const struct ovf_file *file, struct error *err);

/* One member's bytes as a source of its own. */
int ova_open_member(struct source **out, const struct ova *ova,
		    const struct tar_member *member, struct error *err);

/* The member that a reference inside the OVA means: by path, by path from the
 * descriptor's folder, or by last component. NULL and err (ERR_NOT_FOUND) if
 * there is none or several come into question. */
struct tar_member *ova_find_member(const struct ova *ova, const char *name,
				   struct error *err);

/* The member's text as a string of at most max bytes; the caller frees. */
char *ova_read_text(const struct ova *ova, const struct tar_member *member,
		    size_t max, size_t *len, struct error *err);

/* True if name ends in `ending`, without regard to case. */
bool ova_has_ending(const char *name, const char *ending);

#endif
