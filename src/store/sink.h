/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A sink takes the bytes of a new object, first to last, and makes the object
 * appear under its key when it is complete. The life of a sink:
 *
 *     store_create() -> { write, zeroes, patch }* -> finish -> discard
 *
 * or, where the store can give back what it was given, -> seal -> object.
 *
 * What must be filled in at the end lies in the first head_bytes: a store that
 * only appends (S3 multipart) holds that much back.
 *
 * Threads: one call at a time, from any thread; sink_cancel() besides. Calls
 * may block, and may return before the bytes are stored: only finish() tells
 * that they are. After the first failure every call fails with its error. */
#ifndef VMIEFS_SINK_H
#define VMIEFS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/budget.h"
#include "common/error.h"

#define SINK_HEAD_MAX     (8u << 20)
#define SINK_SIZE_UNKNOWN UINT64_MAX

struct budget;
struct object;
struct object_info;
struct scratch;
struct sink;

/* How long a writer waits for those that came before it. */
#define SINK_WAIT_MS 30000

/* Zero is the default of each member, but for size. Texts are borrowed until
 * store_create() returns; budget and scratch outlive the sink. */
struct sink_args {
	bool replace;         /* the key may be taken; otherwise ERR_EXISTS */
	const char *if_match; /* with replace: ERR_STALE unless the key has
			       * this ETag when the new object is complete;
			       * NULL: whatever is there is replaced */
	uint32_t head_bytes;  /* what patch() may reach: <= SINK_HEAD_MAX */
	uint64_t size;        /* at most so many bytes come, where that is
			       * known: a hint for the size of parts */
	struct budget *budget; /* counts what is held until it is stored;
				* NULL: unbounded */
	uint64_t besides;      /* of the budget the caller takes so much as
				* soon as it has the sink: that is left */
	struct scratch *scratch; /* for parts that memory cannot hold; NULL:
				  * there is none */
	const char *const *metadata; /* what is known of the content, like
				      * "format=vmdk", NULL-ended, or NULL:
				      * kept where the store has a place for
				      * it and is told to */
	struct patience patience; /* of store_create() for room in the budget,
				   * before ERR_NOMEM */
	/* Fill head[0..head_bytes) with what it will probably be in the end;
	 * false if nobody knows. Called by the sink in a call that appends, at
	 * most once. Who hashes what passes by needs it; NULL: unknown. */
	bool (*guess_head)(void *arg, void *head);
	void *guess_arg;
};

struct sink_ops {
	/* Append all of iov, or fail. */
	int (*write)(struct sink *sink, const struct iovec *iov, int iovcnt,
		     struct error *err);
	int (*zeroes)(struct sink *sink, uint64_t length, struct error *err);
	/* The range was appended before and lies in the head. */
	int (*patch)(struct sink *sink, uint64_t offset, const void *data,
		     size_t length, struct error *err);
	/* Store and publish. At most once, and not after a failure. */
	int (*finish)(struct sink *sink, struct object_info *info,
		      struct error *err);
	/* Optional: see sink_cancel(). */
	void (*cancel)(struct sink *sink);
	/* Both with can_seal: see sink_seal(). readv() fills all of iov
	 * with what was appended, from any thread. */
	int (*seal)(struct sink *sink, struct error *err);
	int (*readv)(struct sink *sink, uint64_t offset,
		     const struct iovec *iov, int iovcnt, struct error *err);
	/* Free; leave nothing behind unless finish() has succeeded. */
	void (*discard)(struct sink *sink);
};

/* First member of a driver's own sink; the driver sets what stands in front of
 * position, the rest is kept by the functions below. */
struct sink {
	const struct sink_ops *ops;
	bool can_seal;       /* the store can give back what it is given */
	bool can_hang;       /* calls have no deadline of their own: whether
			      * they still do something only stored and
			      * position tell */
	_Atomic uint64_t stored; /* bytes that finish() has seen stored */
	struct sink *beneath; /* a decorator's: where its bytes go */
	uint64_t position;   /* bytes appended so far */
	uint32_t head_bytes;
	struct error error;  /* the first failure */
};

int sink_write(struct sink *sink, const void *data, size_t length,
	       struct error *err);
int sink_writev(struct sink *sink, const struct iovec *iov, int iovcnt,
		struct error *err);

/* Append zeroes. A directory store makes a hole of them. */
int sink_zeroes(struct sink *sink, uint64_t length, struct error *err);

/* Write over bytes appended before, within the first head_bytes. */
int sink_patch(struct sink *sink, uint64_t offset, const void *data,
	       size_t length, struct error *err);

/* The one way to an object: all bytes are stored, then it appears under its
 * key at once. info (may be NULL) gets what the store now says of it. When
 * this fails nothing has appeared, but see what the store says of answers
 * that were lost. */
int sink_finish(struct sink *sink, struct object_info *info,
		struct error *err);

/* Instead of finishing: all bytes are stored, no object appears, and they can
 * be read by sink_object(). ERR_UNSUPPORTED without can_seal. */
int sink_seal(struct sink *sink, struct error *err);

/* The bytes of a sealed sink as an object without a key. Takes the sink over,
 * on success only; object_close() discards it. */
int sink_object(struct object **out, struct sink *sink, struct error *err);

/* Bytes that finishing or sealing has seen stored so far. From any thread. */
uint64_t sink_stored(const struct sink *sink);

/* From any thread: a call that waits ends soon with ERR_CANCELLED, and those
 * after it. */
void sink_cancel(struct sink *sink);

/* End of the sink's life: frees it, and drops what was written unless
 * sink_finish() has succeeded. Always legal; NULL too. */
void sink_discard(struct sink *sink);

#endif
