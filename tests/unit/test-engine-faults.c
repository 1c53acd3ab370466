/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The engine over a store that fails, hangs or is replaced: errors reach the
 * reader they belong to, nothing leaks, nobody waits for ever. */
#include "config.h"

#include <pthread.h>
#include <unistd.h>

#include "common/checked.h"
#include "disk/engine.h"
#include "tests/lib/fake-disk.h"
#include "tests/tap.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static const struct fake_spec spec = {
	.size = 3 * MIB + 77, .unit_bytes = 32 * KIB, .packed = 3, .zero = 1,
	.data = 3, .piece_max = 80 * KIB, .seed = 9
};

static struct error err;
static struct fake_disk *fake;
static struct engine *engine;
static struct disk *disk;

static void set_up(unsigned int timeout_ms)
{
	struct engine_options options = { .memory_bytes = 32 * MIB,
					  .threads = 2,
					  .timeout_ms = timeout_ms };

	succeeds(engine_new(&engine, &options, &err), &err, "engine");
	succeeds(disk_open(&disk, engine, fake->map, "fake", &err), &err,
		 "disk");
}

static void tear_down(void)
{
	disk_close(disk);
	engine_free(engine);
}

static void set_faults(const struct faults *faults)
{
	static const struct faults none;

	faulty_store_set(fake->store, faults ? faults : &none);
}

/* Read all in steps: how many steps failed as told; -1 for wrong bytes or
 * another error. */
static int read_with_faults(uint32_t step, enum error_kind kind)
{
	AUTO_FREE unsigned char *buf = malloc(step);
	int failed = 0;

	for (uint64_t at = 0; at < spec.size; at += step) {
		uint64_t length = min_u64(step, spec.size - at);
		struct error local = { 0 };

		if (!disk_read(disk, at, buf, length, &local)) {
			if (memcmp(buf, fake->bytes + at, length) != 0)
				return -1;
			continue;
		}
		if (local.kind != kind) {
			printf("# %s: %s\n", error_kind_name(local.kind),
			       local.text);
			return -1;
		}
		failed++;
	}
	return failed;
}

/* Every Nth read of the store fails, for many N: each read of the disk is
 * right or fails with that error, and a new disk reads all. */
static void test_torture(void)
{
	static const uint32_t steps[] = { 4 * KIB, 64 * KIB, MIB };
	unsigned int failures = 0, wrong = 0, unhealed = 0;

	for (unsigned int n = 1; n <= 24; n++) {
		struct faults faults = { .calls = 1 << FAULTY_READ,
					 .fail_every = n,
					 .fail_kind = ERR_NETWORK };
		struct engine_options options = { .memory_bytes = 32 * MIB,
						  .threads = 2 };
		int failed;

		if (engine_new(&engine, &options, &err) ||
		    disk_open(&disk, engine, fake->map, "fake", &err))
			break;
		set_faults(&faults);
		failed = read_with_faults(steps[n % 3], ERR_NETWORK);
		wrong += failed < 0;
		failures += failed > 0;
		set_faults(NULL);
		disk_close(disk);
		disk_open(&disk, engine, fake->map, "fake", &err);
		unhealed += read_with_faults(steps[n % 3], ERR_NETWORK) != 0;
		tear_down();
	}
	is_u64(wrong, 0, "right bytes or the store's error, for every N");
	ok(failures >= 12, "the faults happened in %u runs", failures);
	is_u64(unhealed, 0, "a disk opened afterwards reads everything");
}

/* One asynchronous read in flight. */
struct call {
	struct disk_read *read;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int calls;
	enum error_kind kind;
	pthread_t thread; /* that called done() */
};

static void note(void *arg, const struct iovec *iov, int iovcnt,
		 const struct error *error)
{
	struct call *call = arg;

	pthread_mutex_lock(&call->lock);
	call->calls++;
	call->kind = error ? error->kind : ERR_NONE;
	call->thread = pthread_self();
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

static void start(struct call *call, uint64_t offset, uint32_t length)
{
	memset(call, 0, sizeof(*call));
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->changed, NULL);
	disk_read_async(disk, offset, length, note, call, &call->read);
}

/* Wait for done() and release. */
static enum error_kind finish(struct call *call)
{
	pthread_mutex_lock(&call->lock);
	while (!call->calls)
		pthread_cond_wait(&call->changed, &call->lock);
	pthread_mutex_unlock(&call->lock);
	disk_read_release(call->read);
	pthread_mutex_destroy(&call->lock);
	pthread_cond_destroy(&call->changed);
	return call->kind;
}

static uint64_t first_stored(void)
{
	const struct fake_piece *piece = fake->pieces;

	while (piece->kind == EXTENT_ZERO)
		piece++;
	return piece->offset;
}

static void wait_hanging(void)
{
	while (!faulty_store_stats(fake->store).hanging)
		usleep(1000);
}

static void test_cancel(void)
{
	uint64_t at = first_stored();
	struct call first, second, cached;
	unsigned char byte;

	set_up(60000);
	succeeds(disk_read(disk, at, &byte, 1, &err), &err, "one byte");
	faulty_store_hang(fake->store, true);
	start(&first, 2 * MIB, 512 * KIB);
	start(&second, 2 * MIB, 512 * KIB);
	ok(first.read && second.read, "both reads wait");
	wait_hanging();
	start(&cached, at, 1);
	is_u64(finish(&cached), ERR_NONE, "a cached byte is still answered");
	disk_read_cancel(first.read);
	is_u64(finish(&first), ERR_CANCELLED, "cancelled while it hangs");
	ok(!pthread_equal(first.thread, pthread_self()),
	   "done() came from another thread");
	is_u64(second.calls, 0, "the other read goes on waiting");
	faulty_store_hang(fake->store, false);
	is_u64(finish(&second), ERR_NONE, "and gets its bytes");
	is_u64(first.calls, 1, "the cancelled one was called once");
	tear_down();
}

static void test_cancel_late(void)
{
	struct call call;

	set_up(60000);
	start(&call, 0, 64 * KIB);
	pthread_mutex_lock(&call.lock);
	while (!call.calls)
		pthread_cond_wait(&call.changed, &call.lock);
	pthread_mutex_unlock(&call.lock);
	if (call.read)
		disk_read_cancel(call.read);
	is_u64(finish(&call), ERR_NONE, "cancel after the end does nothing");
	is_u64(call.calls, 1, "done() is not called again");
	tear_down();
}

static void test_timeout(void)
{
	struct call call;

	set_up(150);
	faulty_store_hang(fake->store, true);
	start(&call, 0, 256 * KIB);
	is_u64(finish(&call), ERR_TIMEOUT, "a hung read ends by its deadline");
	faulty_store_hang(fake->store, false);
	tear_down();
}

/* Closing while read-ahead runs and reads have been given up. */
static void test_close_busy(void)
{
	struct faults faults = { .delay_ms = 30 };
	static unsigned char buf[256 * KIB];
	struct call call;

	set_up(60000);
	set_faults(&faults);
	for (uint64_t at = 0; at < MIB; at += sizeof(buf))
		if (disk_read(disk, at, buf, sizeof(buf), &err))
			ok(false, "read: %s", err.text);
	start(&call, MIB, DISK_READ_MAX);
	if (call.read)
		disk_read_cancel(call.read);
	finish(&call);
	tear_down();
	set_faults(NULL);
	ok(true, "closed while the store was busy");
}

static void *reader(void *arg)
{
	unsigned int n = *(unsigned int *)arg;
	uint64_t state = n + 1;
	static const uint32_t max = 200 * KIB;
	AUTO_FREE unsigned char *buf = malloc(max);

	for (int i = 0; i < 60; i++) {
		uint64_t at = fake_random(&state) % spec.size;
		uint64_t len = min_u64(spec.size - at,
				       fake_random(&state) % max + 1);
		struct error local = { 0 };

		if (!disk_read(disk, at, buf, len, &local) ?
		    memcmp(buf, fake->bytes + at, len) != 0 :
		    local.kind != ERR_IO)
			return (void *)1;
	}
	return NULL;
}

/* Readers and failures at once: an error meets only those who need what
 * failed; all others get the right bytes. */
static void test_parallel_failures(void)
{
	struct faults faults = { .calls = 1 << FAULTY_READ, .fail_every = 5 };
	pthread_t threads[8];
	unsigned int numbers[8], wrong = 0;

	set_up(60000);
	set_faults(&faults);
	for (unsigned int i = 0; i < 8; i++) {
		numbers[i] = i;
		pthread_create(&threads[i], NULL, reader, &numbers[i]);
	}
	for (unsigned int i = 0; i < 8; i++) {
		void *ret;

		pthread_join(threads[i], &ret);
		wrong += ret != NULL;
	}
	is_u64(wrong, 0, "8 readers see right bytes or the store's error");
	set_faults(NULL);
	tear_down();
}

int main(void)
{
	alarm(100);
	succeeds(fake_disk_new(&fake, &spec, &err), &err, "fake disk");
	test_torture();
	test_cancel();
	test_cancel_late();
	test_timeout();
	test_close_busy();
	test_parallel_failures();
	fake_disk_free(fake);
	return tap_done();
}
