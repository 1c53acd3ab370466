/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Where the keys for signing come from, in the order of the SDKs: environment,
 * web identity, profile (keys, role, process), container endpoint, IMDSv2.
 * One object serves all buckets of a mount; keys that end are renewed before
 * they do, by one thread for all. Secrets never reach a message or the log.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_CREDENTIALS_H
#define VMIEFS_CREDENTIALS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "store/http.h"
#include "store/sigv4.h"

struct credentials;

struct credentials_options {
	const char *profile; /* NULL: AWS_PROFILE, else "default" */
	const char *region;  /* for STS; NULL: the profile's, else global */
	bool is_anonymous;   /* there are none, and requests go unsigned */
};

/* One set of keys; immutable, counted. */
struct key_set {
	atomic_uint refs;
	struct sigv4_keys keys; /* owned; both "" when anonymous */
	int64_t expires;        /* seconds since 1970; 0 = never */
	const char *origin;     /* "environment", "profile x", ...: messages */
};

/* Reads environment and files only. http is referenced. No thread, no
 * network. ERR_ARG for a profile that does not exist or makes no sense;
 * ERR_UNSUPPORTED for one that needs `sso`, with the way out. */
int credentials_new(struct credentials **out, struct http *http,
		    const struct credentials_options *options,
		    struct error *err);
int credentials_start(struct credentials *credentials, struct error *err);
/* Whoever waits for keys gets ERR_CANCELLED, and so does who comes later and
 * would have to. Does not wait; a request to a server ends by http_cancel(). */
void credentials_cancel(struct credentials *credentials);
struct credentials *credentials_ref(struct credentials *credentials);
void credentials_unref(struct credentials *credentials); /* NULL is legal */

/* Valid keys, waiting so long for them if there are none yet; released by
 * key_set_unref(). ERR_DENIED when no source has any, with what was tried;
 * ERR_NETWORK when a source did not answer, ERR_TIMEOUT when it has not yet
 * (it goes on: the next call may find keys), ERR_CANCELLED. */
int credentials_get(struct credentials *credentials, struct key_set **out,
		    unsigned int timeout_ms, struct error *err);
void key_set_unref(struct key_set *set); /* NULL is legal */

/* The server says that these have expired: the next get() waits for others.
 * False if there can be none (fixed keys). */
bool credentials_refresh(struct credentials *credentials,
			 const struct key_set *expired);

/* The region that environment or profile name; NULL if none does. Borrowed. */
const char *credentials_region(const struct credentials *credentials);
/* endpoint_url of AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile. */
const char *credentials_endpoint(const struct credentials *credentials);

#endif
