/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Options of remote stores. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/remote.h"
#include "common/cleanup.h"

#define SOURCE_MAX (64 << 10) /* bytes of a line with its ends */

/* In the order of enum s3_addressing. */
const char *const remote_addressings[] = { "auto", "path", "virtual", NULL };

const char remote_no_secrets[] =
	"keys and passwords are no options, since every user could see them; "
	"name a profile of ~/.aws/credentials (profile=NAME), or set "
	"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment";

bool remote_is_url(const char *source)
{
	return !strncmp(source, "s3://", 5) || !strncmp(source, "https://", 8);
}

bool remote_is_service(const char *source)
{
	return !strcmp(source, "s3://");
}

/* The daemon has another working directory than its caller. */
static int find_ca_bundle(struct remote_options *options, struct error *err)
{
	const char *name = "ca-bundle", *path = options->ca_bundle;
	char *real;

	if (!path) {
		name = "AWS_CA_BUNDLE";
		path = getenv(name);
	}
	if (!path || !*path)
		return 0;
	real = realpath(path, NULL);
	if (!real)
		return error_errno(err, errno, "%s=%s", name, path);
	free(options->ca_bundle);
	options->ca_bundle = real;
	return 0;
}

int remote_fill(struct store_options *out, struct remote_options *options,
		struct error *err)
{
	if (find_ca_bundle(options, err))
		return -1;
	*out = (struct store_options){
		.timeout_ms = options->timeout_ms,
		.endpoint = options->endpoint,
		.region = options->region,
		.profile = options->profile,
		.ca_bundle = options->ca_bundle,
		.addressing = (enum s3_addressing)options->addressing,
		.is_anonymous = options->is_anonymous,
		.requester_pays = options->requester_pays,
		.unsigned_payload = options->unsigned_payload,
	};
	return 0;
}

/* Without a buffer that would have what stands behind the line. */
static int read_source(char **out, struct error *err)
{
	AUTO_FREE char *line = malloc(SOURCE_MAX);
	size_t len;

	if (!line)
		return error_nomem(err);
	setvbuf(stdin, NULL, _IONBF, 0);
	if (!fgets(line, SOURCE_MAX, stdin))
		line[0] = '\0';
	len = strlen(line);
	if (len == SOURCE_MAX - 1)
		return error_set(err, ERR_ARG, "the source in standard input "
				 "is above %d bytes", SOURCE_MAX - 2);
	while (len && strchr(" \t\r\n", line[len - 1]))
		line[--len] = '\0';
	if (!len)
		return error_set(err, ERR_ARG, "the source is -, but standard "
				 "input has none in its first line");
	*out = take_ptr(line);
	return 0;
}

int remote_take_source(char **out, char *word, struct error *err)
{
	char *query = strchr(word, '?');

	*out = NULL;
	if (!strcmp(word, "-"))
		return read_source(out, err);
	*out = strdup(word);
	if (query && remote_is_url(word))
		memset(query, '\0', strlen(query));
	return *out ? 0 : error_nomem(err);
}
