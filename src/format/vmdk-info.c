/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What `vmiefs info` shows of a VMDK beyond the common fields. */
#include "config.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "format/vmdk.h"

#define EXTENTS_SHOWN 1024

/* Set a string that may be of any encoding; nothing for NULL. */
static int set_text(json_t *object, const char *key,
		    const struct vmdk_descriptor *descriptor,
		    const char *text)
{
	AUTO_FREE char *utf8 = NULL;

	if (!text)
		return 0;
	utf8 = vmdk_descriptor_utf8(descriptor, text);
	if (!utf8)
		return -1;
	return json_object_set_new(object, key, json_string(utf8));
}

static int set_number(json_t *object, const char *key, uint64_t number)
{
	return json_object_set_new(object, key,
				   json_integer((json_int_t)number));
}

static int set_hex(json_t *object, const char *key, uint32_t number)
{
	return json_object_set_new(object, key,
				   json_sprintf("%08x", number));
}

static int describe_descriptor(const struct vmdk_descriptor *descriptor,
			       json_t *object)
{
	static const struct {
		const char *key, *field;
	} fields[] = {
		{ "create_type", "createType" },
		{ "parent_file", "parentFileNameHint" },
		{ "adapter_type", "ddb.adapterType" },
		{ "hardware_version", "ddb.virtualHWVersion" },
		{ "tools_version", "ddb.toolsVersion" },
		{ "encoding", "encoding" },
		{ "uuid", "ddb.uuid" },
		{ "long_content_id", "ddb.longContentID" },
		{ "comment", "ddb.comment" },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (set_text(object, fields[i].key, descriptor,
			     vmdk_descriptor_get(descriptor, fields[i].field)))
			return -1;
	if (descriptor->has_cid && set_hex(object, "cid", descriptor->cid))
		return -1;
	if (descriptor->parent_cid != VMDK_NO_PARENT &&
	    set_hex(object, "parent_cid", descriptor->parent_cid))
		return -1;
	return set_text(object, "descriptor", descriptor, descriptor->text);
}

static int describe_sparse(const struct vmdk_sparse *sparse, json_t *object)
{
	const struct vmdk_header *header = &sparse->header;
	const char *compression = header->is_packed ? "deflate" : "none";

	return set_number(object, "version", header->version) ||
	       set_number(object, "grain_bytes", sparse->grain_bytes) ||
	       json_object_set_new(object, "compression",
				   json_string(compression)) ||
	       json_object_set_new(object, "zeroed_grains",
				   json_boolean(header->flags &
						VMDK_FLAG_ZEROED)) ||
	       json_object_set_new(object, "layout",
				   json_string(vmdk_layout_name(
					   sparse->layout)));
}

static const char *type_name(const struct vmdk_extent *extent)
{
	static const char *const names[] = {
		[VMDK_EXTENT_SPARSE] = "sparse",
		[VMDK_EXTENT_FLAT] = "flat",
		[VMDK_EXTENT_ZERO] = "zero",
		[VMDK_EXTENT_REFUSED] = "refused",
	};

	return extent->no_access ? "no access" : names[extent->type];
}

static int describe_extent(const struct vmdk *vmdk,
			   const struct vmdk_extent *extent, json_t *list)
{
	json_t *object = json_object();
	struct source *source = extent->sparse ? extent->sparse->source :
						 extent->source;

	if (!object ||
	    set_number(object, "start", extent->start) ||
	    set_number(object, "length", extent->length) ||
	    json_object_set_new(object, "type",
				json_string(type_name(extent))) ||
	    (extent->source && set_number(object, "at", extent->at)) ||
	    (source && vmdk->descriptor &&
	     set_text(object, "file", vmdk->descriptor, source->name)) ||
	    (extent->sparse && describe_sparse(extent->sparse, object))) {
		json_decref(object);
		return -1;
	}
	return json_array_append_new(list, object);
}

static int describe_extents(const struct vmdk *vmdk, json_t *object)
{
	json_t *list = json_array();

	if (!list || json_object_set_new(object, "extents", list))
		return -1;
	for (size_t i = 0; i < vmdk->count && i < EXTENTS_SHOWN; i++)
		if (describe_extent(vmdk, &vmdk->extents[i], list))
			return -1;
	return 0;
}

int vmdk_describe(struct map *map, json_t *object, struct error *err)
{
	const struct vmdk *vmdk = (const struct vmdk *)map;
	const struct vmdk_sparse *first = vmdk->extents[0].sparse;
	bool text_only = !first || vmdk->count > 1 ||
			 (vmdk->descriptor && !vmdk->descriptor->embedded);

	if ((first && describe_sparse(first, object)) ||
	    (text_only && describe_extents(vmdk, object)) ||
	    (vmdk->descriptor &&
	     describe_descriptor(vmdk->descriptor, object)))
		return error_nomem(err);
	return 0;
}
