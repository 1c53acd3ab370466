/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The map of a VMDK: what the files of the driver share. Internal to it. */
#ifndef VMIEFS_VMDK_H
#define VMIEFS_VMDK_H

#include "format/format.h"
#include "format/vmdk-descriptor.h"
#include "format/vmdk-sparse.h"

/* A stretch of the disk that lies in one file, or in none. */
struct vmdk_extent {
	uint64_t start, length;     /* in the disk, bytes; length > 0 */
	enum vmdk_extent_type type;
	bool no_access;
	struct vmdk_sparse *sparse; /* SPARSE: owned */
	struct source *source;      /* FLAT: a reference */
	uint64_t at;                /* FLAT: first byte in source */
};

/* Immutable once open. */
struct vmdk {
	struct map map;
	struct vmdk_descriptor *descriptor; /* NULL where there is none */
	struct vmdk_extent *extents;        /* ascending, contiguous */
	size_t count;
	struct budget *budget;              /* as in open_args */
};

/* vmdk-parent.c: open the parent that the descriptor names and check that it
 * is the one; sets map.parent. */
int vmdk_open_parent(struct vmdk *vmdk, const struct open_args *args,
		     struct error *err);

/* vmdk-parent.c: if there will be a parent, begin to fetch it. */
void vmdk_expect_parent(const struct vmdk *vmdk, const struct open_args *args);

/* vmdk-extents.c: open the sibling with this plain name, as it is written;
 * where there is none, as it reads in the descriptor's encoding. */
int vmdk_open_sibling(struct source **out,
		      const struct vmdk_descriptor *descriptor,
		      const char *name, struct siblings *siblings,
		      struct error *err);

/* vmdk-extents.c: open the files that a text descriptor lists. */
int vmdk_open_extents(struct vmdk *vmdk, const struct open_args *args,
		      struct error *err);

/* vmdk-info.c: struct map_ops. */
int vmdk_describe(struct map *map, json_t *object, struct error *err);

/* vmdk-write.c: struct format. */
int vmdk_create(struct writer **out, const struct write_args *args,
		struct error *err);

/* vmdk-check.c: struct map_ops. */
int vmdk_check(struct map *map, void (*problem)(void *arg, const char *text),
	       void *arg, struct error *err);

#endif
