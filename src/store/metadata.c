/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Keys of the machine's own role: the container endpoint of ECS and EKS, and
 * the instance metadata service. IMDSv1 is not asked: a request that carries
 * no token is what it takes to steal keys through a careless proxy. */
#include "config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "store/credentials-internal.h"
#include "store/secret.h"

#define CONTAINER_HOST "http://169.254.170.2"
#define IMDS_IPV4      "http://169.254.169.254"
#define IMDS_IPV6      "http://[fd00:ec2::254]"
#define IMDS_ROLES     "/latest/meta-data/iam/security-credentials/"
#define CONTAINER_MS   5000 /* of one try */
#define IMDS_MS        1000
#define ATTEMPTS       3
#define ROLE_MAX       128
#define URL_MAX        2048
#define OUTAGE_SECONDS 600 /* how long expired keys of IMDS go on */

struct metadata_source {
	struct key_source source;
	char *url;    /* of the keys; IMDS: of the service */
	char *before; /* IMDS: what was tried */
	char *token_file; /* container: of the authorization; NULL: none */
	bool is_disabled, had_keys;
};

typedef int fetch_fn(struct metadata_source *metadata,
		     const struct fetching *fetching, struct key_set **out,
		     struct error *err);

/* Again while it is worth it. */
static int fetch_repeatedly(fetch_fn *fetch, struct metadata_source *metadata,
			    const struct fetching *fetching,
			    struct key_set **out, struct error *err)
{
	struct error why = { 0 };

	for (unsigned int i = 0; i < ATTEMPTS; i++) {
		if (!pause_before(fetching, i))
			return error_set(err, ERR_CANCELLED, "stopped");
		if (fetch(metadata, fetching, out, &why) == 0)
			return 0;
		if (why.kind != ERR_NETWORK)
			break;
	}
	if (err)
		*err = why;
	return -1;
}

/* Send it; *status is what came. Their answers may hold keys, so nothing of
 * them is in the error. */
static int ask(const struct fetching *fetching, struct http_request *request,
	       int *status, int64_t *ahead, struct error *err)
{
	struct http_response response;
	struct error why = { 0 };
	int ret;

	request->no_proxy = true;
	ret = http_perform(fetching->http, request, &response, &why);
	if (ret == 0) {
		*status = response.status;
		*ahead = clock_ahead(&response);
	} else {
		if (why.kind == ERR_TIMEOUT)
			why.kind = ERR_NETWORK;
		if (err)
			*err = why;
	}
	http_response_free(&response);
	return ret;
}

static int refuse_status(int status, const char *what, struct error *err)
{
	bool is_passing = status >= 500 || status == 429;

	error_set(err, is_passing ? ERR_NETWORK : ERR_DENIED,
		  "HTTP status %d in answer to the request for %s", status,
		  what);
	if (err)
		err->remote.http_status = status;
	return -1;
}

/* The keys that lie behind url. */
static int ask_for_keys(struct key_set **out, const struct fetching *fetching,
			struct http_request *request, int *status,
			struct error *err)
{
	struct strbuf text = { 0 };
	int64_t ahead = 0;
	int ret = secret_buf_new(&text, KEYS_BODY_MAX, err);

	request->text = &text;
	if (ret == 0)
		ret = ask(fetching, request, status, &ahead, err);
	if (ret == 0 && *status != 200)
		ret = refuse_status(*status, "keys", err);
	if (ret == 0)
		ret = key_set_from_json(out, &text, "Token", false, err);
	if (ret == 0 && (*out)->expires)
		(*out)->expires -= ahead;
	secret_buf_free(&text);
	request->text = NULL;
	return ret;
}

/* "Authorization: ..." of the container endpoint, from the file each time: it
 * is rotated. *out is NULL where none is set. */
static int container_authorization(char **out, const char *path,
				   struct error *err)
{
	const char *given = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	struct strbuf header = { 0 };
	AUTO_SECRET char *token = NULL;

	*out = NULL;
	if (path) {
		token = secret_load(path, TOKEN_MAX, err);
		if (!token)
			return error_prefix(err, "authorization token");
		given = token;
	}
	if (!given)
		return 0;
	if (strpbrk(given, "\r\n") || strlen(given) > TOKEN_MAX)
		return error_set(err, ERR_ARG,
				 "AWS_CONTAINER_AUTHORIZATION_TOKEN is no value"
				 " for a header");
	if (secret_buf_new(&header, TOKEN_MAX + 32, err) < 0)
		return -1;
	strbuf_printf(&header, "Authorization: %s", given);
	*out = strbuf_take(&header);
	return *out ? 0 : error_nomem(err);
}

static int container_try(struct metadata_source *metadata,
			 const struct fetching *fetching, struct key_set **out,
			 struct error *err)
{
	AUTO_SECRET char *authorization = NULL;
	const char *headers[] = { "Accept: application/json", NULL, NULL };
	struct http_request request = {
		.method = "GET", .url = metadata->url, .headers = headers,
		.timeout_ms = CONTAINER_MS,
	};
	int status;

	if (container_authorization(&authorization, metadata->token_file,
				    err) < 0)
		return -1;
	headers[1] = authorization;
	return ask_for_keys(out, fetching, &request, &status, err);
}

static int container_fetch(struct key_source *source,
			   const struct fetching *fetching,
			   struct key_set **out, struct error *err)
{
	if (fetch_repeatedly(container_try, (struct metadata_source *)source,
			     fetching, out, err) < 0)
		return error_prefix(err, "%s", source->origin);
	return 0;
}

static void metadata_close(struct key_source *source)
{
	struct metadata_source *metadata = (struct metadata_source *)source;

	free(metadata->url);
	free(metadata->before);
	free(metadata->token_file);
	free(metadata);
}

static const struct key_source_ops container_ops = {
	.fetch = container_fetch,
	.close = metadata_close,
};

static int metadata_new(struct key_source **out,
			const struct key_source_ops *ops, const char *origin,
			const char *base, const char *rest, const char *before,
			struct error *err)
{
	struct metadata_source *metadata = calloc(1, sizeof(*metadata));
	struct strbuf url = { .max = URL_MAX };

	if (!metadata)
		return error_nomem(err);
	strbuf_puts(&url, base);
	while (url.len && url.data[url.len - 1] == '/')
		url.data[--url.len] = '\0';
	strbuf_puts(&url, rest);
	metadata->source.ops = ops;
	metadata->source.origin = strdup(origin);
	metadata->before = strdup(before);
	metadata->url = strbuf_take(&url);
	if (!metadata->source.origin || !metadata->before || !metadata->url) {
		key_source_close(&metadata->source);
		return error_set(err, ERR_LIMIT,
				 "the URL for %s is above %d bytes, or memory"
				 " is out", origin, URL_MAX);
	}
	*out = &metadata->source;
	return 0;
}

/* Loopback, and the agents of ECS and EKS. */
static bool is_trusted_host(const char *host)
{
	static const char *const agents[] = {
		"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]",
	};
	struct in_addr address;

	for (size_t i = 0; i < sizeof(agents) / sizeof(agents[0]); i++)
		if (!strcmp(host, agents[i]))
			return true;
	return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") ||
	       (inet_pton(AF_INET, host, &address) == 1 &&
		ntohl(address.s_addr) >> 24 == 127);
}

/* The SDKs' rule: keys come over TLS, or from this machine. */
static int check_full_uri(const char *uri, struct error *err)
{
	CURLU *url = curl_url();
	char *scheme = NULL, *host = NULL;
	int ret = 0;

	if (!url)
		return error_nomem(err);
	if (curl_url_set(url, CURLUPART_URL, uri, 0) ||
	    curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(url, CURLUPART_HOST, &host, 0))
		ret = error_set(err, ERR_ARG,
				"AWS_CONTAINER_CREDENTIALS_FULL_URI is no"
				" URL");
	else if (strcmp(scheme, "https") != 0 &&
		 (strcmp(scheme, "http") != 0 || !is_trusted_host(host)))
		ret = error_set(err, ERR_ARG,
				"AWS_CONTAINER_CREDENTIALS_FULL_URI names '%s';"
				" without https it has to be this machine",
				host);
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(url);
	return ret;
}

bool container_is_there(void)
{
	return environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
	       environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

/* The file's path from here, for a daemon that leaves for "/". */
static int set_token_file(struct metadata_source *metadata, struct error *err)
{
	const char *path =
		environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	AUTO_FREE char *directory = working_directory();

	if (path && directory)
		metadata->token_file = path_from(directory, path);
	return path && !metadata->token_file ? error_nomem(err) : 0;
}

static int container_new(struct key_source **out, struct error *err)
{
	static const char origin[] = "container endpoint";
	const char *rest =
		environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");

	if (rest && *rest != '/')
		return error_set(err, ERR_ARG,
				 "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does"
				 " not start with /");
	if (rest)
		return metadata_new(out, &container_ops, origin,
				    CONTAINER_HOST, rest, "", err);
	if (check_full_uri(full, err) < 0)
		return -1;
	return metadata_new(out, &container_ops, origin, "", full, "", err);
}

int container_source_new(struct key_source **out, struct error *err)
{
	if (container_new(out, err) < 0)
		return -1;
	if (set_token_file((struct metadata_source *)*out, err) < 0) {
		key_source_close(take_ptr(*out));
		return -1;
	}
	return 0;
}

/* A session of IMDSv2; token is the whole header. */
static int imds_token(const struct metadata_source *metadata,
		      const struct fetching *fetching, char **header,
		      struct error *err)
{
	const char *headers[] = {
		"X-aws-ec2-metadata-token-ttl-seconds: 300", NULL
	};
	struct strbuf url = { .max = URL_MAX + 64 };
	struct strbuf text = { 0 }, line = { 0 };
	struct http_request request = {
		.method = "PUT", .headers = headers, .timeout_ms = IMDS_MS,
		.text = &text,
	};
	int64_t ahead;
	int status, ret;

	strbuf_printf(&url, "%s/latest/api/token", metadata->url);
	request.url = url.data;
	ret = url.failed ? error_nomem(err) :
			   secret_buf_new(&text, TOKEN_MAX, err);
	if (ret == 0)
		ret = ask(fetching, &request, &status, &ahead, err);
	if (ret == 0 && status != 200)
		ret = refuse_status(status, "a token (IMDSv2)", err);
	if (ret == 0 && (!text.len || strpbrk(text.data, "\r\n")))
		ret = error_set(err, ERR_CORRUPT, "its token is no token");
	if (ret == 0)
		ret = secret_buf_new(&line, TOKEN_MAX + 64, err);
	if (ret == 0) {
		strbuf_printf(&line, "X-aws-ec2-metadata-token: %s",
			      text.data);
		*header = strbuf_take(&line);
	}
	strbuf_free(&url);
	secret_buf_free(&text);
	return ret;
}

/* The first line of the list: an instance has one role at most. */
static int check_role(char *role, struct error *err)
{
	role[strcspn(role, "\r\n")] = '\0';
	if (!*role || strlen(role) > ROLE_MAX ||
	    role[strspn(role, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
			      "uvwxyz0123456789+=,.@_-")])
		return error_set(err, ERR_CORRUPT,
				 "what it has in place of a role's name is"
				 " none");
	return 0;
}

static int imds_role(const struct metadata_source *metadata,
		     const struct fetching *fetching, const char *header,
		     struct strbuf *url, struct error *err)
{
	const char *headers[] = { header, NULL };
	struct strbuf text = { .max = 4096 };
	struct http_request request = {
		.method = "GET", .headers = headers, .timeout_ms = IMDS_MS,
		.text = &text,
	};
	int64_t ahead;
	int status, ret;

	strbuf_printf(url, "%s" IMDS_ROLES, metadata->url);
	if (url->failed)
		return error_nomem(err);
	request.url = url->data;
	ret = ask(fetching, &request, &status, &ahead, err);
	if (ret == 0 && status == 404)
		ret = error_set(err, ERR_DENIED, "the instance has no role");
	else if (ret == 0 && status != 200)
		ret = refuse_status(status, "the role", err);
	strbuf_puts(&text, "");
	if (ret == 0)
		ret = text.failed ? error_nomem(err) :
				    check_role(text.data, err);
	if (ret == 0)
		strbuf_puts(url, text.data);
	strbuf_free(&text);
	return ret;
}

static int imds_try(struct metadata_source *metadata,
		    const struct fetching *fetching, struct key_set **out,
		    struct error *err)
{
	AUTO_SECRET char *header = NULL;
	const char *headers[] = { NULL, NULL };
	struct strbuf url = { .max = URL_MAX + 256 };
	struct http_request request = {
		.method = "GET", .headers = headers, .timeout_ms = IMDS_MS,
	};
	int status = 0, ret;

	ret = imds_token(metadata, fetching, &header, err);
	if (ret == 0)
		ret = imds_role(metadata, fetching, header, &url, err);
	if (ret == 0) {
		headers[0] = header;
		request.url = url.data;
		ret = ask_for_keys(out, fetching, &request, &status, err);
	}
	/* The token has ended in between: another one. */
	if (ret < 0 && header && err && err->remote.http_status == 401)
		err->kind = ERR_NETWORK;
	strbuf_free(&url);
	return ret;
}

/* The first failure tells where else keys could have come from. */
static int imds_fail(const struct metadata_source *metadata,
		     const struct error *why, struct error *err)
{
	bool is_silent = why->kind == ERR_NETWORK && !why->remote.http_status;

	if (why->kind == ERR_CANCELLED || metadata->had_keys ||
	    !*metadata->before)
		return error_set(err, why->kind, "%s at %s: %s",
				 metadata->source.origin, metadata->url,
				 why->text);
	return error_set(err, ERR_DENIED, "no credentials: %s, IMDS at %s %s%s"
			 "; use -o anonymous for a public bucket",
			 metadata->before, metadata->url, is_silent ?
			 "did not answer" : "did not help: ",
			 is_silent ? "" : why->text);
}

static int imds_fetch(struct key_source *source,
		      const struct fetching *fetching, struct key_set **out,
		      struct error *err)
{
	struct metadata_source *metadata = (struct metadata_source *)source;
	struct error why = { 0 };
	int ret;

	if (metadata->is_disabled)
		ret = error_set(&why, ERR_DENIED,
				"AWS_EC2_METADATA_DISABLED is set");
	else
		ret = fetch_repeatedly(imds_try, metadata, fetching, out,
				       &why);
	if (ret < 0)
		return imds_fail(metadata, &why, err);
	metadata->had_keys = true;
	/* During an outage IMDS hands out what it has, and AWS's services take
	 * it: the SDKs' "static stability". */
	if (key_set_ends_within(*out, 0)) {
		log_warning("IMDS: its keys have expired; they are used for"
			    " another %d minutes", OUTAGE_SECONDS / 60);
		(*out)->expires = (int64_t)time(NULL) + OUTAGE_SECONDS;
	}
	return 0;
}

static const struct key_source_ops imds_ops = {
	.fetch = imds_fetch,
	.close = metadata_close,
};

int imds_source_new(struct key_source **out, const char *endpoint,
		    const char *mode, const char *before, struct error *err)
{
	const char *override =
		environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *new_mode =
		environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");

	if (override)
		endpoint = override;
	if (new_mode)
		mode = new_mode;
	if (!endpoint)
		endpoint = mode && !strcasecmp(mode, "ipv6") ? IMDS_IPV6 :
							       IMDS_IPV4;
	if (metadata_new(out, &imds_ops, "instance metadata", endpoint, "",
			 before, err) < 0)
		return -1;
	((struct metadata_source *)*out)->is_disabled =
		environment_is_true("AWS_EC2_METADATA_DISABLED");
	return 0;
}
