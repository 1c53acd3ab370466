/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the decorator's files share: parts.c, the store; parts-list.c,
 * listings; parts-sum.c, digests. */
#ifndef VMIEFS_PARTS_INTERNAL_H
#define VMIEFS_PARTS_INTERNAL_H

#include <pthread.h>

#include "store/parts.h"
#include "store/sink.h"

#define PARTS_SUM_ENDING ".sha256"

/* A key or prefix below the state prefix, with room for the digest's. */
#define STATE_KEY_BYTES \
	(STORE_KEY_MAX + sizeof(PARTS_PREFIX) + sizeof(PARTS_SUM_ENDING) + 2)

struct parts_store {
	struct store store;
	struct store *inner;
	bool is_service;      /* its keys are buckets */
	pthread_mutex_t lock; /* of what follows */
	bool has_parts;       /* as of: */
	int64_t asked_ns;     /* 0 = never */
};

static inline struct parts_store *parts_of(struct store *store)
{
	return (struct parts_store *)store;
}

/* Names: see parts.h. With is_prefix the key may itself be the directory, with
 * or without a slash at its end. */
bool parts_is_key(const char *key, bool is_prefix);
bool parts_is_sum_key(const char *key);

/* Where key is below the state prefix; fails where it is too long for that. */
int parts_state_key(char state[STATE_KEY_BYTES], const char *key,
		    struct error *err);

/* parts-list.c: is there anything below the state prefix? As of a short time
 * ago, or since parts_note(), which says so. A listing that has to ask costs
 * one request more. */
int parts_ask(struct parts_store *self, bool *has, struct error *err);
void parts_note(struct parts_store *self);
int parts_has_prefix(struct store *store, const char *prefix, bool *found,
		     struct error *err);
int parts_list(struct store *store, const struct list_args *args,
	       store_list_fn *fn, void *arg, char **continuation,
	       struct error *err);

/* A sink in front of inner, which is taken over on success only: when it has
 * finished the object `key` of `store`, the digest is kept beside that. */
int parts_sum_sink_new(struct sink **out, struct sink *inner,
		       struct store *store, const char *key,
		       const struct sink_args *args, struct error *err);

/* The digest kept beside `key` of `store`. */
bool parts_sum_read(struct store *store, const char *key,
		    const struct object_info *info,
		    uint8_t digest[PARTS_DIGEST_BYTES]);

#endif
