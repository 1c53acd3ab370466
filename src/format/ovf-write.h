/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The OVF descriptor of a new package: one machine with its disks. */
#ifndef VMIEFS_OVF_WRITE_H
#define VMIEFS_OVF_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define OVF_NEW_DISKS_MAX 60 /* what four SCSI controllers take */

struct ovf_new_disk {
	const char *href;  /* the file's name, as XML can hold it */
	uint64_t stored;   /* the file's bytes */
	uint64_t capacity; /* the disk's bytes */
};

/* The text of a descriptor for a machine of that name with
 * disks[0..count), count <= OVF_NEW_DISKS_MAX, in device order; a string that
 * the caller frees, or NULL. The same values always give the same text. */
char *ovf_make(const char *name, const struct ovf_new_disk *disks,
	       size_t count, struct error *err);

#endif
