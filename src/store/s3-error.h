/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What an S3 server means by an answer that is no success: the XML of an
 * error, and the kind and sentence that it becomes. Pure functions. */
#ifndef VMIEFS_S3_ERROR_H
#define VMIEFS_S3_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "store/http.h"
#include "store/s3-url.h"

/* What is of use in the body and headers; "" where it is not said. */
struct s3_fault {
	int status;
	char code[48];
	char message[160];         /* cleaned: printable, one line */
	char region[S3_REGION_MAX]; /* where the bucket is; valid */
	char endpoint[S3_HOST_MAX]; /* where to turn to */
	char bucket[S3_HOST_MAX];   /* what the server took for its name */
	char storage_class[32];
	char request_id[80];
	unsigned int retry_after_ms;
	bool is_html;
};

/* text may be NULL or anything at all. */
void s3_fault_read(struct s3_fault *out, const struct http_response *response,
		   const char *text, size_t len);

/* Is it a web page and no answer of S3's? */
bool s3_is_html(const char *text, size_t len);

/* Is its code one of a NULL-ended list? */
bool s3_fault_is_one_of(const struct s3_fault *fault,
			const char *const *codes);

/* Does it say that the bucket is in another region, or elsewhere? */
bool s3_fault_is_elsewhere(const struct s3_fault *fault);

/* Whose request it was; "" for what does not apply. */
struct s3_asker {
	const char *bucket, *host;
	const char *region;     /* signed for */
	bool region_is_given;   /* by an option, and so not to be changed */
	const char *access_key; /* "" = not signed */
	const char *origin;     /* of the key: "profile x" */
	const char *token;      /* a secret that no message may repeat */
};

/* Fill err->remote from it; err may be NULL. */
void s3_fault_remote(const struct s3_fault *fault, struct error *err);

/* Set err from it. Returns -1. */
int s3_fault_error(const struct s3_fault *fault, const struct s3_asker *asker,
		   struct error *err);

#endif
