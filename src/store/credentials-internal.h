/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Shared by the files of credentials: sources of keys, which make a tree (a
 * role has the source of the keys that ask for it below), and the profiles.
 *
 *   credentials.c          what others see, and the thread that renews
 *   credentials-chain.c    which source it is: environment and profiles
 *   credentials-process.c  credential_process
 *   sts.c                  roles and web identities
 *   metadata.c             container endpoint and IMDSv2
 *   profile.c, ini.c       ~/.aws
 *   key-set.c, secret.c    keys, and how they are cleared
 *
 * Threads: a source is fetched from by one thread at a time. */
#ifndef VMIEFS_CREDENTIALS_INTERNAL_H
#define VMIEFS_CREDENTIALS_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "store/credentials.h"
#include "store/http.h"

#define KEYS_BODY_MAX (64u << 10) /* bytes of an answer with keys */
#define TOKEN_MAX     (16u << 10) /* bytes of a token in a file */

/* What a source may use while it fetches. */
struct fetching {
	struct http *http;
	int stop_fd;              /* readable: give up; -1: never */
	_Atomic(const char *) *asking; /* the origin of who is waited for */
	const char *region;       /* for STS; NULL: the global one */
	const char *sts_endpoint; /* NULL: AWS's */
};

struct key_source;

struct key_source_ops {
	/* Keys that are valid now; their origin may be left NULL, errors begin
	 * with it. ERR_NETWORK where it is worth another try later; otherwise
	 * somebody has to do something about it. */
	int (*fetch)(struct key_source *source,
		     const struct fetching *fetching, struct key_set **out,
		     struct error *err);
	void (*close)(struct key_source *source);
};

/* First member of each. */
struct key_source {
	const struct key_source_ops *ops;
	char *origin; /* "role arn:... of profile x"; owned */
};

/* fetch(), and keys that have ended are an error. */
int key_source_fetch(struct key_source *source,
		     const struct fetching *fetching, struct key_set **out,
		     struct error *err);
void key_source_close(struct key_source *source); /* NULL is legal */

/* *out is NULL on failure; origin is copied, and so are paths and commands,
 * which are relative to the working directory of this moment. */
int fixed_source_new(struct key_source **out, const char *origin,
		     struct key_set *set /* a reference is added */,
		     struct error *err);
int process_source_new(struct key_source **out, const char *origin,
		       const char *command, struct error *err);
int container_source_new(struct key_source **out, struct error *err);

/* Is there a container endpoint (AWS_CONTAINER_CREDENTIALS_..._URI)? */
bool container_is_there(void);
/* endpoint and mode of the profile, which the environment overrides; NULL:
 * none. before: what was tried, for the message when there is no IMDS. */
int imds_source_new(struct key_source **out, const char *endpoint,
		    const char *mode, const char *before, struct error *err);

/* What AssumeRole and AssumeRoleWithWebIdentity ask for. */
struct role_options {
	const char *arn;
	const char *session_name; /* NULL: made from the time */
	const char *external_id;  /* NULL: none */
	const char *duration;     /* seconds, as written; NULL: an hour */
	const char *token_file;   /* web identity; NULL: none */
};

/* base asks for the role; it is taken over on success, NULL for a web
 * identity. */
int role_source_new(struct key_source **out, const char *origin,
		    const struct role_options *options,
		    struct key_source *base, struct error *err);

/* The tree for environment and profiles. is_fixed: what it gives never
 * changes. */
struct profiles;
int chain_new(struct key_source **out, bool *is_fixed,
	      const struct profiles *profiles, bool is_explicit,
	      struct error *err);

/* The profile's files. Missing ones are empty. What the environment names is
 * relative to directory. */
int profiles_new(struct profiles **out, const char *profile,
		 const char *directory, struct error *err);
void profiles_free(struct profiles *profiles); /* NULL is legal */
const char *profiles_name(const struct profiles *profiles);
bool profiles_has(const struct profiles *profiles, const char *profile);
/* The credentials file's value, else the config file's; NULL: none, or "". */
const char *profiles_get(const struct profiles *profiles, const char *profile,
			 const char *key);
/* endpoint_url of a service ("s3"): its own, else the profile's. */
const char *profiles_endpoint(const struct profiles *profiles,
			      const char *service);
/* Keys that the profile has itself, of one file; *out is NULL without. */
int profiles_keys(const struct profiles *profiles, const char *profile,
		  struct key_set **out, struct error *err);
/* "~/.aws/credentials", "~/.aws/config", or what replaces them. */
const char *profiles_credentials_path(const struct profiles *profiles);
const char *profiles_config_path(const struct profiles *profiles);

/* The variable's value, NULL where it is unset or empty. */
const char *environment(const char *name);
/* The working directory; "/" where it is none any more. NULL: no memory. */
char *working_directory(void);
/* path, seen from directory. "~" is for its user. NULL: no memory. */
char *path_from(const char *directory, const char *path);
/* As environment(), "true" in any case. */
bool environment_is_true(const char *name);

/* Copies all; token and origin may be NULL. ERR_CORRUPT for keys that cannot
 * be sent: empty, too long, control characters. */
int key_set_new(struct key_set **out, const struct sigv4_keys *keys,
		int64_t expires, const char *origin, struct error *err);
struct key_set *key_set_ref(struct key_set *set);

/* Has it less than this many seconds left? */
bool key_set_ends_within(const struct key_set *set, int64_t seconds);

/* Keys from JSON as processes and metadata services write it: AccessKeyId,
 * SecretAccessKey, token_name, Expiration. is_process: Version has to be 1. */
int key_set_from_json(struct key_set **out, const struct strbuf *text,
		      const char *token_name, bool is_process,
		      struct error *err);

/* "2026-11-21T04:00:00Z", with fraction or offset, in seconds since 1970. */
int parse_timestamp(const char *text, int64_t *seconds, struct error *err);

/* Seconds that the server's clock is ahead of ours by an answer's Date; 0
 * where there is none. */
int64_t clock_ahead(const struct http_response *response);

/* Wait; false if it is time to stop. */
bool pause_ms(const struct fetching *fetching, unsigned int ms);

/* A pause before try `attempt` (0: none): doubled each time, with jitter. */
bool pause_before(const struct fetching *fetching, unsigned int attempt);

#endif
