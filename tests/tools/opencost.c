/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: what a container costs over a store that is far away.
 *
 *     opencost DIRECTORY KEY FETCH_BYTES DELAY_MS
 *
 * Prints a line for each step (glance: what stat needs; open; read: 512 bytes
 * at the start of each disk; again: 512 bytes in the middle of each disk) with
 * the requests that it takes, how many of them come one after the other, and
 * the bytes, and below it each request: call, offset, length.
 *
 * Requests count as one after the other when one began after the other's end.
 * Exit status: 0 good, 1 refused, 2 usage. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/checked.h"
#include "disk/container.h"
#include "tests/lib/faulty-store.h"

#define READ_BYTES 512u

struct cost {
	struct engine *engine;
	struct store *store;
	const char *key;
	struct object_info info;
	struct container *container;
};

/* How many of the n requests have to wait for one another. */
static unsigned int count_trips(const struct faulty_record *log, size_t n)
{
	unsigned int most = 0;
	unsigned int *depth = calloc(n + 1, sizeof(*depth));

	for (size_t i = 0; depth && i < n; i++) {
		for (size_t k = 0; k < i; k++)
			if (log[k].end_ns <= log[i].begin_ns &&
			    depth[k] > depth[i])
				depth[i] = depth[k];
		if (++depth[i] > most)
			most = depth[i];
	}
	free(depth);
	return most;
}

/* A fetch ahead that nobody waited for may still be on its way. */
static struct faulty_record *take_log(struct store *store, size_t *n)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct faulty_record *log;
	bool runs;

	do {
		log = faulty_store_log(store, n);
		runs = false;
		for (size_t i = 0; i < *n; i++)
			runs = runs || !log[i].end_ns;
		if (runs) {
			free(log);
			nanosleep(&pause, NULL);
		}
	} while (runs);
	faulty_store_reset(store);
	return log;
}

static void print_step(struct cost *cost, const char *step)
{
	static const char *const calls[] = { "list", "stat", "open", "read" };
	uint64_t bytes = 0;
	size_t n;
	struct faulty_record *log = take_log(cost->store, &n);

	for (size_t i = 0; i < n; i++)
		bytes += log[i].length;
	printf("%s %zu %u %" PRIu64 "\n", step, n, count_trips(log, n), bytes);
	for (size_t i = 0; i < n; i++)
		printf("\t%s %" PRIu64 " %" PRIu64 "\n", calls[log[i].call],
		       log[i].offset, log[i].length);
	free(log);
}

static int open_container(struct cost *cost, bool size_only,
			  struct error *err)
{
	struct container_options options = { .size_only = size_only };

	return container_open(&cost->container, cost->engine, cost->store,
			      cost->key, &cost->info, &options, err);
}

/* Read a little of one disk: at its start, or in its middle. */
static int read_disk(struct cost *cost, size_t i, bool in_middle,
		     struct error *err)
{
	const struct container_disk *from = container_disk(cost->container, i);
	struct disk *disk;
	char buf[READ_BYTES];
	uint64_t at;
	int ret;

	if (!from->map) {
		*err = from->error;
		return -1;
	}
	if (disk_open(&disk, cost->engine, from->map, from->name, err))
		return -1;
	at = in_middle ? round_down(disk_size(disk) / 2, READ_BYTES) : 0;
	ret = disk_read(disk, at, buf,
			min_u64(sizeof(buf), disk_size(disk) - at), err);
	disk_close(disk);
	return ret;
}

static int read_disks(struct cost *cost, bool in_middle, struct error *err)
{
	for (size_t i = 0; i < container_disk_count(cost->container); i++)
		if (read_disk(cost, i, in_middle, err))
			return -1;
	print_step(cost, in_middle ? "again" : "read");
	return 0;
}

static int show(struct cost *cost, struct error *err)
{
	int ret;

	if (open_container(cost, true, err))
		return -1;
	container_unref(cost->container);
	print_step(cost, "glance");
	if (open_container(cost, false, err))
		return -1;
	print_step(cost, "open");
	ret = read_disks(cost, false, err);
	if (!ret)
		ret = read_disks(cost, true, err);
	container_unref(cost->container);
	return ret;
}

static int open_all(struct cost *cost, char **argv, struct error *err)
{
	struct engine_options options = { 0 };
	struct faults faults = {
		.fetch_bytes = (uint32_t)strtoul(argv[3], NULL, 10),
		.request_bytes = 8u << 20,
		.delay_ms = (unsigned int)strtoul(argv[4], NULL, 10),
	};
	struct store *near;

	if (store_open(&near, argv[1], NULL, err) ||
	    store_start(near, err) ||
	    store_stat(near, argv[2], &cost->info, err) ||
	    faulty_store_new(&cost->store, near, &faults, err) ||
	    engine_new(&cost->engine, &options, err))
		return -1;
	cost->key = argv[2];
	return 0;
}

int main(int argc, char **argv)
{
	struct cost cost = { 0 };
	struct error err;

	if (argc != 5) {
		fprintf(stderr, "usage: opencost DIRECTORY KEY FETCH_BYTES "
			"DELAY_MS\n");
		return 2;
	}
	if (open_all(&cost, argv, &err) || show(&cost, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	engine_free(cost.engine);
	store_close(cost.store);
	return 0;
}
