/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What can be wrong with a mount point, said before mounting; and the
 * kernel's settings of a mount. */
#ifndef VMIEFS_MOUNT_POINT_H
#define VMIEFS_MOUNT_POINT_H

#include "common/error.h"

/* Can path be mounted on? *real gets its absolute name (freed by the
 * caller). source_dir: the mounted directory or NULL; the mount point must
 * not lie in it. */
int mount_point_check(const char *path, const char *source_dir, char **real,
		      struct error *err);

/* Set the read-ahead of a mount. Needs root. */
int mount_point_set_readahead(const char *path, unsigned int kib,
			      struct error *err);

#endif
