/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The journal of part uploads that a mount has begun. An S3 server keeps what
 * was uploaded, and charges for it, until somebody completes or aborts it: so
 * the intent is on disk before the upload is begun, and who finds the journal
 * of a mount that has died knows what is to be aborted.
 *
 * Each mount has a file of its own in its scratch directory, made with the
 * first upload, locked for as long as the mount lives, removed at its
 * end when nothing is left to do. It is lines of JSON, appended to:
 *
 *     {"begin": 7, "server": "https://s3.example.org", "bucket": "b",
 *      "key": "vms/a%20b", "time": 1763721000, "within": 120}
 *     {"id": 7, "upload": "2~x", "time": 1763721001}
 *     {"left": 7}
 *     {"end": 7}
 *
 * Times are seconds of the server's clock; "within" is for how long the
 * server may be asked to begin it; "left" says that nobody works on it any
 * more but that it may be there. A journal is input like any other: whatever
 * makes no sense in it is left out.
 *
 * Threads: everything may be called from any thread. */
#ifndef VMIEFS_JOURNAL_H
#define VMIEFS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define JOURNAL_MAX_BYTES (4u << 20)  /* of a file that is read */
#define JOURNAL_LINE_MAX  16384       /* bytes of one of its lines */

struct journal;
struct json_t; /* of jansson */

/* An upload that was begun, or was to be. */
struct journal_intent {
	uint64_t number;
	char *server, *bucket, *key;
	char *id;         /* NULL: not known */
	bool is_sure;     /* id is the only one that this can have begun */
	bool is_left;     /* nobody works on it any more */
	int64_t since_s;  /* when the server was first asked to begin it, */
	int64_t until_s;  /* and last */
};

/* dir as for scratch_new(); nothing is made before there is something to be
 * written. */
int journal_new(struct journal **out, const char *dir, struct error *err);

/* The file goes unless something is left in it. NULL is legal. */
void journal_free(struct journal *journal);

/* An upload is about to be begun; that it is has reached the disk when this
 * returns. now_s is the server's clock, within_s how long it may be asked.
 * *number, never 0, is what the calls below know it by. */
int journal_begin(struct journal *journal, uint64_t *number,
		  const char *server, const char *bucket, const char *key,
		  int64_t now_s, unsigned int within_s, struct error *err);

/* It has this id. is_sure: the server was asked only once, so that there
 * cannot be a second one that nobody knows of. */
void journal_know(struct journal *journal, uint64_t number, const char *id,
		  bool is_sure, int64_t now_s);

/* It is over, or (is_left) was given up although it may be there; then, and
 * where it is not sure that there was but one, a sweep sees to it. Only the
 * first of these calls counts. */
void journal_end(struct journal *journal, uint64_t number, bool is_left);

/* What is to be done about an intent that nobody works on. */
enum journal_verdict {
	JOURNAL_DONE,  /* nothing is left of it */
	JOURNAL_LATER, /* look at it again */
	JOURNAL_OTHER, /* of another store */
};
typedef enum journal_verdict journal_sweep_fn(
	void *arg, const struct journal_intent *intent);

/* Call fn for each intent that was left behind: by this mount, and by those
 * that have died. What is done is struck out, a journal of which nothing is
 * left is removed. Returns whether anything is to be looked at again. */
bool journal_sweep(struct journal *journal, journal_sweep_fn *fn, void *arg);

/* Does somebody work on an upload of this key, who lives and has a journal
 * in the same place? To be asked after the server was asked what is there. */
enum journal_claim {
	JOURNAL_FREE,    /* nobody does on that one */
	JOURNAL_CLAIMED, /* it is somebody's */
	JOURNAL_UNKNOWN, /* it may be one that is just being begun */
};
enum journal_claim journal_claim(struct journal *journal, const char *server,
				 const char *bucket, const char *key,
				 const char *id);

/* Wait until something was left by this mount (*is_new), or so long (0: for
 * ever). False once journal_stop() was called. */
bool journal_wait(struct journal *journal, unsigned int ms, bool *is_new);
void journal_stop(struct journal *journal);

/* Add "journal" to an object, for control/stats. */
void journal_count(struct journal *journal, bool was_aborted,
		   const char *failure);
int journal_stats(struct journal *journal, struct json_t *object,
		  struct error *err);

/* The text of a journal: what has not ended. Pure functions. */
struct journal_list {
	struct journal_intent *intents;
	size_t count;
};
int journal_parse(struct journal_list *out, const char *text, size_t len,
		  struct error *err);
void journal_list_free(struct journal_list *list);

#endif
