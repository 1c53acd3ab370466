/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reading an object of S3: one ranged GET for each call, on condition that
 * the object still has its ETag, checked before a byte is taken. What was
 * replaced once stays so: no more requests are made for it. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/http-fields.h"
#include "store/s3-object.h"

struct s3_object {
	struct object object;
	struct s3_bucket *bucket;
	char *key;
	atomic_int gone_status; /* 404, 412 or 416 once it was answered */
};

static int s3_on_headers(void *arg, const struct http_response *response,
			 struct error *err)
{
	if (response->status < 200 || response->status >= 300)
		return 0; /* s3_send() wants its body */
	return field_check_range(response, arg, err);
}

static int fail_gone(int status, struct error *err)
{
	return error_set(err, ERR_STALE, status == 404 ?
			 "was deleted while open" : "was replaced while open");
}

/* A refusal that says that the object opened here is no more. */
static int note_gone(struct s3_object *self, struct error *err)
{
	int status = err->remote.http_status;
	struct error_remote remote = err->remote;

	if (status == 404 || status == 412 || status == 416)
		fail_gone(status, err);
	else if (err->kind == ERR_STALE)
		status = 412;
	else
		return -1;
	err->remote = remote;
	atomic_store(&self->gone_status, status);
	return -1;
}

static int get_range(struct s3_object *self, const struct range_wanted *wanted,
		     const struct iovec *iov, int iovcnt, uint64_t *filled,
		     struct error *err)
{
	char range[64], if_match[STORE_ETAG_MAX + 16];
	const char *headers[] = { range, if_match, NULL };
	struct s3_request request = {
		.method = "GET",
		.key = self->key,
		.headers = headers,
		.on_headers = s3_on_headers,
		.arg = (void *)wanted,
		.iov = iov,
		.iovcnt = iovcnt,
	};
	struct http_response response;
	int ret;

	snprintf(range, sizeof(range), "Range: bytes=%llu-%llu",
		 (unsigned long long)wanted->offset,
		 (unsigned long long)(wanted->offset + wanted->length - 1));
	snprintf(if_match, sizeof(if_match), "If-Match: \"%s\"",
		 wanted->info->etag);
	ret = s3_send(self->bucket, &request, &response, err);
	*filled = response.filled;
	http_response_free(&response);
	return ret;
}

static int s3_readv(struct object *object, uint64_t offset,
		    const struct iovec *iov, int iovcnt, unsigned int flags,
		    uint64_t *filled, struct error *err)
{
	struct s3_object *self = (struct s3_object *)object;
	struct range_wanted wanted = { .offset = offset,
				       .info = &object->info };
	int status = atomic_load(&self->gone_status);
	struct error why = { 0 };

	for (int i = 0; i < iovcnt; i++)
		wanted.length += iov[i].iov_len;
	if (wanted.length == 0)
		return 0;
	if (flags & STORE_NOWAIT)
		return error_set(err, ERR_AGAIN, "not in memory");
	if (status)
		return fail_gone(status, err);
	if (!get_range(self, &wanted, iov, iovcnt, filled, &why))
		return 0;
	note_gone(self, &why);
	if (err)
		*err = why;
	return -1;
}

static void s3_object_close(struct object *object)
{
	struct s3_object *self = (struct s3_object *)object;

	free(self->key);
	free(self);
}

static const struct object_ops s3_object_ops = {
	.readv = s3_readv,
	.close = s3_object_close,
};

int s3_object_new(struct object **out, struct s3_bucket *bucket,
		  const char *key, const struct object_info *info,
		  struct error *err)
{
	struct s3_object *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->object.ops = &s3_object_ops;
	self->object.info = *info;
	self->bucket = bucket;
	self->key = strdup(key);
	if (!self->key) {
		free(self);
		return error_nomem(err);
	}
	*out = &self->object;
	return 0;
}
