/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The bytes of one part until it is stored: in memory, or in a file of the
 * scratch space, which is summed up while it is written.
 *
 * Threads: one at a time. */
#ifndef VMIEFS_S3_PART_H
#define VMIEFS_S3_PART_H

#include <openssl/evp.h>

#include "store/s3-multipart.h"

struct scratch;

/* Zero, with what it takes of memory, before s3_buffer_init(). */
struct s3_buffer {
	unsigned int number;       /* from 1 */
	uint64_t size, used;       /* bytes */
	uint64_t from_reserve, from_budget; /* memory; its owner counts it */
	char *data;                /* NULL: it is in a file */
	int file;
	struct scratch *scratch;   /* NULL: it is in memory */
	uint64_t from_scratch;     /* bytes that scratch has counted of it */
	EVP_MD_CTX *md5, *sha256;  /* of the file; sha256 NULL: not needed */
};

/* It is to be a file: take the space of all of it, so that it cannot end in the
 * middle. ENOSPC. Comes before s3_buffer_init(). */
int s3_buffer_spool(struct s3_buffer *buffer, struct scratch *scratch,
		    uint64_t size, struct error *err);

/* A file, or memory, which is not counted here. */
int s3_buffer_init(struct s3_buffer *buffer, unsigned int number,
		   uint64_t size, bool is_signed, struct error *err);

/* Append to what there is; there is room for it. data NULL: zeroes. */
int s3_buffer_add(struct s3_buffer *buffer, const void *data, uint64_t length,
		  struct error *err);

/* What is to be sent, from iov where it is in memory: both, and the buffer,
 * live until it is. */
int s3_buffer_payload(struct s3_buffer *buffer, const struct s3_bucket *bucket,
		      struct iovec *iov, struct s3_payload *payload,
		      struct error *err);

/* Frees it, too; NULL is legal. */
void s3_buffer_free(struct s3_buffer *buffer);

#endif
