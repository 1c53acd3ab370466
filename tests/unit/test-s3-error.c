/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What answers of S3 that are no success become. */
#include "config.h"

#include "store/s3-error.h"
#include "tests/tap.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))
#define ERROR(code, ...)                                                       \
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" code         \
	"</Code>" __VA_ARGS__ "</Error>"
#define TOKEN "FwoGZXIvYXdzEBYaDHNlY3JldC10b2tlbi1vZi1hLXRlc3Q"

static const struct s3_asker asker = {
	.bucket = "vms",
	.host = "s3.example",
	.region = "us-east-1",
	.access_key = "AKIDEXAMPLE",
	.origin = "environment",
	.token = TOKEN,
};

static void answer(struct http_response *response, int status,
		   const char *headers)
{
	*response = (struct http_response){
		.status = status,
		.headers = { .max = HTTP_HEADERS_MAX },
	};
	strbuf_puts(&response->headers, headers);
}

static void explain(int status, const char *headers, const char *body,
		    const struct s3_asker *who, struct error *err)
{
	struct http_response response;
	struct s3_fault fault;

	memset(err, 0, sizeof(*err));
	answer(&response, status, headers);
	s3_fault_read(&fault, &response, body, body ? strlen(body) : 0);
	s3_fault_error(&fault, who, err);
	http_response_free(&response);
}

static const struct {
	int status;
	const char *body;
	enum error_kind kind;
	const char *text;
} rows[] = {
	{ 403, ERROR("SignatureDoesNotMatch", "<Message/><StringToSign>" TOKEN
		     "</StringToSign>"), ERR_DENIED,
	  "the secret key does not fit access key AKIDEXAMPLE (environment) "
	  "(SignatureDoesNotMatch, HTTP 403)" },
	{ 403, ERROR("InvalidAccessKeyId", "<Message></Message>"), ERR_DENIED,
	  "the server does not know access key AKIDEXAMPLE (environment) "
	  "(InvalidAccessKeyId, HTTP 403)" },
	{ 403, ERROR("AccessDenied", "<Message>not authorized to\nperform: "
		     "s3:ListBucket</Message>"), ERR_DENIED,
	  "access is denied to access key AKIDEXAMPLE (environment) "
	  "(AccessDenied, HTTP 403): it says 'not authorized to perform: "
	  "s3:ListBucket'" },
	{ 403, ERROR("AccessDenied", "<Message>token " TOKEN "</Message>"),
	  ERR_DENIED, "access is denied to access key AKIDEXAMPLE "
	  "(environment) (AccessDenied, HTTP 403)" },
	{ 403, NULL, ERR_DENIED, "access is denied to access key AKIDEXAMPLE "
	  "(environment) (HTTP 403)" },
	{ 403, ERROR("InvalidObjectState", "<StorageClass>GLACIER"
		     "</StorageClass>"), ERR_DENIED,
	  "it is archived (storage class GLACIER): restore it to be read "
	  "first (InvalidObjectState, HTTP 403)" },
	{ 404, ERROR("NoSuchBucket"), ERR_NOT_FOUND,
	  "there is no bucket 'vms' (NoSuchBucket, HTTP 404)" },
	{ 404, ERROR("NoSuchBucket", "<BucketName>vms</BucketName>"),
	  ERR_NOT_FOUND, "there is no bucket 'vms' (NoSuchBucket, HTTP 404)" },
	{ 404, ERROR("NoSuchBucket", "<BucketName>s3.ex\nmple</BucketName>"),
	  ERR_ARG, "the server looked for a bucket 's3.ex mple': it does not "
	  "know that s3.example is itself; name it as it does, or by its IP "
	  "address, without a path (NoSuchBucket, HTTP 404)" },
	{ 404, ERROR("NoSuchKey"), ERR_NOT_FOUND,
	  "there is no such key (NoSuchKey, HTTP 404)" },
	{ 404, NULL, ERR_NOT_FOUND,
	  "there is no such key or bucket (HTTP 404)" },
	{ 412, ERROR("PreconditionFailed"), ERR_STALE,
	  "it has been replaced (PreconditionFailed, HTTP 412)" },
	{ 416, ERROR("InvalidRange"), ERR_STALE,
	  "it has become shorter (InvalidRange, HTTP 416)" },
	{ 503, ERROR("SlowDown"), ERR_NETWORK,
	  "the server is busy (SlowDown, HTTP 503)" },
	{ 400, ERROR("RequestTimeout"), ERR_NETWORK,
	  "the server waited too long for the request (RequestTimeout, "
	  "HTTP 400)" },
	{ 500, ERROR("InternalError"), ERR_NETWORK,
	  "the server failed (InternalError, HTTP 500)" },
	{ 502, "<html><body>Bad Gateway", ERR_NETWORK, "the server cannot be "
	  "reached through its proxy (HTTP 502)" },
	{ 599, NULL, ERR_NETWORK, "the server failed (HTTP 599)" },
	{ 429, NULL, ERR_NETWORK, "the server is busy (HTTP 429)" },
	{ 404, "<!DOCTYPE html><html>", ERR_ARG, "s3.example answers with a "
	  "web page: it is no S3 endpoint (HTTP 404)" },
	{ 400, ERROR("InvalidArgument", "<Message>what?</Message>"),
	  ERR_DENIED, "the server refuses (InvalidArgument, HTTP 400): it "
	  "says 'what?'" },
	{ 501, ERROR("NotImplemented"), ERR_UNSUPPORTED,
	  "the server does not support this (NotImplemented, HTTP 501)" },
	{ 301, ERROR("PermanentRedirect", "<Endpoint>b.s3-eu-west-1.amazonaws"
		     ".com</Endpoint>"), ERR_ARG,
	  "bucket 'vms' is sent from region to region, at last from us-east-1 "
	  "to eu-west-1 (PermanentRedirect, HTTP 301): it names "
	  "b.s3-eu-west-1.amazonaws.com" },
	{ 301, ERROR("PermanentRedirect", "<Endpoint>other.example</Endpoint>"),
	  ERR_ARG, "bucket 'vms' is at another endpoint or in another region "
	  "(PermanentRedirect, HTTP 301): it names other.example" },
	{ 302, "<html>", ERR_ARG, "s3.example answers with a web page: it is "
	  "no S3 endpoint (HTTP 302)" },
	{ 302, NULL, ERR_ARG, "s3.example sends elsewhere: it is not this "
	  "bucket's endpoint (HTTP 302)" },
	{ 400, ERROR("AuthorizationHeaderMalformed"), ERR_DENIED, "the server "
	  "does not accept signatures for region us-east-1 "
	  "(AuthorizationHeaderMalformed, HTTP 400)" },
	{ 403, "<Response><Errors/><Error><Code>AccessDenied</Code></Error>"
	  "</Response>", ERR_DENIED, "access is denied to access key "
	  "AKIDEXAMPLE (environment) (AccessDenied, HTTP 403)" },
	{ 403, "<Error><Code>AccessDenied</Code>", ERR_DENIED, "access is "
	  "denied to access key AKIDEXAMPLE (environment) (HTTP 403)" },
};

static void test_sentences(void)
{
	for (size_t i = 0; i < ROWS(rows); i++) {
		struct error err;

		explain(rows[i].status, "", rows[i].body, &asker, &err);
		is_str(err.text, rows[i].text, "sentence");
		is_str(error_kind_name(err.kind), error_kind_name(rows[i].kind),
		       "kind");
		is_u64((uint64_t)err.remote.http_status,
		       (uint64_t)rows[i].status, "status");
	}
}

static void test_remote(void)
{
	struct error err;

	explain(503, "x-amz-request-id: tx1-default\r\nRetry-After: 7\r\n",
		ERROR("SlowDown", "<RequestId>tx0</RequestId>"), &asker, &err);
	is_str(err.remote.request_id, "tx1-default", "request id of a header");
	is_str(err.remote.code, "SlowDown", "code");
	is_u64(err.remote.retry_after_ms, 7000, "Retry-After");
	explain(503, "", ERROR("SlowDown", "<RequestId>tx0</RequestId>"),
		&asker, &err);
	is_str(err.remote.request_id, "tx0", "request id of the body");
}

static void test_anonymous(void)
{
	struct s3_asker nobody = asker;
	struct error err;

	nobody.access_key = "";
	nobody.token = "";
	explain(403, "", ERROR("AccessDenied"), &nobody, &err);
	is_str(err.text, "access is denied to requests without a key "
	       "(AccessDenied, HTTP 403)", "no key");
}

static void test_given_region(void)
{
	struct s3_asker strict = asker;
	struct error err;

	strict.region_is_given = true;
	explain(400, "", ERROR("AuthorizationHeaderMalformed",
			       "<Region>garage</Region>"), &strict, &err);
	is_str(err.text, "bucket 'vms' is in region garage, not us-east-1: "
	       "give region=garage or leave the option out "
	       "(AuthorizationHeaderMalformed, HTTP 400)", "given");
	is_u64(err.kind, ERR_ARG, "kind");
}

static void test_regions(void)
{
	static const struct {
		const char *headers, *body, *region, *endpoint;
	} cases[] = {
		{ "x-amz-bucket-region: eu-west-1\r\n", NULL, "eu-west-1",
		  "" },
		{ "", ERROR("AuthorizationHeaderMalformed",
			    "<Region>garage</Region>"), "garage", "" },
		{ "Location: https://b.s3.us-west-2.amazonaws.com/k?a=b\r\n",
		  NULL, "us-west-2", "b.s3.us-west-2.amazonaws.com" },
		{ "Location: https://b.s3.amazonaws.com/k\r\n", NULL, "",
		  "b.s3.amazonaws.com" },
		{ "Location: https://other.example:99/k\r\n", NULL, "",
		  "other.example:99" },
		{ "x-amz-bucket-region: a.evil.example/\r\n", NULL, "", "" },
		{ "", ERROR("PermanentRedirect",
			    "<Endpoint>user:x@evil/</Endpoint>"), "", "" },
	};

	for (size_t i = 0; i < ROWS(cases); i++) {
		struct http_response response;
		struct s3_fault fault;
		const char *body = cases[i].body;

		answer(&response, 301, cases[i].headers);
		s3_fault_read(&fault, &response, body,
			      body ? strlen(body) : 0);
		is_str(fault.region, cases[i].region, "region");
		is_str(fault.endpoint, cases[i].endpoint, "endpoint");
		http_response_free(&response);
	}
}

int main(void)
{
	test_sentences();
	test_remote();
	test_anonymous();
	test_given_region();
	test_regions();
	return tap_done();
}
