/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A gzip object as a source of its unpacked bytes. Opening scans the whole
 * stream once (all members), which gives the size and gathers checkpoints; a
 * read inflates from the nearest checkpoint before it, or goes on where a
 * recent read stopped. */
#ifndef VMIEFS_GZIP_H
#define VMIEFS_GZIP_H

#include <stdbool.h>

#include "format/source.h"

/* True if the source starts like a gzip stream (1f 8b 08). -1 on error. */
int gzip_probe(struct source *source, struct error *err);

/* Scan and index. Checkpoints cost 32 KiB each and are spaced so that they
 * stay below 1/8 of the budget's limit (16 MiB without one). ERR_CORRUPT for
 * a broken or cut stream. keep_going (NULL: never stop) is asked after each
 * MiB and stops the scan with ERR_CANCELLED when it returns false. */
int gzip_open(struct source **out, struct source *below,
	      struct budget *budget, bool (*keep_going)(void *arg), void *arg,
	      struct error *err);

#endif
