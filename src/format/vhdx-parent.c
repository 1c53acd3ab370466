/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The parent of a differencing VHDX: the locator's keys and values, and how
 * a file is recognised as the one (by the DataWriteGuid of its header, which
 * changes with every change of its content). */
#include "config.h"

#include <strings.h>

#include "format/parent.h"
#include "format/vhdx.h"

#define LOCATOR_BYTES_MAX (64u << 10)
#define KEYS_MAX          64

struct locator_disk {
	uint8_t type[16];
	uint8_t reserved[2];
	uint8_t count[2];
};

struct pair_disk {
	uint8_t key_offset[4], value_offset[4];
	uint8_t key_length[2], value_length[2];
};

_Static_assert(sizeof(struct locator_disk) == 20, "parent locator");
_Static_assert(sizeof(struct pair_disk) == 12, "parent locator entry");

static const uint8_t vhdx_locator_type[16] = {
	0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
	0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13,
};

/* Add one key and value; what lies outside of the item is left out. */
static int add_pair(json_t *pairs, const uint8_t *item, uint64_t length,
		    const struct pair_disk *pair)
{
	uint32_t key_at = le32_get(pair->key_offset);
	uint32_t value_at = le32_get(pair->value_offset);
	uint16_t key_bytes = le16_get(pair->key_length);
	uint16_t value_bytes = le16_get(pair->value_length);
	AUTO_FREE char *key = NULL, *value = NULL;

	if (!in_range(key_at, key_bytes, length) ||
	    !in_range(value_at, value_bytes, length))
		return 0;
	key = utf16_text(item + key_at, key_bytes, false);
	value = utf16_text(item + value_at, value_bytes, false);
	if (!key || !value)
		return -1;
	return json_object_set_new(pairs, key, json_string(value));
}

static int parse_locator(json_t *pairs, const uint8_t *item, uint64_t length,
			 struct error *err)
{
	struct locator_disk head;
	char type[VHDX_GUID_TEXT];
	uint32_t count;

	memcpy(&head, item, sizeof(head));
	vhdx_guid_text(type, head.type);
	if (memcmp(head.type, vhdx_locator_type, 16) != 0)
		return error_set(err, ERR_UNSUPPORTED, "parent locator of "
				 "unknown type {%s}", type);
	count = le16_get(head.count);
	if (count > KEYS_MAX ||
	    sizeof(head) + count * sizeof(struct pair_disk) > length)
		return error_set(err, ERR_CORRUPT, "parent locator: %u keys "
				 "do not fit %llu bytes", count,
				 (unsigned long long)length);
	for (uint32_t i = 0; i < count; i++) {
		struct pair_disk pair;

		memcpy(&pair, item + sizeof(head) + i * sizeof(pair),
		       sizeof(pair));
		if (add_pair(pairs, item, length, &pair))
			return error_nomem(err);
	}
	return 0;
}

int vhdx_describe_locator(struct vhdx_map *map, json_t **out,
			  struct error *err)
{
	const struct vhdx_range *range = &map->items[VHDX_PARENT_LOCATOR];
	AUTO_FREE uint8_t *item = NULL;
	json_t *pairs;
	int ret;

	*out = NULL;
	if (range->length < sizeof(struct locator_disk) ||
	    range->length > LOCATOR_BYTES_MAX)
		return error_set(err, ERR_CORRUPT, "parent locator: %llu bytes "
				 "are not within %zu to %u",
				 (unsigned long long)range->length,
				 sizeof(struct locator_disk),
				 LOCATOR_BYTES_MAX);
	item = malloc(range->length);
	pairs = json_object();
	if (!item || !pairs)
		ret = error_nomem(err);
	else
		ret = source_read(map->tables, range->offset, item,
				  range->length, 0, err);
	if (!ret)
		ret = parse_locator(pairs, item, range->length, err);
	if (ret) {
		json_decref(pairs);
		return -1;
	}
	*out = pairs;
	return 0;
}

/* The ids that the parent may have, as texts with braces. */
struct wanted {
	const char *linkage, *linkage2; /* NULL = none */
};

static bool is_guid(const char *braced, const uint8_t guid[16])
{
	char text[VHDX_GUID_TEXT];

	vhdx_guid_text(text, guid);
	return braced && strlen(braced) == VHDX_GUID_TEXT + 1 &&
	       braced[0] == '{' &&
	       !strncasecmp(braced + 1, text, VHDX_GUID_TEXT - 1);
}

/* parent_search.matches */
static int vhdx_matches(void *arg, struct source *source, struct error *err)
{
	const struct wanted *wanted = arg;
	const struct open_args silent = { 0 };
	uint8_t first[VHDX_HEADER_BYTES], second[VHDX_HEADER_BYTES];
	struct vhdx_header header;

	if (source_read(source, VHDX_HEADER1_AT, first, sizeof(first), 0,
			err) ||
	    source_read(source, VHDX_HEADER2_AT, second, sizeof(second), 0,
			err) ||
	    vhdx_choose_header(&header, first, second, &silent, err))
		return -1;
	return is_guid(wanted->linkage, header.data_write_guid) ||
	       is_guid(wanted->linkage2, header.data_write_guid);
}

static const char *value_of(const json_t *pairs, const char *key)
{
	return json_string_value(json_object_get(pairs, key));
}

static int search(struct vhdx_map *map, const json_t *pairs,
		  const struct open_args *args, struct error *err)
{
	static const char *const paths[] = { "relative_path",
					     "absolute_win32_path",
					     "volume_path" };
	AUTO_FREE struct parent_names *names = calloc(1, sizeof(*names));
	struct wanted wanted = { value_of(pairs, "parent_linkage"),
				 value_of(pairs, "parent_linkage2") };
	struct parent_search search = { .endings = { ".vhdx", ".avhdx" },
					.id = wanted.linkage,
					.matches = vhdx_matches,
					.arg = &wanted };

	if (!names)
		return error_nomem(err);
	if (!wanted.linkage)
		return error_set(err, ERR_CORRUPT, "the parent locator lacks "
				 "parent_linkage");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const char *path = value_of(pairs, paths[i]);

		if (path)
			parent_add_path(names, path, strlen(path));
	}
	return parent_open(&map->map, names, &search, args, err);
}

int vhdx_open_parent(struct vhdx_map *map, const struct open_args *args,
		     struct error *err)
{
	json_t *pairs;
	int ret;

	if (vhdx_describe_locator(map, &pairs, err))
		return -1;
	ret = search(map, pairs, args, err);
	json_decref(pairs);
	return ret;
}
