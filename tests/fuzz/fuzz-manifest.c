/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: manifests. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(void *arg, unsigned int line)
{
	unsigned int *last = arg;

	if (line <= *last)
		abort();
	*last = line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = { 0 };
	struct manifest *manifest;
	unsigned int last = 0;

	if (size > MANIFEST_MAX ||
	    manifest_parse(&manifest, (const char *)data, size, check_line,
			   &last, &err))
		return 0;
	for (size_t i = 0; i < manifest->count; i++) {
		const struct manifest_entry *entry = &manifest->entries[i];

		if (!entry->name || strncmp(entry->algorithm, "SHA", 3) ||
		    entry->digest_len < 20 ||
		    entry->digest_len > MANIFEST_DIGEST_MAX)
			abort();
	}
	manifest_free(manifest);
	return 0;
}
