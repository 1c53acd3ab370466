/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Requests to S3. */
#include "config.h"

#include <jansson.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/pool.h"
#include "store/retrier.h"
#include "store/s3-client.h"
#include "store/s3-error.h"
#include "store/sigv4.h"

#define FIRST_REGION   "us-east-1" /* answers for buckets anywhere */
#define HOPS_MAX       3
#define UPLOADS_MAX    32 /* parts on their way, of all objects together */
#define OWN_HEADERS    8
#define HEADERS_MAX    72
#define HEADER_MAX     (16u << 10) /* session tokens have some KiB */
#define URL_MAX        (16u << 10) /* a key of 1024 bytes takes 3 KiB */
#define SKEW_S         300 /* S3 tolerates 900 */
#define TIMEOUT_MS     60000
#define ERROR_TEXT_MAX (256u << 10)
#define EMPTY_HASH                                                             \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct s3_client {
	atomic_uint refs;
	struct http *http;
	struct credentials *credentials;
	struct s3_endpoint endpoint;
	enum s3_addressing addressing;
	bool is_anonymous, requester_pays, unsigned_payload;
	char region[S3_REGION_MAX];  /* where to begin */
	bool region_is_given;        /* by the option */
	atomic_llong clock_ahead_s;  /* the server's, of ours: for signing */
	atomic_llong seen_ahead_s;   /* the same by its last answer */
	struct journal *journal, *mounts;
	struct s3_headers headers;   /* of new objects */
	struct retrier *retrier;
	struct pool *pool;
	atomic_ullong copied, sent;  /* bytes of copies */
};

static const char *const call_names[S3_CALL_KINDS + 1] = {
	[S3_CALL_PUT] = "put",
	[S3_CALL_CREATE] = "begin",
	[S3_CALL_PART] = "part",
	[S3_CALL_COPY] = "copy",
	[S3_CALL_FETCH] = "fetch",
	[S3_CALL_COMPLETE] = "complete",
	[S3_CALL_ABORT] = "abort",
	[S3_CALL_ASK] = "ask",
	[S3_CALL_CHANGE] = "change",
};

static int set_region(struct s3_client *client,
		      const struct store_options *options, struct error *err)
{
	const char *region = options->region;

	client->region_is_given = region && *region;
	if (!client->region_is_given)
		region = credentials_region(client->credentials);
	if (!region || !*region)
		region = FIRST_REGION;
	if (!s3_region_is_valid(region))
		return error_set(err, ERR_ARG, "'%.80s' is no name of a "
				 "region, which is like eu-west-1", region);
	snprintf(client->region, sizeof(client->region), "%s", region);
	return 0;
}

static int set_endpoint(struct s3_client *client,
			const struct store_options *options, struct error *err)
{
	const char *endpoint = options->endpoint;

	if (!endpoint || !*endpoint)
		endpoint = credentials_endpoint(client->credentials);
	return s3_endpoint_parse(&client->endpoint, endpoint, err);
}

int s3_client_new(struct s3_client **out, const struct store_options *options,
		  struct error *err)
{
	struct http_options http = { .ca_bundle = options->ca_bundle };
	struct credentials_options keys = {
		.profile = options->profile,
		.region = options->region,
		.is_anonymous = options->is_anonymous,
	};
	struct retry_options retry = { .timeout_ms = options->timeout_ms };
	struct s3_client *client = calloc(1, sizeof(*client));

	*out = NULL;
	if (!client)
		return error_nomem(err);
	atomic_init(&client->refs, 1);
	client->addressing = options->addressing;
	client->is_anonymous = options->is_anonymous;
	client->requester_pays = options->requester_pays;
	client->unsigned_payload = options->unsigned_payload;
	client->journal = options->journal;
	client->mounts = options->mounts;
	if (http_new(&client->http, &http, err) ||
	    credentials_new(&client->credentials, client->http, &keys, err) ||
	    set_endpoint(client, options, err) ||
	    set_region(client, options, err) ||
	    s3_headers_init(&client->headers, &options->new_objects, err) ||
	    retrier_new(&client->retrier, &retry, call_names, NULL, err) ||
	    pool_new(&client->pool, "upload", UPLOADS_MAX, UPLOADS_MAX, err)) {
		s3_client_unref(client);
		return -1;
	}
	*out = client;
	return 0;
}

int s3_client_start(struct s3_client *client, struct error *err)
{
	return http_start(client->http, err) ||
	       credentials_start(client->credentials, err) ? -1 : 0;
}

struct s3_client *s3_client_ref(struct s3_client *client)
{
	atomic_fetch_add(&client->refs, 1);
	return client;
}

void s3_client_wake(struct s3_client *client)
{
	http_wake(client->http);
	retrier_wake(client->retrier);
}

void s3_client_cancel(struct s3_client *client)
{
	if (client->retrier)
		retrier_cancel(client->retrier);
	http_cancel(client->http);
	if (client->credentials)
		credentials_cancel(client->credentials);
}

void s3_client_unref(struct s3_client *client)
{
	if (!client || atomic_fetch_sub(&client->refs, 1) > 1)
		return;
	/* The thread for credentials may wait for an answer. */
	if (client->http)
		s3_client_cancel(client);
	if (client->pool)
		pool_free(client->pool);
	retrier_unref(client->retrier);
	s3_headers_free(&client->headers);
	credentials_unref(client->credentials);
	http_unref(client->http);
	free(client);
}

struct http *s3_client_http(struct s3_client *client)
{
	return client->http;
}

struct retrier *s3_client_retrier(struct s3_client *client)
{
	return client->retrier;
}

const struct s3_headers *s3_client_headers(const struct s3_client *client)
{
	return &client->headers;
}

struct pool *s3_client_pool(struct s3_client *client)
{
	return client->pool;
}

void s3_client_count_copy(struct s3_client *client, bool is_copied,
			  uint64_t bytes)
{
	atomic_fetch_add(is_copied ? &client->copied : &client->sent, bytes);
}

int s3_client_copies_json(struct s3_client *client, struct json_t *object,
			  struct error *err)
{
	json_t *copies = json_pack(
		"{s:I, s:I}",
		"bytes_copied", (json_int_t)atomic_load(&client->copied),
		"bytes_sent", (json_int_t)atomic_load(&client->sent));

	return json_object_set_new(object, "copies", copies) ?
		error_nomem(err) : 0;
}

bool s3_client_is_aws(const struct s3_client *client)
{
	return client->endpoint.is_aws;
}

bool s3_client_signs_bodies(const struct s3_client *client)
{
	return !client->unsigned_payload && !client->endpoint.is_tls &&
	       !client->is_anonymous;
}

void s3_bucket_init(struct s3_bucket *bucket, struct s3_client *client,
		    const char *name, bool binding)
{
	memset(bucket, 0, sizeof(*bucket));
	bucket->client = s3_client_ref(client);
	snprintf(bucket->name, sizeof(bucket->name), "%s", name);
	bucket->region_is_given = binding && client->region_is_given;
	pthread_mutex_init(&bucket->lock, NULL);
	pthread_cond_init(&bucket->is_idle, NULL);
	memcpy(bucket->region, client->region, sizeof(bucket->region));
}

static void get_region(struct s3_bucket *bucket, char region[S3_REGION_MAX])
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&bucket->lock);

	memcpy(region, bucket->region, S3_REGION_MAX);
}

static void keep_region(struct s3_bucket *bucket,
			const char region[S3_REGION_MAX])
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&bucket->lock);

	log_info("bucket %s is in region %s", bucket->name, region);
	memcpy(bucket->region, region, S3_REGION_MAX);
}

/* One call of s3_send(): what its tries have found out. */
struct sending {
	struct s3_bucket *bucket;
	const struct s3_request *request;
	struct http_response *response;
	struct strbuf own_text, *text;
	char region[S3_REGION_MAX];
	struct s3_endpoint endpoint; /* where a redirect has led to, so far */
	enum s3_addressing addressing;
	struct key_set *keys; /* of the last try; NULL: not signed */
	struct strbuf host;
	int64_t signed_at;
	unsigned int hops;
	bool has_renewed, has_set_clock;
};

/* The headers of one try: what is sent is what is signed. */
struct headers {
	struct strbuf own[OWN_HEADERS];
	int own_count;
	const char *lines[HEADERS_MAX + 1];
	int count;
};

static struct strbuf *next_header(struct headers *headers)
{
	struct strbuf *line = &headers->own[headers->own_count++];

	line->max = HEADER_MAX;
	return line;
}

/* Own ones from `from` on join the list. */
static int list_headers(struct headers *headers, int from, struct error *err)
{
	for (int i = from; i < headers->own_count; i++) {
		if (headers->own[i].failed)
			return error_set(err, ERR_LIMIT, "a header for the "
					 "server is above %u bytes",
					 HEADER_MAX);
		headers->lines[headers->count++] = headers->own[i].data;
	}
	return 0;
}

static void free_headers(struct headers *headers)
{
	for (int i = 0; i < headers->own_count; i++) {
		struct strbuf *line = &headers->own[i];

		if (line->data)
			explicit_bzero(line->data, line->len);
		strbuf_free(line);
	}
}

int64_t s3_client_time(struct s3_client *client)
{
	return (int64_t)time(NULL) + atomic_load(&client->clock_ahead_s);
}

static int sign(const struct sending *s, const char *path, const char *hash,
		struct headers *headers, struct error *err)
{
	struct sigv4_request request = {
		.method = s->request->method,
		.path = path,
		.query = s->request->query ? s->request->query : "",
		.headers = headers->lines,
		.payload_hash = hash,
		.region = s->region,
		.service = "s3",
		.time = s->signed_at,
	};
	struct strbuf value = { .max = HEADER_MAX };
	int from = headers->own_count, ret;

	ret = sigv4_authorization(&request, &s->keys->keys, &value, err);
	if (!ret) {
		strbuf_printf(next_header(headers), "Authorization: %s",
			      value.data);
		ret = list_headers(headers, from, err);
	}
	strbuf_free(&value);
	return ret;
}

static int make_headers(struct sending *s, const char *path,
			struct headers *headers, struct error *err)
{
	const struct s3_client *client = s->bucket->client;
	const char *hash = s->request->payload_hash ?
			   s->request->payload_hash :
			   client->unsigned_payload ? SIGV4_UNSIGNED :
						      EMPTY_HASH;
	const char *const *more = s->request->headers;
	char date[17];

	strbuf_printf(next_header(headers), "Host: %s", s->host.data);
	if (client->requester_pays)
		strbuf_puts(next_header(headers),
			    "x-amz-request-payer: requester");
	s->signed_at = s3_client_time(s->bucket->client);
	if (s->keys) {
		sigv4_date(date, s->signed_at);
		strbuf_printf(next_header(headers), "x-amz-date: %s", date);
		strbuf_printf(next_header(headers),
			      "x-amz-content-sha256: %s", hash);
		if (s->keys->keys.session_token)
			strbuf_printf(next_header(headers),
				      "x-amz-security-token: %s",
				      s->keys->keys.session_token);
	}
	if (list_headers(headers, 0, err))
		return -1;
	for (; more && *more; more++) {
		/* One more signs them. */
		if (headers->count == HEADERS_MAX - 1)
			return error_set(err, ERR_LIMIT, "a request has more "
					 "than %d headers", HEADERS_MAX);
		headers->lines[headers->count++] = *more;
	}
	return s->keys ? sign(s, path, hash, headers, err) : 0;
}

/* Of the caller's deadline, and of `most` where that is sooner. */
static unsigned int time_left(unsigned int most)
{
	return (unsigned int)min_u64(retry_time_left_ms(), most);
}

static unsigned int time_for_try(const struct s3_request *request)
{
	unsigned int most = request->timeout_ms ? request->timeout_ms :
						  TIMEOUT_MS;
	unsigned int left = time_left(most);

	if (request->may_outlast)
		return most;
	return left ? left : 1;
}

static int perform(struct sending *s, const char *path,
		   const struct headers *headers, struct error *err)
{
	const struct s3_request *request = s->request;
	struct s3_client *client = s->bucket->client;
	struct strbuf url = { .max = URL_MAX };
	struct http_request http = {
		.method = request->method,
		.headers = headers->lines,
		.timeout_ms = time_for_try(request),
		.answer_ms = request->answer_ms,
		.cancelled = request->cancelled,
		.outlives = request->outlives,
		.body = request->body,
		.body_count = request->body_count,
		.file_bytes = request->file_bytes,
		.body_file = request->body_file,
		.on_headers = request->on_headers,
		.arg = request->arg,
		.iov = request->iov,
		.iovcnt = request->iovcnt,
		.text = s->text,
	};
	int ret;

	strbuf_printf(&url, "%s://%s%s%s%s",
		      s->endpoint.is_tls ? "https" : "http",
		      s->host.data, path, request->query ? "?" : "",
		      request->query ? request->query : "");
	if (url.failed) {
		strbuf_free(&url);
		return error_nomem(err);
	}
	http.url = url.data;
	s->text->len = 0;
	s->text->failed = false;
	http_response_free(s->response);
	ret = http_perform(client->http, &http, s->response, err);
	strbuf_free(&url);
	return ret;
}

/* One try. 0: there is an answer, of any status. */
static int try_once(struct sending *s, struct error *err)
{
	struct s3_client *client = s->bucket->client;
	struct strbuf path = { .max = URL_MAX };
	struct headers headers = { .count = 0 };
	int ret;

	key_set_unref(take_ptr(s->keys));
	strbuf_free(&s->host);
	s->host.max = S3_HOST_MAX + S3_BUCKET_MAX;
	ret = s3_address(&s->endpoint, s->addressing, s->region,
			 s->bucket->name, s->request->key, &s->host, &path,
			 err);
	if (!ret && !client->is_anonymous)
		ret = credentials_get(client->credentials, &s->keys,
				      time_left(TIMEOUT_MS), err);
	if (!ret)
		ret = make_headers(s, path.data, &headers, err);
	if (!ret)
		ret = perform(s, path.data, &headers, err);
	free_headers(&headers);
	strbuf_free(&path);
	return ret;
}

/* S3 tells where a bucket is in the answer to HEAD, whatever its status; some
 * of its errors do not. */
static void ask_region(struct sending *s, struct s3_fault *fault)
{
	const struct s3_request *request = s->request;
	const struct s3_request head = {
		.method = "HEAD",
		.key = "",
		.cancelled = request->cancelled,
	};
	struct error ignored = { 0 };

	s->request = &head;
	if (!try_once(s, &ignored)) {
		struct s3_fault answer;

		s3_fault_read(&answer, s->response, NULL, 0);
		memcpy(fault->region, answer.region, sizeof(fault->region));
	}
	s->request = request;
}

/* A redirect to a host that belongs to the endpoint. It is for this request
 * only: the servers that send one do so while a bucket is new. */
static bool follow_host(struct sending *s, const struct s3_fault *fault)
{
	struct s3_endpoint there;
	enum s3_addressing addressing;

	if (fault->status >= 400 ||
	    !s3_redirect(&s->bucket->client->endpoint, s->bucket->name,
			 fault->endpoint, &there, &addressing))
		return false;
	log_debug("bucket %s: redirected to %s", s->bucket->name,
		  fault->endpoint);
	s->endpoint = there;
	s->addressing = addressing;
	if (*fault->region && !s->bucket->region_is_given)
		memcpy(s->region, fault->region, sizeof(s->region));
	return true;
}

/* Follow to another region or host, within AWS or at the same endpoint: nothing
 * else gets our signatures. False: nothing is to be gained. */
static bool follow(struct sending *s, struct s3_fault *fault)
{
	const struct s3_client *client = s->bucket->client;

	if (!s3_fault_is_elsewhere(fault) || s->hops++ == HOPS_MAX)
		return false;
	if (follow_host(s, fault))
		return true;
	if (fault->status < 400 && !client->endpoint.is_aws &&
	    !*fault->region)
		return false;
	if (!*fault->region && client->endpoint.is_aws && *s->bucket->name)
		ask_region(s, fault);
	if (!*fault->region || !strcmp(fault->region, s->region) ||
	    s->bucket->region_is_given)
		return false;
	memcpy(s->region, fault->region, sizeof(s->region));
	keep_region(s->bucket, s->region);
	return true;
}

static bool renew_keys(struct sending *s, const struct s3_fault *fault)
{
	static const char *const codes[] = {
		"ExpiredToken", "ExpiredTokenException", "InvalidToken",
		"TokenRefreshRequired", NULL,
	};

	if (s->has_renewed || !s->keys || !s3_fault_is_one_of(fault, codes))
		return false;
	s->has_renewed = true;
	return credentials_refresh(s->bucket->client->credentials, s->keys);
}

/* Sign by the server's clock from now on, where ours is what it refuses. It
 * does not say so in an answer to HEAD. */
static bool set_clock(struct sending *s, const struct s3_fault *fault)
{
	static const char *const codes[] = {
		"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed",
		NULL,
	};
	struct s3_client *client = s->bucket->client;
	int64_t theirs = http_date(s->response);
	int64_t off = theirs - s->signed_at;

	if (s->has_set_clock || !s->keys || !theirs)
		return false;
	if (!s3_fault_is_one_of(fault, codes) &&
	    (fault->status != 403 || *fault->code ||
	     (off > -SKEW_S && off < SKEW_S)))
		return false;
	s->has_set_clock = true;
	log_warning("this machine's clock differs from that of %s by %lld s: "
		    "signing by theirs", s->host.data, (long long)-off);
	atomic_store(&client->clock_ahead_s, theirs - (int64_t)time(NULL));
	return true;
}

static int fail(const struct sending *s, const struct s3_fault *fault,
		struct error *err)
{
	const struct key_set *keys = s->keys;
	struct s3_asker asker = {
		.bucket = s->bucket->name,
		.host = s->host.data,
		.region = s->region,
		.region_is_given = s->bucket->region_is_given,
		.access_key = keys ? keys->keys.access_key : "",
		.origin = keys && keys->origin ? keys->origin : "",
		.token = keys && keys->keys.session_token ?
				 keys->keys.session_token : "",
	};

	return s3_fault_error(fault, &asker, err);
}

/* The transfer failed by itself, or on_headers refused the answer. */
static int fail_early(const struct sending *s, struct error *err)
{
	struct error_remote *remote = &err->remote;

	if (s->response->status && !remote->http_status) {
		remote->http_status = s->response->status;
		http_header(s->response, "x-amz-request-id",
			    remote->request_id, sizeof(remote->request_id));
	}
	return -1;
}

/* Some answers begin before it is known what they will say. */
static bool is_late_error(const struct sending *s, struct s3_fault *fault)
{
	if (!s->request->may_fail_late)
		return false;
	s3_fault_read(fault, s->response, s->text->data, s->text->len);
	return *fault->code;
}

static int send_until_answered(struct sending *s, struct error *err)
{
	for (;;) {
		struct error why = { 0 };
		struct s3_fault fault;
		int ret = try_once(s, &why);

		if (ret && (why.kind != ERR_LIMIT ||
			    s->response->status < 300)) {
			fail_early(s, &why);
			if (err)
				*err = why;
			return -1;
		}
		if (s->response->status >= 200 && s->response->status < 300) {
			if (!is_late_error(s, &fault))
				return 0;
		} else {
			/* An error page that is too long tells nothing. */
			s3_fault_read(&fault, s->response,
				      ret ? NULL : s->text->data,
				      ret ? 0 : s->text->len);
		}
		if (!follow(s, &fault) && !renew_keys(s, &fault) &&
		    !set_clock(s, &fault))
			return fail(s, &fault, err);
	}
}

int64_t s3_client_seen_time(struct s3_client *client)
{
	return (int64_t)time(NULL) + atomic_load(&client->seen_ahead_s);
}

struct journal *s3_client_journal(struct s3_client *client)
{
	return client->journal;
}

struct journal *s3_client_mounts(struct s3_client *client)
{
	return client->mounts;
}

const struct s3_endpoint *s3_client_endpoint(const struct s3_client *client)
{
	return &client->endpoint;
}

int s3_send(struct s3_bucket *bucket, const struct s3_request *request,
	    struct http_response *response, struct error *err)
{
	struct sending s = {
		.bucket = bucket,
		.request = request,
		.response = response,
		.own_text = { .max = ERROR_TEXT_MAX },
		.endpoint = bucket->client->endpoint,
		.addressing = bucket->client->addressing,
	};
	int64_t theirs;
	int ret;

	memset(response, 0, sizeof(*response));
	s.text = request->text ? request->text : &s.own_text;
	get_region(bucket, s.region);
	ret = send_until_answered(&s, err);
	theirs = http_date(response);
	if (theirs)
		atomic_store(&bucket->client->seen_ahead_s,
			     theirs - (int64_t)time(NULL));
	key_set_unref(s.keys);
	strbuf_free(&s.host);
	strbuf_free(&s.own_text);
	return ret;
}

int s3_explain(struct s3_bucket *bucket, struct error *err)
{
	const struct s3_endpoint *endpoint = &bucket->client->endpoint;
	char region[S3_REGION_MAX], name[S3_URL_MAX];

	get_region(bucket, region);
	if (endpoint->is_aws)
		return error_prefix(err, "AWS, region %s", region);
	/* What failed on the way there begins with the host already. */
	if (err && !strncmp(err->text, endpoint->host, strlen(endpoint->host)))
		return error_prefix(err, "endpoint");
	s3_endpoint_name(endpoint, name);
	return error_prefix(err, "endpoint %s", name);
}
