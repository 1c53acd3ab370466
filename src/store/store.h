/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A store holds objects: bytes under keys, as in S3. A key is a byte string
 * without NUL, 1 to 1024 bytes, segments divided by '/'; they may be empty
 * (in S3, not in a directory). Objects are immutable as far as a reader is
 * concerned: an open object is pinned to its ETag, and once the key holds
 * something else every read of it fails with ERR_STALE.
 *
 * Threads: all functions may be called from any thread, also in parallel on
 * one store or object. Any of them may block on I/O unless it says
 * otherwise. */
#ifndef VMIEFS_STORE_H
#define VMIEFS_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/cleanup.h"
#include "common/error.h"

#define STORE_KEY_MAX  1024 /* bytes without the NUL, S3's limit */
#define STORE_ETAG_MAX 128  /* with the NUL */

struct object_info {
	uint64_t size;             /* bytes */
	int64_t mtime_ns;          /* since 1970 */
	char etag[STORE_ETAG_MAX]; /* opaque, without quotes */
};

/* One line of a listing. For a common prefix (a "directory") key ends in '/'
 * and info is zero. Valid during the callback only. */
struct store_entry {
	const char *key;
	bool is_prefix;
	struct object_info info;
};

struct list_args {
	const char *prefix;       /* "" or e.g. "vms/" or "vms/db" */
	char delimiter;           /* '/' = one level; 0 = everything below */
	const char *continuation; /* NULL = from the start */
	unsigned int max_keys;    /* hint for one page; 0 = the store's own */
};

/* Return 0 to go on, -1 with err set to stop the listing with that error. */
typedef int store_list_fn(void *arg, const struct store_entry *entry,
			  struct error *err);

/* An upload of parts that was begun and has not ended: S3 keeps its parts, and
 * shows no object. Valid during the callback, which is as that above. */
struct store_upload {
	const char *key;
	const char *id;      /* opaque */
	int64_t begun_s;     /* since 1970, by the server's clock */
	int64_t idle_s;      /* since something was last stored for it */
	bool parts_are_known; /* what follows */
	unsigned int parts;
	uint64_t bytes;
	bool is_in_use;      /* a mount of those in store_options works on it */
};
typedef int store_upload_fn(void *arg, const struct store_upload *upload,
			    struct error *err);

/* Reading flag: fail with ERR_AGAIN instead of waiting for a device or the
 * network. A store may always answer ERR_AGAIN. */
#define STORE_NOWAIT 1u

struct budget;
struct compose;
struct journal;
struct json_t; /* of jansson */
struct store;
struct object;
struct rename_args;
struct scratch;
struct sink;
struct sink_args;

struct object_ops {
	/* Fill all of iov from offset on or fail; the range lies within the
	 * object (object_readv() has checked it). *filled, zero before, is how
	 * many bytes at the start of iov hold good, also on failure: from
	 * there on a retry continues. */
	int (*readv)(struct object *object, uint64_t offset,
		     const struct iovec *iov, int iovcnt, unsigned int flags,
		     uint64_t *filled, struct error *err);
	void (*close)(struct object *object);
};

/* First member of a driver's own object. */
struct object {
	const struct object_ops *ops;
	struct object_info info;
};

struct store_ops {
	int (*list)(struct store *store, const struct list_args *args,
		    store_list_fn *fn, void *arg, char **continuation,
		    struct error *err);
	int (*stat)(struct store *store, const char *key,
		    struct object_info *info, struct error *err);
	/* Would a listing of the level above show prefix? NULL = any key
	 * below it tells. */
	int (*has_prefix)(struct store *store, const char *prefix,
			  bool *found, struct error *err);
	int (*open)(struct object **out, struct store *store, const char *key,
		    const struct object_info *known, struct error *err);
	/* As store_create(); key and args are checked. NULL = read-only. */
	int (*create)(struct sink **out, struct store *store, const char *key,
		      const struct sink_args *args, struct error *err);
	/* As store_compose(), with info never NULL. NULL = by reading and
	 * writing. */
	int (*compose)(struct store *store, const char *key,
		       const struct sink_args *args, struct compose *compose,
		       struct object_info *info, struct error *err);
	/* As store_remove(), ...; the keys are checked. NULL = cannot. */
	int (*remove)(struct store *store, const char *key,
		      const char *if_match, struct error *err);
	int (*rename)(struct store *store, const char *from, const char *to,
		      const struct rename_args *args, struct error *err);
	int (*make_prefix)(struct store *store, const char *prefix,
			   struct error *err);
	int (*remove_prefix)(struct store *store, const char *prefix,
			     struct error *err);
	/* As store_list_uploads() and store_abort_upload(). NULL = there are
	 * none. */
	int (*list_uploads)(struct store *store, store_upload_fn *fn,
			    void *arg, struct error *err);
	int (*abort_upload)(struct store *store, const char *key,
			    const char *id, struct error *err);
	/* NULL = a bucket is the store whose URL has the name behind it. */
	int (*open_bucket)(struct store **out, struct store *service,
			   const char *name, struct error *err);
	/* Start threads and connections; NULL = nothing to start. */
	int (*start)(struct store *store, struct error *err);
	/* Does it answer, and to us? NULL = it did when it was opened. */
	int (*check)(struct store *store, struct error *err);
	/* As store_cancel(); NULL = nothing that waits can be ended. */
	void (*cancel)(struct store *store);
	/* Add counters to a JSON object; NULL = it has none. */
	int (*stats)(struct store *store, struct json_t *object,
		     struct error *err);
	void (*close)(struct store *store);
};

/* First member of a driver's own store. Filled by the driver's open. */
struct store {
	const struct store_ops *ops;
	char *url;              /* "file:///srv/images": for messages; owned */
	uint32_t fetch_bytes;   /* a smaller read costs as much as this one */
	uint32_t request_bytes; /* the largest read worth one request */
};

enum s3_addressing { S3_ADDRESSING_AUTO, S3_PATH_STYLE, S3_VIRTUAL_HOSTED };

/* What new objects are to be, where a store has a choice. */
struct store_new_options {
	const char *sse;           /* "s3" or "kms"; NULL: as the bucket says */
	const char *sse_kms_key;   /* NULL: the account's own */
	const char *storage_class; /* NULL: STANDARD */
	const char *acl;           /* "private", ...; NULL: the bucket's */
	const char *content_type;
	const char *tags;          /* "a=1&b=2" */
	bool metadata;             /* keep what sink_args say of them */
};

/* The options of all kinds of stores; zero is the default of each. Texts are
 * borrowed until store_open() returns. */
struct store_options {
	unsigned int timeout_ms;  /* deadline of one call with its retries;
				   * 0 = 60 s */
	const char *endpoint;     /* "http://127.0.0.1:8340"; NULL: from
				   * AWS_ENDPOINT_URL, else AWS */
	const char *region;       /* NULL: environment, profile, or found out */
	const char *profile;      /* NULL: AWS_PROFILE, else "default" */
	const char *ca_bundle;    /* NULL: AWS_CA_BUNDLE, else the system's */
	enum s3_addressing addressing;
	bool is_anonymous;        /* do not sign */
	bool requester_pays;
	bool unsigned_payload;    /* also without TLS */
	struct journal *journal;  /* of part uploads; what was left behind is
				   * aborted once store_check() has
				   * succeeded. Outlives the store; NULL:
				   * none is kept */
	struct journal *mounts;   /* journals of the mounts there: which
				   * uploads they work on is looked up in
				   * them, and nothing written. Outlives the
				   * store; NULL: nobody asks */
	struct store_new_options new_objects;
};

/* Open the store that source names: "file:///dir" or a path (a directory),
 * "s3://bucket[/prefix]", "s3://" (a service: its first level has the
 * buckets), "https://host/path" (one object). options may be NULL. No
 * threads and no network yet; a directory is checked to be there. *out is
 * NULL on failure. */
int store_open(struct store **out, const char *source,
	       const struct store_options *options, struct error *err);

/* A bucket of a service as a store of its own. It shares connections, threads
 * and credentials with the service, which must have been started and outlive
 * it; it needs no start. */
int store_open_bucket(struct store **out, struct store *service,
		      const char *name, struct error *err);

/* Start what needs threads; once, after daemonising, before any other call. */
int store_start(struct store *store, struct error *err);

/* Does the store answer, with these credentials? Ends within 30 s. The error
 * names the cause: host, certificate, credentials, bucket, region. */
int store_check(struct store *store, struct error *err);

/* Let go: what waits for the store, and whatever is asked of it later, fails
 * soon with ERR_CANCELLED; of a service, in its buckets, too. Does not wait
 * for that. A directory cannot: the kernel waits there. */
void store_cancel(struct store *store);

/* Add what the store counts (requests, bytes, retries) to object, for
 * control/stats. Does not block. */
int store_stats(struct store *store, struct json_t *object,
		struct error *err);

/* NULL is legal. All objects must be closed. */
void store_close(struct store *store);

/* One page: fn sees each entry, in no promised order. *continuation (freed by
 * the caller) is NULL after the last page, else what the next call needs. An
 * absent prefix lists nothing. */
int store_list(struct store *store, const struct list_args *args,
	       store_list_fn *fn, void *arg, char **continuation,
	       struct error *err);

/* ERR_NOT_FOUND where no object has that key (a mere prefix is none). */
int store_stat(struct store *store, const char *key, struct object_info *info,
	       struct error *err);

/* Is there such a prefix ("a/b/")? Costs less than listing the level above. */
int store_has_prefix(struct store *store, const char *prefix, bool *found,
		     struct error *err);

/* Open key for reading, pinned to the ETag it has now. With known (what a
 * listing or stat said of it), to that one: ERR_STALE, here or at the first
 * read, if it has another by now; a remote store then asks nothing. */
int object_open(struct object **out, struct store *store, const char *key,
		const struct object_info *known, struct error *err);
void object_close(struct object *object); /* NULL is legal */

/* Read exactly all of iov at offset. flags: 0 or STORE_NOWAIT. A range past
 * the end is ERR_CORRUPT ("ends before"). */
int object_readv(struct object *object, uint64_t offset,
		 const struct iovec *iov, int iovcnt, unsigned int flags,
		 struct error *err);

/* Begin a new object under key, which exists only once sink_finish() has
 * succeeded (store/sink.h). ERR_EXISTS and ERR_STALE as args say, here or
 * at sink_finish(). */
int store_create(struct sink **out, struct store *store, const char *key,
		 const struct sink_args *args, struct error *err);

/* Remove an object; ERR_STALE unless it has the ETag if_match (NULL: any). */
int store_remove(struct store *store, const char *key, const char *if_match,
		 struct error *err);

/* Zero is the default of each member. */
struct rename_args {
	bool replace; /* the key may be taken; otherwise ERR_EXISTS */
	/* As in struct sink_args, for what a store has to fetch and send. */
	struct budget *budget;
	struct scratch *scratch;
	/* As of store_compose(): a store that has to copy asks it. */
	bool (*goes_on)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/* Give an object another key. A store that copies for it says so when the old
 * one cannot be removed: both exist then. */
int store_rename(struct store *store, const char *from, const char *to,
		 const struct rename_args *args, struct error *err);

/* Make, or remove, what a store has for an empty prefix (without its slash).
 * ERR_EXISTS; ENOTEMPTY. */
int store_make_prefix(struct store *store, const char *prefix,
		      struct error *err);
int store_remove_prefix(struct store *store, const char *prefix,
			struct error *err);

/* Is it a key's length? ERR_NOT_FOUND. The functions above check it. */
int store_check_key(const char *key, struct error *err);

/* All uploads of parts below the store. ERR_UNSUPPORTED for a store that
 * cannot have any. */
int store_list_uploads(struct store *store, store_upload_fn *fn, void *arg,
		       struct error *err);

/* End one of them, with all that was stored for it. One that has ended by now
 * is no error. Whoever still uploads fails. */
int store_abort_upload(struct store *store, const char *key, const char *id,
		       struct error *err);

/* Drivers. Each takes the whole source. */
int file_store_open(struct store **out, const char *path, struct error *err);
int s3_store_open(struct store **out, const char *source,
		  const struct store_options *options, struct error *err);
int https_store_open(struct store **out, const char *source,
		     const struct store_options *options, struct error *err);

#endif
