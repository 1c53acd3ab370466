/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Raw disks: struct format.create (raw-write.c). */
#ifndef VMIEFS_RAW_H
#define VMIEFS_RAW_H

#include "format/format.h"

int raw_create(struct writer **out, const struct write_args *args,
	       struct error *err);

#endif
