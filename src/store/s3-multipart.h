/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The calls of a multipart upload: begin, parts in any order and in parallel,
 * complete or abort; and what is there of them. Each call is tried again by
 * itself (s3-send.h) and its answer is not believed without reason: parts go
 * with their MD5, an error inside of an answer of 200 is one, and where the
 * answer to CompleteMultipartUpload is lost the object itself is asked for.
 *
 * Threads: calls for one upload may be made from any thread; parts in
 * parallel. */
#ifndef VMIEFS_S3_MULTIPART_H
#define VMIEFS_S3_MULTIPART_H

#include "store/s3-client.h"
#include "store/s3-send.h"

#define S3_PARTS_MAX     10000
#define S3_PART_MIN      (5u << 20)   /* bytes, but of the last one */
#define S3_PART_MAX      (5ull << 30)
#define S3_OBJECT_MAX    (5ull << 40)
#define S3_UPLOAD_ID_MAX 1024         /* with the NUL */
#define S3_MD5_BYTES     16
#define S3_HEADERS_MAX   48           /* of who makes an object */

/* One upload. Texts are borrowed from whoever has it. */
struct s3_upload {
	struct s3_bucket *bucket;
	const char *key;
	char id[S3_UPLOAD_ID_MAX]; /* "": there is none */
	const atomic_bool *cancelled; /* ends all but abort; or NULL */
	int64_t begun_ns;          /* by the server's clock; set by begin */
	uint64_t intent;           /* in the journal; set by begin */
	bool is_copy;              /* of one object, by whose headers it is
				    * begun: not by the client's for new ones */
};

/* CreateMultipartUpload. headers (NULL-ended, or NULL) say what the object is
 * to be besides its bytes, and besides what the client's options say. */
int s3_upload_begin(struct s3_upload *upload, const char *const *headers,
		    struct error *err);

/* Bytes to be sent, with what is known of them. */
struct s3_payload {
	const struct iovec *iov;      /* NULL: file */
	int iovcnt;
	int file;
	uint64_t bytes;
	unsigned char md5[S3_MD5_BYTES];
	char hash[SIGV4_HASH_SIZE];   /* to be signed */
};

/* Set md5 and hash of a payload that has an iov. */
int s3_payload_digest(const struct s3_bucket *bucket,
		      struct s3_payload *payload, struct error *err);

/* PutObject: all of an object at once, of at most S3_PART_MAX bytes; nothing is
 * begun, upload only says what it is to be. headers (NULL-ended, or NULL) as
 * for s3_upload_begin(), with the condition among them; without one, an object
 * that is there is replaced. info as of s3_upload_complete(). */
int s3_put(const struct s3_upload *upload, const char *const *headers,
	   const struct s3_payload *payload, struct object_info *info,
	   struct error *err);

/* What the server has of a part. */
struct s3_part {
	unsigned int number;     /* from 1 */
	uint64_t size;
	char etag[STORE_ETAG_MAX];
	bool etag_is_md5;
	unsigned char md5[S3_MD5_BYTES]; /* then */
	int64_t stored_ns; /* since 1970, in a list; 0: not said */
};

/* UploadPart. The server compares the MD5, and so do we where its ETag is
 * one. */
int s3_upload_part(const struct s3_upload *upload, unsigned int number,
		   const struct s3_payload *payload, struct s3_part *part,
		   struct error *err);

/* The ETag that an object of these parts has: the MD5 of their MD5s. False
 * where not all of them are known by MD5. */
bool s3_parts_etag(const struct s3_part *parts, unsigned int count,
		   char etag[STORE_ETAG_MAX]);

/* CompleteMultipartUpload of parts in ascending order, if the object is what
 * `condition` says: a header, NULL: none. Then info is what HEAD says, and
 * that it is this object was compared: by size, and by ETag where that is an
 * MD5. ERR_STALE where somebody else's has replaced it since. */
int s3_upload_complete(const struct s3_upload *upload, const char *condition,
		       const struct s3_part *parts, unsigned int count,
		       struct object_info *info, struct error *err);

/* AbortMultipartUpload. An upload that is gone is no error, but is said. Not
 * ended by upload->cancelled. */
int s3_upload_abort(const struct s3_upload *upload, bool *was_gone,
		    struct error *err);

/* The same in the background, as long as the bucket is there; what fails then
 * is in the log with key and id. */
void s3_upload_abort_later(const struct s3_upload *upload);

/* An upload that was begun and has not ended. Valid during the callback. */
struct s3_pending {
	const char *key, *id;
	int64_t initiated_ns; /* since 1970; 0: not said */
};

/* ListMultipartUploads of all keys that begin with prefix, page by page.
 * Return -1 with err set to stop. */
typedef int s3_pending_fn(void *arg, const struct s3_pending *pending,
			  struct error *err);
int s3_uploads_list(struct s3_bucket *bucket, const char *prefix,
		    s3_pending_fn *fn, void *arg, struct error *err);

/* ListParts: numbers, sizes and ETags. */
typedef int s3_part_fn(void *arg, const struct s3_part *part,
		       struct error *err);
int s3_parts_list(const struct s3_upload *upload, s3_part_fn *fn, void *arg,
		  struct error *err);

/* For whoever copies parts: what CompleteMultipartUpload is to be told, made
 * of an ETag as a server sends it. ERR_NETWORK where it is none. */
int s3_part_set(const struct s3_bucket *bucket, struct s3_part *part,
		unsigned int number, uint64_t size,
		const struct http_response *response, const char *etag,
		struct error *err);

/* For the same: the query that says which part. */
void s3_part_query(const struct s3_upload *upload, unsigned int number,
		   struct strbuf *out);

#endif
