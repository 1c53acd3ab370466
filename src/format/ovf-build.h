/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What ovf.c (files, disks, sections) and ovf-hardware.c (machines and the
 * order of disks) share while a descriptor is being read. */
#ifndef VMIEFS_OVF_BUILD_H
#define VMIEFS_OVF_BUILD_H

#include <libxml/tree.h>

#include "format/ovf.h"

/* Where a machine sees a disk, most significant first; compared as a whole. */
struct ovf_rank {
	uint32_t system;
	uint32_t is_optional; /* not in the default configuration */
	uint32_t bus;         /* its controller type's place in the document */
	uint32_t address;     /* of the controller on that bus */
	uint32_t controller;  /* its place in the document */
	uint32_t unit;        /* AddressOnParent */
	uint32_t item;        /* place in the document */
};

struct ovf_build {
	struct ovf *ovf;
	xmlNode *root;
	const char *configuration; /* the default one, or NULL */
	struct ovf_rank *ranks;    /* of ovf->disks[], same index */
	void (*warn)(void *arg, const char *text);
	void *warn_arg;
	bool is_nomem;             /* an allocation failed: fail at the end */
};

void ovf_warn(struct ovf_build *build, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The text of an element or attribute, trimmed, owned by the ovf. NULL where
 * node is NULL, the text is empty, or memory is short (is_nomem is set). */
const char *ovf_text(struct ovf_build *build, const xmlNode *node);
const char *ovf_attr(struct ovf_build *build, const xmlNode *node,
		     const char *local_name);
const char *ovf_printf(struct ovf_build *build, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Whole text as a number; false for NULL and anything else. */
bool ovf_number(const char *text, uint64_t *value);

/* Grow *array (count elements of that size) by one zeroed element and return
 * it; NULL when `max` is reached or memory is short (err is set). */
void *ovf_append(void *array, size_t *count, size_t element_size, size_t max,
		 const char *what, struct error *err);

/* "DiskSection" for <DiskSection> and <Section xsi:type="ovf:DiskSection_Type">
 * alike; a static or document-owned text that lives as long as the ovf. */
const char *ovf_section(struct ovf_build *build, const xmlNode *node);

/* Append an unattached disk. */
struct ovf_disk *ovf_add_disk(struct ovf_build *build, struct error *err);

/* Index of the file with that id (or else that href), or OVF_NO_FILE. */
size_t ovf_find_file(const struct ovf *ovf, const char *id);

/* Read all machines below parent, attach disks to them, and at last sort the
 * disks by rank. */
int ovf_read_systems(struct ovf_build *build, const xmlNode *parent,
		     struct error *err);
int ovf_sort_disks(struct ovf_build *build, struct error *err);

#endif
