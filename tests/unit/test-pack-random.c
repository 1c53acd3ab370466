/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Random sparse disks, written by each writer and read back by its reader:
 * the same bytes. VMIEFS_ROUNDS and VMIEFS_SEED make it longer and other. */
#include "config.h"

#include "common/budget.h"
#include "common/checked.h"
#include "disk/engine.h"
#include "disk/pack.h"
#include "format/writer.h"
#include "store/store.h"
#include "tests/lib/fake-disk.h"
#include "tests/lib/log-sink.h"
#include "tests/tap.h"

#define KIB 1024u
#define MIB (1024u * KIB)

#define SEGMENTS_MAX 24
#define READ_BYTES   (192u * KIB)
#define WHOLE_BYTES  (3u * MIB) /* disks up to that are read whole */
#define ROUNDS       12         /* of each kind */

static const struct kind {
	const char *label, *format, *subformat;
	uint32_t block_bytes, sector_bytes;
	uint64_t size_max;
} kinds[] = {
	{ "raw", "raw", NULL, 0, 0, 5 * MIB },
	{ "vmdk", "vmdk", NULL, 0, 0, 3ull << 30 },
	{ "vhd", "vhd", NULL, 0, 0, 3ull << 30 },
	{ "vhd-fixed", "vhd", "fixed", 0, 0, 5 * MIB },
	{ "vhdx", "vhdx", NULL, 0, 0, 9ull << 30 },
	{ "vhdx-1m", "vhdx", NULL, MIB, 0, 9ull << 30 },
	{ "vhdx-4k", "vhdx", NULL, 2 * MIB, 4096, 3ull << 30 },
	{ "vhdx-fixed", "vhdx", "fixed", MIB, 0, 5 * MIB },
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

enum content { HOLE, ZEROES, NOISE, TEXT };

struct segment {
	enum content content;
	uint64_t start, length;
	uint64_t seed;
};

struct layout {
	struct segment segments[SEGMENTS_MAX];
	size_t count;
	uint64_t size;
};

static uint64_t state; /* of the random numbers */
static struct error err;
static struct engine *engine;

static uint64_t draw(uint64_t below)
{
	return fake_random(&state) % below;
}

/* A length of any magnitude up to max, often a round one. */
static uint64_t draw_length(uint64_t max)
{
	uint64_t most = 1, length;

	while (most < max && draw(8))
		most *= 4;
	length = 1 + draw(min_u64(most, max));
	if (draw(2))
		length = div_round_up(length, 64 * KIB) * 64 * KIB;
	return min_u64(length, max);
}

/* A hole that ends about where tables of VMDK (32 MiB) or parts of a VHDX's
 * table (4 GiB) do. */
static uint64_t draw_hole(uint64_t start, uint64_t max)
{
	uint64_t edge = draw(3) ? 32 * MIB : 4096ull * MIB;
	uint64_t length = div_round_up(start + 1, edge) * edge - start;

	return draw(2) ? draw_length(max) :
	       min_u64(length - min_u64(length - 1, draw(3 * 64 * KIB)), max);
}

static void make_layout(struct layout *layout, uint64_t size_max)
{
	size_t count = 1 + draw(SEGMENTS_MAX);

	*layout = (struct layout){ .count = 0 };
	while (layout->count < count && layout->size < size_max) {
		enum content content = (enum content)draw(4);
		uint64_t left = size_max - layout->size;

		if (content != HOLE)
			left = min_u64(left, MIB);
		layout->segments[layout->count] = (struct segment){
			.content = content, .start = layout->size,
			.length = content == HOLE ?
				draw_hole(layout->size, left) :
				draw_length(left),
			.seed = fake_random(&state),
		};
		layout->size += layout->segments[layout->count++].length;
	}
}

static unsigned char byte_of(const struct segment *segment, uint64_t at)
{
	uint64_t x = (at ^ segment->seed) * 0x9e3779b97f4a7c15ull;

	if (segment->content == NOISE)
		return (unsigned char)(x >> 47);
	return segment->content == TEXT ?
		(unsigned char)('a' + (at / 7 + segment->seed) % 23) : 0;
}

/* What the disk holds at [at, at + length); zeroes behind its end. */
static void expect(const struct layout *layout, uint64_t at,
		   unsigned char *buf, size_t length)
{
	memset(buf, 0, length);
	for (size_t i = 0; i < layout->count; i++) {
		const struct segment *segment = &layout->segments[i];
		uint64_t from = max_u64(at, segment->start);
		uint64_t to = min_u64(at + length,
				      segment->start + segment->length);

		if (segment->content < NOISE)
			continue;
		for (; from < to; from++)
			buf[from - at] = byte_of(segment, from);
	}
}

static int write_segment(struct pack *pack, const struct layout *layout,
			 const struct segment *segment)
{
	AUTO_FREE unsigned char *buf = malloc(READ_BYTES);
	uint64_t at = segment->start, end = at + segment->length;

	if (segment->content == HOLE)
		return pack_hole(pack, segment->length, &err);
	while (at < end) {
		size_t n = (size_t)min_u64(1 + draw(READ_BYTES), end - at);

		expect(layout, at, buf, n);
		if (pack_write(pack, buf, n, &err))
			return -1;
		at += n;
	}
	return 0;
}

static int write_all(struct pack *pack, const struct layout *layout)
{
	for (size_t i = 0; i < layout->count; i++) {
		if (write_segment(pack, layout, &layout->segments[i])) {
			pack_discard_wait(pack);
			return -1;
		}
	}
	return pack_finish_wait(pack, NULL, &err);
}

static int write_disk(const struct kind *kind, const struct layout *layout,
		      struct sink_log *log)
{
	struct write_args args = {
		.name = "disk", .subformat = kind->subformat,
		.size = draw(2) ? layout->size : WRITE_SIZE_UNKNOWN,
		.level = (enum packer_level)draw(3),
		.block_bytes = kind->block_bytes,
		.sector_bytes = kind->sector_bytes,
		.budget = engine_budget(engine),
	};
	struct writer *writer;
	struct sink *sink;
	struct pack *pack;

	if (writer_new(&writer, format_find(kind->format), &args, &err))
		return -1;
	sink = log_sink_new(log, writer->head_bytes);
	if (pack_new(&pack, engine_pool(engine), engine_budget(engine),
		     writer, sink, NULL, &err)) {
		sink_discard(sink);
		writer_free(writer);
		return -1;
	}
	return write_all(pack, layout);
}

static bool compare(struct disk *disk, const struct layout *layout,
		    uint64_t at)
{
	AUTO_FREE unsigned char *got = malloc(READ_BYTES);
	AUTO_FREE unsigned char *want = malloc(READ_BYTES);
	size_t n;

	if (at >= disk_size(disk))
		return true;
	n = (size_t)min_u64(READ_BYTES, disk_size(disk) - at);
	expect(layout, at, want, n);
	if (disk_read(disk, at, got, n, &err)) {
		printf("# at %llu: %s\n", (unsigned long long)at, err.text);
		return false;
	}
	if (!memcmp(got, want, n))
		return true;
	printf("# other bytes in %zu at %llu\n", n, (unsigned long long)at);
	return false;
}

static bool read_disk(struct disk *disk, const struct layout *layout)
{
	bool is_good = true;

	for (uint64_t at = 0; at < min_u64(WHOLE_BYTES, layout->size);
	     at += READ_BYTES)
		is_good &= compare(disk, layout, at);
	for (size_t i = 0; i < layout->count; i++) {
		uint64_t start = layout->segments[i].start;

		is_good &= compare(disk, layout, start - min_u64(start, 5000));
		is_good &= compare(disk, layout, start + draw(
					   layout->segments[i].length));
	}
	return is_good && compare(disk, layout, layout->size - 1);
}

static bool read_container(const struct kind *kind,
			   const struct layout *layout,
			   const struct sink_log *log)
{
	struct open_args args = { .format = kind->format };
	uint64_t sector = kind->sector_bytes ? kind->sector_bytes : 512;
	uint64_t size = strcmp(kind->format, "raw") == 0 ? layout->size :
			div_round_up(layout->size, sector) * sector;
	struct source *source;
	struct disk *disk = NULL;
	struct map *map = NULL;
	bool is_good;

	is_good = !source_memory(&source, "made", log->data, log->size,
				 &err) &&
		  !format_open(&map, source, NULL, &args, &err) &&
		  !disk_open(&disk, engine, map, "made", &err);
	if (!is_good)
		printf("# %s\n", err.text);
	is_good = is_good && disk_size(disk) == size &&
		  read_disk(disk, layout);
	disk_close(disk);
	map_close(map);
	source_unref(source);
	return is_good;
}

static void round_trip(const struct kind *kind, uint64_t seed)
{
	struct layout layout;
	struct sink_log log;
	bool is_good;

	state = seed * N_KINDS + (uint64_t)(kind - kinds);
	state = (state << 1 | 1) * 0x9e3779b97f4a7c15ull; /* never 0 */
	make_layout(&layout, 1 + draw(kind->size_max));
	sink_log_init(&log);
	is_good = !write_disk(kind, &layout, &log);
	if (!is_good)
		printf("# %s\n", err.text);
	ok(is_good && read_container(kind, &layout, &log),
	   "%s: %zu segments, %llu bytes, seed %llu", kind->label,
	   layout.count, (unsigned long long)layout.size,
	   (unsigned long long)seed);
	sink_log_free(&log);
}

static uint64_t from_environment(const char *name, uint64_t usual)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : usual;
}

int main(void)
{
	struct engine_options options = { .memory_bytes = 32 * MIB,
					  .threads = 3 };
	uint64_t rounds = from_environment("VMIEFS_ROUNDS", ROUNDS);
	uint64_t seed = from_environment("VMIEFS_SEED", 1);

	succeeds(engine_new(&engine, &options, &err), &err, "engine");
	for (uint64_t i = 0; i < rounds; i++)
		for (size_t k = 0; k < N_KINDS; k++)
			round_trip(&kinds[k], seed + i);
	engine_free(engine);
	return tap_done();
}
