/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Which source of keys it is. As in the SDKs, what is configured decides, not
 * what works: a role that cannot be had is an error, not a reason to go on
 * with the next source and become somebody else. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "store/credentials-internal.h"

#define CHAIN_MAX  16 /* profiles that name one another */
#define ORIGIN_MAX 4096

struct chain {
	const struct profiles *profiles;
	const char *visited[CHAIN_MAX];
	unsigned int depth;
};

/* Keys that stay, and where there are none, why. */
struct fixed_source {
	struct key_source source;
	struct key_set *set;
};

static int fixed_fetch(struct key_source *source,
		       const struct fetching *fetching, struct key_set **out,
		       struct error *err)
{
	struct fixed_source *fixed = (struct fixed_source *)source;

	*out = key_set_ref(fixed->set);
	return 0;
}

static void fixed_close(struct key_source *source)
{
	struct fixed_source *fixed = (struct fixed_source *)source;

	key_set_unref(fixed->set);
	free(fixed);
}

static const struct key_source_ops fixed_ops = {
	.fetch = fixed_fetch,
	.close = fixed_close,
};

int fixed_source_new(struct key_source **out, const char *origin,
		     struct key_set *set, struct error *err)
{
	struct fixed_source *fixed = calloc(1, sizeof(*fixed));
	char *copy = strdup(origin);

	if (!fixed || !copy) {
		free(fixed);
		free(copy);
		return error_nomem(err);
	}
	fixed->source.ops = &fixed_ops;
	fixed->source.origin = copy;
	fixed->set = key_set_ref(set);
	*out = &fixed->source;
	return 0;
}

/* *out stays NULL where the environment has no keys. */
static int environment_source(struct key_source **out, struct error *err)
{
	struct sigv4_keys keys = {
		.access_key = environment("AWS_ACCESS_KEY_ID"),
		.secret_key = environment("AWS_SECRET_ACCESS_KEY"),
		.session_token = environment("AWS_SESSION_TOKEN"),
	};
	struct key_set *set = NULL;
	int ret;

	if (!keys.access_key && !keys.secret_key)
		return 0;
	if (!keys.access_key || !keys.secret_key)
		return error_set(err, ERR_ARG, "%s is set, but %s is not",
				 keys.access_key ? "AWS_ACCESS_KEY_ID" :
						   "AWS_SECRET_ACCESS_KEY",
				 keys.access_key ? "AWS_SECRET_ACCESS_KEY" :
						   "AWS_ACCESS_KEY_ID");
	if (!keys.session_token)
		keys.session_token = environment("AWS_SECURITY_TOKEN");
	if (key_set_new(&set, &keys, 0, "environment", err) < 0)
		return error_prefix(err, "environment");
	ret = fixed_source_new(out, "environment", set, err);
	key_set_unref(set);
	return ret;
}

/* *out stays NULL where the environment names no web identity. */
static int web_identity_source(struct key_source **out, struct error *err)
{
	struct role_options options = {
		.arn = environment("AWS_ROLE_ARN"),
		.session_name = environment("AWS_ROLE_SESSION_NAME"),
		.token_file = environment("AWS_WEB_IDENTITY_TOKEN_FILE"),
	};

	if (!options.token_file)
		return 0;
	if (!options.arn)
		return error_set(err, ERR_ARG, "AWS_WEB_IDENTITY_TOKEN_FILE is"
				 " set, but AWS_ROLE_ARN is not");
	return role_source_new(out, "web identity of the environment",
			       &options, NULL, err);
}

static int profile_source(struct key_source **out, struct chain *chain,
			  const char *profile, struct error *err);

static int named_source(struct key_source **out, const struct chain *chain,
			const char *name, struct error *err)
{
	if (!strcmp(name, "Environment")) {
		if (environment_source(out, err) < 0 || *out)
			return *out ? 0 : -1;
		return error_set(err, ERR_ARG, "credential_source is"
				 " Environment, but AWS_ACCESS_KEY_ID is not"
				 " set");
	}
	if (!strcmp(name, "EcsContainer")) {
		if (container_is_there())
			return container_source_new(out, err);
		return error_set(err, ERR_ARG, "credential_source is"
				 " EcsContainer, but"
				 " AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is"
				 " not set");
	}
	if (!strcmp(name, "Ec2InstanceMetadata")) {
		const char *profile = profiles_name(chain->profiles);

		return imds_source_new(out,
			profiles_get(chain->profiles, profile,
				     "ec2_metadata_service_endpoint"),
			profiles_get(chain->profiles, profile,
				     "ec2_metadata_service_endpoint_mode"),
			"", err);
	}
	return error_set(err, ERR_ARG, "credential_source '%s' is none of"
			 " Environment, EcsContainer and Ec2InstanceMetadata",
			 name);
}

static int check_not_visited(const struct chain *chain, const char *profile,
			     struct error *err)
{
	for (unsigned int i = 0; i < chain->depth; i++)
		if (!strcmp(chain->visited[i], profile))
			return error_set(err, ERR_ARG, "source_profile leads"
					 " back to profile '%s'", profile);
	if (chain->depth == CHAIN_MAX)
		return error_set(err, ERR_LIMIT,
				 "source_profile leads through more than %d"
				 " profiles", CHAIN_MAX);
	return 0;
}

/* The keys that ask for the role of `profile`. */
static int base_source(struct key_source **out, struct chain *chain,
		       const char *profile, struct error *err)
{
	const char *base = profiles_get(chain->profiles, profile,
					"source_profile");
	const char *named = profiles_get(chain->profiles, profile,
					 "credential_source");

	if (base && named)
		return error_set(err, ERR_ARG, "source_profile and"
				 " credential_source exclude each other");
	if (named)
		return named_source(out, chain, named, err);
	if (!base)
		return error_set(err, ERR_ARG, "role_arn needs source_profile,"
				 " credential_source or"
				 " web_identity_token_file");
	if (!profiles_has(chain->profiles, base))
		return error_set(err, ERR_ARG,
				 "its source_profile '%s' does not exist",
				 base);
	if (profile_source(out, chain, base, err) < 0)
		return -1;
	if (!*out)
		return error_set(err, ERR_ARG,
				 "its source_profile '%s' has no keys", base);
	return 0;
}

static int role_source(struct key_source **out, struct chain *chain,
		       const char *profile, const char *token_file,
		       struct error *err)
{
	const struct profiles *all = chain->profiles;
	struct role_options options = {
		.arn = profiles_get(all, profile, "role_arn"),
		.session_name = profiles_get(all, profile,
					     "role_session_name"),
		.external_id = profiles_get(all, profile, "external_id"),
		.duration = profiles_get(all, profile, "duration_seconds"),
		.token_file = token_file,
	};
	struct strbuf origin = { .max = ORIGIN_MAX };
	struct key_source *base = NULL;
	int ret = 0;

	if (profiles_get(all, profile, "mfa_serial"))
		return error_set(err, ERR_UNSUPPORTED, "mfa_serial needs"
				 " somebody who types a code; use"
				 " credential_process = aws configure"
				 " export-credentials --profile %s --format"
				 " process", profile);
	if (!options.arn)
		return error_set(err, ERR_ARG, "web_identity_token_file needs"
				 " role_arn");
	if (!token_file)
		ret = base_source(&base, chain, profile, err);
	strbuf_printf(&origin, "role of profile '%s'", profile);
	if (ret == 0)
		ret = role_source_new(out, origin.data ? origin.data : "role",
				      &options, base, err);
	if (ret < 0)
		key_source_close(base);
	strbuf_free(&origin);
	return ret;
}

static int keys_source(struct key_source **out, const struct chain *chain,
		       const char *profile, struct error *err)
{
	struct key_set *set = NULL;
	int ret = profiles_keys(chain->profiles, profile, &set, err);

	if (ret == 0 && set)
		ret = fixed_source_new(out, set->origin, set, err);
	key_set_unref(set);
	return ret;
}

static int refuse_sso(const struct chain *chain, const char *profile,
		      struct error *err)
{
	if (!profiles_get(chain->profiles, profile, "sso_session") &&
	    !profiles_get(chain->profiles, profile, "sso_start_url"))
		return 0;
	return error_set(err, ERR_UNSUPPORTED, "sso is not supported; let"
			 " another profile have credential_process = aws"
			 " configure export-credentials --profile %s --format"
			 " process", profile);
}

/* Keys go before a role where the profile asks for another one's role: then
 * it may name itself as its source, once. */
static int one_profile(struct key_source **out, struct chain *chain,
		       const char *profile, bool is_base, struct error *err)
{
	const struct profiles *all = chain->profiles;
	const char *token_file = profiles_get(all, profile,
					      "web_identity_token_file");
	const char *command = profiles_get(all, profile,
					   "credential_process");
	struct strbuf origin = { .max = ORIGIN_MAX };
	int ret;

	if (is_base && (keys_source(out, chain, profile, err) < 0 || *out))
		return *out ? 0 : -1;
	if (token_file || profiles_get(all, profile, "role_arn"))
		return role_source(out, chain, profile, token_file, err);
	if (keys_source(out, chain, profile, err) < 0 || *out)
		return *out ? 0 : -1;
	if (!command)
		return refuse_sso(chain, profile, err);
	strbuf_printf(&origin, "credential_process of profile '%s'", profile);
	ret = process_source_new(out, origin.data ? origin.data : "process",
				 command, err);
	strbuf_free(&origin);
	return ret;
}

/* *out stays NULL where the profile has no keys of any kind. */
static int profile_source(struct key_source **out, struct chain *chain,
			  const char *profile, struct error *err)
{
	unsigned int depth = chain->depth;
	bool is_self = depth && !strcmp(chain->visited[depth - 1], profile);
	int ret;

	if (!is_self && check_not_visited(chain, profile, err) < 0)
		return -1;
	if (is_self) {
		ret = keys_source(out, chain, profile, err);
		if (ret == 0 && !*out)
			ret = error_set(err, ERR_ARG, "source_profile leads"
					" back to itself");
	} else {
		chain->visited[chain->depth++] = profile;
		ret = one_profile(out, chain, profile, depth > 0, err);
		chain->depth = depth;
	}
	return ret < 0 ? error_prefix(err, "profile '%s'", profile) : 0;
}

/* What there is without anybody's configuration: a container's or an
 * instance's role. */
static int machine_source(struct key_source **out,
			  const struct profiles *profiles, bool is_explicit,
			  struct error *err)
{
	const char *profile = profiles_name(profiles);
	struct strbuf before = { .max = ORIGIN_MAX };
	bool is_known = profiles_has(profiles, profile);
	int ret;

	if (container_is_there())
		return container_source_new(out, err);
	strbuf_printf(&before, "%s, profile '%s' %s %s %s %s, no container"
		      " endpoint", is_explicit ?
		      "environment is not asked because of the profile" :
		      "environment has none", profile,
		      is_known ? "has no keys in" : "is in neither",
		      profiles_credentials_path(profiles),
		      is_known ? "or" : "nor", profiles_config_path(profiles));
	ret = imds_source_new(out,
			      profiles_get(profiles, profile,
					   "ec2_metadata_service_endpoint"),
			      profiles_get(profiles, profile,
				"ec2_metadata_service_endpoint_mode"),
			      before.data ? before.data : "", err);
	strbuf_free(&before);
	return ret;
}

int chain_new(struct key_source **out, bool *is_fixed,
	      const struct profiles *profiles, bool is_explicit,
	      struct error *err)
{
	const char *profile = profiles_name(profiles);
	struct chain chain = { .profiles = profiles };

	*out = NULL;
	*is_fixed = false;
	/* A profile that is asked for by name has to be there, even if it is
	 * only read for its region. */
	if ((is_explicit || strcmp(profile, "default") != 0) &&
	    !profiles_has(profiles, profile))
		return error_set(err, ERR_ARG,
				 "profile '%s' is in neither %s nor %s",
				 profile, profiles_credentials_path(profiles),
				 profiles_config_path(profiles));
	if (!is_explicit && environment_source(out, err) < 0)
		return -1;
	if (!*out && !is_explicit && web_identity_source(out, err) < 0)
		return -1;
	if (!*out && profile_source(out, &chain, profile, err) < 0)
		return -1;
	if (!*out && machine_source(out, profiles, is_explicit, err) < 0)
		return -1;
	*is_fixed = (*out)->ops == &fixed_ops;
	return 0;
}
