/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the files of a file being written share: export.c runs operations,
 * export-put.c takes bytes and gives them, export-publish.c makes the object,
 * exports.c is the table of all. */
#ifndef VMIEFS_EXPORT_INTERNAL_H
#define VMIEFS_EXPORT_INTERNAL_H

#include <pthread.h>

#include "common/budget.h"
#include "common/error.h"
#include "common/pool.h"
#include "disk/container.h"
#include "disk/pack.h"
#include "fs/exports.h"
#include "fs/opened.h"
#include "fs/spool.h"

#define BLANKS_MAX 1024 /* remembered */
#define ENDED_MAX  16   /* likewise, of files that were written ... */
#define ENDED_S    60   /* ... for so long */

#define SAMPLES    6    /* of progress, one a second, that rates are made of */

/* Set aside for each file: the write that waits for room. */
#define EXPORT_WAIT_BYTES (1u << 20)

/* An object of ours that holds nothing but zeroes. */
struct blank {
	const struct bucket *bucket;
	char *key;
	char etag[STORE_ETAG_MAX];
	struct blank *next;
};

/* One that has ended. */
struct ended {
	struct ring in_ended;
	int64_t at_ns;
	json_t *what;
};

struct sample {
	int64_t at_ns;
	uint64_t in, out;
};

struct exports {
	struct exports_options options;
	struct scratch *scratch;
	struct pool *pool;
	pthread_mutex_t lock; /* of what follows; none is taken inside but an
			       * export's own */
	pthread_cond_t empty;
	struct ring all;      /* until they have ended */
	struct ring ended;    /* the newest last */
	unsigned int ended_count;
	pthread_t watcher;    /* export-watch.c */
	pthread_cond_t begun; /* there is something to watch, or no more */
	bool has_watcher, is_ending;
	uint64_t serial;
	struct blank *blanks;
	unsigned int blank_count;
	uint64_t published, failed, bytes_in, bytes_out; /* of ended ones */
	uint64_t copied, bytes_copied; /* by the store itself */
};

struct recorded; /* export-copy.c */

struct export {
	atomic_uint refs;
	struct exports *exports;
	struct ring in_all;       /* under the exports' lock */
	char identity[24];

	/* Fixed. */
	struct bucket *bucket;
	char *key, *path;
	const struct format *format;
	bool is_plain, is_readable;
	bool is_new;              /* does not start from existing bytes */
	bool is_replacing;        /* there was an object when it began */
	int opener;
	int64_t started_ns;
	uint64_t size_max;        /* of a disk of that format */

	pthread_mutex_t lock;     /* of what follows */
	pthread_cond_t changed;
	struct ring queue;        /* operations */
	struct export_op *current;
	bool is_running;          /* somebody uses what is below */
	bool is_published, is_dirty;
	bool is_closing, is_gone;
	struct pack *cancellable; /* it is being finished */
	struct pack *live;        /* it is being written or finished */
	bool can_hang;            /* its sink can */
	uint64_t life;            /* of what runs, and since when it has not */
	int64_t life_ns;          /* changed */
	bool is_hung;             /* that was too long */
	struct sample samples[SAMPLES];
	unsigned int next_sample;
	uint64_t size;
	int64_t mtime_ns;
	struct error failure;     /* for ever */
	struct job job;
	struct export_op last;    /* of export_close() */
	uint64_t in, out;         /* bytes: taken, and given to the store */
	uint64_t spooled;         /* bytes that wait in the spool */

	pthread_mutex_t room_lock; /* of what follows; innermost */
	pthread_cond_t room;
	bool has_room, awaits_room;

	/* Of who has set is_running. */
	bool is_spooled;          /* all waits in the spool until it is
				   * published: there is no stream */
	struct recorded *recorded; /* copied ranges that the stream does not
				    * have, or NULL */
	struct pack *pack;        /* the stream, or NULL */
	struct writer *writer;    /* its own; for guess_head() alone */
	bool can_turn_back;       /* the store can give it back */
	uint64_t stream_max;      /* the largest disk it has room for */
	uint64_t announced;       /* size set before the first byte; 0: none */
	uint64_t streamed;        /* bytes of the disk that went into it */
	struct spool *spool;      /* what lies behind those, or above base */
	uint64_t last_end;        /* of the last write */
	bool goes_back;           /* since the spool was last empty */
	bool is_sparse;           /* gaps have turned out to be holes */
	bool was_read;
	bool has_data;            /* anything but holes was ever written */
	uint64_t sized;           /* by the last resize; UINT64_MAX: none */
	bool replaces;
	bool has_base;            /* starts from an object ... */
	struct object_info base;  /* ... this one: that is what is replaced */
	uint64_t base_bytes;      /* with is_spooled: so many bytes are those
				   * of the disk below the spool: in base, or
				   * what was made of the stream */
	struct opened *opened;    /* that disk, when it was needed */
	struct disk *disk;
};

/* export-put.c: in the thread that has set is_running. */

/* Begin a stream for a new object. Blocks, with patience for memory. */
int export_begin_stream(struct export *export, uint64_t size,
			struct patience patience, struct error *err);
/* That of an operation. */
struct patience export_patience(const struct export_op *op);
/* What is left of it since then. */
void export_spend(struct patience *patience, int64_t since_ns);
int export_take(struct export *export, struct export_op *op,
		struct error *err);
int export_give(struct export *export, struct export_op *op,
		struct error *err);
int export_copy(struct export *export, struct export_op *op,
		struct error *err);
int export_resize(struct export *export, const struct export_op *op,
		  uint64_t size, struct error *err);
int export_zero(struct export *export, const struct export_op *op,
		struct error *err);
/* The file has changed, and is at least `end` bytes large; `bytes` came. */
void export_note_change(struct export *export, uint64_t end, uint64_t bytes);
/* Everything that the spool holds, up to size, goes to the stream. */
int export_drain(struct export *export, const struct export_op *op,
		 struct error *err);
/* Into the stream; waits for room. *taken (may be NULL) counts up. */
int export_stream(struct export *export, const struct export_op *op,
		  const void *data, uint64_t length, uint64_t *taken,
		  struct error *err);
/* Up to `end`, nothing but zeroes: into the stream, if it is not there yet. */
int export_stream_hole(struct export *export, uint64_t end, struct error *err);
/* The bytes of the stream are needed again: end it, and go on in the spool. */
int export_turn_back(struct export *export, const struct export_op *op,
		     struct error *err);
int export_open_base(struct export *export, struct error *err);
void export_close_base(struct export *export);

/* export.c: give up is_running. */
void export_stop_running(struct export *export);

/* export-copy.c: copies of whole objects. */

/* Before any operation: 1 if it was done by recording it, 0 if it is still to
 * be done; what it does not go with is converted before. */
int export_record(struct export *export, struct export_op *op,
		  struct error *err);
/* Instead of a stream: 1 if the store has copied the object that was recorded
 * as a whole, 0 if there is none. */
int export_copy_whole(struct export *export, const struct export_op *op,
		      struct object_info *info, struct error *err);
void export_drop_record(struct export *export);

/* export-publish.c */
int export_publish(struct export *export, const struct export_op *op,
		   struct error *err);
/* Complete the stream, but publish nothing: what it made is the disk below the
 * spool. */
int export_seal(struct export *export, const struct export_op *op,
		struct error *err);
/* Drop the stream, waiting. */
void export_drop_stream(struct export *export);

/* export.c */
/* Nothing comes of it any more; whoever uses it hears this. */
void export_fail(struct export *export, const struct error *err);
bool export_is_busy(struct export *export); /* a second writer has to wait */

/* export-watch.c: notices what hangs, and measures. Both take the exports'
 * lock as held. */
int exports_watch(struct exports *exports, struct error *err);
void exports_stop_watching(struct exports *exports); /* lock not held */

/* export-stats.c */
void export_sample(struct export *export); /* its lock held */
/* It has ended: remember how. The exports' lock is held. */
void exports_note_ended(struct exports *exports, struct export *export);
void exports_forget_ended(struct exports *exports);

/* export.c: what hangs gets no more operations, and those that wait fail. */
void export_give_up(struct export *export, const struct error *err);

/* exports.c */
int exports_add(struct exports *exports, struct export *export,
		struct error *err);
void exports_note_blank(struct exports *exports, const struct export *export,
			const char *etag);
void exports_remove(struct exports *exports, struct export *export);

#endif
