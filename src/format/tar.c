/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Tar's table of contents. POSIX.1-2017 "pax", "ustar Interchange Format" and
 * "pax Header Block", and the GNU tar manual, "Basic Tar Format".
 *
 *     header  512   name 0/100  size 124/12  checksum 148/8  type 156
 *                   magic 257/8  prefix 345/155 (ustar only)
 *     data    size, padded to 512
 *     ...
 *     end     two blocks of zeroes; writers leave one or both out, pad to
 *             10 KiB, or append their own padding: all of that is accepted
 *
 * A GNU 'L' member or a pax 'x' member carries a long name (and size) for the
 * header behind it; pax 'g' for all that follow. Not supported: sparse members
 * (listed as such) and multi-volume archives (a file that goes on in another
 * volume is a cut member, the rest of one is left out). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "format/format.h"
#include "format/tar.h"

#define BLOCK         512
#define META_MAX      (1u << 20) /* bytes of one long name or pax header */
#define SPARSE_BLOCKS 65536      /* extension headers of one sparse member */

/* What an 'L', 'x' or 'g' member says about later headers. */
struct overrides {
	char *path; /* owned, or NULL */
	uint64_t size;
	bool has_size, is_sparse;
};

struct walk {
	struct source *source;
	struct tar *tar;
	uint64_t at;         /* next header */
	size_t allocated;    /* members */
	size_t path_bytes;
	struct overrides next, global;
};

static void overrides_reset(struct overrides *o)
{
	free(o->path);
	*o = (struct overrides){ 0 };
}

/* Digits of `base` 8 between blanks and NULs; empty counts as 0. */
static bool parse_octal(const uint8_t *field, size_t len, uint64_t *value)
{
	size_t i = 0;

	*value = 0;
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		*value = *value << 3 | (uint64_t)(field[i] - '0');
	while (i < len && (field[i] == ' ' || field[i] == '\0'))
		i++;
	return i == len;
}

/* A numeric field: octal, or base-256 where the first bit is set (GNU, star).
 * At most 12 bytes, so octal cannot overflow. */
static bool parse_number(const uint8_t *field, size_t len, uint64_t *value)
{
	uint64_t n = field[0] & 0x3f;

	if (!(field[0] & 0x80))
		return parse_octal(field, len, value);
	if (field[0] & 0x40)
		return false; /* negative */
	for (size_t i = 1; i < len; i++) {
		if (n >> 56)
			return false;
		n = n << 8 | field[i];
	}
	*value = n;
	return true;
}

/* The sum over the header with its own field as blanks. Some old writers
 * added the bytes as signed ones. */
static bool checksum_matches(const uint8_t *header)
{
	uint64_t stored;
	int64_t plain = 8 * ' ', as_signed = 8 * ' ';

	for (size_t i = 0; i < BLOCK; i++) {
		if (i >= 148 && i < 156)
			continue;
		plain += header[i];
		as_signed += (int8_t)header[i];
	}
	return parse_octal(header + 148, 8, &stored) &&
	       ((int64_t)stored == plain || (int64_t)stored == as_signed);
}

static bool is_zero_block(const uint8_t *block)
{
	return block[0] == 0 && !memcmp(block, block + 1, BLOCK - 1);
}

/* The archive stops making sense here. Returns 0: what was found is listed. */
static int damaged(struct walk *walk, enum error_kind kind, const char *what)
{
	error_set(&walk->tar->damage, kind, "the tar is damaged at byte %llu: "
		  "%s", (unsigned long long)walk->at, what);
	walk->at = walk->source->size;
	return 0;
}

/* The header's own path: prefix (ustar only: GNU keeps times there) + name. */
static char *header_path(const uint8_t *header)
{
	char path[155 + 1 + 100 + 1];
	size_t len = 0;

	if (!memcmp(header + 257, "ustar", 6) && header[345]) {
		len = strnlen((const char *)header + 345, 155);
		memcpy(path, header + 345, len);
		path[len++] = '/';
	}
	memcpy(path + len, header, 100);
	path[len + strnlen((const char *)header, 100)] = '\0';
	return strdup(path);
}

/* Drop what tar drops when it unpacks: leading "/" and "./". */
static const char *relative_path(const char *path)
{
	for (;;) {
		if (path[0] == '/')
			path++;
		else if (path[0] == '.' && path[1] == '/')
			path += 2;
		else
			return path;
	}
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Directories, "..", and the resource forks that macOS packs beside files. */
static bool is_ignored_name(const char *name)
{
	return !name[0] || !strcmp(name, ".") || !strcmp(name, "..") ||
	       !strncmp(name, "._", 2);
}

static struct tar_member *next_member(struct walk *walk, struct error *err)
{
	size_t n = walk->allocated ? 2 * walk->allocated : 16;
	struct tar_member *members;

	if (walk->tar->count < walk->allocated)
		return &walk->tar->members[walk->tar->count];
	members = reallocarray(walk->tar->members, n, sizeof(*members));
	if (!members) {
		error_nomem(err);
		return NULL;
	}
	walk->tar->members = members;
	walk->allocated = n;
	return &members[walk->tar->count];
}

/* Append a member whose data starts at walk->at. */
static int add_member(struct walk *walk, const char *stored_path,
		      uint64_t size, bool is_sparse, struct error *err)
{
	const char *path = relative_path(stored_path);
	struct tar_member *member;
	size_t len = strlen(path);

	if (is_ignored_name(last_component(path)))
		return 0;
	if (walk->tar->count == TAR_MEMBERS_MAX)
		return error_set(err, ERR_LIMIT, "the tar has more than %d "
				 "members", TAR_MEMBERS_MAX);
	if (len > TAR_PATH_MAX || walk->path_bytes + len > TAR_PATHS_MAX)
		return error_set(err, ERR_LIMIT, "a member's path has %zu "
				 "bytes; %d are accepted, and %u for all paths",
				 len, TAR_PATH_MAX, TAR_PATHS_MAX);
	member = next_member(walk, err);
	if (!member)
		return -1;
	*member = (struct tar_member){
		.path = strdup(path),
		.offset = walk->at,
		.size = size,
		.stored = min_u64(size, walk->source->size - walk->at),
		.is_sparse = is_sparse,
	};
	if (!member->path)
		return error_nomem(err);
	member->name = last_component(member->path);
	walk->path_bytes += len;
	walk->tar->count++;
	return 0;
}

/* Move walk->at over `size` bytes of data and their padding. */
static void skip_data(struct walk *walk, uint64_t size)
{
	uint64_t left = walk->source->size - walk->at;

	walk->at += size < left ? min_u64(left, (size + BLOCK - 1) / BLOCK *
					  BLOCK) : left;
}

/* One "LEN KEY=VALUE\n" record; returns its length, 0 if it is broken. */
static size_t parse_record(const char *text, size_t len, const char **key,
			   size_t *key_len, const char **value)
{
	size_t n = 0, i = 0;
	const char *equals;

	for (; i < len && text[i] >= '0' && text[i] <= '9' && n < META_MAX; i++)
		n = 10 * n + (size_t)(text[i] - '0');
	if (i == 0 || i == len || text[i] != ' ' || n > len || n < i + 2 ||
	    text[n - 1] != '\n')
		return 0;
	*key = text + i + 1;
	equals = memchr(*key, '=', n - i - 2);
	if (!equals)
		return 0;
	*key_len = (size_t)(equals - *key);
	*value = equals + 1;
	return n;
}

static bool parse_decimal(const char *text, size_t len, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' ||
		    !mul_u64(*value, 10, value) ||
		    !add_u64(*value, (uint64_t)(text[i] - '0'), value))
			return false;
	}
	return len > 0;
}

static bool key_is(const char *key, size_t len, const char *want)
{
	return len == strlen(want) && !memcmp(key, want, len);
}

static int set_path(struct overrides *o, const char *text, size_t len,
		    struct error *err)
{
	char *path = strndup(text, len);

	if (!path)
		return error_nomem(err);
	free(o->path);
	o->path = path;
	return 0;
}

static int parse_pax(struct walk *walk, struct overrides *o, const char *text,
		     size_t len, struct error *err)
{
	const char *key, *value;
	size_t key_len, n;

	for (; len; text += n, len -= n) {
		size_t value_len;

		n = parse_record(text, len, &key, &key_len, &value);
		if (!n) /* some writers pad the header with NULs */
			return *text ? damaged(walk, ERR_CORRUPT,
					       "broken pax record") : 0;
		value_len = (size_t)(text + n - 1 - value);
		if (key_is(key, key_len, "path") &&
		    set_path(o, value, value_len, err))
			return -1;
		if (key_is(key, key_len, "size")) {
			o->has_size = parse_decimal(value, value_len, &o->size);
			if (!o->has_size)
				return damaged(walk, ERR_CORRUPT,
					       "the pax size is no number");
		}
		if (key_len > 11 && !memcmp(key, "GNU.sparse.", 11))
			o->is_sparse = true;
	}
	return 0;
}

/* An 'L', 'x' or 'g' member: read its data into the overrides. */
static int read_meta(struct walk *walk, char type, uint64_t size,
		     struct error *err)
{
	struct overrides *o = type == 'g' ? &walk->global : &walk->next;
	AUTO_FREE char *text = NULL;

	if (size > META_MAX)
		return damaged(walk, ERR_LIMIT, "a long name or pax header is "
			       "above 1 MiB");
	if (!in_range(walk->at, size, walk->source->size))
		return damaged(walk, ERR_CORRUPT, "it ends in a pax header");
	text = malloc(size + 1);
	if (!text)
		return error_nomem(err);
	if (source_read(walk->source, walk->at, text, size, 0, err))
		return -1;
	skip_data(walk, size);
	if (type == 'L')
		return set_path(o, text, strnlen(text, size), err);
	return parse_pax(walk, o, text, size, err);
}

/* Old GNU sparse headers go on in extension blocks, each with a flag. */
static int skip_sparse_headers(struct walk *walk, const uint8_t *header,
			       struct error *err)
{
	uint8_t block[BLOCK];
	bool more = header[482];

	for (int n = 0; more; n++) {
		if (n == SPARSE_BLOCKS ||
		    !in_range(walk->at, BLOCK, walk->source->size))
			return damaged(walk, ERR_CORRUPT, "a sparse member's "
				       "map has no end");
		if (source_read(walk->source, walk->at, block, BLOCK, 0, err))
			return -1;
		walk->at += BLOCK;
		more = block[504];
	}
	return 0;
}

/* A header that names a member: list it if it is a regular file. */
static int read_member(struct walk *walk, const uint8_t *header, uint64_t size,
		       struct error *err)
{
	char type = (char)header[156];
	AUTO_FREE char *own = header_path(header);
	const char *path = walk->next.path ? walk->next.path :
			   walk->global.path ? walk->global.path : own;
	bool is_sparse = type == 'S' || walk->next.is_sparse ||
			 walk->global.is_sparse;

	if (!own)
		return error_nomem(err);
	if (walk->next.has_size || walk->global.has_size)
		size = walk->next.has_size ? walk->next.size :
		       walk->global.size;
	if (type == 'S' && skip_sparse_headers(walk, header, err))
		return -1;
	/* Links, devices, directories and FIFOs have no data here; volume
	 * labels, directory dumps and the rest of a file from another volume
	 * are no files; unknown types count as files. */
	if (type < '1' || type > '6') {
		if (!strchr("VDNM", type ? type : '0') &&
		    add_member(walk, path, size, is_sparse, err))
			return -1;
		skip_data(walk, size);
	}
	overrides_reset(&walk->next);
	return 0;
}

static int read_entry(struct walk *walk, const uint8_t *header,
		      struct error *err)
{
	uint64_t size;

	if (!checksum_matches(header))
		return damaged(walk, ERR_CORRUPT, "no valid tar header");
	if (!parse_number(header + 124, 12, &size))
		return damaged(walk, ERR_CORRUPT, "the member's size is no "
			       "number");
	walk->at += BLOCK;
	switch (header[156]) {
	case 'L':
	case 'x':
	case 'X': /* Solaris */
	case 'g':
		return read_meta(walk, (char)header[156], size, err);
	case 'K': /* long link target */
		skip_data(walk, size);
		return 0;
	default:
		return read_member(walk, header, size, err);
	}
}

/* What people name .ova although it is something else. */
static const struct {
	const char *bytes;
	size_t len;
	const char *what;
} not_tars[] = {
	{ "\x1f\x8b", 2, "compressed with gzip: unpack it with gunzip first" },
	{ "\xfd" "7zXZ", 5, "compressed with xz: unpack it with unxz first" },
	{ "BZh", 3, "compressed with bzip2: unpack it with bunzip2 first" },
	{ "\x28\xb5\x2f\xfd", 4,
	  "compressed with zstd: unpack it with unzstd first" },
	{ "PK\3\4", 4, "a zip archive: repack its files with tar" },
	{ "7z\xbc\xaf\x27\x1c", 6, "a 7z archive: repack its files with tar" },
};

static int refuse_first_block(const uint8_t *block, struct error *err)
{
	for (size_t i = 0; i < sizeof(not_tars) / sizeof(not_tars[0]); i++)
		if (!memcmp(block, not_tars[i].bytes, not_tars[i].len))
			return error_set(err, ERR_UNSUPPORTED,
					 "an OVA must be a plain tar, but this "
					 "is %s", not_tars[i].what);
	if (is_zero_block(block))
		return error_set(err, ERR_CORRUPT, "the tar is empty");
	return error_set(err, ERR_CORRUPT, "not a tar: no valid header at its "
			 "start");
}

/* Walk from header to header until the end, damage, or an error. */
static int walk_headers(struct walk *walk, const struct open_args *args,
			struct error *err)
{
	uint64_t size = walk->source->size;
	uint8_t header[BLOCK];

	if (size < BLOCK)
		return error_set(err, ERR_CORRUPT, "not a tar: %llu bytes are "
				 "too short for one", (unsigned long long)size);
	/* What is left behind the last whole block can only be padding. */
	while (in_range(walk->at, BLOCK, size)) {
		if (open_goes_on(args, err) ||
		    source_read(walk->source, walk->at, header, BLOCK, 0, err))
			return -1;
		if (walk->at == 0 && !checksum_matches(header))
			return refuse_first_block(header, err);
		if (is_zero_block(header))
			return 0;
		if (read_entry(walk, header, err))
			return -1;
	}
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	const struct tar_member *x = *(struct tar_member *const *)a;
	const struct tar_member *y = *(struct tar_member *const *)b;
	int order = strcmp(x->path, y->path);

	return order ? order : (x > y) - (x < y);
}

static int compare_names(const void *a, const void *b)
{
	const struct tar_member *x = *(struct tar_member *const *)a;
	const struct tar_member *y = *(struct tar_member *const *)b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x > y) - (x < y);
}

static struct tar_member **
sorted_members(const struct tar *tar, int (*compare)(const void *a,
						     const void *b))
{
	struct tar_member **sorted = calloc(tar->count + 1, sizeof(*sorted));

	for (size_t i = 0; sorted && i < tar->count; i++)
		sorted[i] = &tar->members[i];
	if (sorted)
		qsort(sorted, tar->count, sizeof(*sorted), compare);
	return sorted;
}

/* Of members with one path only the last stays. */
static int drop_duplicates(struct tar *tar, struct error *err)
{
	AUTO_FREE struct tar_member **sorted =
		sorted_members(tar, compare_paths);
	size_t kept = 0;

	if (!sorted)
		return error_nomem(err);
	for (size_t i = 0; i + 1 < tar->count; i++)
		if (!strcmp(sorted[i]->path, sorted[i + 1]->path))
			sorted[i]->name = NULL;
	for (size_t i = 0; i < tar->count; i++) {
		if (tar->members[i].name)
			tar->members[kept++] = tar->members[i];
		else
			free(tar->members[i].path);
	}
	tar->count = kept;
	return 0;
}

static int finish(struct tar *tar, struct error *err)
{
	if (drop_duplicates(tar, err))
		return -1;
	tar->by_path = sorted_members(tar, compare_paths);
	tar->by_name = sorted_members(tar, compare_names);
	return tar->by_path && tar->by_name ? 0 : error_nomem(err);
}

int tar_read(struct tar **out, struct source *source,
	     const struct open_args *args, struct error *err)
{
	struct walk walk = { .source = source };
	int ret;

	*out = NULL;
	walk.tar = calloc(1, sizeof(*walk.tar));
	if (!walk.tar)
		return error_nomem(err);
	ret = walk_headers(&walk, args, err);
	if (!ret)
		ret = finish(walk.tar, err);
	overrides_reset(&walk.next);
	overrides_reset(&walk.global);
	if (ret)
		tar_free(walk.tar);
	else
		*out = walk.tar;
	return ret;
}

void tar_free(struct tar *tar)
{
	if (!tar)
		return;
	for (size_t i = 0; i < tar->count; i++)
		free(tar->members[i].path);
	free(tar->members);
	free(tar->by_path);
	free(tar->by_name);
	free(tar);
}

struct tar_member *tar_find_path(const struct tar *tar, const char *path)
{
	size_t low = 0, high = tar->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(tar->by_path[middle]->path, path);

		if (order == 0)
			return tar->by_path[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct tar_member *tar_find_name(const struct tar *tar, const char *name,
				 size_t *count)
{
	size_t low = 0, high = tar->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(tar->by_name[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (*count = 0; low + *count < tar->count &&
	     !strcmp(tar->by_name[low + *count]->name, name); ++*count)
		;
	return *count ? tar->by_name[low] : NULL;
}
