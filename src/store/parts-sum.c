/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Digests of disks, made while they are written. SHA-256 needs the first byte
 * first, but a head may be patched when all else is there: so a guess of what
 * it will be is hashed in its place, and the digest holds good if that is what
 * it was in the end. A missing digest costs time later and is no error. */
#include "config.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "store/parts-internal.h"

#define TEXT_MAX   4096u
#define ZERO_BYTES (64u << 10)

/* Zeroes are hashed like other bytes; a stream-optimised disk has few. */
#define ZEROES_MAX (256u << 20)

struct sum_sink {
	struct sink sink;
	struct sink *inner;
	struct store *store;
	char *key;
	EVP_MD_CTX *hash;     /* NULL: there will be no digest */
	uint32_t head_bytes;
	uint8_t *head;        /* as it is now; then the guess, as long */
	bool is_past_head;    /* the guess is hashed */
	uint64_t zeroes;      /* that were hashed */
	bool (*guess_head)(void *arg, void *head);
	void *guess_arg;
};

static uint8_t *guess_of(const struct sum_sink *self)
{
	return self->head + self->head_bytes;
}

static void give_up(struct sum_sink *self)
{
	EVP_MD_CTX_free(take_ptr(self->hash));
}

static void hash(struct sum_sink *self, const void *data, size_t length)
{
	if (self->hash && !EVP_DigestUpdate(self->hash, data, length))
		give_up(self);
}

/* The first byte behind the head is there. */
static void pass_head(struct sum_sink *self)
{
	self->is_past_head = true;
	if (!self->head_bytes)
		return;
	if (self->guess_head &&
	    self->guess_head(self->guess_arg, guess_of(self)))
		hash(self, guess_of(self), self->head_bytes);
	else
		give_up(self);
}

/* The next bytes of the object, the first `at` of which are known. */
static void add_bytes(struct sum_sink *self, uint64_t at, const void *data,
		      size_t length)
{
	size_t n = 0;

	if (at < self->head_bytes) {
		n = (size_t)min_u64(self->head_bytes - at, length);
		memcpy(self->head + at, data, n);
	}
	if (n == length || !self->hash)
		return;
	if (!self->is_past_head)
		pass_head(self);
	hash(self, (const uint8_t *)data + n, length - n);
}

static int sum_write(struct sink *sink, const struct iovec *iov, int iovcnt,
		     struct error *err)
{
	struct sum_sink *self = (struct sum_sink *)sink;
	uint64_t at = sink->position;

	if (sink_writev(self->inner, iov, iovcnt, err))
		return -1;
	for (int i = 0; i < iovcnt; i++) {
		add_bytes(self, at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return 0;
}

static int sum_zeroes(struct sink *sink, uint64_t length, struct error *err)
{
	static const uint8_t zeroes[ZERO_BYTES];
	struct sum_sink *self = (struct sum_sink *)sink;
	uint64_t at = sink->position, end = at + length;

	if (sink_zeroes(self->inner, length, err))
		return -1;
	self->zeroes += length;
	if (self->zeroes > ZEROES_MAX)
		give_up(self);
	while (at < end && self->hash) {
		size_t n = (size_t)min_u64(end - at, ZERO_BYTES);

		add_bytes(self, at, zeroes, n);
		at += n;
	}
	return 0;
}

static int sum_patch(struct sink *sink, uint64_t offset, const void *data,
		     size_t length, struct error *err)
{
	struct sum_sink *self = (struct sum_sink *)sink;

	if (sink_patch(self->inner, offset, data, length, err))
		return -1;
	memcpy(self->head + offset, data, length);
	return 0;
}

/* Keeping. */

static int put_text(struct store *store, const char *key, const char *text,
		    struct error *err)
{
	struct sink_args args = { .replace = true, .size = strlen(text) };
	struct sink *sink;
	int ret;

	if (store_create(&sink, store, key, &args, err))
		return -1;
	ret = sink_write(sink, text, strlen(text), err) ||
	      sink_finish(sink, NULL, err) ? -1 : 0;
	sink_discard(sink);
	return ret;
}

static char *make_text(const uint8_t digest[PARTS_DIGEST_BYTES],
		       const struct object_info *info)
{
	char hex[2 * PARTS_DIGEST_BYTES + 1];
	json_t *json;
	char *text;

	for (size_t i = 0; i < PARTS_DIGEST_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	json = json_pack("{s:s, s:s, s:I}", "sha256", hex, "etag", info->etag,
			 "size", (json_int_t)info->size);
	text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	return text;
}

static void keep(const struct sum_sink *self,
		 const uint8_t digest[PARTS_DIGEST_BYTES],
		 const struct object_info *info)
{
	AUTO_FREE char *text = make_text(digest, info);
	AUTO_FREE char *key = NULL;
	struct error err = { 0 };

	if (!text || asprintf(&key, "%s" PARTS_SUM_ENDING, self->key) < 0) {
		key = NULL;
		return;
	}
	if (put_text(self->store, key, text, &err))
		log_debug("%s/%s is not kept: %s", self->store->url, key,
			  err.text);
}

/* The digest of all that came; false if it is not known. */
static bool complete(struct sum_sink *self, uint64_t size,
		     uint8_t digest[PARTS_DIGEST_BYTES])
{
	if (!self->is_past_head)
		hash(self, self->head, (size_t)size);
	else if (memcmp(self->head, guess_of(self), self->head_bytes) != 0)
		give_up(self);
	return self->hash && EVP_DigestFinal_ex(self->hash, digest, NULL);
}

static int sum_finish(struct sink *sink, struct object_info *info,
		      struct error *err)
{
	struct sum_sink *self = (struct sum_sink *)sink;
	uint8_t digest[PARTS_DIGEST_BYTES];

	if (sink_finish(self->inner, info, err))
		return -1;
	if (complete(self, sink->position, digest))
		keep(self, digest, info);
	return 0;
}

static void sum_cancel(struct sink *sink)
{
	sink_cancel(((struct sum_sink *)sink)->inner);
}

static int sum_seal(struct sink *sink, struct error *err)
{
	return sink_seal(((struct sum_sink *)sink)->inner, err);
}

static int sum_readv(struct sink *sink, uint64_t offset,
		     const struct iovec *iov, int iovcnt, struct error *err)
{
	struct sink *inner = ((struct sum_sink *)sink)->inner;

	return inner->ops->readv(inner, offset, iov, iovcnt, err);
}

static void sum_discard(struct sink *sink)
{
	struct sum_sink *self = (struct sum_sink *)sink;

	sink_discard(self->inner);
	give_up(self);
	free(self->head);
	free(self->key);
	free(self);
}

static const struct sink_ops sum_sink_ops = {
	.write = sum_write,
	.zeroes = sum_zeroes,
	.patch = sum_patch,
	.finish = sum_finish,
	.cancel = sum_cancel,
	.seal = sum_seal,
	.readv = sum_readv,
	.discard = sum_discard,
};

int parts_sum_sink_new(struct sink **out, struct sink *inner,
		       struct store *store, const char *key,
		       const struct sink_args *args, struct error *err)
{
	struct sum_sink *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->sink.ops = &sum_sink_ops;
	self->store = store;
	self->head_bytes = args->head_bytes;
	self->guess_head = args->guess_head;
	self->guess_arg = args->guess_arg;
	self->key = strdup(key);
	self->head = calloc(2, (size_t)args->head_bytes + 1);
	self->hash = EVP_MD_CTX_new();
	if (!self->key || !self->head || !self->hash ||
	    !EVP_DigestInit_ex(self->hash, EVP_sha256(), NULL)) {
		sum_discard(&self->sink); /* without inner */
		return error_nomem(err);
	}
	self->inner = inner;
	self->sink.can_seal = inner->can_seal;
	self->sink.can_hang = inner->can_hang;
	self->sink.beneath = inner;
	*out = &self->sink;
	return 0;
}

/* Reading. */

static json_t *read_json(struct store *store, const char *key)
{
	struct object *object;
	char text[TEXT_MAX];
	struct iovec iov = { text, 0 };
	json_t *json = NULL;

	if (object_open(&object, store, key, NULL, NULL))
		return NULL;
	iov.iov_len = object->info.size;
	if (object->info.size <= sizeof(text) &&
	    !object_readv(object, 0, &iov, 1, 0, NULL))
		json = json_loadb(text, iov.iov_len, JSON_REJECT_DUPLICATES,
				  NULL);
	object_close(object);
	return json;
}

static bool parse_hex(uint8_t digest[PARTS_DIGEST_BYTES], const char *text)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != 2 * (size_t)PARTS_DIGEST_BYTES ||
	    strspn(text, digits) != strlen(text))
		return false;
	for (size_t i = 0; i < PARTS_DIGEST_BYTES; i++) {
		size_t high = (size_t)(strchr(digits, text[2 * i]) - digits);
		size_t low = (size_t)(strchr(digits, text[2 * i + 1]) -
				      digits);

		digest[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool parts_sum_read(struct store *store, const char *key,
		    const struct object_info *info,
		    uint8_t digest[PARTS_DIGEST_BYTES])
{
	const char *hex, *etag;
	AUTO_FREE char *name = NULL;
	json_int_t size;
	json_t *json;
	bool is_good;

	if (asprintf(&name, "%s" PARTS_SUM_ENDING, key) < 0) {
		name = NULL;
		return false;
	}
	json = read_json(store, name);
	if (!json)
		return false;
	is_good = !json_unpack(json, "{s:s, s:s, s:I}", "sha256", &hex,
			       "etag", &etag, "size", &size) &&
		  !strcmp(etag, info->etag) && (uint64_t)size == info->size &&
		  parse_hex(digest, hex);
	json_decref(json);
	return is_good;
}
