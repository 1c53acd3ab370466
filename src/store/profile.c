/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Profiles: [x] of the credentials file and [profile x] of the config file
 * are one, in which the credentials file has the last word. */
#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "store/credentials-internal.h"
#include "store/ini.h"

struct profiles {
	char *name; /* the one that is asked for */
	char *credentials_path, *config_path;
	struct ini *credentials, *config;
};

static char *home_directory(void)
{
	const char *home = environment("HOME");
	struct passwd entry, *found = NULL;
	char buffer[4096];

	if (home)
		return strdup(home);
	if (getpwuid_r(getuid(), &entry, buffer, sizeof(buffer), &found) != 0 ||
	    !found)
		return NULL;
	return strdup(found->pw_dir);
}

/* path with "~/" at its start made the home directory. */
static char *expand(const char *directory, const char *path)
{
	struct strbuf out = { .max = 1 << 16 };
	AUTO_FREE char *home = NULL;

	if (strncmp(path, "~/", 2) != 0)
		return path_from(directory, path);
	home = home_directory();
	if (!home)
		return strdup("/nonexistent");
	strbuf_printf(&out, "%s%s", home, path + 1);
	return strbuf_take(&out);
}

/* The file that variable names, else usual. A missing one is an empty one, and
 * so is the usual one in a home directory that is not ours (sudo -E). */
static int load_file(struct ini **out, char **path_out, const char *directory,
		     const char *variable, const char *usual,
		     struct error *err)
{
	const char *named = environment(variable);
	AUTO_FREE char *path = expand(directory, named ? named : usual);
	struct error why = { 0 };

	if (!path)
		return error_nomem(err);
	*path_out = strdup(named ? named : usual);
	if (!*path_out)
		return error_nomem(err);
	if (ini_load(out, path, &why) == 0 || why.kind == ERR_NOT_FOUND ||
	    why.errnum == ENOTDIR)
		return 0;
	if (why.kind == ERR_DENIED && !named) {
		log_info("%s; going on without it", why.text);
		return 0;
	}
	if (err)
		*err = why;
	return -1;
}

int profiles_new(struct profiles **out, const char *profile,
		 const char *directory, struct error *err)
{
	struct profiles *profiles = calloc(1, sizeof(*profiles));

	if (!profiles)
		return error_nomem(err);
	if (!profile)
		profile = environment("AWS_PROFILE");
	if (!profile)
		profile = environment("AWS_DEFAULT_PROFILE");
	profiles->name = strdup(profile ? profile : "default");
	if (!profiles->name) {
		profiles_free(profiles);
		return error_nomem(err);
	}
	if (load_file(&profiles->credentials, &profiles->credentials_path,
		      directory, "AWS_SHARED_CREDENTIALS_FILE",
		      "~/.aws/credentials", err) < 0 ||
	    load_file(&profiles->config, &profiles->config_path, directory,
		      "AWS_CONFIG_FILE", "~/.aws/config", err) < 0) {
		profiles_free(profiles);
		return -1;
	}
	*out = profiles;
	return 0;
}

void profiles_free(struct profiles *profiles)
{
	if (!profiles)
		return;
	ini_free(profiles->credentials);
	ini_free(profiles->config);
	free(profiles->credentials_path);
	free(profiles->config_path);
	free(profiles->name);
	free(profiles);
}

const char *profiles_name(const struct profiles *profiles)
{
	return profiles->name;
}

const char *profiles_credentials_path(const struct profiles *profiles)
{
	return profiles->credentials_path;
}

const char *profiles_config_path(const struct profiles *profiles)
{
	return profiles->config_path;
}

/* "" and what cannot be had count as absent. */
static const char *value_of(const struct ini *ini, const char *section,
			    const char *key)
{
	const char *value = ini_get(ini, section, key);

	return value && *value ? value : NULL;
}

/* "KIND NAME" of the config file; NULL only when memory is out. */
static char *section_of(const char *kind, const char *name)
{
	struct strbuf section = { .max = INI_FILE_MAX };

	strbuf_printf(&section, "%s %s", kind, name);
	return strbuf_take(&section);
}

static const char *config_value(const struct profiles *profiles,
				const char *profile, const char *key)
{
	AUTO_FREE char *section = section_of("profile", profile);
	const char *value = NULL;

	if (section)
		value = value_of(profiles->config, section, key);
	if (!value && !strcmp(profile, "default"))
		value = value_of(profiles->config, profile, key);
	return value;
}

bool profiles_has(const struct profiles *profiles, const char *profile)
{
	AUTO_FREE char *section = section_of("profile", profile);

	return ini_has_section(profiles->credentials, profile) ||
	       (section && ini_has_section(profiles->config, section)) ||
	       (!strcmp(profile, "default") &&
		ini_has_section(profiles->config, profile));
}

const char *profiles_get(const struct profiles *profiles, const char *profile,
			 const char *key)
{
	const char *value = value_of(profiles->credentials, profile, key);

	return value ? value : config_value(profiles, profile, key);
}

const char *profiles_endpoint(const struct profiles *profiles,
			      const char *service)
{
	const char *services = profiles_get(profiles, profiles->name,
					    "services");
	struct strbuf key = { .max = 64 };
	AUTO_FREE char *section = NULL;
	const char *value = NULL;

	if (services) {
		section = section_of("services", services);
		strbuf_printf(&key, "%s.endpoint_url", service);
		if (section && !key.failed)
			value = value_of(profiles->config, section, key.data);
		strbuf_free(&key);
	}
	return value ? value : profiles_get(profiles, profiles->name,
					    "endpoint_url");
}

typedef const char *value_fn(const struct profiles *profiles,
			     const char *profile, const char *key);

static const char *credentials_value(const struct profiles *profiles,
				     const char *profile, const char *key)
{
	return value_of(profiles->credentials, profile, key);
}

/* Keys are never mixed from two files. */
static int keys_of_file(struct key_set **out, value_fn *get,
			const struct profiles *profiles, const char *profile,
			const char *path, struct error *err)
{
	struct sigv4_keys keys = {
		.access_key = get(profiles, profile, "aws_access_key_id"),
		.secret_key = get(profiles, profile, "aws_secret_access_key"),
		.session_token = get(profiles, profile, "aws_session_token"),
	};
	struct strbuf origin = { .max = 4096 };
	int ret;

	if (!keys.access_key && !keys.secret_key)
		return 0;
	if (!keys.access_key || !keys.secret_key)
		return error_set(err, ERR_ARG, "profile '%s' has no %s in %s",
				 profile, keys.access_key ?
				 "aws_secret_access_key" : "aws_access_key_id",
				 path);
	if (!keys.session_token)
		keys.session_token = get(profiles, profile,
					 "aws_security_token");
	strbuf_printf(&origin, "profile '%s'", profile);
	ret = key_set_new(out, &keys, 0, origin.data, err);
	if (ret < 0)
		error_prefix(err, "profile '%s' in %s", profile, path);
	strbuf_free(&origin);
	return ret;
}

int profiles_keys(const struct profiles *profiles, const char *profile,
		  struct key_set **out, struct error *err)
{
	*out = NULL;
	if (keys_of_file(out, credentials_value, profiles, profile,
			 profiles->credentials_path, err) < 0)
		return -1;
	if (*out)
		return 0;
	return keys_of_file(out, config_value, profiles, profile,
			    profiles->config_path, err);
}
