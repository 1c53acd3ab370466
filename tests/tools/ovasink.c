/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: puts an OVA together as the daemon does, but without FUSE.
 *
 *     ovasink [-c BYTES] [-m MEMORY] [-r] DIR KEY PART...
 *
 * Each PART is the key of a VMDK in DIR, the last part of which becomes the
 * member's name; a single PREFIX/ stands for all VMDKs in it. -r replaces the
 * object, -c stops after so many bytes of disks. Prints what it took as JSON.
 * Exit status: 0 good, 1 failed, 2 usage. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/budget.h"
#include "disk/assemble.h"
#include "store/store.h"

struct job_args {
	uint64_t memory_bytes, stop_bytes;
	bool replaces;
	const char *dir, *key;
	char **parts;
	size_t count;
};

static int parse_options(struct job_args *args, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "c:m:r")) != -1) {
		switch (c) {
		case 'c':
			args->stop_bytes = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			args->memory_bytes = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			args->replaces = true;
			break;
		default:
			return -1;
		}
	}
	if (argc - optind < 2)
		return -1;
	args->dir = argv[optind];
	args->key = argv[optind + 1];
	args->parts = argv + optind + 2;
	args->count = (size_t)(argc - optind - 2);
	return 0;
}

static bool stop_after(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *stop = arg;

	return done <= *stop && done <= total;
}

static int write_ova(struct job_args *args, struct store *store,
		     struct budget *budget, struct error *err)
{
	struct assemble_args assemble = { .replace = args->replaces,
					  .budget = budget,
					  .progress = stop_after,
					  .progress_arg = &args->stop_bytes };
	const char *first = args->count == 1 ? args->parts[0] : "";
	size_t len = strlen(first), count;
	char **keys;
	int ret;

	if (!len || first[len - 1] != '/')
		return assemble_ova(store, args->key, args->parts, args->count,
				    &assemble, NULL, err);
	if (assemble_list(&keys, &count, store, first, err))
		return -1;
	ret = assemble_ova(store, args->key, keys, count, &assemble, NULL,
			   err);
	assemble_list_free(keys, count);
	return ret;
}

static void report(struct budget *budget)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	printf("{\"cpu_seconds\": %.3f, \"memory_peak\": %" PRIu64
	       ", \"rss_kib\": %ld}\n",
	       (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
	       budget_stats(budget).peak, use.ru_maxrss);
}

static int run(struct job_args *args, struct error *err)
{
	struct budget *budget;
	struct store *store;
	int ret;

	if (budget_new(&budget, args->memory_bytes, err))
		return -1;
	ret = store_open(&store, args->dir, NULL, err);
	if (!ret) {
		ret = write_ova(args, store, budget, err);
		store_close(store);
	}
	if (!ret)
		report(budget);
	if (budget_stats(budget).used)
		ret = error_set(err, ERR_BUG, "memory is still in use");
	budget_free(budget);
	return ret;
}

int main(int argc, char **argv)
{
	struct job_args args = { .memory_bytes = 16 << 20,
				 .stop_bytes = UINT64_MAX };
	struct error err = { 0 };

	if (parse_options(&args, argc, argv)) {
		fprintf(stderr, "usage: ovasink [-c BYTES] [-m MEMORY] [-r] "
			"DIR KEY PART...\n");
		return 2;
	}
	if (run(&args, &err)) {
		fprintf(stderr, "ovasink: %s\n", err.text);
		return 1;
	}
	return 0;
}
