/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The journal of part uploads: what is in it at each moment at which a mount
 * may die, what a later one makes of it, and that the living are left alone. */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/strbuf.h"
#include "store/journal.h"
#include "tests/tap.h"

#define SERVER "https://s3.example.org"

int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

/* Counted, not waited for. */
static unsigned int syncs;

int __wrap_fdatasync(int fd)
{
	syncs++;
	return fd < 0 ? -1 : 0;
}

int __wrap_fsync(int fd)
{
	return fd < 0 ? -1 : 0;
}

static char top[] = "/tmp/vmiefs-test.XXXXXX";

/* How many files there are. */
static unsigned int count_files(void)
{
	DIR *dir = opendir(top);
	const struct dirent *entry;
	unsigned int count = 0;

	while (dir && (entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

/* The text of the only journal. */
static char *read_journal(char path[512])
{
	DIR *dir = opendir(top);
	const struct dirent *entry;
	struct strbuf text = { .max = 1 << 20 };
	char piece[4096];
	ssize_t n;
	int fd;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			snprintf(path, 512, "%s/%s", top, entry->d_name);
	if (dir)
		closedir(dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, piece, sizeof(piece))) > 0)
		strbuf_add(&text, piece, (size_t)n);
	if (fd >= 0)
		close(fd);
	return strbuf_take(&text);
}

/* A journal of a mount that has died. */
static void write_journal(const char *name, const char *text)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		ok(false, "cannot write %s", path);
	if (fd >= 0)
		close(fd);
}

/* What a sweep was shown, and what it is to say. */
struct sweep {
	struct strbuf seen;
	enum journal_verdict verdict;
	const char *only; /* this key is done, others are not */
};

static enum journal_verdict sweep_one(void *arg,
				      const struct journal_intent *intent)
{
	struct sweep *sweep = arg;

	strbuf_printf(&sweep->seen, "%s %s %s %s%s %lld-%lld;", intent->server,
		      intent->bucket, intent->key,
		      intent->id ? intent->id : "?",
		      intent->is_sure ? "" : "~", (long long)intent->since_s,
		      (long long)intent->until_s);
	if (sweep->only)
		return strcmp(intent->key, sweep->only) ? JOURNAL_LATER :
							   JOURNAL_DONE;
	return sweep->verdict;
}

static bool sweep_is(struct journal *journal, struct sweep *sweep,
		     const char *want)
{
	bool again = journal_sweep(journal, sweep_one, sweep);

	is_str(sweep->seen.data ? sweep->seen.data : "", want,
	       "what is left behind");
	strbuf_free(&sweep->seen);
	sweep->seen.max = 1 << 16;
	return again;
}

static struct journal *new_journal(void)
{
	struct journal *journal = NULL;
	struct error err = { 0 };

	succeeds(journal_new(&journal, top, &err), &err, "new");
	return journal;
}

static uint64_t begin(struct journal *journal, const char *key)
{
	struct error err = { 0 };
	uint64_t number = 0;

	succeeds(journal_begin(journal, &number, SERVER, "bucket", key, 1000,
			       120, &err), &err, "begin");
	return number;
}

/* A living mount's file is there, and nobody's business. */
static void test_living(void)
{
	struct sweep sweep = { .seen.max = 1 << 16 };
	struct journal *journal = new_journal(), *other = new_journal();
	uint64_t number;

	is_u64(count_files(), 0, "files");
	number = begin(journal, "a b/\xfc");
	is_u64(syncs, 1, "it has reached the disk");
	is_u64(count_files(), 1, "files");
	ok(!sweep_is(other, &sweep, ""), "a living mount is not disturbed");
	ok(!sweep_is(journal, &sweep, ""), "not by itself either");
	is_u64(journal_claim(other, SERVER, "bucket", "a b/\xfc", "x"),
	       JOURNAL_UNKNOWN, "claim");
	is_u64(journal_claim(journal, SERVER, "bucket", "a b/\xfc", "x"),
	       JOURNAL_UNKNOWN, "claim");
	is_u64(journal_claim(other, SERVER, "bucket", "a", "x"), JOURNAL_FREE,
	       "claim");
	is_u64(journal_claim(other, SERVER, "b", "a b/\xfc", "x"),
	       JOURNAL_FREE, "claim");
	journal_know(journal, number, "2~x/+=", true, 1001);
	is_u64(journal_claim(other, SERVER, "bucket", "a b/\xfc", "2~x/+="),
	       JOURNAL_CLAIMED, "claim");
	is_u64(journal_claim(other, SERVER, "bucket", "a b/\xfc", "y"),
	       JOURNAL_FREE, "claim");
	journal_end(journal, number, false);
	journal_end(journal, number, true);
	is_u64(journal_claim(other, SERVER, "bucket", "a b/\xfc", "2~x/+="),
	       JOURNAL_FREE, "claim");
	journal_free(journal);
	is_u64(count_files(), 0, "files");
	journal_free(other);
}

/* The bytes that are there when a mount is killed after each step. */
static void test_dead(void)
{
	static const char *const want[] = {
		SERVER " bucket k\xc3\xbc 7 ?~ 1000-1120;",
		SERVER " bucket k\xc3\xbc 7 id~ 1000-1002;",
		SERVER " bucket k\xc3\xbc 7 id~ 1000-1002;",
		"",
	};
	struct journal *journal = new_journal(), *later;
	char *texts[4], path[512];
	uint64_t number = begin(journal, "k\xc3\xbc 7");

	texts[0] = read_journal(path);
	journal_know(journal, number, "id", false, 1002);
	texts[1] = read_journal(path);
	journal_end(journal, number, true);
	texts[2] = read_journal(path);
	texts[3] = strdup(texts[2]);
	journal_free(journal);
	is_u64(count_files(), 1, "files");
	unlink(path);
	for (int i = 0; i < 4; i++) {
		struct sweep sweep = { .seen.max = 1 << 16 };

		later = new_journal();
		if (i == 3) /* torn before its first line's end */
			*strchr(texts[i], '\n') = '\0';
		write_journal("uploads-0123456789abcdef", texts[i]);
		sweep.verdict = JOURNAL_LATER;
		ok(sweep_is(later, &sweep, want[i]) == (i < 3), "later");
		sweep.verdict = JOURNAL_OTHER;
		ok(!sweep_is(later, &sweep, want[i]), "another store's");
		is_u64(count_files(), i < 3, "files");
		sweep.verdict = JOURNAL_DONE;
		ok(!sweep_is(later, &sweep, want[i]), "done");
		is_u64(count_files(), 0, "files");
		journal_free(later);
		free(texts[i]);
	}
}

#define LINE(n, key)                                                           \
	"{\"begin\":" n ",\"server\":\"s\",\"bucket\":\"bkt\",\"key\":\"" key  \
	"\",\"time\":5,\"within\":6}\n"

/* What is done is struck out, behind a torn line, too. */
static void test_partly_done(void)
{
	struct sweep sweep = { .seen.max = 1 << 16, .only = "b" };
	struct journal *journal = new_journal();

	write_journal("uploads-1", LINE("1", "a") LINE("2", "b")
		      LINE("3", "c") "{\"id\":1,\"uplo");
	ok(sweep_is(journal, &sweep, "s bkt a ?~ 5-11;s bkt b ?~ 5-11;"
		    "s bkt c ?~ 5-11;"), "one of three");
	sweep.only = "a";
	ok(sweep_is(journal, &sweep, "s bkt a ?~ 5-11;s bkt c ?~ 5-11;"),
	   "two are left");
	sweep.only = "c";
	ok(!sweep_is(journal, &sweep, "s bkt c ?~ 5-11;"), "the last");
	is_u64(count_files(), 0, "files");
	journal_free(journal);
}

/* Anything may be in a file. */
static void test_nonsense(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ "\n\n{}\n[]\n7\nnull\n\"\n{\"begin\":1}\n", "" },
		{ "{\"begin\":-1,\"server\":\"s\",\"bucket\":\"bkt\","
		  "\"key\":\"k\",\"time\":5,\"within\":6}\n", "" },
		{ LINE("1", "") LINE("2", "%00x") LINE("3", "%zz"), "" },
		{ LINE("1", "a") LINE("1", "b"), "s bkt a ?~ 5-11;" },
		{ LINE("1", "a") "{\"id\":1,\"upload\":7,\"time\":6}\n"
		  "{\"id\":2,\"upload\":\"x\",\"time\":6}\n{\"end\":9}\n",
		  "s bkt a ?~ 5-6;" },
		{ LINE("1", "a") "{\"id\":1,\"upload\":\"x\",\"time\":99}\n"
		  "{\"id\":1,\"upload\":\"y\",\"time\":7}\n",
		  "s bkt a x 5-11;" },
		{ LINE("1", "a") "{\"id\":1,\"upload\":\"x\",\"time\":2}\n",
		  "s bkt a x 5-5;" },
		{ LINE("1", "a") "{\"end\":1}\n" LINE("1", "c"),
		  "s bkt c ?~ 5-11;" },
		{ "{\"begin\":1,\"server\":\"s\",\"bucket\":\"../x\","
		  "\"key\":\"k\",\"time\":5,\"within\":6}\n", "" },
		{ "{\"begin\":1,\"server\":\"s\",\"bucket\":\"bkt\","
		  "\"key\":\"k\",\"time\":9223372036854775807,"
		  "\"within\":9223372036854775807}\n", "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sweep sweep = { .seen.max = 1 << 16,
				       .verdict = JOURNAL_DONE };
		struct journal *journal = new_journal();

		write_journal("uploads-x", rows[i].text);
		ok(!sweep_is(journal, &sweep, rows[i].want), "row %zu", i);
		is_u64(count_files(), 0, "files");
		journal_free(journal);
	}
}

/* What is no file of ours, or too large, stays as it is. */
static void test_not_ours(void)
{
	struct sweep sweep = { .seen.max = 1 << 16, .verdict = JOURNAL_DONE };
	struct journal *journal = new_journal();
	char path[512], link[512];

	write_journal("other", LINE("1", "a"));
	snprintf(path, sizeof(path), "%s/other", top);
	snprintf(link, sizeof(link), "%s/uploads-link", top);
	is_u64((uint64_t)symlink(path, link), 0, "a link");
	ok(!sweep_is(journal, &sweep, ""), "not through a link");
	is_u64(count_files(), 2, "files");
	unlink(link);
	is_u64((uint64_t)mkfifo(link, 0600), 0, "a pipe");
	ok(!sweep_is(journal, &sweep, ""), "not from a pipe");
	unlink(link);
	write_journal("uploads-large", LINE("1", "a"));
	snprintf(path, sizeof(path), "%s/uploads-large", top);
	is_u64((uint64_t)truncate(path, JOURNAL_MAX_BYTES + 1), 0, "grown");
	ok(!sweep_is(journal, &sweep, ""), "not of any size");
	is_u64(count_files(), 2, "files");
	unlink(path);
	snprintf(path, sizeof(path), "%s/other", top);
	unlink(path);
	journal_free(journal);
}

/* What this mount gave up is swept by itself, then by the next. */
static void test_left(void)
{
	struct sweep sweep = { .seen.max = 1 << 16, .verdict = JOURNAL_LATER };
	struct journal *journal = new_journal();
	uint64_t kept = begin(journal, "kept"), left = begin(journal, "left");
	struct error err = { 0 };
	json_t *stats = json_object();
	bool is_new = false;

	journal_know(journal, left, "L", true, 1001);
	journal_end(journal, left, true);
	ok(journal_wait(journal, 0, &is_new) && is_new, "is told at once");
	ok(journal_wait(journal, 1, &is_new) && !is_new, "and once");
	succeeds(journal_stats(journal, stats, &err), &err, "stats");
	ok(json_integer_value(json_object_get(json_object_get(
		stats, "uploads"), "left")) == 1, "counted");
	json_decref(stats);
	ok(sweep_is(journal, &sweep, SERVER " bucket left L 1000-1001;"),
	   "again");
	sweep.verdict = JOURNAL_DONE;
	ok(!sweep_is(journal, &sweep, SERVER " bucket left L 1000-1001;"),
	   "done");
	ok(!sweep_is(journal, &sweep, ""), "once");
	left = begin(journal, "left2");
	journal_end(journal, left, true);
	journal_end(journal, left, false);
	journal_end(journal, kept, false);
	journal_stop(journal);
	ok(!journal_wait(journal, 0, &is_new), "stopped");
	journal_free(journal);
	journal = new_journal();
	ok(!sweep_is(journal, &sweep, SERVER " bucket left2 ?~ 1000-1120;"),
	   "the next mount sees to it");
	is_u64(count_files(), 0, "files");
	journal_free(journal);
}

/* Where there may have been two of them, the end of one is not all. */
static void test_unsure(void)
{
	struct sweep sweep = { .seen.max = 1 << 16, .verdict = JOURNAL_DONE };
	struct journal *journal = new_journal();
	uint64_t sure = begin(journal, "sure"), unsure = begin(journal, "two");

	journal_know(journal, sure, "S", true, 1001);
	journal_know(journal, unsure, "U", false, 999);
	journal_end(journal, sure, false);
	journal_end(journal, unsure, false);
	ok(!sweep_is(journal, &sweep, SERVER " bucket two U~ 1000-1000;"),
	   "looked for");
	ok(!sweep_is(journal, &sweep, ""), "once");
	journal_free(journal);
	is_u64(count_files(), 0, "files");
}

/* It does not grow for ever, whether or not something is always open. */
static void test_compact(void)
{
	struct journal *journal = new_journal();
	struct sweep sweep = { .seen.max = 1 << 16, .verdict = JOURNAL_DONE };
	char path[512], text[64];
	struct stat st;

	for (int round = 0; round < 2; round++) {
		uint64_t kept = round ? begin(journal, "kept") : 0;
		off_t most = 0;

		if (round)
			journal_know(journal, kept, "K", true, 1001);
		for (int i = 0; i < 4000; i++) {
			struct error err = { 0 };
			uint64_t number = 0;

			if (journal_begin(journal, &number, SERVER, "bucket",
					  "vms/disk.vmdk", 1000, 120, &err))
				break;
			journal_end(journal, number, false);
			if (i % 100)
				continue;
			free(read_journal(path));
			if (!stat(path, &st) && st.st_size > most)
				most = st.st_size;
		}
		ok(most > 10000 && most < 300000, "round %d: at most %lld",
		   round, (long long)most);
		is_u64(count_files(), 1, "files");
	}
	snprintf(text, sizeof(text), SERVER " bucket kept K 1000-1001;");
	journal_free(journal);
	journal = new_journal();
	ok(!sweep_is(journal, &sweep, text), "what is open is still there");
	journal_free(journal);
}

static void test_no_room(void)
{
	struct journal *journal = NULL;
	struct error err = { 0 };
	uint64_t number = 0;

	fails_with(journal_new(&journal, "/nonexistent/scratch", &err), &err,
		   ERR_NOT_FOUND, "scratch=/nonexistent/scratch",
		   "no directory");
	succeeds(journal_new(&journal, "/proc/self", &err), &err, "new");
	ok(journal_begin(journal, &number, SERVER, "bucket", "k", 1, 1,
			 &err) && strstr(err.text, "-o scratch="),
	   "says what to do: %s", err.text);
	journal_free(journal);
}

int main(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(top))
		return 1;
	test_living();
	test_dead();
	test_partly_done();
	test_nonsense();
	test_not_ours();
	test_left();
	test_unsure();
	test_compact();
	test_no_room();
	ok(!rmdir(top), "nothing is left");
	return tap_done();
}
