/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sources that are not here: the options of S3 and HTTPS stores, the same for
 * all commands, and the part of a URL that is a secret. */
#ifndef VMIEFS_REMOTE_H
#define VMIEFS_REMOTE_H

#include <stdbool.h>

#include "common/error.h"
#include "options.h"
#include "store/store.h"

/* Filled by the rows below. */
struct remote_options {
	char *endpoint, *region, *profile, *ca_bundle;
	unsigned int addressing; /* enum s3_addressing */
	unsigned int timeout_ms;
	bool is_anonymous, requester_pays, unsigned_payload;
};

extern const char *const remote_addressings[];
extern const char remote_no_secrets[];

#define REMOTE_ROW(form_, owner, field, name_, type_, member_, help_, ...)     \
	{ .name = name_, .form = form_, .type = type_,                         \
	  .offset = offsetof(owner, field.member_), .since = "0.1",            \
	  .help = help_, ##__VA_ARGS__ }

#define REMOTE_REFUSED(form_, name_)                                           \
	{ .name = name_, .form = form_, .type = OPTION_REFUSED,                \
	  .help = remote_no_secrets }

/* Their rows in one form or the other, for a command whose struct `owner` has
 * them as `field`. Behind all other rows, since those for what may be a secret
 * match by the start of a name. */
#define REMOTE_ROWS(form_, owner, field)                                       \
	REMOTE_ROW(form_, owner, field, "addressing", OPTION_CHOICE,           \
		   addressing, "where the bucket's name goes: into the path, " \
		   "or in front of the host (virtual)", .argument = "STYLE",   \
		   .fallback = "auto", .choices = remote_addressings),         \
	REMOTE_ROW(form_, owner, field, "anonymous", OPTION_FLAG,              \
		   is_anonymous, "do not sign requests: for public buckets"),  \
	REMOTE_ROW(form_, owner, field, "ca-bundle", OPTION_TEXT, ca_bundle,   \
		   "file of the certificates (PEM) that a server's must lead " \
		   "to", .argument = "FILE"),                                  \
	REMOTE_ROW(form_, owner, field, "endpoint", OPTION_TEXT, endpoint,     \
		   "server that speaks S3, instead of AWS",                    \
		   .argument = "URL"),                                         \
	REMOTE_ROW(form_, owner, field, "profile", OPTION_TEXT, profile,       \
		   "profile of ~/.aws with the credentials",                   \
		   .argument = "NAME"),                                        \
	REMOTE_ROW(form_, owner, field, "region", OPTION_TEXT, region,         \
		   "region of the bucket; found out where it is not given",    \
		   .argument = "NAME"),                                        \
	REMOTE_ROW(form_, owner, field, "requester-pays", OPTION_FLAG,         \
		   requester_pays, "agree to pay for requests to buckets of "  \
		   "others"),                                                  \
	REMOTE_ROW(form_, owner, field, "store-timeout", OPTION_DURATION,      \
		   timeout_ms, "deadline of one request to the store with all" \
		   " its retries", .argument = "TIME", .fallback = "60",       \
		   .unit = "seconds", .min = 100, .max = 86400000),            \
	REMOTE_ROW(form_, owner, field, "unsigned-payload", OPTION_FLAG,       \
		   unsigned_payload, "do not sign what is sent, also without " \
		   "TLS"),                                                     \
	REMOTE_REFUSED(form_, "access*"),                                      \
	REMOTE_REFUSED(form_, "aws*"),                                         \
	REMOTE_REFUSED(form_, "credential*"),                                  \
	REMOTE_REFUSED(form_, "key*"),                                         \
	REMOTE_REFUSED(form_, "passw*"),                                       \
	REMOTE_REFUSED(form_, "secret*"),                                      \
	REMOTE_REFUSED(form_, "session*"),                                     \
	REMOTE_REFUSED(form_, "token*")

/* Is it a URL of something remote (s3://, https://)? */
bool remote_is_url(const char *source);

/* "s3://" and nothing behind it: all buckets. */
bool remote_is_service(const char *source);

/* What the store is opened with; texts are borrowed from options. The name of
 * the certificates' file becomes absolute, since a daemon leaves its folder.
 * ERR_NOT_FOUND where there is none. */
int remote_fill(struct store_options *out, struct remote_options *options,
		struct error *err);

/* The source that a word of the command line names, for the caller to free.
 * The query of a URL is a secret where it is a signature: it is wiped from the
 * word, so that neither ps(1) nor a message shows it. "-" is a line of
 * standard input: then it was never there. ERR_ARG where that has none. */
int remote_take_source(char **out, char *word, struct error *err);

#endif
