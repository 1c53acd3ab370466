/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The engine gives the right bytes: every kind of piece at every kind of
 * border, from many threads, in little memory; damage stays where it is. */
#include "config.h"

#include <pthread.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/checked.h"
#include "disk/engine.h"
#include "tests/lib/fake-disk.h"
#include "tests/tap.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct error err;

struct test_case {
	const char *name;
	struct fake_spec spec;
};

static const struct test_case cases[] = {
	{ "stored, tiny pieces",
	  { .size = 40001, .piece_max = 3000, .zero = 1, .data = 2 } },
	{ "stored, in order",
	  { .size = 3 * MIB + 7, .piece_max = 300 * KIB, .zero = 1, .data = 3,
	    .in_order = true } },
	{ "packed, 4 KiB units",
	  { .size = 300 * KIB + 512, .unit_bytes = 4 * KIB, .packed = 1,
	    .zero = 1, .piece_max = 20 * KIB, .align = 4 * KIB,
	    .in_order = true } },
	{ "packed, 64 KiB units, short last one",
	  { .size = 2 * MIB + 12345, .unit_bytes = 64 * KIB, .packed = 4,
	    .zero = 1, .piece_max = 256 * KIB, .align = 64 * KIB,
	    .in_order = true } },
	{ "packed, units of 96.5 KiB",
	  { .size = 2 * MIB, .unit_bytes = 193 * 512, .packed = 1 } },
	{ "packed, 1 MiB units",
	  { .size = 5 * MIB + 512, .unit_bytes = MIB, .packed = 3, .zero = 1,
	    .piece_max = MIB, .align = MIB } },
	{ "all kinds, nothing aligned",
	  { .size = 4 * MIB + 3, .unit_bytes = 37 * KIB + 1, .packed = 3,
	    .zero = 2, .data = 3, .piece_max = 90 * KIB } },
	{ "all kinds, one piece an answer, slow tables",
	  { .size = MIB + 1, .unit_bytes = 16 * KIB, .packed = 3, .zero = 2,
	    .data = 3, .piece_max = 50 * KIB, .answer_max = 1,
	    .slow_tables = true } },
	{ "nothing but a hole", { .size = 3 * MIB, .zero = 1,
				  .piece_max = 3 * MIB, .align = 3 * MIB } },
	{ "one byte", { .size = 1, .data = 1, .piece_max = 1 } },
};

struct bench {
	struct fake_disk *fake;
	struct engine *engine;
	struct disk *disk;
};

static bool set_up(struct bench *b, const struct fake_spec *spec,
		   uint64_t memory_bytes, const char *name)
{
	struct engine_options options = { .memory_bytes = memory_bytes,
					  .threads = 2,
					  .timeout_ms = 60000 };

	memset(&err, 0, sizeof(err));
	return ok(!fake_disk_new(&b->fake, spec, &err) &&
		  !engine_new(&b->engine, &options, &err) &&
		  !disk_open(&b->disk, b->engine, b->fake->map, "fake", &err),
		  "%s: set up", name);
}

static void tear_down(struct bench *b)
{
	disk_close(b->disk);
	engine_free(b->engine);
	fake_disk_free(b->fake);
}

/* Read and compare; false and a diagnosis on any difference. */
static bool read_is_right(const struct bench *b, uint64_t offset,
			  uint64_t length)
{
	AUTO_FREE unsigned char *buf = malloc(length + 2);
	struct error local = { 0 };
	bool good;

	memset(buf, 0xa5, length + 2);
	good = !disk_read(b->disk, offset, buf + 1, length, &local) &&
	       !memcmp(buf + 1, b->fake->bytes + offset, length) &&
	       buf[0] == 0xa5 && buf[length + 1] == 0xa5;
	if (!good)
		printf("# offset %llu length %llu: %s\n",
		       (unsigned long long)offset, (unsigned long long)length,
		       local.kind ? local.text : "wrong bytes");
	return good;
}

/* All ranges between points next to the borders of the first pieces, up to
 * 3 MiB each. */
static void test_borders(const struct bench *b, const char *name)
{
	uint64_t points[40], size = b->fake->spec.size;
	size_t n = 0;
	bool good = true;

	for (size_t i = 0; i < b->fake->count && n < 33; i++) {
		uint64_t at = b->fake->pieces[i].offset;

		if (at)
			points[n++] = at - 1;
		points[n++] = at;
		if (at + 1 < size)
			points[n++] = at + 1;
	}
	points[n++] = size;
	for (size_t i = 0; i < n && good; i++)
		for (size_t j = 0; j < n && good; j++)
			if (points[i] < points[j] &&
			    points[j] - points[i] <= 3 * MIB)
				good = read_is_right(b, points[i],
						     points[j] - points[i]);
	ok(good, "%s: ranges between all borders", name);
}

static void test_whole(const struct bench *b, const char *name)
{
	uint64_t size = b->fake->spec.size;
	static const uint32_t steps[] = { 1000, 4096, 65536, 131072, 1 << 20 };
	bool good = read_is_right(b, 0, size);

	for (size_t i = 0; i < 5; i++)
		for (uint64_t at = 0; good && at < size; at += steps[i])
			good = read_is_right(b, at,
					     min_u64(steps[i], size - at));
	ok(good, "%s: whole and in steps", name);
}

struct reader {
	const struct bench *bench;
	unsigned int seed, reads;
	uint64_t length_max;
	bool good;
};

static void *random_reader(void *arg)
{
	struct reader *r = arg;
	uint64_t state = r->seed + 1, size = r->bench->fake->spec.size;

	r->good = true;
	for (unsigned int i = 0; i < r->reads && r->good; i++) {
		uint64_t at = fake_random(&state) % size;
		uint64_t max = min_u64(size - at, r->length_max);

		r->good = read_is_right(r->bench, at,
					fake_random(&state) % max + 1);
	}
	return NULL;
}

static bool parallel_readers(const struct bench *b, unsigned int n,
			     unsigned int reads, uint64_t length_max)
{
	struct reader readers[32];
	pthread_t threads[32];
	bool good = true;

	for (unsigned int i = 0; i < n; i++) {
		readers[i] = (struct reader){ b, i, reads, length_max };
		pthread_create(&threads[i], NULL, random_reader, &readers[i]);
	}
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		good &= readers[i].good;
	}
	return good;
}

static void test_bytes(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct test_case *c = &cases[i];
		struct bench b;

		if (!set_up(&b, &c->spec, 64 * MIB, c->name))
			continue;
		is_u64(disk_size(b.disk), c->spec.size, c->name);
		test_borders(&b, c->name);
		test_whole(&b, c->name);
		ok(parallel_readers(&b, 8, 40, 200 * KIB),
		   "%s: 8 threads at random", c->name);
		tear_down(&b);
	}
}

/* Many readers of large units in a budget that holds few of them: slower
 * perhaps, but neither a deadlock nor a failure nor more memory. */
static void test_budget(void)
{
	static const struct fake_spec spec = {
		.size = 24 * MIB, .unit_bytes = MIB, .packed = 3, .data = 1,
		.zero = 1, .piece_max = 2 * MIB, .align = 512
	};
	static const uint64_t limits[] = { 16 * MIB, 24 * MIB };

	for (size_t i = 0; i < 2; i++) {
		struct budget_stats stats;
		struct bench b;

		if (!set_up(&b, &spec, limits[i], "little memory"))
			continue;
		ok(parallel_readers(&b, 24, 6, 2 * MIB),
		   "24 readers with memory=%llu",
		   (unsigned long long)limits[i]);
		stats = budget_stats(engine_budget(b.engine));
		is_u64(stats.limit, limits[i], "the budget is the option's");
		ok(stats.peak <= limits[i], "peak %llu is within the limit",
		   (unsigned long long)stats.peak);
		disk_close(b.disk);
		b.disk = NULL;
		tear_down(&b);
	}
}

/* One call of done(). */
struct answer {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int calls;
	uint64_t length;
	unsigned char bytes[DISK_READ_MAX];
	struct error err;
};

static struct answer answer = { PTHREAD_MUTEX_INITIALIZER,
				PTHREAD_COND_INITIALIZER };

static void take_answer(void *arg, const struct iovec *iov, int iovcnt,
			const struct error *error)
{
	struct answer *a = arg;

	pthread_mutex_lock(&a->lock);
	a->calls++;
	a->length = 0;
	for (int i = 0; i < iovcnt; i++) {
		memcpy(a->bytes + a->length, iov[i].iov_base, iov[i].iov_len);
		a->length += iov[i].iov_len;
	}
	memset(&a->err, 0, sizeof(a->err));
	if (error)
		a->err = *error;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

/* Read through the asynchronous interface into `answer`. */
static void ask(const struct bench *b, uint64_t offset, uint32_t length)
{
	struct disk_read *read = NULL;

	answer.calls = 0;
	disk_read_async(b->disk, offset, length, take_answer, &answer, &read);
	pthread_mutex_lock(&answer.lock);
	while (!answer.calls)
		pthread_cond_wait(&answer.changed, &answer.lock);
	pthread_mutex_unlock(&answer.lock);
	disk_read_release(read);
}

static void test_async(void)
{
	struct disk_read *read = (void *)&answer;
	struct bench b;

	if (!set_up(&b, &cases[6].spec, 64 * MIB, "asynchronous"))
		return;
	ask(&b, 12345, 54321);
	is_u64(answer.length, 54321, "all that was asked for");
	is_mem(answer.bytes, b.fake->bytes + 12345, 54321, "right bytes");
	ask(&b, 3, DISK_READ_MAX);
	is_mem(answer.bytes, b.fake->bytes + 3, DISK_READ_MAX, "the largest");
	answer.calls = 0;
	disk_read_async(b.disk, 12345, 4000, take_answer, &answer, &read);
	is_u64(answer.calls, 1, "what is cached is answered at once");
	ok(!read, "and leaves no handle");
	is_mem(answer.bytes, b.fake->bytes + 12345, 4000, "right bytes");
	tear_down(&b);
}

/* Each piece on its own: good ones read, damaged ones fail. */
static void test_damage_confined(const struct bench *b)
{
	unsigned int wrong = 0, damaged = 0;

	for (size_t i = 0; i < b->fake->count; i++) {
		const struct fake_piece *p = &b->fake->pieces[i];
		bool bad = p->damaged || p->kind == EXTENT_BAD;
		AUTO_FREE unsigned char *buf = malloc(p->length);
		struct error local = { 0 };
		int ret = disk_read(b->disk, p->offset, buf, p->length,
				    &local);

		damaged += bad;
		if (bad ? !ret || local.kind != ERR_CORRUPT :
			  ret || memcmp(buf, b->fake->bytes + p->offset,
					p->length) != 0) {
			wrong++;
			printf("# %s piece %zu: returned %d, %s\n",
			       bad ? "damaged" : "good", i, ret, local.text);
		}
	}
	ok(damaged > 10, "there are damaged pieces: %u", damaged);
	is_u64(wrong, 0, "they fail, and they alone");
}

/* The bytes before the damage arrive, and never wrong ones. */
static void test_damage_prefix(const struct bench *b)
{
	uint64_t state = 5;
	unsigned int early = 0, wrong = 0;

	for (int i = 0; i < 300; i++) {
		uint64_t at = fake_random(&state) % b->fake->spec.size;
		uint64_t length = min_u64(b->fake->spec.size - at,
					  fake_random(&state) % 300000 + 1);
		bool good = fake_disk_is_good(b->fake, at, length);
		uint64_t want = 0;

		ask(b, at, (uint32_t)length);
		while (want < length && fake_disk_is_good(b->fake, at + want,
							  1)) {
			const struct fake_piece *p =
				fake_disk_piece(b->fake, at + want);

			want = min_u64(p->offset + p->length - at, length);
		}
		if (good != !answer.err.kind || answer.calls != 1 ||
		    memcmp(answer.bytes, b->fake->bytes + at,
			   answer.length) != 0 || answer.length > want)
			wrong++;
		if (answer.length < want)
			early++;
	}
	is_u64(wrong, 0, "errors only where damage is, right bytes before it");
	is_u64(early, 0, "every byte before the damage arrives");
}

static void test_damage(void)
{
	static const struct fake_spec spec = {
		.size = 4 * MIB + 100, .unit_bytes = 16 * KIB, .packed = 12,
		.data = 2, .zero = 2, .bad = 1, .piece_max = 30 * KIB,
		.damage_every = 5, .seed = 3
	};
	struct bench b;

	if (!set_up(&b, &spec, 64 * MIB, "damage"))
		return;
	test_damage_confined(&b);
	test_damage_confined(&b);
	test_damage_prefix(&b);
	tear_down(&b);
}

int main(void)
{
	alarm(600); /* a deadlock fails instead of hanging */
	test_bytes();
	test_async();
	test_budget();
	test_damage();
	return tap_done();
}
