/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The journal of this mount: appended to, written anew where it has grown. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/jsontext.h"
#include "common/log.h"
#include "store/journal-internal.h"
#include "store/sigv4.h"

#define COMPACT_BYTES (256u << 10)

int journal_new(struct journal **out, const char *dir, struct error *err)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	pthread_condattr_t attr;

	*out = NULL;
	if (!journal)
		return error_nomem(err);
	if (scratch_new(&journal->scratch, dir, 0, err)) {
		free(journal);
		return -1;
	}
	journal->fd = -1;
	pthread_mutex_init(&journal->sweeping, NULL);
	pthread_mutex_init(&journal->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&journal->changed, &attr);
	pthread_condattr_destroy(&attr);
	*out = journal;
	return 0;
}

static void free_entry(struct journal_entry *entry)
{
	free(entry->intent.server);
	free(entry->intent.bucket);
	free(entry->intent.key);
	free(entry->intent.id);
	free(entry);
}

void journal_free(struct journal *journal)
{
	if (!journal)
		return;
	if (journal->fd >= 0) {
		AUTO_CLOSE int dir = scratch_open_dir(journal->scratch, false,
						      NULL);

		/* What is left in it is for the next mount. */
		if (dir >= 0 && !journal->entries)
			unlinkat(dir, journal->name, 0);
		close(journal->fd);
	}
	while (journal->entries) {
		struct journal_entry *entry = journal->entries;

		journal->entries = entry->next;
		free_entry(entry);
	}
	pthread_cond_destroy(&journal->changed);
	pthread_mutex_destroy(&journal->lock);
	pthread_mutex_destroy(&journal->sweeping);
	scratch_free(journal->scratch);
	free(journal);
}

/* Lines. */

static void put_json(struct strbuf *out, json_t *line)
{
	AUTO_FREE char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;

	if (text)
		strbuf_printf(out, "%s\n", text);
	else
		out->failed = true;
	json_decref(line);
}

void journal_put_begin(struct strbuf *out, const struct journal_intent *of,
		       unsigned int within_s)
{
	struct strbuf key = { .max = JOURNAL_LINE_MAX / 2 };

	/* Keys need not be UTF-8. */
	uri_encode(&key, of->key, true);
	if (key.failed)
		out->failed = true;
	else
		put_json(out, json_pack("{s:I, s:s, s:s, s:s, s:I, s:I}",
					"begin", (json_int_t)of->number,
					"server", of->server,
					"bucket", of->bucket,
					"key", key.data,
					"time", (json_int_t)of->since_s,
					"within", (json_int_t)within_s));
	strbuf_free(&key);
}

static void put_id(struct strbuf *out, const struct journal_intent *of)
{
	json_t *line = json_pack("{s:I, s:o, s:I}",
				 "id", (json_int_t)of->number,
				 "upload", jsontext_new(of->id),
				 "time", (json_int_t)of->until_s);

	if (!of->is_sure)
		json_object_set_new(line, "unsure", json_true());
	put_json(out, line);
}

void journal_put_word(struct strbuf *out, const char *word, uint64_t number)
{
	put_json(out, json_pack("{s:I}", word, (json_int_t)number));
}

int journal_append(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Files. */

int journal_open_file(int dir, const char *name, int flags)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int ret;

	fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
		    0600);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    st.st_uid != geteuid())
		return -1;
	ret = fd;
	fd = -1;
	return ret;
}

/* Locks of the open file, not of the process; looking for one does not take
 * it. They go with the process, however that ends. */
bool journal_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return !fcntl(fd, F_OFD_SETLK, &lock);
}

bool journal_is_locked(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

/* A new locked file. It may be found, and removed as an empty one, before it
 * is locked: then another is made. */
static int make_file(int dir, char name[JOURNAL_NAME_MAX])
{
	for (;;) {
		uint64_t number;
		struct stat st;
		int fd;

		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return -1;
		snprintf(name, JOURNAL_NAME_MAX, JOURNAL_PREFIX "%016llx",
			 (unsigned long long)number);
		fd = journal_open_file(dir, name, O_RDWR | O_CREAT | O_EXCL |
				       O_APPEND);
		if (fd < 0)
			return -1;
		if (journal_lock(fd) && !fstat(fd, &st) && st.st_nlink > 0)
			return fd;
		close(fd);
	}
}

static int fail_write(const struct journal *journal, int errnum,
		      struct error *err)
{
	return error_errno(err, errnum, "the journal of part uploads cannot "
			   "be written to %s; choose another directory with "
			   "-o scratch=", scratch_dir(journal->scratch));
}

static int append(struct journal *journal, const struct strbuf *lines)
{
	if (lines->failed) {
		errno = ENOMEM;
		return -1;
	}
	if (journal_append(journal->fd, lines->data, lines->len)) {
		int errnum = errno;

		/* No half a line in front of the next one. */
		if (ftruncate(journal->fd, (off_t)journal->size))
			errnum = errno;
		errno = errnum;
		return -1;
	}
	journal->size += lines->len;
	return 0;
}

static int ensure_file(struct journal *journal, struct error *err)
{
	AUTO_CLOSE int dir = -1;

	if (journal->fd >= 0)
		return 0;
	dir = scratch_open_dir(journal->scratch, true, err);
	if (dir < 0)
		return -1;
	journal->fd = make_file(dir, journal->name);
	if (journal->fd < 0 || (fsync(dir) && errno != EINVAL))
		return fail_write(journal, errno, err);
	return 0;
}

/* All that has not ended, in one file that takes the other's name. */
static int rewrite(struct journal *journal, int dir)
{
	struct strbuf lines = { .max = JOURNAL_MAX_BYTES };
	char name[JOURNAL_NAME_MAX];
	int fd = make_file(dir, name);
	bool good;

	if (fd < 0)
		return -1;
	for (const struct journal_entry *e = journal->entries; e; e = e->next) {
		journal_put_begin(&lines, &e->intent, (unsigned int)
				  (e->intent.until_s - e->intent.since_s));
		if (e->intent.id)
			put_id(&lines, &e->intent);
		if (e->intent.is_left)
			journal_put_word(&lines, "left", e->intent.number);
	}
	good = !lines.failed && !journal_append(fd, lines.data, lines.len) &&
	       !fsync(fd) && !renameat(dir, name, dir, journal->name);
	if (good) {
		close(journal->fd);
		journal->fd = fd;
		journal->size = lines.len;
	} else {
		unlinkat(dir, name, 0);
		close(fd);
	}
	strbuf_free(&lines);
	return good ? 0 : -1;
}

/* Keep it small: what has ended goes. */
static void compact(struct journal *journal)
{
	AUTO_CLOSE int dir = -1;

	if (journal->size < COMPACT_BYTES)
		return;
	if (!journal->entries) {
		if (!ftruncate(journal->fd, 0))
			journal->size = 0;
		return;
	}
	dir = scratch_open_dir(journal->scratch, false, NULL);
	if (dir < 0 || rewrite(journal, dir))
		log_warning("the journal of part uploads cannot be made "
			    "smaller");
}

/* What is not written now is found out by whoever reads it. */
static void append_or_warn(struct journal *journal, struct strbuf *lines)
{
	struct error err = { 0 };

	if (append(journal, lines)) {
		fail_write(journal, errno, &err);
		log_warning("%s", err.text);
	}
	strbuf_free(lines);
}

/* Entries. */

static struct journal_entry *new_entry(const char *server, const char *bucket,
				       const char *key)
{
	struct journal_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->intent.server = strdup(server);
	entry->intent.bucket = strdup(bucket);
	entry->intent.key = strdup(key);
	if (entry->intent.server && entry->intent.bucket && entry->intent.key)
		return entry;
	free_entry(entry);
	return NULL;
}

static int write_begin(struct journal *journal, struct journal_entry *entry,
		       unsigned int within_s, struct error *err)
{
	struct strbuf line = { .max = JOURNAL_LINE_MAX };
	int ret = 0;

	if (ensure_file(journal, err))
		return -1;
	entry->intent.number = ++journal->last_number;
	journal_put_begin(&line, &entry->intent, within_s);
	if (append(journal, &line) || fdatasync(journal->fd))
		ret = fail_write(journal, errno, err);
	strbuf_free(&line);
	return ret;
}

int journal_begin(struct journal *journal, uint64_t *number,
		  const char *server, const char *bucket, const char *key,
		  int64_t now_s, unsigned int within_s, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);
	struct journal_entry *entry = new_entry(server, bucket, key);

	if (!entry)
		return error_nomem(err);
	entry->intent.since_s = now_s;
	entry->intent.until_s = now_s + within_s;
	if (write_begin(journal, entry, within_s, err)) {
		free_entry(entry);
		return -1;
	}
	entry->next = journal->entries;
	journal->entries = entry;
	*number = entry->intent.number;
	return 0;
}

/* One that somebody works on. */
static struct journal_entry *find(const struct journal *journal,
				  uint64_t number)
{
	struct journal_entry *entry = journal->entries;

	while (entry && entry->intent.number != number)
		entry = entry->next;
	return entry && !entry->intent.is_left ? entry : NULL;
}

void journal_know(struct journal *journal, uint64_t number, const char *id,
		  bool is_sure, int64_t now_s)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);
	struct journal_entry *entry = find(journal, number);
	struct strbuf line = { .max = JOURNAL_LINE_MAX };
	struct journal_intent *intent;

	if (!entry)
		return;
	intent = &entry->intent;
	intent->id = strdup(id);
	if (!intent->id)
		return; /* the server's list tells */
	intent->is_sure = is_sure;
	if (now_s < intent->until_s)
		intent->until_s = now_s > intent->since_s ? now_s :
							     intent->since_s;
	put_id(&line, intent);
	append_or_warn(journal, &line);
}

void journal_strike_out(struct journal *journal, struct journal_entry *entry)
{
	struct strbuf line = { .max = JOURNAL_LINE_MAX };
	struct journal_entry **at = &journal->entries;

	journal_put_word(&line, "end", entry->intent.number);
	append_or_warn(journal, &line);
	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	free_entry(entry);
	compact(journal);
}

void journal_end(struct journal *journal, uint64_t number, bool is_left)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);
	struct journal_entry *entry = find(journal, number);
	struct strbuf line = { .max = JOURNAL_LINE_MAX };

	if (!entry)
		return;
	/* It is over, but a second one may be there. */
	if (entry->intent.id && !entry->intent.is_sure)
		is_left = true;
	if (!is_left) {
		journal_strike_out(journal, entry);
		return;
	}
	/* It is the sweep's from now on. */
	journal_put_word(&line, "left", number);
	append_or_warn(journal, &line);
	entry->intent.is_left = true;
	journal->has_left = true;
	pthread_cond_broadcast(&journal->changed);
}

bool journal_wait(struct journal *journal, unsigned int ms, bool *is_new)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (!journal->is_stopped && !journal->has_left && !ret)
		ret = ms ? pthread_cond_timedwait(&journal->changed,
						  &journal->lock, &until) :
			   pthread_cond_wait(&journal->changed,
					     &journal->lock);
	*is_new = journal->has_left;
	journal->has_left = false;
	return !journal->is_stopped;
}

void journal_stop(struct journal *journal)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);

	journal->is_stopped = true;
	pthread_cond_broadcast(&journal->changed);
}

void journal_count(struct journal *journal, bool was_aborted,
		   const char *failure)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);

	journal->aborted += was_aborted;
	if (!failure)
		return;
	journal->failed++;
	snprintf(journal->failure, sizeof(journal->failure), "%s", failure);
}

int journal_stats(struct journal *journal, struct json_t *object,
		  struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);
	json_int_t open = 0, left = 0;
	json_t *stats;

	for (const struct journal_entry *e = journal->entries; e; e = e->next)
		e->intent.is_left ? left++ : open++;
	stats = json_pack("{s:I, s:I, s:I, s:I}", "open", open, "left", left,
			  "aborted", (json_int_t)journal->aborted,
			  "failed", (json_int_t)journal->failed);
	if (!stats)
		return error_nomem(err);
	if (jsontext_set(stats, "last_failure", journal->failure, err)) {
		json_decref(stats);
		return -1;
	}
	return json_object_set_new(object, "uploads", stats) ?
		error_nomem(err) : 0;
}
