/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * OVAs that are written: the plan is kept to the byte, only what has no digest
 * is read, our own reader finds what was put in, and tar headers at the edges
 * of their fields. */
#include "config.h"

#include "common/budget.h"
#include "common/checked.h"
#include "common/packer.h"
#include "format/ova-write.h"
#include "format/ova.h"
#include "format/tar-write.h"
#include "format/tar.h"
#include "format/writer.h"
#include "store/compose.h"
#include "store/store.h"
#include "tests/lib/fake-disk.h"
#include "tests/lib/log-sink.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

#define GRAIN      (64u << 10)
#define DISK_BYTES (50 * GRAIN - 512) /* more than a buffer is stored */

static struct error err;
static struct budget *budget;
static struct open_args open_args;
static struct store *store;
static struct source *disks[2];
static struct object_info infos[2];

static void must(int ret, const char *what)
{
	if (ret) {
		printf("Bail out! %s: %s\n", what, err.text);
		exit(99);
	}
}

/* A small disk with noise in every second grain; as a source. */
static struct source *make_disk(const char *format, uint64_t seed)
{
	struct write_args args = { .name = "disk", .size = DISK_BYTES };
	static unsigned char grain[GRAIN], packed[2 * GRAIN];
	struct writer *writer;
	struct packer *packer;
	struct source *source;
	struct sink_log log;
	struct sink *sink;

	sink_log_init(&log);
	must(packer_new(&packer, PACKER_FAST, &err), "packer");
	must(writer_new(&writer, format_find(format), &args, &err), "writer");
	sink = log_sink_new(&log, writer->head_bytes);
	must(writer_start(writer, sink, &err), "start");
	for (uint64_t at = 0; at < DISK_BYTES; at += 2 * GRAIN) {
		struct piece piece = { .offset = at, .length = GRAIN,
				       .stored = GRAIN, .data = grain };

		for (size_t i = 0; i < GRAIN; i++)
			grain[i] = (unsigned char)(fake_random(&seed) >> 50);
		if (writer->ops->pack) {
			must(writer->ops->pack(writer, packer, &piece, packed,
					       &err), "pack");
			piece.data = packed;
		}
		must(writer_pieces(writer, &piece, 1, &err), "pieces");
	}
	must(writer_finish(writer, DISK_BYTES, &err), "finish");
	sink_discard(sink);
	writer_free(writer);
	packer_free(packer);
	must(source_memory(&source, "made", log.data, log.size, &err),
	     "source");
	sink_log_free(&log);
	return source;
}

/* Both disks as objects of the store. */
static void put_disks(void)
{
	static const char *const keys[] = { "dir/a.vmdk", "dir/b.vmdk" };

	for (size_t i = 0; i < 2; i++) {
		AUTO_FREE char *bytes = malloc(disks[i]->size);

		must(source_read(disks[i], 0, bytes, disks[i]->size, 0, &err),
		     "read");
		must(memory_store_put(store, keys[i], bytes, disks[i]->size,
				      &err), "put");
		must(store_stat(store, keys[i], &infos[i], &err), "stat");
	}
}

static struct ova_plan *plan_two(const uint8_t *digest)
{
	const struct ova_part parts[] = {
		{ "a.vmdk", disks[0], "dir/a.vmdk", &infos[0], NULL },
		{ "b.vmdk", disks[1], "dir/b.vmdk", &infos[1], digest },
	};
	struct ova_plan *plan;

	must(ova_plan_new(&plan, "two.ova", parts, 2, &open_args, &err),
	     "plan");
	return plan;
}

/* Let the store put it together; where it is then. */
static struct source *compose(struct ova_plan *plan)
{
	const struct sink_args args = { .replace = true };
	const struct store_piece *pieces;
	struct object_info info;
	struct object *object;
	struct source *source;
	size_t count;

	succeeds(ova_plan_pieces(plan, &pieces, &count, &err), &err,
		 "pieces");
	is_u64(count, 5, "of ours and disks in turn");
	ok(!pieces[1].data && pieces[1].info == &infos[0] && !pieces[3].data &&
	   pieces[3].length == disks[1]->size, "disks are ranges of objects");
	must(store_compose(store, "two.ova", &args, pieces, count, NULL, NULL,
			   &info, &err), "compose");
	is_u64(ova_plan_size(plan), info.size, "as long as was planned");
	must(object_open(&object, store, "two.ova", NULL, &err), "open");
	must(source_from_object(&source, "two.ova", object, store, &err),
	     "source");
	return source;
}

static bool count(void *arg, uint64_t bytes)
{
	*(uint64_t *)arg += bytes;
	return true;
}

static bool stop(void *arg, uint64_t bytes)
{
	return false;
}

static void check_disk(const struct ova *ova, size_t i, const char *name)
{
	const struct ova_disk *disk = ova_disk(ova, i);
	AUTO_FREE char *got = malloc(disks[i]->size);
	AUTO_FREE char *want = malloc(disks[i]->size);

	is_str(disk->name, name, "the disk's name");
	is_u64(disk->capacity, DISK_BYTES, "its capacity by the descriptor");
	is_u64(disk->source->size, disks[i]->size, "the member's size");
	succeeds(source_read(disk->source, 0, got, disks[i]->size, 0, &err),
		 &err, "the member is read");
	succeeds(source_read(disks[i], 0, want, disks[i]->size, 0, &err),
		 &err, "the disk is read");
	is_mem(got, want, disks[i]->size, "the same bytes");
}

static void find_problem(void *arg, const char *text)
{
	printf("# %s\n", text);
	++*(unsigned int *)arg;
}

static void check_ova(struct source *source, unsigned int problems)
{
	unsigned int found = 0;
	struct ova *ova;

	succeeds(ova_open(&ova, source, &open_args, &err), &err, "opens");
	is_u64(ova_disk_count(ova), 2, "two disks are in it");
	check_disk(ova, 0, "a.vmdk");
	check_disk(ova, 1, "b.vmdk");
	succeeds(ova_check(ova, find_problem, NULL, &found, &err), &err,
		 "the manifest is checked");
	is_u64(found, problems, "by the digests that were given");
	ova_close(ova);
}

static void test_good(void)
{
	struct ova_plan *plan = plan_two(NULL);
	uint64_t bytes = disks[0]->size + disks[1]->size, moved = 0;
	const struct store_piece *pieces;
	struct source *source;
	size_t n;

	is_u64(ova_plan_unhashed(plan), bytes, "all is to be read");
	fails_with(ova_plan_pieces(plan, &pieces, &n, &err), &err, ERR_BUG,
		   "order", "not before that");
	succeeds(ova_plan_hash(plan, count, &moved, &err), &err, "is read");
	is_u64(moved, bytes, "progress");
	is_u64(ova_plan_unhashed(plan), 0, "nothing is left to read");
	is_u64(budget_stats(budget).used, 0, "no memory is held");
	source = compose(plan);
	check_ova(source, 0);
	source_unref(source);
	ova_plan_free(plan);
}

/* A digest that is given is believed, right or wrong, and saves the reading. */
static void test_known(void)
{
	uint8_t digest[OVA_DIGEST_BYTES] = { 1, 2, 3 };
	struct ova_plan *plan = plan_two(digest);
	struct source *source;
	uint64_t moved = 0;

	is_u64(ova_plan_unhashed(plan), disks[0]->size, "one is to be read");
	succeeds(ova_plan_hash(plan, count, &moved, &err), &err, "is read");
	is_u64(moved, disks[0]->size, "and only that");
	source = compose(plan);
	check_ova(source, 1);
	source_unref(source);
	ova_plan_free(plan);
}

static struct source *object_source(const char *key)
{
	struct object *object;
	struct source *source;

	must(object_open(&object, store, key, NULL, &err), "open");
	must(source_from_object(&source, key, object, store, &err), "source");
	return source;
}

static void test_failures(void)
{
	struct ova_plan *plan = plan_two(NULL);
	struct source *kept = disks[1];

	fails_with(ova_plan_hash(plan, stop, NULL, &err), &err, ERR_CANCELLED,
		   "a.vmdk: was cancelled", "stopped by who watches");
	is_u64(budget_stats(budget).used, 0, "no memory is held");
	ova_plan_free(plan);
	disks[1] = object_source("dir/b.vmdk");
	plan = plan_two(NULL);
	must(memory_store_remove(store, "dir/b.vmdk", &err), "remove");
	fails_with(ova_plan_hash(plan, NULL, NULL, &err), &err, ERR_STALE,
		   "b.vmdk: ", "a disk that is replaced");
	is_u64(budget_stats(budget).used, 0, "no memory is held");
	ova_plan_free(plan);
	source_unref(disks[1]);
	disks[1] = kept;
}

static void refuse(const char *name, const struct ova_part *parts, size_t n,
		   enum error_kind kind, const char *part, const char *what)
{
	struct ova_plan *plan;

	fails_with(ova_plan_new(&plan, name, parts, n, &open_args, &err),
		   &err, kind, part, what);
	ok(plan == NULL, "and no plan is made");
}

static void test_refused(void)
{
	struct source *vhd = make_disk("vhd", 1);
	struct ova_part many[OVA_PARTS_MAX + 1];

	for (size_t i = 0; i <= OVA_PARTS_MAX; i++)
		many[i] = (struct ova_part){ .name = "d.vmdk",
					     .source = disks[0] };
	refuse("x.ova", many, 0, ERR_ARG, "at least one", "no disks");
	refuse("x.ova", many, 2, ERR_ARG, "two disks are called \"d.vmdk\"",
	       "one name twice");
	refuse("x.ova", many, OVA_PARTS_MAX + 1, ERR_LIMIT, "61 disks",
	       "too many disks");
	many[0].source = vhd;
	refuse("x.ova", many, 1, ERR_CORRUPT, "d.vmdk: ", "a VHD");
	source_unref(vhd);
}

static void test_names(void)
{
	static const struct {
		const char *name, *ending, *fault;
	} rows[] = {
		{ "a.vmdk", ".vmdk", NULL },
		{ "A.VMDK", ".vmdk", NULL },
		{ "a b&<c>'\"|*=(d).vmdk", ".vmdk", NULL },
		{ "\xe6\xbc\xa2\xf0\x9f\x92\xbe.vmdk", ".vmdk", NULL },
		{ ".hidden.vmdk", ".vmdk", NULL },
		{ "\xc2\x80.vmdk", ".vmdk", NULL },
		{ ".vmdk", ".vmdk", "does not end in" },
		{ "a.vmdk.gz", ".vmdk", "does not end in" },
		{ "", ".vmdk", "does not end in" },
		{ "a/b.vmdk", ".vmdk", "one of" },
		{ "a\\b.vmdk", ".vmdk", "one of" },
		{ "c:b.vmdk", ".vmdk", "one of" },
		{ "a%41.vmdk", ".vmdk", "one of" },
		{ "a?.vmdk", ".vmdk", "one of" },
		{ "a#.vmdk", ".vmdk", "one of" },
		{ "a\n.vmdk", ".vmdk", "one of" },
		{ "a\x7f.vmdk", ".vmdk", "one of" },
		{ "\xef\xbf\xbf.vmdk", ".vmdk", "one of" },
		{ " a.vmdk", ".vmdk", "begins with" },
		{ "._a.vmdk", ".vmdk", "begins with" },
		{ "\xff.vmdk", ".vmdk", "no UTF-8" },
		{ "\xed\xa0\x80.vmdk", ".vmdk", "" },
		{ "x.ova", ".ova", NULL },
		{ "x.ovf", ".ova", "does not end in" },
	};
	char name[TAR_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].fault)
			fails_with(ova_check_name(rows[i].name, rows[i].ending,
						  &err), &err, ERR_ARG,
				   rows[i].fault, "a name that is refused");
		else
			succeeds(ova_check_name(rows[i].name, rows[i].ending,
						&err), &err, "a good name");
	}
	memset(name, 'n', sizeof(name));
	memcpy(name + TAR_NAME_MAX - 4, ".ova", 5);
	succeeds(ova_check_name(name, ".ova", &err), &err, "255 bytes");
	memcpy(name + TAR_NAME_MAX - 3, ".ova", 5);
	fails_with(ova_check_name(name, ".ova", &err), &err, ERR_ARG,
		   "more than 255", "256 bytes");
}

/* A tar whose one member is claimed to be that large, as our reader sees
 * it. */
static void check_header(size_t name_len, uint64_t size, size_t header_bytes)
{
	unsigned char image[TAR_HEADER_MAX + TAR_END_BYTES] = { 0 };
	char name[TAR_NAME_MAX + 1];
	struct source *source;
	struct tar *tar;
	size_t n;

	memset(name, 'x', name_len);
	name[name_len] = '\0';
	n = tar_put_header(image, name, size);
	is_u64(n, header_bytes, "the header's length");
	must(source_memory(&source, "tar", image, n, &err), "source");
	succeeds(tar_read(&tar, source, NULL, &err), &err, "the tar is read");
	if (ok(tar && tar->count == 1, "one member")) {
		is_str(tar->members[0].path, name, "its name");
		is_u64(tar->members[0].size, size, "its size");
		is_u64(tar->members[0].offset, n, "its place");
	}
	tar_free(tar);
	source_unref(source);
}

static void test_headers(void)
{
	static const uint64_t sizes[] = { 0, 1, 512, (8ull << 30) - 1,
					  8ull << 30, 1ull << 40,
					  INT64_MAX - 4096 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		check_header(1, sizes[i], TAR_BLOCK);
		check_header(100, sizes[i], TAR_BLOCK);
		check_header(101, sizes[i], TAR_HEADER_MAX);
		check_header(TAR_NAME_MAX, sizes[i], TAR_HEADER_MAX);
	}
	is_u64(tar_padding(0), 0, "no bytes need no padding");
	is_u64(tar_padding(1), 511, "one byte does");
	is_u64(tar_padding(512), 0, "a whole block does not");
}

int main(void)
{
	must(budget_new(&budget, 16 << 20, &err), "budget");
	open_args.budget = budget;
	disks[0] = make_disk("vmdk", 1);
	disks[1] = make_disk("vmdk", 2);
	must(memory_store_new(&store, &err), "store");
	put_disks();
	test_good();
	test_known();
	test_failures();
	test_refused();
	test_names();
	test_headers();
	source_unref(disks[0]);
	source_unref(disks[1]);
	store_close(store);
	budget_free(budget);
	return tap_done();
}
