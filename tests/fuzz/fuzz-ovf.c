/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: OVF descriptors. */
#include "config.h"

#include <stdlib.h>

#include "format/ovf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_warning(void *arg, const char *text)
{
	if (!*text)
		abort();
	++*(unsigned int *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = { 0 };
	unsigned int warnings = 0;
	struct ovf *ovf;

	if (ovf_parse(&ovf, (const char *)data, size, count_warning, &warnings,
		      &err)) {
		if (ovf || !err.kind || !*err.text)
			abort();
		return 0;
	}
	for (size_t i = 0; i < ovf->disk_count; i++) {
		const struct ovf_disk *disk = &ovf->disks[i];

		if (!disk->id ||
		    (disk->file != OVF_NO_FILE &&
		     disk->file >= ovf->file_count) ||
		    (disk->file == OVF_NO_FILE && disk->capacity == 0 &&
		     !disk->error.kind))
			abort();
	}
	for (size_t i = 0; i < ovf->file_count; i++)
		if (!ovf->files[i].id || !ovf->files[i].href)
			abort();
	ovf_free(ovf);
	return 0;
}
