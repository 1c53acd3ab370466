/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Recognising gzip. */
#include "config.h"

#include <string.h>

#include "format/gzip.h"

int gzip_probe(struct source *source, struct error *err)
{
	unsigned char magic[3];

	if (source->size < sizeof(magic))
		return 0;
	if (source_read(source, 0, magic, sizeof(magic), 0, err))
		return -1;
	return !memcmp(magic, "\x1f\x8b\x08", sizeof(magic));
}

int gzip_open(struct source **out, struct source *below,
	      struct budget *budget, bool (*keep_going)(void *arg), void *arg,
	      struct error *err)
{
	*out = NULL;
	return error_set(err, ERR_UNSUPPORTED,
			 "gzip-compressed containers are not read yet");
}
