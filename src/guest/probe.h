/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What is inside a disk: its partition table and file systems, recognised by
 * libblkid. The bytes are hostile, so libblkid never runs in this process:
 * a child (this program executed again, so that it inherits no memory and no
 * environment) gets windows of the disk as a sparse memory file and sends
 * JSON back, without privileges, under rlimits, a seccomp filter and a
 * deadline.
 *
 * A program that calls guest_probe() must call guest_probe_main() first thing
 * in its main() when argv[1] is GUEST_PROBE_ARG. */
#ifndef VMIEFS_PROBE_H
#define VMIEFS_PROBE_H

#include <jansson.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

#define GUEST_PROBE_ARG "guest-probe"

/* The disk to look at. */
struct guest_disk {
	uint64_t size;         /* bytes */
	uint32_t sector_bytes; /* 512 or 4096; 0 = find out */
	/* Read exactly length bytes within the disk or fail. Places that fail
	 * with ERR_CORRUPT or ERR_IO are taken as zeroes; any other error
	 * ends the probe. Called from guest_probe() only. */
	int (*read)(void *arg, uint64_t offset, void *buf, uint64_t length,
		    struct error *err);
	void *arg;
};

/* Look into the disk. *out gets an object that the caller releases:
 *
 *   sector_size       bytes
 *   damaged           true: a window could not be read completely
 *   ambiguous         true: several file systems claim the whole disk
 *   file_system       of the whole disk: type, usage, label, uuid, uuid_sub,
 *                     version, sec_type, block_size; only what there is
 *   partition_table   type ("gpt", "dos", ...), id, note, partitions: an array
 *                     of the first 256: number, start, size (bytes), type,
 *                     uuid, name, flags, table, parent, extended, note,
 *                     ambiguous, file_system
 *
 * Needs at most 16 MiB besides what read() uses. Any thread; blocks. */
MUST_CHECK int guest_probe(json_t **out, const struct guest_disk *disk,
			   struct error *err);

/* The child's whole life; returns the exit status. */
int guest_probe_main(void);

#endif
