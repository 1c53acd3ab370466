/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the sub-commands are made of: walking a map with holes in its tables,
 * sizes and hostile text for people, the progress bar. */
#include "config.h"

#include "command/progress.h"
#include "command/text.h"
#include "command/walk.h"
#include "common/checked.h"
#include "tests/tap.h"

#define MIB (1ull << 20)

/* A map of 64 KiB runs, data and zero in turn, that answers little at a time
 * and whose tables fail in [bad, bad_end). */
struct fake_map {
	struct map map;
	uint64_t bad, bad_end;
	enum error_kind kind;
};

#define RUN 65536u

static int fake_extents(struct map *map, struct extents *ex,
			struct error *err)
{
	struct fake_map *fake = (struct fake_map *)map;
	uint64_t at = ex->offset;

	if (at < fake->bad_end && at + ex->length > fake->bad)
		return error_set(err, fake->kind, "table at %" PRIu64, at);
	for (int i = 0; i < 3 && at < ex->offset + ex->length; i++) {
		uint64_t end = round_down(at, RUN) + RUN;

		if (at / RUN % 4 == 0) /* one of four is a hole */
			extents_zero(ex, at, end - at);
		else
			extents_data(ex, at, end - at, map->source, at);
		at = end;
	}
	return 0;
}

static void fake_close(struct map *map)
{
}

static const struct map_ops fake_ops = {
	.extents = fake_extents, .close = fake_close,
};

struct seen {
	uint64_t bytes[EXTENT_BAD + 1], pieces[EXTENT_BAD + 1];
	uint64_t next, first_bad, stop_at;
	bool contiguous;
	char why[64];
};

static int see(void *arg, const struct extent *piece, struct error *err)
{
	struct seen *seen = arg;

	if (piece->offset != seen->next)
		seen->contiguous = false;
	seen->next = piece->offset + piece->length;
	seen->bytes[piece->kind] += piece->length;
	seen->pieces[piece->kind]++;
	if (piece->kind == EXTENT_BAD && seen->pieces[EXTENT_BAD] == 1) {
		seen->first_bad = piece->offset;
		snprintf(seen->why, sizeof(seen->why), "%s", piece->why);
	}
	if (seen->stop_at && seen->next >= seen->stop_at)
		return error_set(err, ERR_CANCELLED, "enough");
	return 0;
}

static void make_map(struct fake_map *fake, struct source **source)
{
	static const struct format format = { .name = "fake" };
	struct error err = { 0 };

	memset(fake, 0, sizeof(*fake));
	if (source_memory(source, "memory", "", 0, &err))
		abort();
	(*source)->size = 64 * MIB; /* never read */
	map_init(&fake->map, &fake_ops, &format, *source);
	fake->map.size = 64 * MIB;
	fake->kind = ERR_CORRUPT;
}

static void test_walk(void)
{
	struct seen seen = { .contiguous = true };
	struct error err = { 0 };
	struct source *source;
	struct fake_map fake;

	make_map(&fake, &source);
	succeeds(walk_map(&fake.map, see, &seen, &err), &err, "a walk");
	ok(seen.contiguous && seen.next == 64 * MIB, "covers the disk");
	is_u64(seen.pieces[EXTENT_DATA], 256, "three runs come as one piece");
	is_u64(seen.bytes[EXTENT_ZERO], 16 * MIB, "a quarter is holes");

	memset(&seen, 0, sizeof(seen));
	seen.contiguous = true;
	seen.next = 100000;
	succeeds(walk_range(&fake.map, 100000, 200000, see, &seen, &err),
		 &err, "a part");
	ok(seen.contiguous && seen.next == 300000, "is cut to the range");

	memset(&seen, 0, sizeof(seen));
	seen.stop_at = 10 * MIB;
	fails_with(walk_map(&fake.map, see, &seen, &err), &err,
		   ERR_CANCELLED, "enough", "the callback ends a walk");
	map_close(&fake.map);
	source_unref(source);
}

static void test_walk_damage(void)
{
	struct seen seen = { .contiguous = true };
	struct error err = { 0 };
	struct source *source;
	struct fake_map fake;

	make_map(&fake, &source);
	fake.bad = 10 * MIB + 5;
	fake.bad_end = 12 * MIB;
	succeeds(walk_map(&fake.map, see, &seen, &err), &err,
		 "a walk past tables that do not read");
	ok(seen.contiguous && seen.next == 64 * MIB, "covers the disk");
	is_u64(seen.first_bad, 10 * MIB, "what is bad starts there");
	is_u64(seen.bytes[EXTENT_BAD], 2 * MIB, "and is that long");
	ok(strstr(seen.why, "table at") != NULL, "with its reason");
	fake.kind = ERR_NETWORK;
	fails_with(walk_map(&fake.map, see, &seen, &err), &err, ERR_NETWORK,
		   "table", "an error that is no damage ends the walk");
	map_close(&fake.map);
	source_unref(source);
}

static void test_sizes(void)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 bytes" },
		{ 1023, "1023 bytes" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ 40ull << 30, "40 GiB" },
		{ UINT64_MAX, "16 EiB" },
	};
	char buf[TEXT_SIZE_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_str(text_size(buf, rows[i].bytes), rows[i].text,
		       rows[i].text);
}

/* What a printing function writes; the caller frees it. */
static char *printed(const char *text, const json_t *value)
{
	char *out = NULL;
	size_t size;
	FILE *file = open_memstream(&out, &size);

	if (text)
		text_print(file, text);
	else
		text_json(file, 0, "key_name", value);
	fclose(file);
	return out;
}

static void test_hostile_text(void)
{
	AUTO_FREE char *plain = printed("na\xc3\xafve \x1b[31m\x07\n\x7f",
					NULL);
	AUTO_FREE char *wide = printed("a\xc2\x9b" "31m\xc2\xa0", NULL);
	json_t *value = json_pack("{s:s, s:[i,i], s:b, s:n}", "text",
				  "one\r\n\x1btwo\n", "list", 1, 2, "flag", 1,
				  "nothing");
	AUTO_FREE char *object = printed(NULL, value);

	is_str(plain, "na\xc3\xafve \\x1b[31m\\x07\\n\\x7f",
	       "control characters are escaped, letters are not");
	is_str(wide, "a\\u009b31m\xc2\xa0", "those of two bytes, too");
	ok(strstr(object, "\n    one\n    \\x1btwo\n") != NULL,
	   "text of several lines is indented");
	ok(strstr(object, "  list:           1\n  list:           2\n") != NULL,
	   "a line for each item");
	ok(strstr(object, "key name:") == object, "keys are words");
	json_decref(value);
}

static void test_progress(void)
{
	struct progress progress = { .total = 4ull << 30 };
	char text[256];

	progress.done = 1ull << 30;
	progress_text(&progress, 4000, text, sizeof(text), 100);
	is_str(text, "[##########..............................]  25% 1 GiB of "
	       "4 GiB, 256 MiB/s, 0:12 left", "a quarter");
	progress_text(&progress, 4000, text, sizeof(text), 50);
	is_str(text, " 25% 1 GiB of 4 GiB, 256 MiB/s, 0:12 left",
	       "without a bar where it is narrow");
	progress_text(&progress, 4000, text, sizeof(text), 10);
	is_u64(strlen(text), 10, "never wider than the terminal");
	progress.done = 0;
	progress_text(&progress, 0, text, sizeof(text), 79);
	ok(strstr(text, "-:-- left") != NULL, "no rate yet");
	progress.done = 5ull << 30; /* the estimate was too small */
	progress_text(&progress, 3600000, text, sizeof(text), 79);
	ok(strstr(text, "100%") != NULL, "never above 100%%");
	progress.total = 0;
	progress_text(&progress, 10, text, sizeof(text), 79);
	ok(strstr(text, "100%") != NULL, "nothing to do");
}

int main(void)
{
	test_walk();
	test_walk_damage();
	test_sizes();
	test_hostile_text();
	test_progress();
	return tap_done();
}
