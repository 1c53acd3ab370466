/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of containers: one probe however many ask, deadlines that answer
 * while the probe goes on, verdicts that stay and trouble that does not. */
#include "config.h"

#include <unistd.h>

#include "fs/containers.h"
#include "tests/lib/faulty-store.h"
#include "tests/lib/fixed-vhd.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

static struct engine *engine;
static struct store *memory, *store;
static struct bucket bucket;
static struct containers *containers;
static struct error err;

/* Who asks, and what was answered. */
struct asker {
	struct want want;
	atomic_bool answered;
	enum error_kind kind;  /* passing trouble */
	enum error_kind known; /* the verdict */
	uint64_t size;
	struct opened *opened; /* a reference */
	char text[512];
};

static void on_answer(struct want *want, struct known *known,
		      struct opened *opened, const struct error *error)
{
	struct asker *asker = ring_item(want, struct asker, want);

	asker->kind = error ? error->kind : ERR_NONE;
	snprintf(asker->text, sizeof(asker->text), "%s",
		 error ? error->text : known && known->why ? known->why : "");
	if (known) {
		asker->known = known->kind;
		asker->size = known->count ? known->parts[0].size : 0;
	}
	if (opened && want->needs_open)
		asker->opened = opened_ref(opened);
	atomic_store(&asker->answered, true);
}

static void put_vhd(const char *key)
{
	static uint8_t vhd[FIXED_VHD_BYTES];

	fixed_vhd_fill(vhd, 0);
	if (memory_store_put(memory, key, vhd, sizeof(vhd), &err))
		ok(false, "put %s: %s", key, err.text);
}

static struct target target_of(const char *key, bool is_plain)
{
	struct target target = {
		.bucket = &bucket,
		.key = key,
		.is_plain = is_plain,
	};

	if (store_stat(memory, key, &target.info, &err))
		ok(false, "stat %s: %s", key, err.text);
	return target;
}

static void ask_of(struct asker *asker, const struct target *target,
		   bool needs_open)
{
	memset(asker, 0, sizeof(*asker));
	asker->want.done = on_answer;
	asker->want.needs_open = needs_open;
	containers_want(containers, target, &asker->want);
}

static void ask(struct asker *asker, const char *key, bool needs_open)
{
	const struct target target = target_of(key, false);

	ask_of(asker, &target, needs_open);
}

/* Wait up to 20 s. */
static bool wait_for(struct asker *asker)
{
	for (int i = 0; i < 2000 && !atomic_load(&asker->answered); i++)
		usleep(10000);
	return atomic_load(&asker->answered);
}

static json_int_t stat_of(const char *name)
{
	json_t *object = json_object();
	json_int_t n;

	containers_stats(containers, object, &err);
	n = json_integer_value(json_object_get(object, name));
	json_decref(object);
	return n;
}

static void release(struct asker *asker)
{
	containers_release(containers, asker->opened);
	asker->opened = NULL;
}

/* With an engine of its own, which is left in *of. */
static struct containers *new_table(struct engine **of,
				    unsigned int deadline_ms)
{
	struct engine_options engine_options = { .memory_bytes = 32 << 20 };
	struct containers_options options = {
		.deadline_ms = deadline_ms,
		.ttl_ms = 60000,
	};
	struct containers *table;

	succeeds(engine_new(of, &engine_options, &err), &err, "an engine");
	options.engine = *of;
	succeeds(containers_new(&table, &options, &err), &err, "a table");
	return table;
}

static void test_one_probe(void)
{
	struct faults hang = { .key = "one.vhd" };
	struct asker askers[20];
	size_t answered = 0, right = 0;

	put_vhd("one.vhd");
	faulty_store_set(store, &hang);
	faulty_store_hang(store, true);
	for (int i = 0; i < 20; i++)
		ask(&askers[i], "one.vhd", i % 2);
	usleep(50000);
	for (int i = 0; i < 20; i++)
		answered += atomic_load(&askers[i].answered);
	is_u64(answered, 0, "nobody is answered while the store hangs");
	faulty_store_hang(store, false);
	for (int i = 0; i < 20; i++)
		right += wait_for(&askers[i]) && askers[i].kind == ERR_NONE &&
			 askers[i].size == FIXED_VHD_DISK_BYTES &&
			 !askers[i].opened == !(i % 2);
	is_u64(right, 20, "then all are answered, half with the container");
	is_u64((uint64_t)stat_of("probes"), 1, "by one probe");
	for (int i = 0; i < 20; i++)
		release(&askers[i]);
	ask(&askers[0], "one.vhd", false);
	ok(atomic_load(&askers[0].answered), "the next one at once");
}

static void test_deadline(void)
{
	struct faults hang = { .key = "late.vhd" };
	struct target target;
	struct containers *patient = containers;
	struct engine *own;
	struct asker asker;
	json_int_t before;

	containers = new_table(&own, 300);
	before = stat_of("probes");
	put_vhd("late.vhd");
	faulty_store_set(store, &hang);
	faulty_store_hang(store, true);
	ask(&asker, "late.vhd", true);
	ok(wait_for(&asker) && asker.kind == ERR_TIMEOUT,
	   "who waits too long is told so");
	ok(strstr(asker.text, "probe-timeout"), "with the option's name");
	target = target_of("late.vhd", false);
	ok(!containers_peek(containers, &target), "nothing is known");
	faulty_store_hang(store, false);
	for (int i = 0; i < 2000 && stat_of("probes") == before; i++)
		usleep(10000);
	ask(&asker, "late.vhd", true);
	ok(atomic_load(&asker.answered) && asker.size == FIXED_VHD_DISK_BYTES,
	   "but the probe went on and the next one finds it done");
	release(&asker);
	containers_stop(containers);
	containers_free(containers);
	engine_free(own);
	containers = patient;
}

static void test_verdict(void)
{
	json_int_t before = stat_of("probes");
	struct asker asker;

	memory_store_put(memory, "bad.vmdk", "nothing", 7, &err);
	ask(&asker, "bad.vmdk", true);
	ok(wait_for(&asker) && asker.kind == ERR_NONE &&
	   asker.known == ERR_CORRUPT && !asker.opened,
	   "a damaged container is known as such");
	ok(strstr(asker.text, "named as vmdk"), "with the reason");
	ask(&asker, "bad.vmdk", false);
	ok(atomic_load(&asker.answered) && asker.known == ERR_CORRUPT,
	   "and stays so");
	is_u64((uint64_t)(stat_of("probes") - before), 1,
	       "without another probe");
}

static void test_trouble(void)
{
	struct faults fail = {
		.key = "net.vhd",
		.calls = 1 << FAULTY_READ,
		.fail_every = 1,
		.fail_kind = ERR_NETWORK,
	};
	struct faults none = { .calls = 0 };
	struct asker asker;

	put_vhd("net.vhd");
	faulty_store_set(store, &fail);
	ask(&asker, "net.vhd", false);
	ok(wait_for(&asker) && asker.kind == ERR_NETWORK,
	   "passing trouble is an error of the asker");
	faulty_store_set(store, &none);
	ask(&asker, "net.vhd", false);
	ok(wait_for(&asker) && asker.kind == ERR_NONE &&
	   asker.size == FIXED_VHD_DISK_BYTES, "and nothing that is kept");
}

static void test_doubt(void)
{
	struct target target = target_of("one.vhd", false);
	json_int_t before = stat_of("probes");
	struct asker asker;

	ask(&asker, "one.vhd", false);
	ok(atomic_load(&asker.answered), "what is known is answered at once");
	containers_doubt(containers, &target);
	ok(!containers_peek(containers, &target), "until it is in doubt");
	ask(&asker, "one.vhd", false);
	ok(wait_for(&asker) && asker.size == FIXED_VHD_DISK_BYTES,
	   "then it is looked");
	is_u64((uint64_t)(stat_of("probes") - before), 1, "at again");
	ask(&asker, "one.vhd", false);
	ok(atomic_load(&asker.answered), "once");
}

/* A refusal is a verdict, kept as long as names are. */
static void test_denied(void)
{
	struct faults deny = {
		.key = "secret.vhd",
		.calls = 1 << FAULTY_READ,
		.fail_every = 1,
		.fail_kind = ERR_DENIED,
	};
	json_int_t before = stat_of("probes");
	struct asker asker;

	put_vhd("secret.vhd");
	faulty_store_set(store, &deny);
	ask(&asker, "secret.vhd", false);
	ok(wait_for(&asker) && asker.kind == ERR_NONE &&
	   asker.known == ERR_DENIED, "a container that may not be read");
	ask(&asker, "secret.vhd", true);
	ok(atomic_load(&asker.answered) && asker.known == ERR_DENIED &&
	   !asker.opened, "is known as such");
	is_u64((uint64_t)(stat_of("probes") - before), 1, "by one probe");
}

static void test_replaced(void)
{
	struct target target;
	struct asker asker = { 0 };

	put_vhd("old.vhd");
	target = target_of("old.vhd", false);
	asker.want.done = on_answer;
	snprintf(target.info.etag, sizeof(target.info.etag), "another");
	containers_want(containers, &target, &asker.want);
	ok(wait_for(&asker) && asker.kind == ERR_STALE,
	   "what was replaced since it was listed is stale");
}

static void test_plain(void)
{
	struct target target;
	struct asker asker = { 0 };
	struct disk *disk;
	char bytes[7] = "";

	memory_store_put(memory, "plain.vmdk", "nothing", 7, &err);
	target = target_of("plain.vmdk", true);
	asker.want.done = on_answer;
	asker.want.needs_open = true;
	containers_want(containers, &target, &asker.want);
	ok(wait_for(&asker) && asker.opened, "an object opens as it is");
	succeeds(opened_disk(&disk, asker.opened, 0, &err), &err,
		 "as a disk");
	succeeds(disk_read(disk, 0, bytes, 7, &err), &err, "that reads");
	is_mem(bytes, "nothing", 7, "its own bytes");
	fails_with(opened_disk(&disk, asker.opened, 1, &err), &err,
		   ERR_STALE, "replaced", "it has no second part");
	release(&asker);
}

static void test_stop(void)
{
	struct faults hang = { .key = "stop.vhd" };
	struct asker asker;

	put_vhd("stop.vhd");
	faulty_store_set(store, &hang);
	faulty_store_hang(store, true);
	ask(&asker, "stop.vhd", false);
	containers_stop(containers);
	ok(atomic_load(&asker.answered) && asker.kind == ERR_CANCELLED,
	   "stopping answers who waits");
	ask(&asker, "one.vhd", false);
	ok(atomic_load(&asker.answered) && asker.kind == ERR_CANCELLED,
	   "and who still comes");
	faulty_store_hang(store, false);
}

/* A store where each request costs as much as 64 KiB, with VHDs whose footers
 * lie alone behind that. */
static struct bucket far_bucket(void)
{
	static const struct faults far = { .fetch_bytes = 65536 };
	static uint8_t vhd[FIXED_VHD_BYTES];
	struct bucket far_away = { 0 };
	struct store *inner;

	succeeds(memory_store_new(&inner, &err), &err, "a store");
	fixed_vhd_fill(vhd, 0);
	memory_store_put(inner, "a.vhd", vhd, sizeof(vhd), &err);
	memory_store_put(inner, "b.vhd", vhd, sizeof(vhd), &err);
	memcpy(vhd, "KDMV", 4);
	memory_store_put(inner, "two.vhd", vhd, sizeof(vhd), &err);
	succeeds(faulty_store_new(&far_away.store, inner, &far, &err), &err,
		 "far away");
	return far_away;
}

static struct target far_target(struct bucket *far, const char *key)
{
	struct target target = { .bucket = far, .key = key };

	succeeds(store_stat(far->store, key, &target.info, &err), &err, key);
	faulty_store_reset(far->store);
	return target;
}

/* Done with the far store: the next test has a table that knows nothing. */
static void new_round(struct bucket *far)
{
	containers_stop(containers);
	containers_free(containers);
	engine_free(engine);
	store_close(far->store);
	containers = new_table(&engine, 60000);
}

static void test_glance(void)
{
	static struct bucket far;
	struct target target;
	struct asker asker;

	far = far_bucket();
	target = far_target(&far, "a.vhd");
	ask_of(&asker, &target, false);
	ok(wait_for(&asker) && asker.size == FIXED_VHD_DISK_BYTES, "a size");
	is_u64(faulty_store_stats(far.store).calls[FAULTY_READ], 1,
	       "by one request");
	is_u64(faulty_store_stats(far.store).bytes, 512, "for the footer");
	ask_of(&asker, &target, false);
	ok(atomic_load(&asker.answered), "is remembered");
	ask_of(&asker, &target, true);
	ok(wait_for(&asker) && asker.opened, "open");
	release(&asker);
	is_u64(faulty_store_stats(far.store).calls[FAULTY_READ], 3,
	       "by a request for each end");
	target = far_target(&far, "two.vhd");
	ask_of(&asker, &target, false);
	ok(wait_for(&asker) && asker.known == ERR_NONE, "good at a glance");
	ask_of(&asker, &target, true);
	ok(wait_for(&asker) && asker.known == ERR_ARG && !asker.opened &&
	   strstr(asker.text, "looks like"), "refused when it is opened");
	ask_of(&asker, &target, false);
	ok(wait_for(&asker) && asker.known == ERR_ARG, "and from then on");
	new_round(&far);
}

/* Who needs it open and comes while a glance runs is not told too little. */
static void test_open_during_glance(void)
{
	static struct bucket far;
	struct asker first, second;
	struct target target;

	far = far_bucket();
	target = far_target(&far, "b.vhd");
	faulty_store_hang(far.store, true);
	ask_of(&first, &target, false);
	while (!faulty_store_stats(far.store).hanging)
		usleep(1000);
	ask_of(&second, &target, true);
	faulty_store_hang(far.store, false);
	ok(wait_for(&first) && first.size == FIXED_VHD_DISK_BYTES, "a size");
	ok(wait_for(&second) && second.kind == ERR_NONE && second.opened,
	   "and the open container");
	release(&second);
	new_round(&far);
}

int main(void)
{
	succeeds(memory_store_new(&memory, &err), &err, "a store");
	succeeds(faulty_store_new(&store, memory, NULL, &err), &err,
		 "with faults");
	bucket.store = store;
	containers = new_table(&engine, 60000);
	test_one_probe();
	test_deadline();
	test_verdict();
	test_trouble();
	test_denied();
	test_doubt();
	test_replaced();
	test_plain();
	test_glance();
	test_open_during_glance();
	test_stop();
	containers_free(containers);
	engine_free(engine);
	store_close(store);
	return tap_done();
}
