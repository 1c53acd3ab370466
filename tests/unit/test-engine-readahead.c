/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the engine asks of a slow store. Judged by the store's log of calls
 * (how many, how large, how many at once, nothing twice), never by time. */
#include "config.h"

#include <unistd.h>

#include "common/checked.h"
#include "disk/engine.h"
#include "tests/lib/fake-disk.h"
#include "tests/tap.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static const struct fake_spec stored = {
	.size = 48 * MIB, .piece_max = 48 * MIB, .align = 48 * MIB, .data = 1,
	.in_order = true
};
static const struct fake_spec packed = {
	.size = 48 * MIB, .unit_bytes = 64 * KIB, .packed = 1, .in_order = true
};

static struct error err;
static struct fake_disk *fake;
static struct engine *engine;
static struct disk *disk;
static unsigned char buf[MIB];

static void set_up(const struct fake_spec *spec, const char *what)
{
	struct engine_options options = { .memory_bytes = 256 * MIB,
					  .threads = 2 };
	struct faults faults = { .calls = 1 << FAULTY_READ, .delay_ms = 5 };

	succeeds(fake_disk_new(&fake, spec, &err), &err, what);
	succeeds(engine_new(&engine, &options, &err), &err, "engine");
	succeeds(disk_open(&disk, engine, fake->map, "fake", &err), &err,
		 "disk");
	faulty_store_set(fake->store, &faults);
}

static void tear_down(void)
{
	disk_close(disk);
	engine_free(engine);
	fake_disk_free(fake);
}

static bool read_at(uint64_t offset, uint32_t length)
{
	struct error local = { 0 };

	if (!disk_read(disk, offset, buf, length, &local) &&
	    !memcmp(buf, fake->bytes + offset, length))
		return true;
	printf("# at %llu: %s\n", (unsigned long long)offset,
	       local.kind ? local.text : "wrong bytes");
	return false;
}

/* Bytes of the object that were asked for more than once. */
static uint64_t bytes_read_twice(void)
{
	AUTO_FREE unsigned char *seen = calloc(1, fake->stored);
	AUTO_FREE struct faulty_record *log = NULL;
	uint64_t twice = 0;
	size_t n;

	log = faulty_store_log(fake->store, &n);
	for (size_t i = 0; i < n; i++) {
		unsigned char *at = seen + log[i].offset;

		for (uint64_t j = 0; j < log[i].length; j++)
			twice += at[j]++ > 0;
	}
	return twice;
}

/* Reads of the store that begin within [from, to) of the object: how many,
 * and their bytes in *bytes. */
static unsigned int reads_within(uint64_t from, uint64_t to, uint64_t *bytes)
{
	AUTO_FREE struct faulty_record *log = NULL;
	unsigned int reads = 0;
	size_t n;

	*bytes = 0;
	log = faulty_store_log(fake->store, &n);
	for (size_t i = 0; i < n; i++) {
		if (log[i].offset < from || log[i].offset >= to)
			continue;
		reads++;
		*bytes += log[i].length;
	}
	return reads;
}

static void test_sequential(const struct fake_spec *spec, const char *name)
{
	struct faulty_stats stats;
	bool good = true;

	set_up(spec, name);
	for (uint64_t at = 0; at < 24 * MIB && good; at += 128 * KIB)
		good = read_at(at, 128 * KIB);
	ok(good, "%s: right bytes", name);
	stats = faulty_store_stats(fake->store);
	ok(stats.in_flight_max >= 3, "%s: %u reads at once", name,
	   stats.in_flight_max);
	ok(stats.calls[FAULTY_READ] <= 24 * MIB / (128 * KIB),
	   "%s: %llu reads for 192 of the disk", name,
	   (unsigned long long)stats.calls[FAULTY_READ]);
	is_u64(bytes_read_twice(), 0, "nothing is read twice");
	tear_down();
}

/* Skipping forward within what is read ahead keeps what is in flight. */
static void test_skip(void)
{
	uint64_t at = 0;
	bool good = true;

	set_up(&stored, "a reader that skips");
	for (; at < 8 * MIB && good; at += 128 * KIB)
		good = read_at(at, 128 * KIB);
	for (int i = 0; i < 20 && good; i++) {
		at += 192 * KIB;
		good = read_at(at, 128 * KIB);
		at += 128 * KIB;
	}
	ok(good, "right bytes");
	is_u64(bytes_read_twice(), 0, "skips throw nothing away");
	tear_down();
}

/* Two readers of one disk, taking turns: both are read ahead for. */
static void test_two_cursors(void)
{
	uint64_t low_bytes, high_bytes;
	unsigned int low, high;
	bool good = true;

	set_up(&stored, "two cursors");
	for (uint64_t at = 0; at < 8 * MIB && good; at += 64 * KIB)
		good = read_at(at, 64 * KIB) &&
		       read_at(24 * MIB + at, 64 * KIB);
	ok(good, "right bytes");
	low = reads_within(0, 24 * MIB, &low_bytes);
	high = reads_within(24 * MIB, 48 * MIB, &high_bytes);
	ok(low <= 64, "lower cursor: 128 reads of the disk took %u", low);
	ok(high <= 64, "upper cursor: 128 reads of the disk took %u", high);
	ok(low_bytes >= 8 * MIB && low_bytes <= 20 * MIB,
	   "lower cursor: 8 MiB took %llu bytes",
	   (unsigned long long)low_bytes);
	ok(high_bytes >= 8 * MIB && high_bytes <= 20 * MIB,
	   "upper cursor: 8 MiB took %llu bytes",
	   (unsigned long long)high_bytes);
	is_u64(bytes_read_twice(), 0, "nothing is read twice");
	tear_down();
}

/* Random reads must not set off read-ahead: a read costs its own blocks. */
static void test_random(const struct fake_spec *spec, uint64_t bytes_each,
			const char *name)
{
	struct faulty_stats stats;
	uint64_t state = 77;
	bool good = true;

	set_up(spec, name);
	for (int i = 0; i < 100 && good; i++)
		good = read_at(round_down(fake_random(&state) %
					  (spec->size - 4096), 4096), 4096);
	ok(good, "%s: right bytes", name);
	stats = faulty_store_stats(fake->store);
	ok(stats.bytes <= 100 * bytes_each,
	   "%s: %llu bytes a read, at most %llu", name,
	   (unsigned long long)stats.bytes / 100,
	   (unsigned long long)bytes_each);
	tear_down();
}

/* A reader that goes on after a pause in which others read elsewhere. */
static void test_mixed(void)
{
	uint64_t state = 5, bytes;
	bool good = true;
	unsigned int reads;

	set_up(&stored, "a cursor among random reads");
	for (uint64_t at = 0; at < 8 * MIB && good; at += 128 * KIB) {
		good = read_at(at, 128 * KIB) &&
		       read_at(24 * MIB + fake_random(&state) % (20 * MIB),
			       4096);
	}
	ok(good, "right bytes");
	reads = reads_within(0, 24 * MIB, &bytes);
	ok(reads <= 32, "64 sequential reads among random ones took %u",
	   reads);
	tear_down();
}

int main(void)
{
	alarm(200);
	test_sequential(&stored, "stored");
	test_sequential(&packed, "packed");
	test_skip();
	test_two_cursors();
	test_random(&stored, 80 * KIB, "random, stored");
	test_random(&packed, 80 * KIB, "random, packed");
	test_mixed();
	return tap_done();
}
