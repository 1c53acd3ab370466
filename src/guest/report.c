/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Checking the child's JSON by a table of fields, and copying it. */
#include "config.h"

#include <stdbool.h>
#include <string.h>

#include "guest/report.h"

#define REPORT_TEXT_MAX       4096
#define REPORT_PARTITIONS_MAX 1024

struct shape;

struct field {
	const char *key;
	json_type type;            /* JSON_TRUE: a boolean */
	const struct shape *shape; /* of an object, or of an array's items */
};

struct shape {
	const struct field *fields;
	size_t count;
};

#define SHAPE(fields) { fields, sizeof(fields) / sizeof((fields)[0]) }

static const struct field fs_fields[] = {
	{ "type", JSON_STRING },     { "usage", JSON_STRING },
	{ "label", JSON_STRING },    { "uuid", JSON_STRING },
	{ "uuid_sub", JSON_STRING }, { "version", JSON_STRING },
	{ "sec_type", JSON_STRING }, { "block_size", JSON_INTEGER },
};
static const struct shape fs_shape = SHAPE(fs_fields);

static const struct field partition_fields[] = {
	{ "number", JSON_INTEGER },  { "start", JSON_INTEGER },
	{ "size", JSON_INTEGER },    { "type", JSON_STRING },
	{ "uuid", JSON_STRING },     { "name", JSON_STRING },
	{ "flags", JSON_STRING },    { "table", JSON_STRING },
	{ "parent", JSON_INTEGER },  { "extended", JSON_TRUE },
	{ "note", JSON_STRING },     { "ambiguous", JSON_TRUE },
	{ "file_system", JSON_OBJECT, &fs_shape },
};
static const struct shape partition_shape = SHAPE(partition_fields);

static const struct field table_fields[] = {
	{ "type", JSON_STRING },
	{ "id", JSON_STRING },
	{ "note", JSON_STRING },
	{ "partitions", JSON_ARRAY, &partition_shape },
};
static const struct shape table_shape = SHAPE(table_fields);

static const struct field disk_fields[] = {
	{ "sector_size", JSON_INTEGER },
	{ "ambiguous", JSON_TRUE },
	{ "file_system", JSON_OBJECT, &fs_shape },
	{ "partition_table", JSON_OBJECT, &table_shape },
};
static const struct shape disk_shape = SHAPE(disk_fields);

static json_t *copy_shape(const json_t *from, const struct shape *shape);

static json_t *copy_array(const json_t *from, const struct shape *shape)
{
	json_t *to = json_array();

	if (json_array_size(from) > REPORT_PARTITIONS_MAX)
		goto fail;
	for (size_t i = 0; i < json_array_size(from); i++)
		if (json_array_append_new(to, copy_shape(json_array_get(from,
									i),
							 shape)))
			goto fail;
	return to;
fail:
	json_decref(to);
	return NULL;
}

/* NULL where the value does not fit. */
static json_t *copy_value(const json_t *from, const struct field *field)
{
	if (field->type == JSON_TRUE)
		return json_is_boolean(from) ?
		       json_boolean(json_is_true(from)) : NULL;
	if (json_typeof(from) != field->type)
		return NULL;
	switch (field->type) {
	case JSON_STRING:
		if (json_string_length(from) > REPORT_TEXT_MAX)
			return NULL;
		return json_stringn(json_string_value(from),
				    json_string_length(from));
	case JSON_INTEGER:
		if (json_integer_value(from) < 0)
			return NULL;
		return json_integer(json_integer_value(from));
	case JSON_ARRAY:
		return copy_array(from, field->shape);
	default:
		return copy_shape(from, field->shape);
	}
}

static json_t *copy_shape(const json_t *from, const struct shape *shape)
{
	json_t *to;

	if (!json_is_object(from))
		return NULL;
	to = json_object();
	for (size_t i = 0; i < shape->count; i++) {
		const struct field *field = &shape->fields[i];
		const json_t *value = json_object_get(from, field->key);

		/* Setting NULL, from a value that does not fit, fails. */
		if (value && json_object_set_new(to, field->key,
						 copy_value(value, field))) {
			json_decref(to);
			return NULL;
		}
	}
	return to;
}

int guest_report_parse(json_t **out, const char *text, size_t len,
		       struct error *err)
{
	json_t *from = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	*out = copy_shape(from, &disk_shape);
	json_decref(from);
	if (!*out)
		return error_set(err, ERR_CORRUPT, "the probing process gives "
				 "a result of unknown shape");
	return 0;
}
