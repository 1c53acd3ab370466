/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: a VMDK file: header, footer, tables, markers. */
#include "config.h"

#include "tests/fuzz/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_walk("vmdk", data, size, NULL);
	return 0;
}
