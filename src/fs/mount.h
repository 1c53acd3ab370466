/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Mounting: from options to a running file system and back. */
#ifndef VMIEFS_MOUNT_H
#define VMIEFS_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* Filled from the table in src/command/mount.c, which has the defaults. */
struct mount_options {
	const char *source;     /* "file:///dir", a path, "s3://bucket" */
	struct store_options store;
	const char *mountpoint;

	bool foreground;
	unsigned int verbosity; /* 0 = warnings, 1 = info, 2 = debug */
	char *log_target;       /* NULL: stderr, or syslog for a daemon */

	bool is_service;            /* -o service, or s3:// */
	uint64_t memory_bytes;      /* -o memory= */
	unsigned int threads;       /* -o threads=; 0 = one per core */
	unsigned int timeout_ms;    /* -o timeout=: of one read */
	unsigned int probe_ms;      /* -o probe-timeout=: how long stat waits */
	unsigned int ttl_ms;        /* -o ttl=: how old a listing may be */
	bool kernel_cache;          /* -o kernel-cache */
	unsigned int readahead_kib; /* -o readahead=: of the kernel */
	unsigned int vhd_size;      /* -o vhd-size=: 0 current, 1 chs */

	bool can_overwrite;       /* -o overwrite */
	bool can_delete;          /* -o delete */
	bool require_size;        /* -o require-size */
	unsigned int compression; /* -o compression=: enum packer_level */
	unsigned int spool;       /* -o spool=: 0 auto, 1 always */
	unsigned int vhd, vhdx;   /* -o vhd=, vhdx=: 0 dynamic, 1 fixed */
	char *scratch;            /* -o scratch=: NULL = the default */
	uint64_t scratch_bytes;   /* -o scratch-size= */

	bool allow_other, allow_root, auto_unmount, is_read_only;
	unsigned int uid, gid;    /* UINT32_MAX = of who mounts */
	unsigned int umask;       /* bits taken from all modes */
	unsigned int control_gid; /* UINT32_MAX = none */
	char *fsname;             /* NULL = the source */
	char *kernel;             /* "nodev,noexec": passed to libfuse */
};

#define MOUNT_NO_ID UINT32_MAX

/* Mount and serve until unmounted. Returns the exit status; all that there is
 * to say goes to stderr. In daemon mode the caller's process only waits until
 * the mount works or has failed. */
int mount_main(const struct mount_options *options);

#endif
