/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Reading a disk through its map, in the simplest way that is correct: the
 * reference that the engine and other tools are compared with. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/codec.h"
#include "tests/tools/mapread.h"

#define MARKER_BYTES 12
#define PATH_BYTES   4096

int mapread_unpack(const struct extent *piece, uint8_t *unit,
		   struct error *err)
{
	AUTO_FREE uint8_t *packed = malloc(piece->bound);
	size_t length;
	uint32_t size;

	if (!packed)
		return error_nomem(err);
	if (piece->bound < MARKER_BYTES)
		return error_set(err, ERR_CORRUPT, "no room for a marker");
	if (source_read(piece->source, piece->at, packed, piece->bound, 0,
			err))
		return -1;
	if (le64_get(packed) != piece->mark)
		return error_set(err, ERR_CORRUPT, "marker at byte %llu is of "
				 "sector %llu, not %llu",
				 (unsigned long long)piece->at,
				 (unsigned long long)le64_get(packed),
				 (unsigned long long)piece->mark);
	size = le32_get(packed + 8);
	if (size == 0 || size > piece->bound - MARKER_BYTES)
		return error_set(err, ERR_CORRUPT, "packed size %u is not "
				 "within 1 to %u", size,
				 piece->bound - MARKER_BYTES);
	if (codec_unzlib(packed + MARKER_BYTES, size, unit, piece->unpacked,
			 &length, err))
		return -1;
	if (length < piece->skip + piece->length)
		return error_set(err, ERR_CORRUPT, "unpacks to %zu bytes, "
				 "%llu are needed", length,
				 (unsigned long long)(piece->skip +
						      piece->length));
	return 0;
}

/* Bytes [offset, offset + len) of the disk, all within piece. */
static int read_piece(const struct extent *piece, uint64_t offset,
		      uint8_t *buf, size_t len, struct error *err)
{
	AUTO_FREE uint8_t *unit = NULL;
	uint64_t skip = offset - piece->offset;

	switch (piece->kind) {
	case EXTENT_ZERO:
		memset(buf, 0, len);
		return 0;
	case EXTENT_DATA:
		return source_read(piece->source, piece->at + skip, buf, len,
				   0, err);
	case EXTENT_PACKED:
		unit = malloc(piece->unpacked);
		if (!unit)
			return error_nomem(err);
		if (mapread_unpack(piece, unit, err))
			return -1;
		memcpy(buf, unit + piece->skip + skip, len);
		return 0;
	case EXTENT_BAD:
		return error_set(err, ERR_CORRUPT, "%s",
				 piece->why ? piece->why : "damaged");
	case EXTENT_PARENT:
		break;
	}
	return error_set(err, ERR_BUG, "a PARENT piece was not resolved");
}

int mapread(struct map *map, uint64_t offset, void *buf, size_t len,
	    struct error *err)
{
	AUTO_FREE struct extents *ex = malloc(sizeof(*ex));
	uint64_t end = offset + len;
	uint8_t *out = buf;

	if (!ex)
		return error_nomem(err);
	while (offset < end) {
		extents_init(ex, offset, end - offset, 0);
		if (map_extents(map, ex, err))
			return -1;
		for (size_t i = 0; i < ex->count; i++) {
			const struct extent *piece = &ex->items[i];
			uint64_t stop = min_u64(end, piece->offset +
						piece->length);
			size_t part = (size_t)(stop - offset);

			if (read_piece(piece, offset, out, part, err))
				return error_prefix(err, "at byte %llu",
					(unsigned long long)offset);
			out += part;
			offset = stop;
		}
	}
	return 0;
}

/* Open prefix + name as a source called name. */
static int open_object(struct source **out, struct store *store,
		       const char *prefix, const char *name,
		       struct error *err)
{
	struct object *object;
	char key[PATH_BYTES];

	snprintf(key, sizeof(key), "%s%s", prefix, name);
	if (object_open(&object, store, key, NULL, err))
		return -1;
	if (source_from_object(out, name, object, store, err)) {
		object_close(object);
		return -1;
	}
	return 0;
}

static int dir_open(struct siblings *siblings, const char *name,
		    struct source **out, struct error *err)
{
	struct mapread_dir *dir = (struct mapread_dir *)siblings;

	*out = NULL;
	if (!*name || strchr(name, '/') || !strcmp(name, ".") ||
	    !strcmp(name, ".."))
		return error_set(err, ERR_DENIED, "'%s' is no plain name",
				 name);
	return open_object(out, dir->store, dir->prefix, name, err);
}

struct each_call {
	const struct mapread_dir *dir;
	int (*fn)(void *arg, const char *name, struct error *err);
	void *arg;
};

static int each_entry(void *arg, const struct store_entry *entry,
		      struct error *err)
{
	const struct each_call *call = arg;

	if (entry->is_prefix)
		return 0;
	return call->fn(call->arg, entry->key + strlen(call->dir->prefix),
			err);
}

static int dir_each(struct siblings *siblings,
		    int (*fn)(void *arg, const char *name, struct error *err),
		    void *arg, struct error *err)
{
	const struct mapread_dir *dir = (struct mapread_dir *)siblings;
	struct each_call call = { dir, fn, arg };
	struct list_args list = { .prefix = dir->prefix, .delimiter = '/' };
	AUTO_FREE char *continuation = NULL;

	do {
		AUTO_FREE char *before = continuation;

		continuation = NULL;
		list.continuation = before;
		if (store_list(dir->store, &list, each_entry, &call,
			       &continuation, err))
			return -1;
	} while (continuation);
	return 0;
}

void mapread_dir_init(struct mapread_dir *dir, struct store *store,
		      const char *prefix)
{
	dir->siblings.open = dir_open;
	dir->siblings.each = dir_each;
	dir->store = store;
	dir->prefix = prefix;
}

int mapread_open(struct mapread_file *file, const char *path,
		 const struct open_args *args, struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	struct open_args own = *args;
	char folder[PATH_BYTES];

	memset(file, 0, sizeof(*file));
	snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path);
	if (file_store_open(&file->store, *folder ? folder : ".", err))
		return -1;
	mapread_dir_init(&file->dir, file->store, "");
	own.siblings = &file->dir.siblings;
	own.file_name = name;
	if (open_object(&file->source, file->store, "", name, err) ||
	    format_open(&file->map, file->source, NULL, &own, err)) {
		mapread_close(file);
		return -1;
	}
	return 0;
}

void mapread_close(struct mapread_file *file)
{
	map_close(file->map);
	source_unref(file->source);
	store_close(file->store);
	memset(file, 0, sizeof(*file));
}
