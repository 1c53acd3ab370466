/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Errors of S3. The code decides where there is one; answers to HEAD have no
 * body, and some servers send a page of their own: then the status does. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/strbuf.h"
#include "common/xml.h"
#include "store/s3-error.h"

/* In the sentences, @B is the bucket, @H the host, @K the access key and
 * where it is from, @C the storage class, @N the bucket that the server looked
 * for, @R the region signed for, @W the one the server wants. A sentence that
 * says all there is to say needs no message of the server's behind it. */
struct row {
	const char *code;
	enum error_kind kind;
	bool says_all;
	const char *sentence;
};

static const struct row code_rows[] = {
	{ "AccessDenied", ERR_DENIED, false, "access is denied to @K" },
	{ "AccountProblem", ERR_DENIED, false,
	  "there is a problem with the account" },
	{ "AllAccessDisabled", ERR_DENIED, false,
	  "all access is disabled" },
	{ "AuthorizationHeaderMalformed", ERR_DENIED, false,
	  "the server does not accept signatures for region @R" },
	{ "BadDigest", ERR_NETWORK, true,
	  "the bytes were changed on their way" },
	{ "BandwidthLimitExceeded", ERR_NETWORK, true,
	  "the server is busy" },
	{ "ConditionalRequestConflict", ERR_STALE, true,
	  "it was changed at the same time" },
	{ "EntityTooLarge", ERR_LIMIT, false,
	  "the server does not take so many bytes" },
	{ "ExpiredToken", ERR_DENIED, true,
	  "the session token of @K has expired" },
	{ "InternalError", ERR_NETWORK, true, "the server failed" },
	{ "InvalidAccessKeyId", ERR_DENIED, true,
	  "the server does not know @K" },
	{ "InvalidBucketName", ERR_ARG, true,
	  "the server does not accept '@B' as the name of a bucket" },
	{ "InvalidObjectState", ERR_DENIED, true,
	  "it is archived (storage class @C): restore it to be read first" },
	{ "InvalidToken", ERR_DENIED, true,
	  "the server does not accept the session token of @K" },
	{ "MethodNotAllowed", ERR_UNSUPPORTED, false,
	  "the server does not support this" },
	{ "NoSuchBucket", ERR_NOT_FOUND, true, "there is no bucket '@B'" },
	{ "NoSuchKey", ERR_NOT_FOUND, true, "there is no such key" },
	{ "NoSuchUpload", ERR_IO, true,
	  "somebody has ended the upload" },
	{ "NotImplemented", ERR_UNSUPPORTED, false,
	  "the server does not support this" },
	{ "NotSignedUp", ERR_DENIED, true,
	  "the account is not signed up for S3" },
	{ "OperationAborted", ERR_NETWORK, true,
	  "the server does something else with the bucket" },
	{ "PermanentRedirect", ERR_ARG, true,
	  "bucket '@B' is at another endpoint or in another region" },
	{ "PreconditionFailed", ERR_STALE, true, "it has been replaced" },
	{ "QuotaExceeded", ERR_IO, false, "the quota is used up" },
	{ "RequestExpired", ERR_DENIED, true,
	  "the request came too late: is this machine's clock right?" },
	{ "RequestLimitExceeded", ERR_NETWORK, true, "the server is busy" },
	{ "RequestTimeTooSkewed", ERR_DENIED, true,
	  "this machine's clock and the server's differ too much" },
	{ "RequestTimeout", ERR_NETWORK, true,
	  "the server waited too long for the request" },
	{ "ServiceUnavailable", ERR_NETWORK, true, "the server is busy" },
	{ "SignatureDoesNotMatch", ERR_DENIED, true,
	  "the secret key does not fit @K" },
	{ "SlowDown", ERR_NETWORK, true, "the server is busy" },
	{ "Throttling", ERR_NETWORK, true, "the server is busy" },
	{ "ThrottlingException", ERR_NETWORK, true, "the server is busy" },
	{ "TokenRefreshRequired", ERR_DENIED, true,
	  "the session token of @K has expired" },
	{ "UnauthorizedAccess", ERR_DENIED, false,
	  "access is denied to @K" },
	{ "UserSuspended", ERR_DENIED, true, "the user of @K is suspended" },
	{ "XAmzContentSHA256Mismatch", ERR_DENIED, false,
	  "the server does not accept the request's digest" },
	{ "XMinioAdminBucketQuotaExceeded", ERR_IO, true,
	  "the quota is used up" },
	{ "XMinioStorageFull", ERR_IO, true, "the server is full" },
};

/* For statuses without a code that is known; status 0 ends the table. */
static const struct {
	int status;
	struct row row;
} status_rows[] = {
	{ 401, { "", ERR_DENIED, false, "access is denied to @K" } },
	{ 403, { "", ERR_DENIED, false, "access is denied to @K" } },
	{ 404, { "", ERR_NOT_FOUND, false,
		 "there is no such key or bucket" } },
	{ 405, { "", ERR_UNSUPPORTED, false,
		 "the server does not support this" } },
	{ 407, { "", ERR_DENIED, false, "the proxy wants a password" } },
	{ 408, { "", ERR_NETWORK, false,
		 "the server waited too long for the request" } },
	{ 412, { "", ERR_STALE, false, "it has been replaced" } },
	{ 416, { "", ERR_STALE, false, "it has become shorter" } },
	{ 425, { "", ERR_NETWORK, false, "the server is busy" } },
	{ 429, { "", ERR_NETWORK, false, "the server is busy" } },
	{ 500, { "", ERR_NETWORK, false, "the server failed" } },
	{ 501, { "", ERR_UNSUPPORTED, false,
		 "the server does not support this" } },
	{ 502, { "", ERR_NETWORK, false, "the server cannot be reached "
		 "through its proxy" } },
	{ 503, { "", ERR_NETWORK, false, "the server is busy" } },
	{ 504, { "", ERR_NETWORK, false, "the server cannot be reached "
		 "through its proxy" } },
	{ 507, { "", ERR_IO, false, "the server is full" } },
	{ 0, { NULL, ERR_NONE, false, NULL } },
};

bool s3_is_html(const char *text, size_t len)
{
	static const char *const starts[] = { "<!doctype html", "<html" };

	while (len && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		size_t start = strlen(starts[i]);

		if (len >= start && !strncasecmp(text, starts[i], start))
			return true;
	}
	return false;
}

/* Text of a child element, one printable line; what does not fit is cut. */
static void read_text(const xmlNode *parent, const char *name, char *out,
		      size_t size)
{
	const xmlNode *node = xml_child(parent, name);
	xmlChar *content = node ? xmlNodeGetContent(node) : NULL;
	const char *from = (const char *)content;
	size_t len = 0;

	for (; from && *from && len + 1 < size; from++)
		out[len++] = *from >= ' ' && *from <= '~' ? *from : ' ';
	out[len] = '\0';
	xmlFree(content);
}

static void read_body(struct s3_fault *out, const char *text, size_t len)
{
	struct error oddity = { 0 }, ignored = { 0 };
	const xmlNode *root;
	xmlDoc *doc;

	if (xml_load(&doc, text, len, &oddity, &ignored))
		return;
	root = xmlDocGetRootElement(doc);
	if (!xml_is(root, "Error") && xml_child(root, "Error"))
		root = xml_child(root, "Error");
	if (xml_is(root, "Error")) {
		read_text(root, "Code", out->code, sizeof(out->code));
		read_text(root, "Message", out->message,
			  sizeof(out->message));
		read_text(root, "Region", out->region, sizeof(out->region));
		read_text(root, "Endpoint", out->endpoint,
			  sizeof(out->endpoint));
		read_text(root, "BucketName", out->bucket,
			  sizeof(out->bucket));
		read_text(root, "StorageClass", out->storage_class,
			  sizeof(out->storage_class));
		read_text(root, "RequestId", out->request_id,
			  sizeof(out->request_id));
	}
	xmlFreeDoc(doc);
}

/* A header's value where there is one. */
static void read_header(const struct http_response *response, const char *name,
			char *out, size_t size)
{
	char value[S3_HOST_MAX];

	if (*http_header(response, name, value, sizeof(value)))
		snprintf(out, size, "%.*s", (int)size - 1, value);
}

/* The host of "https://host/path", where a redirect leads. It has a port where
 * the one of the body has none. */
static void host_of_location(const struct http_response *response, char *out,
			     size_t size)
{
	char value[1024];
	const char *host;

	http_header(response, "Location", value, sizeof(value));
	host = strstr(value, "://");
	if (host)
		snprintf(out, size, "%.*s", (int)strcspn(host + 3, "/?#"),
			 host + 3);
}

/* Only what can be part of an address may be repeated or followed. */
static void drop_unlikely(struct s3_fault *out)
{
	if (!s3_region_is_valid(out->region))
		out->region[0] = '\0';
	for (const char *at = out->endpoint; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr("-._:[]", *at)) {
			out->endpoint[0] = '\0';
			return;
		}
}

void s3_fault_read(struct s3_fault *out, const struct http_response *response,
		   const char *text, size_t len)
{
	memset(out, 0, sizeof(*out));
	out->status = response->status;
	out->retry_after_ms = http_retry_after_ms(response);
	if (text && len) {
		out->is_html = s3_is_html(text, len);
		read_body(out, text, len);
	}
	read_header(response, "x-amz-request-id", out->request_id,
		    sizeof(out->request_id));
	read_header(response, "x-amz-bucket-region", out->region,
		    sizeof(out->region));
	host_of_location(response, out->endpoint, sizeof(out->endpoint));
	drop_unlikely(out);
	if (!*out->region)
		s3_region_of_host(out->endpoint, out->region);
}

static void add_key(struct strbuf *out, const struct s3_asker *asker)
{
	if (*asker->access_key)
		strbuf_printf(out, "access key %s", asker->access_key);
	else
		strbuf_puts(out, "requests without a key");
	if (*asker->access_key && *asker->origin)
		strbuf_printf(out, " (%s)", asker->origin);
}

static void add_sentence(struct strbuf *out, const char *sentence,
			 const struct s3_fault *fault,
			 const struct s3_asker *asker)
{
	for (; *sentence; sentence++) {
		if (*sentence != '@') {
			strbuf_add(out, sentence, 1);
			continue;
		}
		switch (*++sentence) {
		case 'B':
			strbuf_puts(out, asker->bucket);
			break;
		case 'C':
			strbuf_puts(out, *fault->storage_class ?
				    fault->storage_class : "unknown");
			break;
		case 'H':
			strbuf_puts(out, asker->host);
			break;
		case 'K':
			add_key(out, asker);
			break;
		case 'N':
			strbuf_puts(out, fault->bucket);
			break;
		case 'R':
			strbuf_puts(out, asker->region);
			break;
		case 'W':
			strbuf_puts(out, fault->region);
			break;
		}
	}
}

/* Kind and sentence for a code or status that no row has. */
static const struct row *other_row(const struct s3_fault *fault)
{
	static const struct row html = { "", ERR_ARG, true,
		"@H answers with a web page: it is no S3 endpoint" };
	static const struct row failed = { "", ERR_NETWORK, false,
		"the server failed" };
	static const struct row redirect = { "", ERR_ARG, false,
		"@H sends elsewhere: it is not this bucket's endpoint" };
	static const struct row refused = { "", ERR_DENIED, false,
		"the server refuses" };

	if (fault->is_html && fault->status < 500 && fault->status != 429)
		return &html;
	for (size_t i = 0; status_rows[i].status; i++)
		if (status_rows[i].status == fault->status)
			return &status_rows[i].row;
	if (fault->status >= 500 || fault->status < 300)
		return &failed;
	return fault->status < 400 ? &redirect : &refused;
}

bool s3_fault_is_one_of(const struct s3_fault *fault,
			const char *const *codes)
{
	while (*codes && strcmp(*codes, fault->code) != 0)
		codes++;
	return *codes != NULL;
}

bool s3_fault_is_elsewhere(const struct s3_fault *fault)
{
	static const char *const codes[] = {
		"AuthorizationHeaderMalformed",
		"IllegalLocationConstraintException", "PermanentRedirect",
		"Redirect", "TemporaryRedirect", NULL,
	};

	/* Answers to HEAD have no code, but S3 tells the region. */
	return (fault->status >= 300 && fault->status < 400) ||
	       s3_fault_is_one_of(fault, codes) ||
	       (fault->status == 400 && !*fault->code && *fault->region);
}

static const struct row *find_row(const struct s3_fault *fault,
				  const struct s3_asker *asker)
{
	static const struct row given = { "", ERR_ARG, true,
		"bucket '@B' is in region @W, not @R: give region=@W or leave "
		"the option out" };
	static const struct row other_name = { "", ERR_ARG, true,
		"the server looked for a bucket '@N': it does not know that @H "
		"is itself; name it as it does, or by its IP address, without "
		"a path" };
	static const struct row chain = { "", ERR_ARG, true,
		"bucket '@B' is sent from region to region, at last from @R "
		"to @W" };

	if (s3_fault_is_elsewhere(fault) && *fault->region &&
	    strcmp(fault->region, asker->region) != 0)
		return asker->region_is_given ? &given : &chain;
	if (!strcmp(fault->code, "NoSuchBucket") && *fault->bucket &&
	    strcmp(fault->bucket, asker->bucket) != 0)
		return &other_name;
	for (size_t i = 0; i < sizeof(code_rows) / sizeof(code_rows[0]); i++)
		if (!strcmp(code_rows[i].code, fault->code))
			return &code_rows[i];
	return other_row(fault);
}

/* What the server says itself, unless it repeats a part of the one secret
 * that it was sent. */
static bool is_worth_repeating(const struct s3_fault *fault,
			       const struct s3_asker *asker)
{
	char part[16] = "";

	for (const char *at = fault->message;
	     strlen(at) >= sizeof(part) - 1; at++) {
		memcpy(part, at, sizeof(part) - 1);
		if (strstr(asker->token, part))
			return false;
	}
	return *fault->message != '\0';
}

void s3_fault_remote(const struct s3_fault *fault, struct error *err)
{
	if (!err)
		return;
	err->remote.http_status = fault->status;
	err->remote.retry_after_ms = fault->retry_after_ms;
	snprintf(err->remote.code, sizeof(err->remote.code), "%s",
		 fault->code);
	snprintf(err->remote.request_id, sizeof(err->remote.request_id), "%s",
		 fault->request_id);
}

int s3_fault_error(const struct s3_fault *fault, const struct s3_asker *asker,
		   struct error *err)
{
	const struct row *row = find_row(fault, asker);
	struct strbuf text = { .max = sizeof(err->text) - 1 };

	add_sentence(&text, row->sentence, fault, asker);
	strbuf_printf(&text, " (%s%s" "HTTP %d)", fault->code,
		      *fault->code ? ", " : "", fault->status);
	if (*fault->endpoint && fault->status < 400)
		strbuf_printf(&text, ": it names %s", fault->endpoint);
	else if (!row->says_all && is_worth_repeating(fault, asker))
		strbuf_printf(&text, ": it says '%s'", fault->message);
	error_set(err, row->kind, "%s", text.data ? text.data : "no memory");
	if (err && row->kind == ERR_IO)
		err->errnum = ENOSPC; /* all of those rows mean this */
	strbuf_free(&text);
	s3_fault_remote(fault, err);
	return -1;
}
