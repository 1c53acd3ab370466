/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * AWS Signature Version 4 over libcrypto: requests are signed by their
 * headers. Pure functions of their arguments; thread-safe. */
#ifndef VMIEFS_SIGV4_H
#define VMIEFS_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/strbuf.h"

#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGV4_HASH_SIZE 65 /* SHA-256 in hex with its NUL */

struct sigv4_keys {
	const char *access_key, *secret_key;
	const char *session_token; /* NULL: none */
};

/* What is signed. path and query are as they go out: path percent-encoded
 * once, query already sorted or not, "a=b&c=d", values encoded. */
struct sigv4_request {
	const char *method, *path, *query;
	const char *const *headers; /* "Name: value", NULL-ended: host and all
				     * others to be signed, in any order */
	const char *payload_hash;   /* hex SHA-256, or SIGV4_UNSIGNED */
	const char *region, *service; /* "us-east-1", "s3" */
	int64_t time;               /* seconds since 1970 */
	bool normalise_path;        /* services other than S3: dot segments
				     * and "//" are resolved and the path is
				     * encoded twice */
};

/* Hex SHA-256 of data. */
void sigv4_hash(char hex[SIGV4_HASH_SIZE], const void *data, size_t len);

/* A digest of 32 bytes in hex. */
void sigv4_hex(char hex[SIGV4_HASH_SIZE], const unsigned char *digest);

/* "20130524T000000Z", 17 bytes with the NUL. */
void sigv4_date(char text[17], int64_t time);

/* Percent-encode all but A-Z a-z 0-9 - . _ ~, and '/' where keep_slash. */
void uri_encode(struct strbuf *out, const char *text, bool keep_slash);

/* The canonical request, for tests and for messages about a wrong signature
 * (it holds no secret but the session token). */
int sigv4_canonical(const struct sigv4_request *request, struct strbuf *out,
		    struct error *err);

/* The value of the Authorization header. headers must hold x-amz-date and,
 * with a token, x-amz-security-token already. */
int sigv4_authorization(const struct sigv4_request *request,
			const struct sigv4_keys *keys, struct strbuf *out,
			struct error *err);

#endif
