/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What was left behind: entries of this mount that were given up, and the
 * journals of mounts that have died, whose locks are free. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "store/journal-internal.h"

#define JOURNALS_MAX 1000 /* looked at in one sweep */

/* Own entries that were left, one after the other: while the store is asked,
 * the list may change. */
static bool next_own(struct journal *journal, uint64_t *last,
		     struct journal_entry **out)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);

	*out = NULL;
	for (struct journal_entry *e = journal->entries; e; e = e->next)
		if (e->intent.is_left && e->intent.number > *last &&
		    (!*out || e->intent.number < (*out)->intent.number))
			*out = e;
	if (*out)
		*last = (*out)->intent.number;
	return *out && !journal->is_stopped;
}

/* Only a sweep ends what was left, so an entry stays as it is meanwhile. */
static bool sweep_own(struct journal *journal, journal_sweep_fn *fn, void *arg)
{
	struct journal_entry *entry;
	uint64_t last = 0;
	bool again = false;

	while (next_own(journal, &last, &entry)) {
		if (fn(arg, &entry->intent) != JOURNAL_DONE) {
			again = true;
			continue;
		}
		pthread_mutex_lock(&journal->lock);
		journal_strike_out(journal, entry);
		pthread_mutex_unlock(&journal->lock);
	}
	return again;
}

/* The whole of a small file. */
static char *read_all(int fd, size_t *len)
{
	AUTO_FREE char *text = NULL;
	struct stat st;
	size_t size;

	if (fstat(fd, &st) || st.st_size > (off_t)JOURNAL_MAX_BYTES)
		return NULL;
	size = (size_t)st.st_size;
	text = malloc(size + 1);
	*len = 0;
	while (text && *len < size) {
		ssize_t n = pread(fd, text + *len, size - *len, (off_t)*len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		*len += (size_t)n;
	}
	return take_ptr(text);
}

static int load(int fd, struct journal_list *list, bool *is_torn)
{
	size_t len;
	AUTO_FREE char *text = read_all(fd, &len);

	memset(list, 0, sizeof(*list));
	if (!text)
		return -1;
	*is_torn = len > 0 && text[len - 1] != '\n';
	return journal_parse(list, text, len, NULL);
}

/* Locked by us from now on, or -1. */
static int lock_dead(int dir, const char *name)
{
	int fd = journal_open_file(dir, name, O_RDWR | O_APPEND);
	struct stat st;

	if (fd < 0)
		return -1;
	if (journal_lock(fd) && !fstat(fd, &st) && st.st_nlink > 0)
		return fd;
	close(fd);
	return -1;
}

static void strike_out(int fd, uint64_t number, bool *is_torn)
{
	struct strbuf line = { .max = JOURNAL_LINE_MAX };

	if (*is_torn)
		strbuf_puts(&line, "\n");
	journal_put_word(&line, "end", number);
	if (line.failed || journal_append(fd, line.data, line.len))
		log_info("a journal of part uploads cannot be written");
	else
		*is_torn = false;
	strbuf_free(&line);
}

static bool is_stopped(struct journal *journal)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);

	return journal->is_stopped;
}

static bool sweep_list(struct journal *journal, int fd, bool is_torn,
		       const struct journal_list *list, size_t *kept,
		       journal_sweep_fn *fn, void *arg)
{
	bool again = false;

	for (size_t i = 0; i < list->count; i++) {
		const struct journal_intent *intent = &list->intents[i];
		enum journal_verdict verdict =
			is_stopped(journal) ? JOURNAL_LATER : fn(arg, intent);

		if (verdict == JOURNAL_DONE) {
			strike_out(fd, intent->number, &is_torn);
			continue;
		}
		again = again || verdict == JOURNAL_LATER;
		++*kept;
	}
	return again;
}

static void set_swept(struct journal *journal, const char *name)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);

	snprintf(journal->swept, sizeof(journal->swept), "%s", name);
}

static bool sweep_file(struct journal *journal, int dir, const char *name,
		       journal_sweep_fn *fn, void *arg)
{
	AUTO_CLOSE int fd = lock_dead(dir, name);
	struct journal_list list;
	bool again, is_torn;
	size_t kept = 0;

	if (fd < 0)
		return false;
	if (load(fd, &list, &is_torn)) {
		log_warning("%s/%s is no journal of part uploads that can be "
			    "read: remove it, and look for what was left "
			    "behind with 'vmiefs uploads'",
			    scratch_dir(journal->scratch), name);
		return false;
	}
	set_swept(journal, name);
	again = sweep_list(journal, fd, is_torn, &list, &kept, fn, arg);
	set_swept(journal, "");
	if (!kept)
		unlinkat(dir, name, 0);
	journal_list_free(&list);
	return again;
}

/* Names of journals other than our own and the one that is being swept. */
static size_t list_names(struct journal *journal, int dir, char ***out)
{
	char own[JOURNAL_NAME_MAX], swept[JOURNAL_NAME_MAX];
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	char **names = calloc(JOURNALS_MAX, sizeof(*names));
	const struct dirent *entry;
	size_t count = 0;

	{
		AUTO_UNLOCK pthread_mutex_t *held =
			mutex_locked(&journal->lock);

		memcpy(own, journal->name, sizeof(own));
		memcpy(swept, journal->swept, sizeof(swept));
	}
	while (stream && names && count < JOURNALS_MAX &&
	       (entry = readdir(stream))) {
		if (strncmp(entry->d_name, JOURNAL_PREFIX,
			    strlen(JOURNAL_PREFIX)) != 0 ||
		    !strcmp(entry->d_name, own) ||
		    !strcmp(entry->d_name, swept))
			continue;
		names[count] = strdup(entry->d_name);
		count += names[count] != NULL;
	}
	if (stream)
		closedir(stream);
	else if (copy >= 0)
		close(copy);
	*out = names;
	return count;
}

static void free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

bool journal_sweep(struct journal *journal, journal_sweep_fn *fn, void *arg)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->sweeping);
	AUTO_CLOSE int dir = scratch_open_dir(journal->scratch, false, NULL);
	bool again = sweep_own(journal, fn, arg);
	char **names;
	size_t count;

	if (dir < 0)
		return again;
	count = list_names(journal, dir, &names);
	for (size_t i = 0; i < count; i++)
		again |= sweep_file(journal, dir, names[i], fn, arg);
	free_names(names, count);
	return again;
}

/* What one intent that somebody works on says about an upload. */
static enum journal_claim claim_of(const struct journal_intent *intent,
				   const char *server, const char *bucket,
				   const char *key, const char *id)
{
	if (intent->is_left || strcmp(intent->server, server) != 0 ||
	    strcmp(intent->bucket, bucket) != 0 ||
	    strcmp(intent->key, key) != 0)
		return JOURNAL_FREE;
	if (!intent->id)
		return JOURNAL_UNKNOWN;
	return strcmp(intent->id, id) ? JOURNAL_FREE : JOURNAL_CLAIMED;
}

static enum journal_claim most(enum journal_claim a, enum journal_claim b)
{
	return a == JOURNAL_CLAIMED || b == JOURNAL_FREE ? a : b;
}

/* Of a journal that is locked by whoever writes it. One that is not is of a
 * mount that has died. */
static enum journal_claim claim_in_file(int dir, const char *name,
					const char *server,
					const char *bucket, const char *key,
					const char *id)
{
	AUTO_CLOSE int fd = journal_open_file(dir, name, O_RDONLY);
	enum journal_claim claim = JOURNAL_FREE;
	struct journal_list list;
	bool is_torn;

	if (fd < 0 || !journal_is_locked(fd) || load(fd, &list, &is_torn))
		return JOURNAL_FREE;
	for (size_t i = 0; i < list.count; i++)
		claim = most(claim, claim_of(&list.intents[i], server, bucket,
					     key, id));
	journal_list_free(&list);
	return claim;
}

static enum journal_claim claim_in_own(struct journal *journal,
				       const char *server, const char *bucket,
				       const char *key, const char *id)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&journal->lock);
	enum journal_claim claim = JOURNAL_FREE;

	for (const struct journal_entry *e = journal->entries; e; e = e->next)
		claim = most(claim, claim_of(&e->intent, server, bucket, key,
					     id));
	return claim;
}

enum journal_claim journal_claim(struct journal *journal, const char *server,
				 const char *bucket, const char *key,
				 const char *id)
{
	AUTO_CLOSE int dir = scratch_open_dir(journal->scratch, false, NULL);
	enum journal_claim claim = claim_in_own(journal, server, bucket, key,
						id);
	char **names;
	size_t count;

	if (dir < 0)
		return claim;
	count = list_names(journal, dir, &names);
	for (size_t i = 0; i < count; i++)
		claim = most(claim, claim_in_file(dir, names[i], server,
						  bucket, key, id));
	free_names(names, count);
	return claim;
}
