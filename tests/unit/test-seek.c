/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * disk_seek(): SEEK_DATA and SEEK_HOLE are exact to the container's own
 * allocation, whatever pieces the map answers in. */
#include "config.h"

#include "disk/engine.h"
#include "tests/lib/fake-disk.h"
#include "tests/tap.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct error err;
static struct fake_disk *fake;
static struct engine *engine;
static struct disk *disk;

static void set_up(const struct fake_spec *spec)
{
	struct engine_options options = { .memory_bytes = 64 * MIB };

	succeeds(fake_disk_new(&fake, spec, &err), &err, "fake disk");
	succeeds(engine_new(&engine, &options, &err), &err, "engine");
	succeeds(disk_open(&disk, engine, fake->map, "fake", &err), &err,
		 "disk");
}

static void tear_down(void)
{
	disk_close(disk);
	engine_free(engine);
	fake_disk_free(fake);
}

/* What the call must find, the plain way. */
static uint64_t expected(uint64_t offset, bool data)
{
	const struct fake_piece *piece = fake_disk_piece(fake, offset);
	const struct fake_piece *end = fake->pieces + fake->count;

	for (; piece < end; piece++)
		if ((piece->kind != EXTENT_ZERO) == data)
			return piece->offset > offset ? piece->offset : offset;
	return data ? UINT64_MAX : fake->spec.size;
}

static bool seek_is_right(uint64_t offset, bool data)
{
	uint64_t found = 12345, want = expected(offset, data);
	struct error local = { 0 };

	if (!disk_seek(disk, offset, data, &found, &local) && found == want)
		return true;
	printf("# SEEK_%s from %llu: found %llu, want %llu; %s\n",
	       data ? "DATA" : "HOLE", (unsigned long long)offset,
	       (unsigned long long)found, (unsigned long long)want,
	       local.text);
	return false;
}

static void test_every_border(const struct fake_spec *spec, const char *name)
{
	bool good = true;

	set_up(spec);
	for (size_t i = 0; i < fake->count && good; i++) {
		uint64_t at = fake->pieces[i].offset;
		uint64_t last = at + fake->pieces[i].length - 1;

		good = seek_is_right(at, true) && seek_is_right(at, false) &&
		       seek_is_right(last, true) && seek_is_right(last, false);
	}
	ok(good, "%s: from both ends of %zu pieces", name, fake->count);
	tear_down();
}

static void test_ends(void)
{
	static const struct fake_spec spec = { .size = MIB, .zero = 1,
					       .piece_max = MIB, .align = MIB };
	uint64_t found;

	set_up(&spec);
	succeeds(disk_seek(disk, 0, true, &found, &err), &err, "no data");
	is_u64(found, UINT64_MAX, "is told so");
	succeeds(disk_seek(disk, MIB - 1, false, &found, &err), &err,
		 "last byte");
	is_u64(found, MIB - 1, "is in a hole");
	fails_with(disk_seek(disk, MIB, true, &found, &err), &err, ERR_ARG, "",
		   "SEEK_DATA at the end");
	fails_with(disk_seek(disk, MIB, false, &found, &err), &err, ERR_ARG,
		   "", "SEEK_HOLE at the end");
	fails_with(disk_seek(disk, UINT64_MAX, false, &found, &err), &err,
		   ERR_ARG, "", "far past it");
	tear_down();
}

int main(void)
{
	static const struct fake_spec many = {
		.size = 8 * MIB + 5, .unit_bytes = 4 * KIB, .piece_max = 9000,
		.zero = 3, .data = 1, .packed = 1, .bad = 1
	};
	static const struct fake_spec short_answers = {
		.size = MIB, .unit_bytes = 4 * KIB, .piece_max = 9000,
		.zero = 3, .data = 1, .packed = 1, .answer_max = 1,
		.slow_tables = true
	};

	test_every_border(&many, "all kinds");
	test_every_border(&short_answers, "one piece an answer, slow tables");
	test_ends();
	return tap_done();
}
