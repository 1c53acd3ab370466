/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The test doubles themselves: a fault that does not happen would make every
 * test that relies on it worthless. */
#include "config.h"

#include <pthread.h>
#include <unistd.h>

#include "tests/lib/faulty-store.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

static struct store *memory, *store;
static struct error err;

static int read_at(struct object *object, uint64_t offset, size_t len,
		   unsigned int flags)
{
	char buf[64];
	struct iovec iov = { buf, len };

	return object_readv(object, offset, &iov, 1, flags, &err);
}

static void set(const char *text)
{
	struct faults faults;
	char copy[256];

	snprintf(copy, sizeof(copy), "%s", text);
	if (faults_parse(&faults, copy, &err))
		ok(false, "faults '%s': %s", text, err.text);
	faulty_store_set(store, &faults);
	faulty_store_reset(store);
}

static void test_parse(void)
{
	struct faults faults;
	char good[] = "delay=20,on=read+open,key=*.vmdk,rate=1000,bad=10:5,"
		      "fail-every=7,fail-kind=network,hang-file=/x,log=/y";
	char word[] = "delya=20", value[] = "delay=x", kind[] = "fail-kind=no";
	char call[] = "on=write";

	succeeds(faults_parse(&faults, good, &err), &err, "all words");
	is_u64(faults.calls, 1 << FAULTY_READ | 1 << FAULTY_OPEN, "on=");
	is_u64(faults.delay_ms, 20, "delay=");
	is_str(faults.key, "*.vmdk", "key=");
	is_u64(faults.bytes_per_second, 1000, "rate=");
	is_u64(faults.bad_offset, 10, "bad=, offset");
	is_u64(faults.bad_length, 5, "bad=, length");
	is_u64(faults.fail_every, 7, "fail-every=");
	is_u64(faults.fail_kind, ERR_NETWORK, "fail-kind=");
	is_str(faults.hang_file, "/x", "hang-file=");
	is_str(faults.log_file, "/y", "log=");
	fails_with(faults_parse(&faults, word, &err), &err, ERR_ARG, "delya",
		   "unknown word");
	fails_with(faults_parse(&faults, value, &err), &err, ERR_ARG, "delay",
		   "no number");
	fails_with(faults_parse(&faults, kind, &err), &err, ERR_ARG, "no",
		   "unknown kind");
	fails_with(faults_parse(&faults, call, &err), &err, ERR_ARG, "write",
		   "unknown call");
}

static void test_failures(struct object *object)
{
	set("fail-every=3,on=read,fail-kind=network");
	succeeds(read_at(object, 0, 8, 0), &err, "1st");
	succeeds(read_at(object, 8, 8, 0), &err, "2nd");
	fails_with(read_at(object, 16, 8, 0), &err, ERR_NETWORK, "on purpose",
		   "3rd fails");
	succeeds(read_at(object, 16, 8, 0), &err, "4th");
	is_u64(faulty_store_stats(store).calls[FAULTY_READ], 4, "counted");
	is_u64(faulty_store_stats(store).bytes, 32, "bytes counted");
	is_u64(faulty_store_stats(store).failed, 1, "one failed");
	set("bad=20:2");
	succeeds(read_at(object, 10, 10, 0), &err, "read up to the bad bytes");
	fails_with(read_at(object, 10, 11, 0), &err, ERR_IO, "on purpose",
		   "read into them");
	fails_with(read_at(object, 21, 11, 0), &err, ERR_IO, "on purpose",
		   "read from inside them");
	succeeds(read_at(object, 22, 10, 0), &err, "read behind them");
}

static void test_match(struct object *object)
{
	struct object_info info;

	set("fail-every=1,on=stat");
	succeeds(read_at(object, 0, 8, 0), &err, "reads are spared");
	fails_with(store_stat(store, "key", &info, &err), &err, ERR_IO, "",
		   "stat fails");
	set("fail-every=1,key=x*");
	succeeds(read_at(object, 0, 8, 0), &err, "other keys are spared");
	set("fail-every=1,key=k?y");
	fails_with(read_at(object, 0, 8, 0), &err, ERR_IO, "", "glob matches");
}

static void test_slow(struct object *object)
{
	struct faulty_record *log;
	size_t n;

	set("delay=15");
	fails_with(read_at(object, 0, 8, STORE_NOWAIT), &err, ERR_AGAIN, "",
		   "NOWAIT is refused instead of delayed");
	is_u64(faulty_store_stats(store).refused, 1, "counted as refused");
	succeeds(read_at(object, 24, 8, 0), &err, "a delayed read");
	log = faulty_store_log(store, &n);
	is_u64(n, 1, "only that one is logged");
	is_u64(log[0].offset, 24, "offset");
	is_u64(log[0].length, 8, "length");
	ok(log[0].end_ns - log[0].begin_ns >= 15000000, "took the delay");
	free(log);
	set("rate=400");
	succeeds(read_at(object, 0, 8, 0), &err, "first at 400 bytes/s");
	log = faulty_store_log(store, &n);
	ok(log[0].end_ns - log[0].begin_ns >= 20000000, "took 20 ms");
	free(log);
	set("");
	succeeds(read_at(object, 0, 8, STORE_NOWAIT), &err,
		 "NOWAIT goes through when nothing is slow");
}

static void *hung_reader(void *object)
{
	return (void *)(intptr_t)read_at(object, 0, 8, 0);
}

static void wait_hanging(unsigned int n)
{
	while (faulty_store_stats(store).hanging != n)
		usleep(1000);
}

static void test_hang(struct object *object)
{
	char path[] = "/tmp/vmiefs-test-hang-XXXXXX", text[128];
	int fd = mkstemp(path);
	pthread_t thread;
	void *ret;

	close(fd);
	set("");
	faulty_store_hang(store, true);
	pthread_create(&thread, NULL, hung_reader, object);
	wait_hanging(1);
	faulty_store_hang(store, false);
	pthread_join(thread, &ret);
	ok(!ret, "a hung read goes on when released");

	snprintf(text, sizeof(text), "hang-file=%s", path);
	set(text);
	pthread_create(&thread, NULL, hung_reader, object);
	wait_hanging(1);
	fails_with(read_at(object, 0, 8, STORE_NOWAIT), &err, ERR_AGAIN, "",
		   "NOWAIT is refused while the file exists");
	unlink(path);
	pthread_join(thread, &ret);
	ok(!ret, "and goes on when the file is gone");
	succeeds(read_at(object, 0, 8, 0), &err, "so do later ones");
}

static void test_replace(void)
{
	struct object *object;
	char buf[3];
	struct iovec iov = { buf, 3 };

	set("");
	succeeds(memory_store_put(memory, "r", "old", 3, &err), &err, "put");
	succeeds(object_open(&object, store, "r", NULL, &err), &err, "open");
	succeeds(object_readv(object, 0, &iov, 1, 0, &err), &err, "read");
	is_mem(buf, "old", 3, "old bytes");
	succeeds(memory_store_put(memory, "r", "new", 3, &err), &err, "again");
	fails_with(object_readv(object, 0, &iov, 1, 0, &err), &err, ERR_STALE,
		   "replaced", "an open object is pinned");
	object_close(object);
	succeeds(memory_store_remove(memory, "r", &err), &err, "remove");
	fails_with(object_open(&object, store, "r", NULL, &err), &err,
		   ERR_NOT_FOUND, "r", "gone");
}

int main(void)
{
	static const char data[64] = "0123456789";
	struct object *object;

	succeeds(memory_store_new(&memory, &err), &err, "memory store");
	succeeds(memory_store_put(memory, "key", data, 64, &err), &err, "put");
	succeeds(faulty_store_new(&store, memory, NULL, &err), &err, "faulty");
	succeeds(object_open(&object, store, "key", NULL, &err), &err, "open");
	test_parse();
	test_failures(object);
	test_match(object);
	test_slow(object);
	test_hang(object);
	test_replace();
	object_close(object);
	store_close(store);
	return tap_done();
}
