/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What new objects are to be besides their bytes, as headers: encryption,
 * storage class, ACL, content type, tags, metadata.
 *
 * Threads: what is made once may be used from any thread. */
#ifndef VMIEFS_S3_HEADERS_H
#define VMIEFS_S3_HEADERS_H

#include "store/store.h"

#define S3_OBJECT_HEADERS 8 /* at most, with a NULL at their end */
#define S3_METADATA_MAX   4

/* Of all new objects of a client. Zero: none. */
struct s3_headers {
	char *lines[S3_OBJECT_HEADERS]; /* NULL-ended; owned */
	unsigned int for_copies;        /* the first so many go with copies,
					 * which have the others from their
					 * source */
	bool has_metadata;              /* s3_metadata() is wanted */
};

/* What the options say. ERR_ARG, by the option's name, for what makes no
 * sense, and for SSE-C. Freed by s3_headers_free() also then. */
int s3_headers_init(struct s3_headers *headers,
		    const struct store_new_options *options,
		    struct error *err);
void s3_headers_free(struct s3_headers *headers);

/* A request with them was refused: where they may be why, say what they are. */
void s3_headers_blame(const struct s3_headers *headers, struct error *err);

/* Headers for the metadata of one object: items ("format=vmdk") are NULL-ended;
 * lines get room for S3_METADATA_MAX and a NULL. Those that no header can have
 * are left out. */
int s3_metadata(char *lines[S3_METADATA_MAX + 1], const char *const *items,
		struct error *err);
void s3_metadata_free(char *lines[S3_METADATA_MAX + 1]);

#endif
