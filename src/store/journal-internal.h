/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the parts of the journal share. */
#ifndef VMIEFS_JOURNAL_INTERNAL_H
#define VMIEFS_JOURNAL_INTERNAL_H

#include <pthread.h>

#include "common/scratch.h"
#include "common/strbuf.h"
#include "store/journal.h"

#define JOURNAL_PREFIX   "uploads-"
#define JOURNAL_NAME_MAX 32

struct journal_entry {
	struct journal_entry *next;
	struct journal_intent intent;
};

struct journal {
	struct scratch *scratch;  /* where it is */
	pthread_mutex_t sweeping; /* one sweep at a time; before lock */
	pthread_mutex_t lock;     /* of what follows */
	pthread_cond_t changed;
	struct journal_entry *entries; /* that have not ended */
	int fd;                   /* the file; -1: not made yet */
	char name[JOURNAL_NAME_MAX];
	char swept[JOURNAL_NAME_MAX]; /* the dead one that we look at now */
	uint64_t size, last_number;
	bool is_stopped, has_left;
	unsigned long long aborted, failed;
	char failure[256];        /* the last one */
};

/* Open what may be a journal of ours: a file that nobody else could make. -1
 * without a word where it is not. */
int journal_open_file(int dir, const char *name, int flags);

/* Lock it; false where somebody else has. */
bool journal_lock(int fd);
bool journal_is_locked(int fd);

/* Lines, and what is appended for each. */
void journal_put_begin(struct strbuf *out, const struct journal_intent *of,
		       unsigned int within_s);
void journal_put_word(struct strbuf *out, const char *word, uint64_t number);

/* An entry has ended: forget it. The lock is held. */
void journal_strike_out(struct journal *journal, struct journal_entry *entry);

/* Write all of a text. 0 or -1 with errno set. */
int journal_append(int fd, const char *text, size_t len);

#endif
