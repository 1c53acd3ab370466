/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A source is a read-only byte sequence of known size: an object, a window of
 * another source (a tar member), a concatenation (chunks, split files), an
 * unpacked gzip stream, a cached view. Format drivers and the engine read
 * through it and never see what lies below. Sources are reference-counted;
 * a source that stands on another holds a reference to it.
 *
 * Threads: everything here may be called from any thread, in parallel. */
#ifndef VMIEFS_SOURCE_H
#define VMIEFS_SOURCE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/error.h"
#include "store/store.h"

/* As STORE_NOWAIT: ERR_AGAIN instead of waiting. */
#define SOURCE_NOWAIT STORE_NOWAIT

struct budget;
struct page_cache;
struct source;

struct source_ops {
	/* Fill all of iov or fail; the range is within [0, size). */
	int (*readv)(struct source *source, uint64_t offset,
		     const struct iovec *iov, int iovcnt, unsigned int flags,
		     struct error *err);
	/* Optional, as source_prefetch() and source_cached(). */
	void (*prefetch)(struct source *source, uint64_t offset,
			 uint64_t length);
	int (*cached)(struct source **out, struct source *source,
		      struct page_cache *cache, struct error *err);
	void (*close)(struct source *source); /* last reference is gone */
};

/* First member of a kind's own struct; set up with source_init(). */
struct source {
	const struct source_ops *ops;
	uint64_t size;          /* bytes, fixed */
	char *name;             /* for messages; owned */
	uint32_t fetch_bytes;   /* as in struct store */
	uint32_t request_bytes; /* as in struct store */
	atomic_uint refs;
};

/* Fill the common part: one reference, name copied, hints from below (NULL:
 * 4096 and 512 KiB). */
int source_init(struct source *source, const struct source_ops *ops,
		const char *name, uint64_t size, const struct source *below,
		struct error *err);

struct source *source_ref(struct source *source);
void source_unref(struct source *source); /* NULL is legal */

/* Read exactly len bytes at offset (or all of iov). A range that reaches past
 * the end is ERR_CORRUPT and says where the source ends. flags: 0 or
 * SOURCE_NOWAIT. Errors carry no name yet; the map's owner adds it. */
int source_readv(struct source *source, uint64_t offset,
		 const struct iovec *iov, int iovcnt, unsigned int flags,
		 struct error *err);
int source_read(struct source *source, uint64_t offset, void *buf, size_t len,
		unsigned int flags, struct error *err);

/* This range will be read soon: begin to fetch it, so that ranges that lie
 * apart cost one wait together. A hint, heeded by sources that keep what they
 * read (source_cached() and what stands on it); returns at once, and what
 * fails is for the reader to meet. The range may reach past the end. */
void source_prefetch(struct source *source, uint64_t offset, uint64_t length);

/* An object as a source. Takes the object over on success only. */
int source_from_object(struct source **out, const char *name,
		       struct object *object, const struct store *store,
		       struct error *err);

/* Bytes [offset, offset + size) of below. */
int source_window(struct source **out, const char *name, struct source *below,
		  uint64_t offset, uint64_t size, struct error *err);

/* The n parts one after the other (each gets a reference). */
int source_concat(struct source **out, const char *name, struct source **parts,
		  size_t n, struct error *err);

/* A copy of bytes in memory (tests, patched metadata). */
int source_memory(struct source **out, const char *name, const void *data,
		  size_t size, struct error *err);

/* The metadata cache: pages of any number of sources, as large as a request
 * is worth (fetch_bytes), least recently used ones dropped when the budget
 * asks. One per process. */
int page_cache_new(struct page_cache **out, struct budget *budget,
		   struct error *err);
void page_cache_free(struct page_cache *cache);

/* `below` seen through the cache: what is recognised, headers and tables are
 * read through. Whoever asks for the same source gets the same pages, which
 * live as long as one of them holds on; a window has the pages of what it is a
 * window of. With SOURCE_NOWAIT a page that is neither cached nor readable at
 * once is ERR_AGAIN. cache == NULL gives another reference to below. Not for
 * payload. */
int source_cached(struct source **out, struct source *below,
		  struct page_cache *cache, struct error *err);

#endif
