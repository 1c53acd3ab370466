/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The parser of VMDK descriptors: lines that end in LF or CRLF, and are
 *
 *     # comment
 *     KEY = VALUE, KEY="VALUE"                    (keys without case)
 *     RW|RDONLY|NOACCESS SECTORS TYPE "FILE" [OFFSET]
 *
 * Other lines are passed over, as every reader does. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "common/error.h"
#include "format/format.h"
#include "format/vmdk-descriptor.h"
#include "format/vmdk-sparse.h"

#define FIELDS_MAX 4096
#define BLANKS     " \t\r"

static char *skip_blanks(char *p)
{
	return p + strspn(p, BLANKS);
}

/* Cut blanks off the end. */
static void trim_end(char *p)
{
	size_t length = strlen(p);

	while (length && strchr(BLANKS, p[length - 1]))
		p[--length] = 0;
}

/* The next word of *p, which moves behind it: NULL where there is none. A
 * word in quotes may hold blanks. */
static char *next_word(char **p)
{
	char *word = skip_blanks(*p), *end;

	if (!*word)
		return NULL;
	if (*word == '"') {
		word++;
		end = strchr(word, '"');
		if (!end)
			end = word + strlen(word);
	} else {
		end = word + strcspn(word, BLANKS);
	}
	*p = *end ? end + 1 : end;
	*end = 0;
	return word;
}

/* The whole word as an unsigned number. */
static bool parse_number(const char *word, int base, uint64_t *number)
{
	char *end;

	if (!isxdigit((unsigned char)*word))
		return false;
	errno = 0;
	*number = strtoull(word, &end, base);
	return !*end && !errno;
}

/* Make room for one more of the elements of `each` bytes. */
static int make_room(void **array, size_t count, size_t *size, size_t each,
		     size_t most, const char *what, struct error *err)
{
	size_t more = *size ? *size * 2 : 16;
	void *grown;

	if (count < *size)
		return 0;
	if (count >= most)
		return error_set(err, ERR_LIMIT,
				 "the descriptor has more than %zu %s", most,
				 what);
	grown = reallocarray(*array, more, each);
	if (!grown)
		return error_nomem(err);
	*array = grown;
	*size = more;
	return 0;
}

static const struct {
	const char *name;
	enum vmdk_extent_type type;
} extent_types[] = {
	{ "SPARSE", VMDK_EXTENT_SPARSE },
	{ "FLAT", VMDK_EXTENT_FLAT },
	{ "VMFS", VMDK_EXTENT_FLAT },
	{ "ZERO", VMDK_EXTENT_ZERO },
	{ "VMFSSPARSE", VMDK_EXTENT_REFUSED },
	{ "SESPARSE", VMDK_EXTENT_REFUSED },
	{ "VMFSRDM", VMDK_EXTENT_REFUSED },
	{ "VMFSRAW", VMDK_EXTENT_REFUSED },
};

static bool find_type(struct vmdk_extent_line *line, const char *word)
{
	for (size_t i = 0; i < sizeof(extent_types) / sizeof(extent_types[0]);
	     i++) {
		if (strcasecmp(word, extent_types[i].name) != 0)
			continue;
		line->type = extent_types[i].type;
		line->type_name = extent_types[i].name;
		return true;
	}
	return false;
}

static bool is_access(const char *word)
{
	return !strcasecmp(word, "RW") || !strcasecmp(word, "RDONLY") ||
	       !strcasecmp(word, "NOACCESS");
}

/* Is this an extent line? Keys can begin like one ("RWfoo=1"). */
static bool is_extent(const char *line)
{
	char access[16] = "";
	size_t length = strcspn(line, BLANKS);

	if (!line[length] || length >= sizeof(access))
		return false;
	memcpy(access, line, length);
	return is_access(access);
}

static int parse_extent(struct vmdk_descriptor *self, char *line,
			unsigned int number, struct error *err)
{
	struct vmdk_extent_line extent = { .file = "" };
	const char *access = next_word(&line);
	const char *sectors = next_word(&line);
	const char *type = next_word(&line);
	const char *file = next_word(&line);
	const char *offset = next_word(&line);

	extent.no_access = !strcasecmp(access, "NOACCESS");
	if (!sectors || !parse_number(sectors, 10, &extent.sectors) ||
	    extent.sectors > FORMAT_DISK_MAX / VMDK_SECTOR)
		return error_set(err, ERR_CORRUPT, "line %u of the descriptor: "
				 "'%.40s' is no number of sectors", number,
				 sectors ? sectors : "");
	if (!type || !find_type(&extent, type))
		return error_set(err, ERR_UNSUPPORTED, "line %u of the "
				 "descriptor: extent type '%.40s' is not known",
				 number, type ? type : "");
	if (file)
		extent.file = file;
	else if (extent.type != VMDK_EXTENT_ZERO)
		return error_set(err, ERR_CORRUPT, "line %u of the descriptor: "
				 "the extent has no file", number);
	if (offset && extent.type == VMDK_EXTENT_FLAT &&
	    (!parse_number(offset, 10, &extent.offset) ||
	     extent.offset > FORMAT_DISK_MAX / VMDK_SECTOR))
		return error_set(err, ERR_CORRUPT, "line %u of the descriptor: "
				 "'%.40s' is no offset in sectors", number,
				 offset);
	if (make_room((void **)&self->extents, self->extent_count,
		      &self->extent_size, sizeof(extent), VMDK_EXTENTS_MAX,
		      "extents", err))
		return -1;
	self->extents[self->extent_count++] = extent;
	return 0;
}

static int parse_field(struct vmdk_descriptor *self, char *line, char *equals,
		       struct error *err)
{
	char *value = skip_blanks(equals + 1);

	*equals = 0;
	trim_end(line);
	trim_end(value);
	if (*value == '"') {
		char *end = strrchr(++value, '"');

		if (end)
			*end = 0;
	}
	if (make_room((void **)&self->fields, self->field_count,
		      &self->field_size, sizeof(*self->fields), FIELDS_MAX,
		      "values", err))
		return -1;
	self->fields[self->field_count++] = (struct vmdk_field){ line, value };
	return 0;
}

static int parse_line(struct vmdk_descriptor *self, char *line,
		      unsigned int number, struct error *err)
{
	char *equals;

	line = skip_blanks(line);
	if (*line == '#')
		return 0;
	if (is_extent(line)) {
		if (self->embedded)
			return parse_extent(self, line, number, NULL), 0;
		return parse_extent(self, line, number, err);
	}
	equals = strchr(line, '=');
	return equals ? parse_field(self, line, equals, err) : 0;
}

static int parse_lines(struct vmdk_descriptor *self, struct error *err)
{
	char *line = self->words;

	for (unsigned int number = 1; line; number++) {
		char *end = strchr(line, '\n');

		if (end)
			*end++ = 0;
		if (parse_line(self, line, number, err))
			return -1;
		line = end;
	}
	return 0;
}

static bool parse_cid(const char *value, uint32_t *cid)
{
	uint64_t number;

	if (!value || !parse_number(value, 16, &number) || number > UINT32_MAX)
		return false;
	*cid = (uint32_t)number;
	return true;
}

/* An odd CID harms nobody but a child; an odd parentCID could hide that there
 * is a parent. */
static int parse_cids(struct vmdk_descriptor *self, struct error *err)
{
	const char *parent = vmdk_descriptor_get(self, "parentCID");

	self->has_cid = parse_cid(vmdk_descriptor_get(self, "CID"),
				  &self->cid);
	self->parent_cid = VMDK_NO_PARENT;
	if (parent && !parse_cid(parent, &self->parent_cid))
		return error_set(err, ERR_CORRUPT, "parentCID '%.40s' is no "
				 "number of 8 hexadecimal digits", parent);
	return 0;
}

static int parse(struct vmdk_descriptor *self, struct error *err)
{
	return parse_lines(self, err) ? -1 : parse_cids(self, err);
}

int vmdk_descriptor_parse(struct vmdk_descriptor **out, const char *text,
			  size_t length, bool embedded, struct error *err)
{
	struct vmdk_descriptor *self = calloc(1, sizeof(*self));

	*out = NULL;
	if (!self)
		return error_nomem(err);
	self->embedded = embedded;
	self->text = strndup(text, min_u64(length, VMDK_DESCRIPTOR_MAX));
	self->words = self->text ? strdup(self->text) : NULL;
	if (!self->words ? error_nomem(err) : parse(self, err)) {
		vmdk_descriptor_free(self);
		return -1;
	}
	*out = self;
	return 0;
}

void vmdk_descriptor_free(struct vmdk_descriptor *descriptor)
{
	if (!descriptor)
		return;
	free(descriptor->extents);
	free(descriptor->fields);
	free(descriptor->words);
	free(descriptor->text);
	free(descriptor);
}

const char *vmdk_descriptor_get(const struct vmdk_descriptor *descriptor,
				const char *key)
{
	for (size_t i = 0; i < descriptor->field_count; i++)
		if (!strcasecmp(descriptor->fields[i].key, key))
			return descriptor->fields[i].value;
	return NULL;
}

/* What is refused */

#define WHY_LUN    "its data lies on a storage device, not in a file"
#define WHY_DEVICE "its data lies on a device of the computer it was made on"
#define WHY_DELTA  "consolidate the snapshot, or clone the disk with " \
		   "vmkfstools -i"

static const struct {
	const char *kind; /* createType or extent type */
	const char *why;
} refusals[] = {
	{ "seSparse", "SEsparse snapshots are not supported; " WHY_DELTA },
	{ "vmfsSparse", "COWD snapshots (vmfsSparse) are not supported; "
			WHY_DELTA },
	{ "vmfsRaw", "raw device mappings are not supported: " WHY_LUN },
	{ "vmfsRDM", "raw device mappings (RDM) are not supported: " WHY_LUN },
	{ "vmfsRawDeviceMap",
	  "raw device mappings (RDM) are not supported: " WHY_LUN },
	{ "vmfsRDMP", "raw device mappings (RDM) are not supported: " WHY_LUN },
	{ "vmfsPassthroughRawDeviceMap",
	  "raw device mappings (RDM) are not supported: " WHY_LUN },
	{ "fullDevice", "physical devices are not supported: " WHY_DEVICE },
	{ "partitionedDevice",
	  "physical devices are not supported: " WHY_DEVICE },
};

const char *vmdk_refusal(const char *kind)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (!strcasecmp(kind, refusals[i].kind))
			return refusals[i].why;
	return NULL;
}

int vmdk_descriptor_supported(const struct vmdk_descriptor *descriptor,
			      struct error *err)
{
	const char *kind = vmdk_descriptor_get(descriptor, "createType");
	const char *why = kind ? vmdk_refusal(kind) : NULL;

	if (why)
		return error_set(err, ERR_UNSUPPORTED, "createType '%s': %s",
				 kind, why);
	for (size_t i = 0; i < descriptor->extent_count; i++) {
		const struct vmdk_extent_line *line = &descriptor->extents[i];

		if (line->type == VMDK_EXTENT_REFUSED)
			return error_set(err, ERR_UNSUPPORTED,
					 "extent type %s: %s", line->type_name,
					 vmdk_refusal(line->type_name));
	}
	return 0;
}

int vmdk_plain_name(const char **out, const char *name, struct error *err)
{
	const char *plain = name;

	if (!strncmp(name, "/dev/", 5) || !strncmp(name, "\\\\.\\", 4))
		return error_set(err, ERR_UNSUPPORTED, "'%.80s' is a device: "
				 WHY_DEVICE, name);
	for (const char *p = name; *p; p++)
		if (*p == '/' || *p == '\\')
			plain = p + 1;
	if (!*plain)
		return error_set(err, ERR_CORRUPT, "'%.80s' names no file",
				 name);
	*out = plain;
	return 0;
}
