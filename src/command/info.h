/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What `vmiefs info` knows, as text. */
#ifndef VMIEFS_INFO_H
#define VMIEFS_INFO_H

#include <jansson.h>

/* Print the object that `info --json` gives (see vmiefs(1)) for people. */
void info_print(const json_t *object);

#endif
