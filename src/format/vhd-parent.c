/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The parent of a differencing VHD: where its names are stored, and how a
 * file is recognised as the one. */
#include "config.h"

#include "common/checked.h"
#include "format/vhd.h"

#define LOCATOR_BYTES_MAX 4096 /* of one path */

/* Add what a locator's path says; a damaged one says nothing. */
static int add_locator(struct parent_names *names, struct vhd_map *map,
		       const struct vhd_locator_disk *locator,
		       struct error *err)
{
	static const char utf16[][5] = { "W2ru", "W2ku" };
	static const char bytes[][5] = { "Wi2r", "Wi2k", "MacX" };
	uint8_t path[LOCATOR_BYTES_MAX];
	uint32_t length = be32_get(locator->length);
	uint64_t offset = be64_get(locator->offset);

	if (length == 0 || length > sizeof(path) ||
	    !in_range(offset, length, map->map.source->size))
		return 0;
	for (size_t i = 0; i < 2; i++)
		if (!memcmp(locator->platform, utf16[i], 4)) {
			if (source_read(map->tables, offset, path, length, 0,
					err))
				return -1;
			parent_add_utf16(names, path, length, false);
		}
	for (size_t i = 0; i < 3; i++)
		if (!memcmp(locator->platform, bytes[i], 4)) {
			if (source_read(map->tables, offset, path, length, 0,
					err))
				return -1;
			parent_add_path(names, (char *)path, length);
		}
	return 0;
}

/* parent_search.matches: arg is the wanted unique id. */
static int vhd_matches(void *arg, struct source *source, struct error *err)
{
	AUTO_FREE struct vhd_ends *ends = malloc(sizeof(*ends));
	const struct vhd_footer *footer;

	if (!ends)
		return error_nomem(err);
	if (vhd_read_ends(ends, source, err))
		return -1;
	footer = ends->tail.checksum_good || !ends->copy.there ? &ends->tail :
								 &ends->copy;
	return footer->there && !memcmp(footer->disk.uuid, arg, 16);
}

int vhd_open_parent(struct vhd_map *map, const struct open_args *args,
		    struct error *err)
{
	struct vhd_header_disk *header = &map->header;
	AUTO_FREE struct parent_names *names = calloc(1, sizeof(*names));
	static const uint8_t none[16];
	char id[VHD_UUID_TEXT];
	struct parent_search search = {
		.id = id,
		.matches = vhd_matches,
		.arg = header->parent_uuid,
	};

	if (!names)
		return error_nomem(err);
	vhd_uuid_text(id, header->parent_uuid);
	/* Some writers leave all ids zero: then the names must do. */
	if (memcmp(header->parent_uuid, none, sizeof(none)) != 0) {
		search.endings[0] = ".vhd";
		search.endings[1] = ".avhd";
	}
	if (search.endings[0] &&
	    !memcmp(header->parent_uuid, map->footer.disk.uuid, 16))
		return error_set(err, ERR_CORRUPT, "differencing disk with id "
				 "%s names itself as its parent", id);
	for (size_t i = 0; i < VHD_LOCATORS; i++)
		if (add_locator(names, map, &header->locators[i], err))
			return -1;
	parent_add_utf16(names, header->parent_name,
			 sizeof(header->parent_name), true);
	return parent_open(&map->map, names, &search, args, err);
}
