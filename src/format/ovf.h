/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * An OVF descriptor: which files a package has, which disks they are, and in
 * which order a machine sees them. Plain values; nothing here touches the
 * files themselves. */
#ifndef VMIEFS_OVF_H
#define VMIEFS_OVF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define OVF_FILES_MAX   10000
#define OVF_DISKS_MAX   1000
#define OVF_SYSTEMS_MAX 1000
#define OVF_NICS_MAX    64 /* of one system; more are left out */

#define OVF_NO_FILE SIZE_MAX

struct ovf_file {
	const char *id, *href;   /* never NULL */
	const char *compression; /* "gzip", ..., or NULL */
	uint64_t size;           /* bytes as stored, 0 = not given */
	uint64_t chunk_bytes;    /* chunkSize, 0 = in one piece */
};

struct ovf_disk {
	const char *id;          /* diskId, or the file's id where an Item
				  * names a file and no Disk does */
	size_t file;             /* index, or OVF_NO_FILE */
	uint64_t capacity;       /* bytes, 0 = not known */
	uint64_t populated;      /* populatedSize, 0 = not given */
	const char *format;      /* URI, or NULL */
	const char *device;      /* "scsi 0:1", or NULL: attached nowhere */
	size_t system;           /* where it is attached, if device is set */
	bool is_media;           /* only in a CD or floppy drive: no disk */
	struct error error;      /* set: this disk cannot be read, and why */
};

struct ovf_nic {
	const char *name, *network, *type; /* each may be NULL */
};

struct ovf_system {
	const char *id, *name;              /* may be NULL, as all strings */
	const char *os_id, *os_type, *os_description;
	const char *hardware;               /* "vmx-10", "virtualbox-2.2" */
	const char *firmware;               /* "efi", "bios" */
	uint64_t cpus, memory_bytes;        /* 0 = not known */
	struct ovf_nic nics[OVF_NICS_MAX];
	size_t nic_count;
};

struct ovf {
	const char *version; /* "0.9", "1", "2", or as the document says */
	struct ovf_file *files;
	size_t file_count;
	struct ovf_disk *disks; /* in device order, unattached ones last */
	size_t disk_count;
	struct ovf_system *systems;
	size_t system_count;
	struct kept *kept;   /* memory of the strings */
};

/* Parse text[0..len). ERR_CORRUPT with a line number for broken XML,
 * ERR_UNSUPPORTED for a later OVF than 2.x, ERR_LIMIT above the caps. warn()
 * (may be NULL) gets oddities that hinder nothing. */
int ovf_parse(struct ovf **out, const char *text, size_t len,
	      void (*warn)(void *arg, const char *text), void *arg,
	      struct error *err);
void ovf_free(struct ovf *ovf); /* NULL is legal */

/* Bytes of one unit by a capacityAllocationUnits text ("byte * 2^20",
 * "GigaBytes", "MB", ...; NULL or empty: 1). False if it is not understood. */
bool ovf_unit_bytes(const char *text, uint64_t *bytes);

#endif
