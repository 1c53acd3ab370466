/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The text descriptor of a VMDK: embedded in a sparse file, or a file of its
 * own that lists the extents. Internal to the vmdk driver. */
#ifndef VMIEFS_VMDK_DESCRIPTOR_H
#define VMIEFS_VMDK_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define VMDK_DESCRIPTOR_MAX (1u << 20) /* bytes of text */
#define VMDK_EXTENTS_MAX    4096       /* extent lines */
#define VMDK_NO_PARENT      0xffffffffu

enum vmdk_extent_type {
	VMDK_EXTENT_SPARSE,
	VMDK_EXTENT_FLAT, /* and VMFS */
	VMDK_EXTENT_ZERO,
	VMDK_EXTENT_REFUSED, /* known, but not handled: see type_name */
};

/* `RW 4192256 SPARSE "disk-s001.vmdk"` */
struct vmdk_extent_line {
	enum vmdk_extent_type type;
	const char *type_name; /* static text, as VMware spells it */
	bool no_access;        /* NOACCESS instead of RW or RDONLY */
	uint64_t sectors;
	uint64_t offset;       /* FLAT: first sector in the file */
	const char *file;      /* as written; "" where there is none */
};

struct vmdk_field {
	const char *key, *value;
};

/* Immutable once parsed; all strings are its own. */
struct vmdk_descriptor {
	bool embedded;
	char *text;              /* as found, NUL-terminated */
	char *words;             /* the copy that the strings point into */
	struct vmdk_field *fields;
	size_t field_count, field_size;
	struct vmdk_extent_line *extents;
	size_t extent_count, extent_size;
	bool has_cid;
	uint32_t cid;
	uint32_t parent_cid;     /* VMDK_NO_PARENT when there is none */
};

/* Parse length bytes, at most VMDK_DESCRIPTOR_MAX; the text ends at the first
 * NUL. ERR_CORRUPT names the extent line that makes no sense; in an embedded
 * descriptor it is passed over, as its extents are never followed. */
int vmdk_descriptor_parse(struct vmdk_descriptor **out, const char *text,
			  size_t length, bool embedded, struct error *err);
void vmdk_descriptor_free(struct vmdk_descriptor *descriptor);

/* The value of a key, which is compared without regard to case, without its
 * quotes; NULL where it is not set. The first of several counts. */
const char *vmdk_descriptor_get(const struct vmdk_descriptor *descriptor,
				const char *key);

/* Refuse createTypes and extents whose data is not in files that can be read
 * here: by name, with ERR_UNSUPPORTED. */
int vmdk_descriptor_supported(const struct vmdk_descriptor *descriptor,
			      struct error *err);

/* Why a kind of disk or extent ("seSparse", "VMFSRDM") is not handled; NULL
 * for one that is. */
const char *vmdk_refusal(const char *kind);

/* The name without the folders that stand before it, which is all that is
 * ever looked up; ERR_UNSUPPORTED for a device, ERR_CORRUPT for no name. */
int vmdk_plain_name(const char **out, const char *name, struct error *err);

/* The text in UTF-8, by what the descriptor says of its encoding; bytes that
 * are not of it become '?'. The caller frees it. NULL: out of memory. */
char *vmdk_descriptor_utf8(const struct vmdk_descriptor *descriptor,
			   const char *text);

#endif
