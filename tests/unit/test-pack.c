/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The pipeline and all writers on a sink that fails or hangs at any call: the
 * error comes out, the sink is dropped, no memory stays; and the same disk
 * gives the same bytes, however it comes and whatever packs it. */
#include "config.h"

#include <pthread.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/pool.h"
#include "disk/batch.h"
#include "disk/pack.h"
#include "format/writer.h"
#include "store/store.h"
#include "tests/lib/fake-disk.h"
#include "tests/lib/log-sink.h"
#include "tests/tap.h"

#define KIB 1024u
#define MIB (1024u * KIB)

#define BUDGET_BYTES (24u * MIB)
#define DATA_BYTES   (1280u * KIB)

/* A container to write, and how large a hole its disk has. */
static const struct kind {
	const char *label, *format, *subformat;
	uint32_t block_bytes, hole_bytes;
} kinds[] = {
	{ "raw", "raw", NULL, 0, MIB },
	{ "vmdk", "vmdk", NULL, 0, 65 * MIB },
	{ "vhd", "vhd", NULL, 0, 65 * MIB },
	{ "vhd fixed", "vhd", "fixed", 0, MIB },
	{ "vhdx", "vhdx", NULL, MIB, 65 * MIB },
	{ "vhdx fixed", "vhdx", "fixed", MIB, MIB },
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct error err;
static struct pool *pool;
static struct budget *budget;
static unsigned char *data; /* DATA_BYTES of the disk */

/* One disk being written. */
struct run {
	const struct kind *kind;
	struct sink_log *log;
	uint64_t announced;  /* or WRITE_SIZE_UNKNOWN */
	uint32_t chunk;      /* bytes of one write */
	struct sink *sink;
	struct pack *pack;
};

static uint64_t disk_bytes(const struct kind *kind)
{
	return 2ull * DATA_BYTES + kind->hole_bytes + 1000;
}

static int start(struct run *run, struct error *error)
{
	struct write_args args = { .name = "disk", .budget = budget,
				   .subformat = run->kind->subformat,
				   .size = run->announced,
				   .block_bytes = run->kind->block_bytes };
	struct writer *writer;

	if (writer_new(&writer, format_find(run->kind->format), &args, error))
		return -1;
	run->sink = log_sink_new(run->log, writer->head_bytes);
	if (pack_new(&run->pack, pool, budget, writer, run->sink, NULL,
		     error)) {
		sink_discard(run->sink);
		writer_free(writer);
		return -1;
	}
	return 0;
}

static int write_data(struct run *run, uint32_t length, struct error *error)
{
	for (uint32_t at = 0; at < length; at += run->chunk)
		if (pack_write(run->pack, data + at,
			       (size_t)min_u64(run->chunk, length - at),
			       error))
			return -1;
	return 0;
}

/* Data, a hole, data again, and an odd tail. */
static int feed(struct run *run, struct error *error)
{
	if (write_data(run, DATA_BYTES, error) ||
	    pack_hole(run->pack, run->kind->hole_bytes, error) ||
	    write_data(run, DATA_BYTES, error))
		return -1;
	return write_data(run, 1000, error);
}

static int write_disk(struct run *run, struct error *error)
{
	struct object_info info;

	if (start(run, error))
		return -1;
	if (feed(run, error)) {
		pack_discard_wait(run->pack);
		return -1;
	}
	return pack_finish_wait(run->pack, &info, error);
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool is_done;
	struct error error;
};

static void wait_done(void *arg, const struct object_info *info,
		      const struct error *error)
{
	struct waiter *waiter = arg;

	pthread_mutex_lock(&waiter->lock);
	if (error)
		waiter->error = *error;
	waiter->is_done = true;
	pthread_cond_signal(&waiter->ended);
	pthread_mutex_unlock(&waiter->lock);
}

static struct run run_of(const struct kind *kind, struct sink_log *log)
{
	sink_log_init(log);
	return (struct run){ .kind = kind, .log = log, .chunk = 300 * KIB,
			     .announced = WRITE_SIZE_UNKNOWN };
}

/* Nothing was published, and nothing is held. */
static bool is_dropped(const struct sink_log *log)
{
	return log->finishes == 0 && log->discards == 1 &&
	       budget_stats(budget).used == 0;
}

/* A good run: how many calls it takes and how many bytes come out. */
static void measure(const struct kind *kind, unsigned int *calls,
		    uint64_t *bytes)
{
	struct sink_log log;
	struct run run = run_of(kind, &log);

	succeeds(write_disk(&run, &err), &err, kind->label);
	ok(log.finishes == 1 && log.discards == 1, "%s: finished once",
	   kind->label);
	is_u64(budget_stats(budget).used, 0, "all memory is given back");
	*calls = log.calls;
	*bytes = log.size;
	sink_log_free(&log);
}

static void test_failing_calls(const struct kind *kind, unsigned int calls)
{
	unsigned int bad = 0;

	for (unsigned int n = 1; n <= calls; n++) {
		struct error error = { 0 };
		struct sink_log log;
		struct run run = run_of(kind, &log);
		char want[40];

		log.fail_call = n;
		snprintf(want, sizeof(want), "call %u fails", n);
		if (!write_disk(&run, &error) || error.kind != ERR_IO ||
		    strcmp(error.text, want) != 0 || !is_dropped(&log)) {
			printf("# call %u: %s\n", n, error.text);
			bad++;
		}
		sink_log_free(&log);
	}
	ok(bad == 0, "%s: each of %u calls fails cleanly", kind->label, calls);
}

static void test_failing_bytes(const struct kind *kind, uint64_t bytes)
{
	uint64_t step = bytes / 13;
	unsigned int bad = 0;

	for (uint64_t at = 1; at <= bytes; at += step) {
		struct error error = { 0 };
		struct sink_log log;
		struct run run = run_of(kind, &log);

		log.fail_byte = at;
		bad += !write_disk(&run, &error) || error.kind != ERR_IO ||
		       !is_dropped(&log) || log.size >= at;
		sink_log_free(&log);
	}
	ok(bad == 0, "%s: a store that is full at any byte", kind->label);
}

/* What lies in the head is there at the end only, and nothing comes behind. */
static void test_head(const struct kind *kind)
{
	struct sink_log log;
	struct run run = run_of(kind, &log);

	succeeds(write_disk(&run, &err), &err, kind->label);
	ok(!log.is_appended_late, "%s: patches come last", kind->label);
	ok(!log.is_head_used, "%s: the head is empty until then", kind->label);
	sink_log_free(&log);
}

/* Write with other threads or other pieces; the same bytes must come. */
static void compare_run(const struct kind *kind, unsigned int cores,
			uint32_t chunk, uint64_t announced,
			const struct sink_log *want)
{
	struct pool *usual = pool;
	struct sink_log log;
	struct run run = run_of(kind, &log);

	run.chunk = chunk;
	run.announced = announced;
	succeeds(pool_new(&pool, "other", cores, 16, &err), &err, "pool");
	succeeds(write_disk(&run, &err), &err, kind->label);
	ok(log.size == want->size && !memcmp(log.data, want->data, log.size),
	   "%s: the same by %u threads, %u bytes at a time", kind->label,
	   cores, chunk);
	pool_free(pool);
	pool = usual;
	sink_log_free(&log);
}

static void test_deterministic(const struct kind *kind)
{
	struct sink_log log;
	struct run run = run_of(kind, &log);

	succeeds(write_disk(&run, &err), &err, kind->label);
	compare_run(kind, 1, 300 * KIB, WRITE_SIZE_UNKNOWN, &log);
	compare_run(kind, 16, 300 * KIB, WRITE_SIZE_UNKNOWN, &log);
	compare_run(kind, 3, 4099, WRITE_SIZE_UNKNOWN, &log);
	if (strcmp(kind->format, "vhd") != 0 || kind->subformat)
		compare_run(kind, 3, MIB, disk_bytes(kind), &log);
	sink_log_free(&log);
}

/* The size that was announced binds. */
static void test_announced(const struct kind *kind)
{
	struct sink_log log;
	struct run run = run_of(kind, &log);

	run.announced = disk_bytes(kind) - 1;
	fails_with(write_disk(&run, &err), &err, ERR_LIMIT, "was announced",
		   kind->label);
	ok(is_dropped(&log), "%s: nothing is left of what is too long",
	   kind->label);
	sink_log_free(&log);

	run = run_of(kind, &log);
	run.announced = disk_bytes(kind) + 1;
	fails_with(write_disk(&run, &err), &err, ERR_ARG, "was announced",
		   kind->label);
	ok(is_dropped(&log), "%s: nothing is left of what is too short",
	   kind->label);
	sink_log_free(&log);
}

/* Write the disk and keep what came of it. */
static int seal_disk(struct run *run, struct sink **kept, struct error *error)
{
	struct waiter waiter = { PTHREAD_MUTEX_INITIALIZER,
				 PTHREAD_COND_INITIALIZER };

	if (start(run, error))
		return -1;
	if (feed(run, error)) {
		pack_discard_wait(run->pack);
		return -1;
	}
	pack_seal(run->pack, kept, wait_done, &waiter);
	pthread_mutex_lock(&waiter.lock);
	while (!waiter.is_done)
		pthread_cond_wait(&waiter.ended, &waiter.lock);
	pthread_mutex_unlock(&waiter.lock);
	*error = waiter.error;
	return waiter.error.kind == ERR_NONE ? 0 : -1;
}

/* A sealed container has the bytes of a published one. */
static void test_sealed(const struct kind *kind)
{
	struct sink_log published, log;
	struct run run = run_of(kind, &published);
	struct object *object = NULL;
	struct sink *kept = NULL;
	struct iovec iov;

	succeeds(write_disk(&run, &err), &err, kind->label);
	run = run_of(kind, &log);
	log.can_seal = true;
	succeeds(seal_disk(&run, &kept, &err), &err, kind->label);
	ok(log.seals == 1 && !log.finishes && !log.discards,
	   "%s: kept, not published", kind->label);
	is_u64(budget_stats(budget).used, 0, "the memory is given back");
	succeeds(sink_object(&object, kept, &err), &err, "as an object");
	iov.iov_len = object->info.size;
	iov.iov_base = malloc(iov.iov_len);
	succeeds(object_readv(object, 0, &iov, 1, 0, &err), &err, "read");
	ok(iov.iov_len == published.size &&
	   !memcmp(iov.iov_base, published.data, iov.iov_len),
	   "%s: the same bytes", kind->label);
	free(iov.iov_base);
	object_close(object);
	is_u64(log.discards, 1, "closed, it is dropped");
	sink_log_free(&published);
	sink_log_free(&log);
}

static void test_unsealed(const struct kind *kind, unsigned int calls)
{
	struct sink_log log;
	struct run run = run_of(kind, &log);
	struct sink *kept = NULL;

	log.can_seal = true;
	log.fail_call = calls;
	fails_with(seal_disk(&run, &kept, &err), &err, ERR_IO, "fails",
		   "sealing fails");
	ok(!kept && is_dropped(&log), "%s: then nothing is kept",
	   kind->label);
	sink_log_free(&log);

	run = run_of(kind, &log);
	fails_with(seal_disk(&run, &kept, &err), &err, ERR_UNSUPPORTED,
		   "cannot give back", "not every store can");
	ok(!kept && is_dropped(&log), "%s: nothing of that either",
	   kind->label);
	sink_log_free(&log);
}

static void test_empty(const struct kind *kind)
{
	bool is_raw = !strcmp(kind->format, "raw");
	struct sink_log log;
	struct run run = run_of(kind, &log);
	struct object_info info = { .size = 1 };

	succeeds(start(&run, &err), &err, kind->label);
	if (is_raw)
		succeeds(pack_finish_wait(run.pack, &info, &err), &err,
			 "a raw disk may be empty");
	else
		fails_with(pack_finish_wait(run.pack, &info, &err), &err,
			   ERR_ARG, "no bytes", "a container may not");
	ok(is_raw ? info.size == 0 && log.finishes == 1 : is_dropped(&log),
	   "%s: what became of it", kind->label);
	sink_log_free(&log);
}

/* Cancelling from another thread, which shares a lock with done(). */
struct cancelled {
	struct run run;
	unsigned int delay_us; /* where no call hangs */
	pthread_mutex_t lock;  /* for what follows */
	pthread_cond_t ended;
	struct pack *pack;     /* from pack_new() to done() */
	bool is_over;
	enum error_kind kind;
	bool is_fed;           /* all of the disk was taken */
};

static void cancelled_done(void *arg, const struct object_info *info,
			   const struct error *error)
{
	struct cancelled *job = arg;

	pthread_mutex_lock(&job->lock);
	job->pack = NULL;
	job->is_over = true;
	job->kind = info ? ERR_NONE : error->kind;
	pthread_cond_signal(&job->ended);
	pthread_mutex_unlock(&job->lock);
}

static void *cancel_it(void *arg)
{
	struct cancelled *job = arg;

	if (job->run.log->hang_call)
		sink_log_wait_hung(job->run.log);
	else
		usleep(job->delay_us);
	pthread_mutex_lock(&job->lock);
	if (job->pack)
		pack_cancel(job->pack);
	else if (job->run.log->hang_call)
		sink_cancel(job->run.sink); /* it hangs in pack_new() */
	pthread_mutex_unlock(&job->lock);
	return NULL;
}

/* Write and end the disk of a job whose pack was made. */
static void write_cancelled(struct cancelled *job)
{
	struct error error = { 0 };

	pthread_mutex_lock(&job->lock);
	job->pack = job->run.pack;
	pthread_mutex_unlock(&job->lock);
	job->is_fed = !feed(&job->run, &error);
	if (job->is_fed)
		pack_finish(job->run.pack, cancelled_done, job);
	else
		pack_discard(job->run.pack, cancelled_done, job);
	pthread_mutex_lock(&job->lock);
	while (!job->is_over)
		pthread_cond_wait(&job->ended, &job->lock);
	pthread_mutex_unlock(&job->lock);
}

/* Did it end as it should, wherever the cancelling met it? */
static bool cancel_once(const struct kind *kind, unsigned int hang_call,
			unsigned int delay_us)
{
	struct sink_log log;
	struct cancelled job = { .run = run_of(kind, &log),
				 .delay_us = delay_us,
				 .lock = PTHREAD_MUTEX_INITIALIZER,
				 .ended = PTHREAD_COND_INITIALIZER };
	struct error error = { 0 };
	pthread_t thread;
	bool is_good;

	log.hang_call = hang_call;
	pthread_create(&thread, NULL, cancel_it, &job);
	if (start(&job.run, &error))
		job.kind = error.kind;
	else
		write_cancelled(&job);
	pthread_join(thread, NULL);
	is_good = job.kind == ERR_CANCELLED ? is_dropped(&log) :
		  job.kind == ERR_NONE && job.is_fed && !hang_call &&
		  log.finishes == 1 && log.discards == 1;
	sink_log_free(&log);
	return is_good;
}

static void test_cancelled(const struct kind *kind, unsigned int calls)
{
	uint64_t state = 4711;
	unsigned int bad = 0;

	for (unsigned int n = 1; n <= calls; n++)
		bad += !cancel_once(kind, n, 0);
	ok(bad == 0, "%s: cancelled in each of %u calls", kind->label, calls);
	for (unsigned int i = bad = 0; i < 20; i++)
		bad += !cancel_once(kind, 0, (unsigned int)
				    (fake_random(&state) % 8000));
	ok(bad == 0, "%s: cancelled at any moment", kind->label);
}

/* Without waiting: what does not fit is not taken, and room is told. */
struct room {
	pthread_mutex_t lock;
	unsigned int told;
};

static void tell(void *arg)
{
	struct room *room = arg;

	pthread_mutex_lock(&room->lock);
	room->told++;
	pthread_mutex_unlock(&room->lock);
}

static unsigned int told(struct room *room)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&room->lock);

	(void)held;
	return room->told;
}

static void test_try_write(void)
{
	struct room room = { PTHREAD_MUTEX_INITIALIZER, 0 };
	struct sink_log log;
	struct run run = run_of(&kinds[1], &log);
	uint64_t sum = 0;
	size_t n;

	log.hang_call = 2; /* the first one that has grains */
	succeeds(start(&run, &err), &err, "start");
	pack_when_room(run.pack, tell, &room);
	is_u64(told(&room), 1, "there is room at first");
	do {
		succeeds(pack_try_write(run.pack, data, DATA_BYTES, &n, &err),
			 &err, "try");
		sum += n;
	} while (n == DATA_BYTES);
	is_u64(pack_progress(run.pack).in, sum, "what was taken is counted");
	ok(sum <= BUDGET_BYTES / 4, "at most a quarter of the memory is used");
	sink_log_wait_hung(&log);
	pack_when_room(run.pack, tell, &room);
	is_u64(told(&room), 1, "no room while the store hangs");
	pack_cancel(run.pack);
	is_u64(told(&room), 2, "cancelling tells who waits for room");
	fails_with(pack_try_write(run.pack, data, 1, &n, &err), &err,
		   ERR_CANCELLED, "was cancelled", "and then nothing is taken");
	fails_with(pack_hole(run.pack, 1, &err), &err, ERR_CANCELLED,
		   "was cancelled", "nor holes");
	pack_discard_wait(run.pack);
	ok(is_dropped(&log), "nothing is left");
	sink_log_free(&log);
}

static void test_little_memory(void)
{
	struct budget *usual = budget;
	struct sink_log log;
	struct run run = run_of(&kinds[1], &log);

	succeeds(budget_new(&budget, 256 * KIB, &err), &err, "small budget");
	fails_with(write_disk(&run, &err), &err, ERR_NOMEM, "-o memory=",
		   "less than one batch of memory");
	ok(is_dropped(&log), "nothing is left");
	budget_free(budget);
	sink_log_free(&log);

	run = run_of(&kinds[1], &log);
	succeeds(budget_new(&budget, 4 * MIB, &err), &err, "budget");
	succeeds(write_disk(&run, &err), &err, "one batch at a time");
	ok(budget_stats(budget).peak <= 4 * MIB, "within the budget");
	budget_free(budget);
	sink_log_free(&log);
	budget = usual;
}

/* Append a batch, by giving its buffer where that is taken. Was it kept? */
static bool append_batch(struct run *run, const void *from, void **buffer)
{
	const void *before = *buffer;

	memcpy(*buffer, from, MIB);
	if (!pack_try_give(run->pack, buffer, MIB))
		succeeds(pack_write(run->pack, *buffer, MIB, &err), &err,
			 "a batch that is copied");
	return *buffer != before;
}

static void feed_batches(struct run *run, bool gives)
{
	static const unsigned char zeroes[MIB];
	void *buffer = batch_buffer_new(MIB);

	ok(append_batch(run, data, &buffer) == gives, "a batch is given");
	succeeds(pack_write(run->pack, data, 64 * KIB, &err), &err, "a unit");
	ok(append_batch(run, data, &buffer) == gives,
	   "so is one behind a batch that has begun");
	ok(!append_batch(run, zeroes, &buffer), "one of zeroes is not kept");
	succeeds(pack_hole(run->pack, 64 * KIB, &err), &err, "a hole");
	ok(append_batch(run, data, &buffer) == gives, "one behind a hole is");
	succeeds(pack_write(run->pack, data, 1000, &err), &err, "some bytes");
	ok(!append_batch(run, data, &buffer), "not where a unit has begun");
	ok(!pack_try_give(run->pack, &buffer, MIB - 1), "not a part of one");
	free(buffer);
}

/* Where memory is short all is copied; the same comes out. */
static void test_given(const struct kind *kind)
{
	struct budget *usual = budget;
	struct sink_log want, log;
	struct run run = run_of(kind, &want), other = run_of(kind, &log);

	succeeds(start(&run, &err), &err, kind->label);
	feed_batches(&run, false);
	succeeds(pack_finish_wait(run.pack, NULL, &err), &err, "finished");
	succeeds(budget_new(&budget, 128 * MIB, &err), &err, "more memory");
	succeeds(start(&other, &err), &err, kind->label);
	feed_batches(&other, true);
	succeeds(pack_finish_wait(other.pack, NULL, &err), &err, "finished");
	is_u64(budget_stats(budget).used, 0, "all memory is given back");
	ok(log.size == want.size && !memcmp(log.data, want.data, log.size),
	   "%s: the same from buffers that were given", kind->label);
	budget_free(budget);
	budget = usual;
	sink_log_free(&want);
	sink_log_free(&log);
}

static void make_data(void)
{
	uint64_t state = 99;

	data = malloc(DATA_BYTES);
	for (size_t i = 0; i < DATA_BYTES; i++) {
		/* Some grains pack well, some do not, some are zero. */
		unsigned int turn = (unsigned int)(i / (64 * KIB)) % 5;

		data[i] = turn == 4 ? 0 : turn == 3 ? (unsigned char)(i / 99) :
			  (unsigned char)(fake_random(&state) >> 56);
	}
}

int main(void)
{
	make_data();
	succeeds(pool_new(&pool, "test", 3, 16, &err), &err, "pool");
	succeeds(budget_new(&budget, BUDGET_BYTES, &err), &err, "budget");
	for (size_t i = 0; i < N_KINDS; i++) {
		unsigned int calls;
		uint64_t bytes;

		measure(&kinds[i], &calls, &bytes);
		test_failing_calls(&kinds[i], calls);
		test_failing_bytes(&kinds[i], bytes);
		test_cancelled(&kinds[i], calls);
		test_head(&kinds[i]);
		test_deterministic(&kinds[i]);
		test_announced(&kinds[i]);
		test_sealed(&kinds[i]);
		test_unsealed(&kinds[i], calls);
		test_empty(&kinds[i]);
		test_given(&kinds[i]);
	}
	test_try_write();
	test_little_memory();
	pool_free(pool);
	budget_free(budget);
	free(data);
	return tap_done();
}
