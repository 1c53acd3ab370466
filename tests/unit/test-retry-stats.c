/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What the retry decorator counts, over a store that fails every other call. */
#include "config.h"

#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/retry.h"
#include "tests/lib/faulty-store.h"
#include "tests/tap.h"
#include "tests/unit/openat2.h"

static struct error err;

static uint64_t counter(struct store *store, const char *kind,
			const char *what)
{
	json_t *object = json_object();
	json_int_t n = -1;

	if (!store_stats(store, object, &err))
		n = json_integer_value(json_object_get(json_object_get(
			json_object_get(object, "calls"), kind), what));
	json_decref(object);
	return (uint64_t)n;
}

/* A directory with the bucket b and nothing in it. */
static void make_service(char *dir)
{
	char path[64];

	if (!mkdtemp(dir))
		ok(false, "make %s", dir);
	snprintf(path, sizeof(path), "%s/b", dir);
	mkdir(path, 0700);
}

static void remove_service(const char *dir)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/b", dir);
	rmdir(path);
	rmdir(dir);
}

int main(void)
{
	static const struct retry_options quick = { .base_ms = 1 };
	struct faults faults = {
		.calls = 1 << FAULTY_STAT,
		.fail_every = 2,
		.fail_kind = ERR_NETWORK,
	};
	struct store *file, *faulty, *retry, *bucket;
	char dir[] = "/tmp/vmiefs-test.XXXXXX";
	struct object_info info;

	if (!have_openat2())
		return tap_skip_all(NO_OPENAT2);
	make_service(dir);
	succeeds(file_store_open(&file, dir, &err), &err, "a service");
	succeeds(faulty_store_new(&faulty, file, &faults, &err), &err,
		 "that fails");
	succeeds(retry_store_new(&retry, faulty, &quick, &err), &err,
		 "and is tried again");
	fails_with(store_stat(retry, "k", &info, &err), &err, ERR_NOT_FOUND,
		   "", "nothing is there: one try");
	fails_with(store_stat(retry, "k", &info, &err), &err, ERR_NOT_FOUND,
		   "", "nor now: two tries");
	is_u64(counter(retry, "stat", "calls"), 2, "two calls");
	is_u64(counter(retry, "stat", "retries"), 1, "one try more");
	is_u64(counter(retry, "stat", "failed"), 2, "both failed");
	is_u64(counter(retry, "list", "calls"), 0, "and no others");
	succeeds(store_open_bucket(&bucket, retry, "b", &err), &err,
		 "a bucket");
	store_stat(bucket, "k", &info, &err);
	is_u64(counter(retry, "stat", "calls"), 3, "counts for its service");
	store_close(bucket);
	store_close(retry);
	remove_service(dir);
	return tap_done();
}
