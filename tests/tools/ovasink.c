/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: puts an OVA together as the daemon does, but without FUSE.
 *
 *     ovasink [-c BYTES] [-m MEMORY] [-r] DIR KEY PART...
 *
 * Each PART is the key of a VMDK in DIR, the last part of which becomes the
 * member's name. -r replaces the object, -c stops after so many bytes of
 * disks. Prints what it took as JSON. Exit status: 0 good, 1 failed, 2
 * usage. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/cleanup.h"
#include "format/format.h"
#include "format/ova-write.h"
#include "store/sink.h"
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

static const char *plain_name(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? slash + 1 : key;
}

static int open_part(struct ova_part *part, struct store *store,
		     const char *key, struct error *err)
{
	struct object *object;

	part->name = plain_name(key);
	if (object_open(&object, store, key, NULL, err))
		return error_prefix(err, "%s", key);
	if (source_from_object(&part->source, key, object, store, err)) {
		object_close(object);
		return -1;
	}
	return 0;
}

static bool count_down(void *arg, uint64_t bytes)
{
	uint64_t *left = arg;

	if (*left < bytes)
		return false;
	*left -= bytes;
	return true;
}

static int emit(struct ova_plan *plan, struct store *store,
		const struct job_args *args, struct error *err)
{
	struct sink_args sink_args = { .replace = args->replaces,
				       .size = ova_plan_size(plan) };
	uint64_t left = args->stop_bytes;
	struct object_info info;
	struct sink *sink;
	int ret;

	if (store_create(&sink, store, args->key, &sink_args, err))
		return -1;
	ret = ova_assemble(plan, sink, count_down, &left, err);
	if (!ret)
		ret = sink_finish(sink, &info, err);
	sink_discard(sink);
	if (!ret && info.size != ova_plan_size(plan))
		ret = error_set(err, ERR_BUG, "%" PRIu64 " bytes were planned",
				ova_plan_size(plan));
	return ret;
}

static int write_ova(const struct job_args *args, struct store *store,
		     struct ova_part *parts, struct budget *budget,
		     struct error *err)
{
	struct open_args open_args = { .budget = budget };
	struct ova_plan *plan;
	int ret;

	for (size_t i = 0; i < args->count; i++)
		if (open_part(&parts[i], store, args->parts[i], err))
			return -1;
	if (ova_plan_new(&plan, plain_name(args->key), parts, args->count,
			 &open_args, err))
		return -1;
	ret = emit(plan, store, args, err);
	ova_plan_free(plan);
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

static int run(const struct job_args *args, struct error *err)
{
	AUTO_FREE struct ova_part *parts = calloc(args->count + 1,
						  sizeof(*parts));
	struct budget *budget;
	struct store *store;
	int ret;

	if (!parts)
		return error_nomem(err);
	if (budget_new(&budget, args->memory_bytes, err))
		return -1;
	ret = store_open(&store, args->dir, NULL, err);
	if (!ret) {
		ret = write_ova(args, store, parts, budget, err);
		for (size_t i = 0; i < args->count; i++)
			source_unref(parts[i].source);
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
