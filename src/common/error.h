/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The one error value. A function that can fail returns 0 or -1 (or a pointer
 * or NULL), takes `struct error *err` last and leaves it alone on success.
 * Each layer adds its noun with error_prefix() while passing the error up;
 * only fs/ turns a kind into an errno. */
#ifndef VMIEFS_ERROR_H
#define VMIEFS_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

/* A kind decides what callers do; the text tells the user what happened. */
enum error_kind {
	ERR_NONE = 0,
	ERR_ARG,         /* the caller's request makes no sense: EINVAL */
	ERR_NOT_FOUND,   /* no such object, member or name: ENOENT */
	ERR_EXISTS,      /* the name is taken already: EEXIST */
	ERR_DENIED,      /* the store refuses: EACCES */
	ERR_CORRUPT,     /* bytes contradict their format; final: EIO */
	ERR_UNSUPPORTED, /* understood but not handled: EOPNOTSUPP */
	ERR_LIMIT,       /* above a stated cap: EFBIG */
	ERR_NOMEM,       /* memory or the memory budget: ENOMEM */
	ERR_IO,          /* a local read or write failed: EIO */
	ERR_NETWORK,     /* a remote store failed; worth a retry: EIO */
	ERR_TIMEOUT,     /* a deadline passed: ETIMEDOUT */
	ERR_STALE,       /* the object was replaced since its open: ESTALE */
	ERR_AGAIN,       /* only from SOURCE_NOWAIT calls: would block */
	ERR_CANCELLED,   /* the caller gave up: EINTR */
	ERR_BUG,         /* our own mistake: EIO */
};

/* What a server's answer adds to an error; all zero where none is behind. */
struct error_remote {
	int http_status;
	unsigned int attempts;       /* tries made, by the retry decorator */
	unsigned int retry_after_ms; /* what the server asked for */
	char code[48];               /* of S3: "SlowDown" */
	char request_id[80];
};

/* A plain value on the caller's stack; needs no freeing. Zero-initialise. */
struct error {
	enum error_kind kind;
	int errnum;      /* errno behind it, or 0 */
	struct error_remote remote;
	char text[512];  /* lower case, no full stop, no newline */
};

/* Set err (which may be NULL) from kind and a printf format; the rest of it is
 * zeroed. Returns -1, so that `return error_set(...)` is the way to fail. */
int error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_set() for a failed system call: the text gets ": strerror", the
 * kind follows errnum (ENOENT -> ERR_NOT_FOUND, EEXIST -> ERR_EXISTS,
 * EACCES/EPERM -> ERR_DENIED, ENOMEM -> ERR_NOMEM, ESTALE -> ERR_STALE,
 * otherwise ERR_IO, which keeps errnum for the user). Returns -1. */
int error_errno(struct error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "NOUN: " in front of the text (cut at the end if it gets too long).
 * Returns -1. Does nothing where err is NULL or not set. */
int error_prefix(struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Short for the out-of-memory case. Returns -1. */
int error_nomem(struct error *err);

/* Forget what err holds. */
void error_clear(struct error *err);

/* The errno that a user of the file system sees for this error. */
int error_to_errno(const struct error *err);

/* Does this kind tell about the moment (the network, memory, who asked) and
 * not about the object? Then nothing is to be concluded from it, and the same
 * may go well the next time. */
bool error_is_passing(enum error_kind kind);

/* "corrupt", "not-found", ... for control/errors and --json. */
const char *error_kind_name(enum error_kind kind);

#endif
