/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Entry point: chooses the sub-command. */
#include "config.h"

#include <stdio.h>

int main(void)
{
	fprintf(stderr, "vmiefs %s\n", PACKAGE_VERSION);
	return 2;
}
