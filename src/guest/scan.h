/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * libblkid over a file that is filled on demand: what the child does. Never
 * call it in a process that has something to lose. */
#ifndef VMIEFS_SCAN_H
#define VMIEFS_SCAN_H

#include <jansson.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

#define GUEST_WINDOW_MAX (2u << 20) /* bytes in one window */

struct guest_scan {
	int fd;                /* the disk; holes where no window was made */
	uint64_t size;         /* bytes */
	uint32_t sector_bytes; /* 512 or 4096; 0 = find out */
	/* Make a window within the disk readable, length 1 to
	 * GUEST_WINDOW_MAX. */
	int (*want)(void *arg, uint64_t offset, uint64_t length,
		    struct error *err);
	/* All windows made so far may go. */
	int (*drop)(void *arg, struct error *err);
	void *arg;
};

/* The object that guest_probe() gives, apart from "damaged". */
MUST_CHECK int guest_scan(json_t **out, struct guest_scan *scan,
			  struct error *err);

#endif
