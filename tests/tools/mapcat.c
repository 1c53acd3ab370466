/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: what a container file holds, read through its map alone.
 *
 *     mapcat [OPTIONS] map FILE          the extent map, one piece a line
 *     mapcat [OPTIONS] holes FILE        the same as data and zero ranges only
 *     mapcat [OPTIONS] raw FILE > OUT    the raw bytes, sparse where it can be
 *     mapcat [OPTIONS] random FILE EXPECTED N SEED
 *                                        N random reads compared with a file
 *     mapcat [OPTIONS] info FILE         what describe() says, as JSON
 *     mapcat [OPTIONS] check FILE        what check() finds
 *
 * Options: -f FORMAT, -c (VHD size by geometry), -k (go on after damage: it
 * is printed to stderr and read as zeroes), -p (tables through a page cache).
 * Exit status: 0 good, 1 the container is refused or damaged, 2 usage. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "tests/tools/mapread.h"

#define CHUNK_BYTES      (1u << 20)
#define RANDOM_READ_MAX  (256u << 10)
#define BUDGET_BYTES     (64u << 20)

struct mapcat {
	struct mapread_file file;
	bool keep_going;
	int damaged; /* places found with -k */
	int argc;
	char **argv;
};

static void print_warning(void *arg, const char *text)
{
	fprintf(stderr, "warning: %s\n", text);
}

static const char *const kind_names[] = {
	[EXTENT_ZERO] = "zero", [EXTENT_DATA] = "data",
	[EXTENT_PACKED] = "packed", [EXTENT_PARENT] = "parent",
	[EXTENT_BAD] = "bad",
};

static void print_piece(const struct extent *piece)
{
	printf("%" PRIu64 " %" PRIu64 " %s", piece->offset, piece->length,
	       kind_names[piece->kind]);
	if (piece->kind == EXTENT_DATA || piece->kind == EXTENT_PACKED)
		printf(" %s %" PRIu64, piece->source->name, piece->at);
	if (piece->kind == EXTENT_PACKED)
		printf(" %u %" PRIu64, piece->bound, piece->mark);
	if (piece->kind == EXTENT_BAD)
		printf(" (%s)", piece->why ? piece->why : "damaged");
	printf("\n");
}

typedef void piece_fn(void *arg, const struct extent *piece);

/* Call fn for every piece of the disk. */
static int walk(struct map *map, piece_fn *fn, void *arg, struct error *err)
{
	AUTO_FREE struct extents *ex = malloc(sizeof(*ex));

	if (!ex)
		return error_nomem(err);
	for (uint64_t at = 0; at < map->size; at = extents_next(ex)) {
		extents_init(ex, at, map->size - at, 0);
		if (map_extents(map, ex, err))
			return -1;
		for (size_t i = 0; i < ex->count; i++)
			fn(arg, &ex->items[i]);
	}
	return 0;
}

/* Pieces that continue each other over the borders of answers are joined, so
 * that the text does not depend on how much one answer holds. */
struct joined {
	struct extent piece; /* length 0: none yet */
	bool holes_only;
};

static bool same_run(const struct joined *run, const struct extent *next)
{
	const struct extent *last = &run->piece;

	if (run->holes_only)
		return (last->kind == EXTENT_ZERO) ==
		       (next->kind == EXTENT_ZERO);
	if (last->kind != next->kind)
		return false;
	if (next->kind == EXTENT_DATA)
		return last->source == next->source &&
		       last->at + last->length == next->at;
	return next->kind != EXTENT_PACKED;
}

static void flush_run(struct joined *run)
{
	const struct extent *piece = &run->piece;

	if (piece->length && run->holes_only)
		printf("%" PRIu64 " %" PRIu64 " %s\n", piece->offset,
		       piece->length,
		       piece->kind == EXTENT_ZERO ? "zero" : "data");
	else if (piece->length)
		print_piece(piece);
}

static void add_to_run(void *arg, const struct extent *piece)
{
	struct joined *run = arg;

	if (run->piece.length && same_run(run, piece)) {
		run->piece.length += piece->length;
		return;
	}
	flush_run(run);
	run->piece = *piece;
}

static int print_map(struct mapcat *self, bool holes_only, struct error *err)
{
	struct joined run = { .holes_only = holes_only };

	if (walk(self->file.map, add_to_run, &run, err))
		return -1;
	flush_run(&run);
	return 0;
}

static int command_map(struct mapcat *self, struct error *err)
{
	return print_map(self, false, err);
}

static int command_holes(struct mapcat *self, struct error *err)
{
	return print_map(self, true, err);
}

/* Read, and with -k replace what is damaged, sector by sector. */
static int read_some(struct mapcat *self, uint64_t offset, uint8_t *buf,
		     size_t len, struct error *err)
{
	if (!mapread(self->file.map, offset, buf, len, err))
		return 0;
	if (!self->keep_going)
		return -1;
	for (size_t at = 0; at < len; at += 512) {
		struct error why = { 0 };
		size_t part = min_u64(512, len - at);

		if (!mapread(self->file.map, offset + at, buf + at, part, &why))
			continue;
		memset(buf + at, 0, part);
		fprintf(stderr, "damaged: %" PRIu64 " %zu %s\n", offset + at,
			part, why.text);
		self->damaged++;
	}
	error_clear(err);
	return 0;
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	return len == 0 || (buf[0] == 0 && !memcmp(buf, buf + 1, len - 1));
}

static int write_all(const uint8_t *buf, size_t len, struct error *err)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, buf, len);

		if (n < 0)
			return error_errno(err, errno, "cannot write");
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* True where all of [offset, offset + len) is a hole: huge empty disks need
 * not be written zero by zero. */
static bool is_hole(struct map *map, struct extents *ex, uint64_t offset,
		    uint64_t *len)
{
	struct error err = { 0 };

	extents_init(ex, offset, map->size - offset, 0);
	if (map_extents(map, ex, &err) || ex->items[0].kind != EXTENT_ZERO)
		return false;
	*len = ex->items[0].length;
	return true;
}

static int command_raw(struct mapcat *self, struct error *err)
{
	AUTO_FREE uint8_t *buf = malloc(CHUNK_BYTES);
	AUTO_FREE struct extents *ex = malloc(sizeof(*ex));
	struct map *map = self->file.map;
	struct stat st;
	bool sparse;

	if (!buf || !ex)
		return error_nomem(err);
	sparse = !fstat(STDOUT_FILENO, &st) && S_ISREG(st.st_mode);
	for (uint64_t at = 0, len; at < map->size; at += len) {
		if (sparse && is_hole(map, ex, at, &len)) {
			lseek(STDOUT_FILENO, (off_t)len, SEEK_CUR);
			continue;
		}
		len = min_u64(CHUNK_BYTES, map->size - at);
		if (read_some(self, at, buf, len, err))
			return -1;
		if (sparse && is_zero(buf, len))
			lseek(STDOUT_FILENO, (off_t)len, SEEK_CUR);
		else if (write_all(buf, len, err))
			return -1;
	}
	if (sparse && ftruncate(STDOUT_FILENO, (off_t)map->size))
		return error_errno(err, errno, "cannot set the size");
	return 0;
}

/* xorshift64*: the same reads for the same seed everywhere. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* One read at a random place of a random size, compared. */
static int random_read(struct mapcat *self, int fd, uint64_t *state,
		       uint8_t *got, uint8_t *want, struct error *err)
{
	uint64_t size = self->file.map->size;
	uint64_t offset = next_random(state) % size;
	uint64_t most = 1ull << next_random(state) % 19;
	size_t len = min_u64(1 + next_random(state) % most, size - offset);

	if (mapread(self->file.map, offset, got, len, err))
		return -1;
	if (pread(fd, want, len, (off_t)offset) != (ssize_t)len)
		return error_set(err, ERR_IO, "expected bytes end early");
	if (memcmp(got, want, len) != 0)
		return error_set(err, ERR_CORRUPT, "%zu bytes at %" PRIu64
				 " differ", len, offset);
	return 0;
}

static int command_random(struct mapcat *self, struct error *err)
{
	AUTO_FREE uint8_t *got = malloc(RANDOM_READ_MAX);
	AUTO_FREE uint8_t *want = malloc(RANDOM_READ_MAX);
	AUTO_CLOSE int fd = open(self->argv[0], O_RDONLY);
	uint64_t state = strtoull(self->argv[2], NULL, 0) * 2 + 1;
	long count = strtol(self->argv[1], NULL, 0);
	struct stat st;

	if (!got || !want)
		return error_nomem(err);
	if (fd < 0 || fstat(fd, &st))
		return error_errno(err, errno, "%s", self->argv[0]);
	if ((uint64_t)st.st_size != self->file.map->size)
		return error_set(err, ERR_CORRUPT, "size is %" PRIu64 ", not "
				 "%lld", self->file.map->size,
				 (long long)st.st_size);
	while (self->file.map->size && count-- > 0)
		if (random_read(self, fd, &state, got, want, err))
			return -1;
	return 0;
}

static int command_info(struct mapcat *self, struct error *err)
{
	struct map *map = self->file.map;
	json_t *object = json_object();
	int ret = 0;

	json_object_set_new(object, "format", json_string(map->format->name));
	json_object_set_new(object, "subformat", json_string(map->subformat));
	json_object_set_new(object, "size",
			    json_integer((json_int_t)map->size));
	json_object_set_new(object, "unit", json_integer(map->unit_bytes));
	json_object_set_new(object, "holes",
			    json_boolean(map->can_have_holes));
	if (map->ops->describe)
		ret = map->ops->describe(map, object, err);
	if (!ret && json_dumpf(object, stdout, JSON_INDENT(2)))
		ret = error_set(err, ERR_IO, "cannot print the JSON");
	printf("\n");
	json_decref(object);
	return ret;
}

static void print_problem(void *arg, const char *text)
{
	struct mapcat *self = arg;

	printf("%s\n", text);
	self->damaged++;
}

static int command_check(struct mapcat *self, struct error *err)
{
	struct map *map = self->file.map;

	return map->ops->check ?
	       map->ops->check(map, print_problem, self, err) : 0;
}

static const struct command {
	const char *name;
	int args; /* after FILE */
	int (*run)(struct mapcat *self, struct error *err);
} commands[] = {
	{ "map", 0, command_map },       { "holes", 0, command_holes },
	{ "raw", 0, command_raw },       { "random", 3, command_random },
	{ "info", 0, command_info },     { "check", 0, command_check },
};

static const struct command *find_command(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (argc == commands[i].args + 2 &&
		    !strcmp(argv[0], commands[i].name))
			return &commands[i];
	return NULL;
}

/* Options into args and self; 0, or -1 for a wrong one. */
static int parse_options(struct mapcat *self, struct open_args *args,
			 bool *cached, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "f:ckp")) != -1) {
		switch (option) {
		case 'f': args->format = optarg; break;
		case 'c': args->vhd_chs = true; break;
		case 'k': self->keep_going = true; break;
		case 'p': *cached = true; break;
		default: return -1;
		}
	}
	self->argc = argc - optind;
	self->argv = argv + optind;
	return 0;
}

static int run(struct mapcat *self, const struct command *command,
	       struct open_args *args, bool cached, struct error *err)
{
	struct budget *budget = NULL;
	struct page_cache *cache = NULL;
	const char *path = self->argv[1];
	int ret = -1;

	self->argv += 2;
	if (budget_new(&budget, BUDGET_BYTES, err) ||
	    (cached && page_cache_new(&cache, budget, err)))
		goto out;
	args->budget = budget;
	args->cache = cache;
	if (!mapread_open(&self->file, path, args, err)) {
		ret = command->run(self, err);
		mapread_close(&self->file);
	}
out:
	page_cache_free(cache);
	budget_free(budget);
	return ret;
}

int main(int argc, char **argv)
{
	struct open_args args = { .warn = print_warning };
	struct mapcat self = { 0 };
	struct error err = { 0 };
	const struct command *command;
	bool cached = false;

	if (parse_options(&self, &args, &cached, argc, argv) ||
	    !(command = find_command(self.argc, self.argv))) {
		fprintf(stderr, "usage: mapcat [-f FORMAT] [-ckp] "
			"map|holes|raw|info|check FILE\n"
			"       mapcat [-f FORMAT] [-ckp] random FILE EXPECTED "
			"N SEED\n");
		return 2;
	}
	if (run(&self, command, &args, cached, &err)) {
		fprintf(stderr, "mapcat: %s: %s\n",
			error_kind_name(err.kind), err.text);
		return 1;
	}
	return self.damaged ? 1 : 0;
}
