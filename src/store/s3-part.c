/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The bytes of one part. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/scratch.h"
#include "store/s3-part.h"

static const char zeroes[64 << 10];

static int open_sums(struct s3_buffer *buffer, bool is_signed,
		     struct error *err)
{
	buffer->md5 = EVP_MD_CTX_new();
	if (is_signed)
		buffer->sha256 = EVP_MD_CTX_new();
	if (!buffer->md5 || !EVP_DigestInit_ex(buffer->md5, EVP_md5(), NULL))
		return error_set(err, ERR_NOMEM, "no MD5 can be computed");
	if (is_signed &&
	    (!buffer->sha256 ||
	     !EVP_DigestInit_ex(buffer->sha256, EVP_sha256(), NULL)))
		return error_set(err, ERR_NOMEM, "no SHA-256 can be computed");
	return 0;
}

int s3_buffer_spool(struct s3_buffer *buffer, struct scratch *scratch,
		    uint64_t size, struct error *err)
{
	if (scratch_reserve(scratch, size, NULL))
		return error_errno(err, ENOSPC, "a large part needs %llu bytes "
				   "of scratch space, and others have too much "
				   "of the %llu bytes of -o scratch-size=",
				   (unsigned long long)size,
				   (unsigned long long)
				   scratch_stats(scratch).limit);
	buffer->scratch = scratch;
	buffer->from_scratch = size;
	return 0;
}

int s3_buffer_init(struct s3_buffer *buffer, unsigned int number,
		   uint64_t size, bool is_signed, struct error *err)
{
	void *data;

	buffer->number = number;
	buffer->size = size;
	buffer->file = -1;
	if (buffer->scratch) {
		buffer->file = scratch_open_file(buffer->scratch, err);
		return buffer->file < 0 ? -1 :
					  open_sums(buffer, is_signed, err);
	}
	data = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		return error_nomem(err);
	buffer->data = data;
	return 0;
}

static int add_sums(struct s3_buffer *buffer, const void *data, size_t n,
		    struct error *err)
{
	if (!EVP_DigestUpdate(buffer->md5, data, n) ||
	    (buffer->sha256 && !EVP_DigestUpdate(buffer->sha256, data, n)))
		return error_set(err, ERR_NOMEM, "no sums can be computed");
	return 0;
}

static int write_file(struct s3_buffer *buffer, const char *data, size_t n,
		      struct error *err)
{
	while (n) {
		ssize_t done = pwrite(buffer->file, data, n,
				      (off_t)buffer->used);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return error_errno(err, errno, "scratch=%s: cannot "
					   "write a part",
					   scratch_dir(buffer->scratch));
		if (add_sums(buffer, data, (size_t)done, err))
			return -1;
		buffer->used += (uint64_t)done;
		data += done;
		n -= (size_t)done;
	}
	return 0;
}

static int add_to_file(struct s3_buffer *buffer, const char *data, uint64_t n,
		       struct error *err)
{
	uint64_t end = buffer->used + n;

	while (buffer->used < end) {
		size_t length = (size_t)min_u64(end - buffer->used,
						data ? 1u << 30 :
						sizeof(zeroes));

		if (write_file(buffer, data ? data : zeroes, length, err))
			return -1;
		data = data ? data + length : NULL;
	}
	return 0;
}

int s3_buffer_add(struct s3_buffer *buffer, const void *data, uint64_t length,
		  struct error *err)
{
	if (!buffer->data)
		return add_to_file(buffer, data, length, err);
	if (data)
		memcpy(buffer->data + buffer->used, data, length);
	buffer->used += length;
	return 0;
}

static int end_sums(struct s3_buffer *buffer, struct s3_payload *payload,
		    struct error *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (!EVP_DigestFinal_ex(buffer->md5, payload->md5, NULL) ||
	    (buffer->sha256 &&
	     !EVP_DigestFinal_ex(buffer->sha256, digest, NULL)))
		return error_set(err, ERR_NOMEM, "no sums can be computed");
	if (buffer->sha256)
		sigv4_hex(payload->hash, digest);
	else
		snprintf(payload->hash, sizeof(payload->hash), "%s",
			 SIGV4_UNSIGNED);
	return 0;
}

int s3_buffer_payload(struct s3_buffer *buffer, const struct s3_bucket *bucket,
		      struct iovec *iov, struct s3_payload *payload,
		      struct error *err)
{
	*payload = (struct s3_payload){ .bytes = buffer->used,
					.file = buffer->file };
	if (buffer->md5)
		return end_sums(buffer, payload, err);
	*iov = (struct iovec){ buffer->data, buffer->used };
	payload->iov = iov;
	payload->iovcnt = 1;
	return s3_payload_digest(bucket, payload, err);
}

void s3_buffer_free(struct s3_buffer *buffer)
{
	if (!buffer)
		return;
	if (buffer->data)
		munmap(buffer->data, buffer->size);
	if (buffer->scratch) {
		scratch_release(buffer->scratch, buffer->from_scratch);
		if (buffer->file >= 0)
			close(buffer->file);
	}
	EVP_MD_CTX_free(buffer->md5);
	EVP_MD_CTX_free(buffer->sha256);
	free(buffer);
}
