/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * An OVA: a tar with an OVF descriptor, disk files, and often a manifest and
 * a certificate. Opening reads tar headers and the OVF only (small reads, the
 * payload is skipped by its computed offset); disks are opened by
 * format_open() on the sources given here. */
#ifndef VMIEFS_OVA_H
#define VMIEFS_OVA_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "format/format.h"

struct ova;

/* A file shown as it is: .ovf, .mf, .cert and other members. */
struct ova_file {
	const char *name;      /* plain name; unique beside DISK.raw */
	struct source *source; /* borrowed */
};

/* A disk in device order. */
struct ova_disk {
	const char *name;      /* "app-disk1.vmdk": file name, or the disk id
				* where it has no file; unique; without .raw */
	struct source *source; /* its stored bytes, chunks joined; borrowed;
				* NULL for an empty disk or if error is set */
	uint64_t offset, stored; /* where these are in the OVA, bytes; stored 0:
				  * in several places, or not all there */
	uint64_t capacity;     /* bytes by the OVF, 0 = not known */
	const char *disk_id;   /* ovf:diskId; of the first where several
				* Disk elements name one file */
	bool is_gzip;          /* its bytes are a gzip stream, whatever the
				* OVF's compression says */
	struct error error;    /* set: this disk cannot be read, and why */
};

/* Open the OVA in source (a reference is taken). The whole fails only where
 * no disk list can be made: not a tar, no or several OVF, broken XML. */
int ova_open(struct ova **out, struct source *source,
	     const struct open_args *args, struct error *err);
void ova_close(struct ova *ova); /* NULL is legal */

size_t ova_disk_count(const struct ova *ova);
const struct ova_disk *ova_disk(const struct ova *ova, size_t i);
size_t ova_file_count(const struct ova *ova); /* files that are no disks */
const struct ova_file *ova_file(const struct ova *ova, size_t i);

/* The OVA's members as siblings of its disks: a disk file that is only a
 * descriptor finds its extents there. Lives as long as the ova; every member
 * can be opened from any thread. */
struct siblings *ova_siblings(struct ova *ova);

/* How often one of them was asked for so far. */
unsigned int ova_siblings_opened(const struct ova *ova);

/* OVF contents for `vmiefs info`: name, OS, CPU, memory, NICs, firmware,
 * disks with capacity and device. */
int ova_describe(const struct ova *ova, json_t *object, struct error *err);

/* Verify every digest of the manifest against the stored members: problem()
 * for each mismatch, unknown file or unreadable line; progress() gets bytes
 * read since the last call and returns false to stop (ERR_CANCELLED). */
int ova_check(const struct ova *ova,
	      void (*problem)(void *arg, const char *text),
	      bool (*progress)(void *arg, uint64_t bytes), void *arg,
	      struct error *err);

#endif
