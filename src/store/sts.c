/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Keys from the Security Token Service: AssumeRole, signed with the keys of
 * another source, and AssumeRoleWithWebIdentity, which brings a token from a
 * file. One POST with a form as its body; the answer is XML. */
#include "config.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/xml.h"
#include "store/credentials-internal.h"
#include "store/secret.h"

#define STS_MS       10000 /* of one try */
#define ATTEMPTS     4
#define FORM_MAX     (4 * TOKEN_MAX)
#define URL_MAX      2048
#define SKEW_MAX     240 /* seconds; AWS refuses above 300 */
#define DURATION_MIN 900
#define DURATION_MAX 43200
#define FORM_TYPE    "Content-Type: application/x-www-form-urlencoded"

struct role_source {
	struct key_source source;
	struct key_source *base; /* NULL: web identity */
	char *arn, *session_name, *external_id, *token_file;
	char *asked; /* who is waited for, once base has given its keys */
	unsigned int duration; /* seconds; 0: STS decides */
};

/* Where it goes. */
struct sts_address {
	char *url, *host, *path;
	const char *region;
};

/* One call with its tries. */
struct sts_call {
	const struct role_source *role;
	const struct fetching *fetching;
	const struct key_set *keys; /* NULL: unsigned */
	struct sts_address address;
	struct strbuf form;
	int64_t ahead; /* the server's clock */
	bool is_corrected;
};

static const char *dns_suffix(const char *region)
{
	static const struct {
		const char *prefix, *suffix;
	} partitions[] = {
		{ "cn-", "amazonaws.com.cn" },
		{ "us-iso-", "c2s.ic.gov" },
		{ "us-isob-", "sc2s.sgov.gov" },
	};

	for (size_t i = 0; i < sizeof(partitions) / sizeof(partitions[0]); i++)
		if (!strncmp(region, partitions[i].prefix,
			     strlen(partitions[i].prefix)))
			return partitions[i].suffix;
	return "amazonaws.com";
}

static char *sts_url(const struct fetching *fetching)
{
	struct strbuf url = { .max = URL_MAX };

	if (fetching->sts_endpoint)
		strbuf_puts(&url, fetching->sts_endpoint);
	else if (fetching->region)
		strbuf_printf(&url, "https://sts.%s.%s/", fetching->region,
			      dns_suffix(fetching->region));
	else
		strbuf_puts(&url, "https://sts.amazonaws.com/");
	return strbuf_take(&url);
}

/* The URL as libcurl sends it, and the parts that are signed. */
static int split_url(struct sts_address *address, CURLU *url, const char *text,
		     struct error *err)
{
	char *whole = NULL, *host = NULL, *port = NULL, *path = NULL;
	struct strbuf name = { .max = URL_MAX };
	int ret = 0;

	if (curl_url_set(url, CURLUPART_URL, text, 0) ||
	    curl_url_get(url, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(url, CURLUPART_PATH, &path, 0) ||
	    curl_url_get(url, CURLUPART_URL, &whole, 0)) {
		ret = error_set(err, ERR_ARG, "its endpoint is no URL");
	} else {
		curl_url_get(url, CURLUPART_PORT, &port,
			     CURLU_NO_DEFAULT_PORT);
		strbuf_printf(&name, "Host: %s%s%s", host, port ? ":" : "",
			      port ? port : "");
		address->host = strbuf_take(&name);
		address->path = strdup(path);
		address->url = strdup(whole);
		if (!address->host || !address->path || !address->url)
			ret = error_nomem(err);
	}
	curl_free(whole);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	return ret;
}

static int find_address(struct sts_address *address,
			const struct fetching *fetching, struct error *err)
{
	AUTO_FREE char *text = sts_url(fetching);
	CURLU *url = curl_url();
	int ret;

	address->region = fetching->region ? fetching->region : "us-east-1";
	if (url && text)
		ret = split_url(address, url, text, err);
	else
		ret = error_nomem(err);
	curl_url_cleanup(url);
	return ret;
}

static void add_field(struct strbuf *form, const char *name, const char *value)
{
	strbuf_printf(form, "&%s=", name);
	uri_encode(form, value, false);
}

static int build_form(const struct role_source *role, struct strbuf *form,
		      struct error *err)
{
	AUTO_SECRET char *token = NULL;
	char text[48];

	if (role->token_file) {
		token = secret_load(role->token_file, TOKEN_MAX, err);
		if (!token)
			return error_prefix(err, "web identity token");
	}
	if (secret_buf_new(form, FORM_MAX, err) < 0)
		return -1;
	strbuf_printf(form, "Action=%s&Version=2011-06-15",
		      token ? "AssumeRoleWithWebIdentity" : "AssumeRole");
	add_field(form, "RoleArn", role->arn);
	snprintf(text, sizeof(text), "vmiefs-%lld", (long long)time(NULL));
	add_field(form, "RoleSessionName",
		  role->session_name ? role->session_name : text);
	if (role->duration) {
		snprintf(text, sizeof(text), "%u", role->duration);
		add_field(form, "DurationSeconds", text);
	}
	if (role->external_id)
		add_field(form, "ExternalId", role->external_id);
	if (token)
		add_field(form, "WebIdentityToken", token);
	if (form->failed)
		return error_set(err, ERR_LIMIT,
				 "the request is above %u bytes", FORM_MAX);
	return 0;
}

/* The headers of a signed request; the last three point into the buffers. */
struct sts_headers {
	const char *list[6];
	char date[48];
	struct strbuf token, authorization;
};

static int sign_call(const struct sts_call *call, struct sts_headers *headers,
		     struct error *err)
{
	const struct sigv4_keys *keys = &call->keys->keys;
	char hash[SIGV4_HASH_SIZE], date[17];
	struct sigv4_request request = {
		.method = "POST", .path = call->address.path, .query = "",
		.headers = headers->list, .payload_hash = hash,
		.region = call->address.region, .service = "sts",
		.time = (int64_t)time(NULL) + call->ahead,
		.normalise_path = true,
	};
	struct strbuf value = { .max = 8192 };
	size_t count = 2;
	int ret;

	sigv4_hash(hash, call->form.data, call->form.len);
	sigv4_date(date, request.time);
	snprintf(headers->date, sizeof(headers->date), "X-Amz-Date: %s", date);
	headers->list[count++] = headers->date;
	if (keys->session_token) {
		strbuf_printf(&headers->token, "X-Amz-Security-Token: %s",
			      keys->session_token);
		headers->list[count++] = headers->token.data;
	}
	if (headers->token.failed)
		return error_nomem(err);
	ret = sigv4_authorization(&request, keys, &value, err);
	if (ret == 0) {
		strbuf_printf(&headers->authorization, "Authorization: %s",
			      value.data);
		headers->list[count] = headers->authorization.data;
		if (headers->authorization.failed)
			ret = error_nomem(err);
	}
	strbuf_free(&value);
	return ret;
}

/* The text of a child element in place; "" where it has none. */
static const char *child_text(const xmlNode *parent, const char *name)
{
	const xmlNode *node = parent ? xml_child(parent, name) : NULL;

	node = node ? node->children : NULL;
	while (node && node->type != XML_TEXT_NODE)
		node = node->next;
	return node && node->content ? (const char *)node->content : "";
}

static void cleanse_children(const xmlNode *parent)
{
	for (xmlNode *node = parent->children; node; node = node->next)
		for (xmlNode *text = node->children; text; text = text->next)
			if (text->type == XML_TEXT_NODE && text->content)
				OPENSSL_cleanse(text->content,
					strlen((char *)text->content));
}

static int keys_of_element(struct key_set **out, const xmlNode *element,
			   int64_t ahead, struct error *err)
{
	struct sigv4_keys keys = {
		.access_key = child_text(element, "AccessKeyId"),
		.secret_key = child_text(element, "SecretAccessKey"),
		.session_token = child_text(element, "SessionToken"),
	};
	int64_t expires;

	if (parse_timestamp(child_text(element, "Expiration"), &expires,
			    err) < 0)
		return -1;
	return key_set_new(out, &keys, expires - ahead, NULL, err);
}

/* AssumeRole...Response / AssumeRole...Result / Credentials */
static int keys_of_answer(struct key_set **out, const xmlDoc *doc,
			  int64_t ahead, struct error *err)
{
	const xmlNode *result = xmlDocGetRootElement(doc);
	const xmlNode *keys;
	int ret;

	for (result = result->children; result; result = result->next)
		if (xml_is(result, "AssumeRoleResult") ||
		    xml_is(result, "AssumeRoleWithWebIdentityResult"))
			break;
	keys = result ? xml_child(result, "Credentials") : NULL;
	if (!keys)
		return error_set(err, ERR_CORRUPT,
				 "Credentials are missing in the answer");
	ret = keys_of_element(out, keys, ahead, err);
	cleanse_children(keys);
	return ret;
}

static bool is_passing(int status, const char *code)
{
	return status >= 500 || status == 429 ||
	       !strncmp(code, "Throttl", 7) ||
	       !strcmp(code, "IDPCommunicationError");
}

/* ErrorResponse / Error / Code, Message; doc may be NULL. */
static int refuse(const xmlDoc *doc, int status, struct error *err)
{
	const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	const xmlNode *error = root ? xml_child(root, "Error") : NULL;
	const char *code = child_text(error, "Code");
	const char *message = child_text(error, "Message");
	struct error_remote remote = { .http_status = status };

	snprintf(remote.code, sizeof(remote.code), "%s", code);
	snprintf(remote.request_id, sizeof(remote.request_id), "%s",
		 child_text(root, "RequestId"));
	error_set(err, is_passing(status, code) ? ERR_NETWORK : ERR_DENIED,
		  "STS answered %d%s%.48s%s%.240s", status, *code ? " " : "",
		  code, *message ? ": " : "", message);
	if (err) {
		err->remote = remote;
		for (char *c = err->text; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
	}
	return -1;
}

static int read_answer(struct key_set **out, const struct strbuf *text,
		       int status, int64_t ahead, struct error *err)
{
	struct error oddity = { 0 };
	xmlDoc *doc = NULL;
	bool is_xml = text->len &&
		      xml_load(&doc, text->data, text->len, &oddity, NULL) ==
			      0;
	int ret;

	if (status != 200)
		ret = refuse(is_xml ? doc : NULL, status, err);
	else if (!is_xml)
		ret = error_set(err, ERR_CORRUPT, "STS's answer is no XML");
	else
		ret = keys_of_answer(out, doc, ahead, err);
	xmlFreeDoc(doc);
	return ret;
}

static int send_call(struct sts_call *call, struct sts_headers *headers,
		     struct strbuf *text, struct key_set **out,
		     struct error *err)
{
	const struct iovec form = { call->form.data, call->form.len };
	struct http_request request = {
		.method = "POST", .url = call->address.url,
		.headers = headers->list, .body = &form,
		.body_count = 1, .timeout_ms = STS_MS,
		.text = text,
	};
	struct http_response response;
	int ret;

	ret = http_perform(call->fetching->http, &request, &response, err);
	if (ret == 0) {
		int64_t ahead = clock_ahead(&response);

		ret = read_answer(out, text, response.status, ahead, err);
		/* A clock that is wrong: once more with the server's. */
		if (ret < 0 && err && call->keys && !call->is_corrected &&
		    response.status < 500 && llabs(ahead) > SKEW_MAX) {
			call->is_corrected = true;
			call->ahead = ahead;
			err->kind = ERR_NETWORK;
		}
	} else if (err && err->kind == ERR_TIMEOUT) {
		err->kind = ERR_NETWORK;
	}
	http_response_free(&response);
	return ret;
}

static int try_call(struct sts_call *call, struct key_set **out,
		    struct error *err)
{
	struct sts_headers headers = {
		.list = { call->address.host, FORM_TYPE },
		.token = { .max = TOKEN_MAX + 64 },
		.authorization = { .max = 8192 },
	};
	struct strbuf text = { 0 };
	int ret = secret_buf_new(&text, KEYS_BODY_MAX, err);

	if (ret == 0 && call->keys)
		ret = sign_call(call, &headers, err);
	if (ret == 0)
		ret = send_call(call, &headers, &text, out, err);
	secret_buf_free(&text);
	secret_buf_free(&headers.token);
	strbuf_free(&headers.authorization);
	return ret;
}

static int call_sts(struct sts_call *call, struct key_set **out,
		    struct error *err)
{
	struct error why = { 0 };

	for (unsigned int i = 0; i < ATTEMPTS; i++) {
		if (!pause_before(call->fetching, i))
			return error_set(err, ERR_CANCELLED, "stopped");
		if (try_call(call, out, &why) == 0)
			return 0;
		if (why.kind != ERR_NETWORK)
			break;
	}
	if (err)
		*err = why;
	return -1;
}

static int role_fetch(struct key_source *source,
		      const struct fetching *fetching, struct key_set **out,
		      struct error *err)
{
	struct role_source *role = (struct role_source *)source;
	struct sts_call call = { .role = role, .fetching = fetching };
	struct key_set *keys = NULL;
	int ret = 0;

	if (role->base)
		ret = key_source_fetch(role->base, fetching, &keys, err);
	call.keys = keys;
	atomic_store(fetching->asking, role->asked);
	if (ret == 0)
		ret = find_address(&call.address, fetching, err);
	if (ret == 0)
		ret = build_form(role, &call.form, err);
	if (ret == 0)
		ret = call_sts(&call, out, err);
	secret_buf_free(&call.form);
	free(call.address.url);
	free(call.address.host);
	free(call.address.path);
	key_set_unref(keys);
	return ret < 0 ? error_prefix(err, "%s", source->origin) : 0;
}

static void role_close(struct key_source *source)
{
	struct role_source *role = (struct role_source *)source;

	key_source_close(role->base);
	free(role->arn);
	free(role->session_name);
	free(role->external_id);
	free(role->token_file);
	free(role->asked);
	free(role);
}

static const struct key_source_ops role_ops = {
	.fetch = role_fetch,
	.close = role_close,
};

static int parse_duration(const char *text, unsigned int *seconds,
			  struct error *err)
{
	char *end;
	unsigned long value;

	*seconds = 0;
	if (!text)
		return 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || value < DURATION_MIN ||
	    value > DURATION_MAX)
		return error_set(err, ERR_ARG,
				 "duration_seconds is '%s', but has to be"
				 " %d to %d", text, DURATION_MIN,
				 DURATION_MAX);
	*seconds = (unsigned int)value;
	return 0;
}

/* NULL stays NULL. */
static bool copy(char **out, const char *text)
{
	*out = text ? strdup(text) : NULL;
	return *out || !text;
}

/* It is read again and again, also by a daemon, which leaves for "/". */
static bool copy_path(char **out, const char *path)
{
	AUTO_FREE char *directory = working_directory();

	*out = path && directory ? path_from(directory, path) : NULL;
	return *out || !path;
}

int role_source_new(struct key_source **out, const char *origin,
		    const struct role_options *options,
		    struct key_source *base, struct error *err)
{
	struct role_source *role;
	unsigned int duration;

	if (parse_duration(options->duration, &duration, err) < 0)
		return -1;
	role = calloc(1, sizeof(*role));
	if (!role)
		return error_nomem(err);
	role->source.ops = &role_ops;
	role->duration = duration;
	if (asprintf(&role->asked, "STS, asked for the %s,", origin) < 0)
		role->asked = NULL;
	if (!role->asked || !copy(&role->source.origin, origin) ||
	    !copy(&role->arn, options->arn) ||
	    !copy(&role->session_name, options->session_name) ||
	    !copy(&role->external_id, options->external_id) ||
	    !copy_path(&role->token_file, options->token_file)) {
		key_source_close(&role->source);
		return error_nomem(err);
	}
	role->base = base;
	*out = &role->source;
	return 0;
}
