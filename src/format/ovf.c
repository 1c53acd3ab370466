/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * OVF descriptors: DSP0243 1.x and 2.x, and VMware's 0.9 before it, where
 * every section is a <Section xsi:type="...">:
 *
 *     Envelope
 *       References        File id href size compression chunkSize
 *       DiskSection       Disk diskId fileRef capacity parentRef format
 *       DeploymentOptionSection   Configuration id default
 *       VirtualSystem[Collection] (0.9: Content)     -> ovf-hardware.c
 *
 * Everything is found by local name, wherever its namespace says it is from. */
#include "config.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/xml.h"
#include "format/ovf-build.h"
#include "format/ovf.h"

struct kept {
	struct kept *next;
	char text[];
};

void ovf_warn(struct ovf_build *build, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (!build->warn)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	build->warn(build->warn_arg, text);
}

static char *keep(struct ovf_build *build, const char *text, size_t len)
{
	struct kept *kept = malloc(sizeof(*kept) + len + 1);

	if (!kept) {
		build->is_nomem = true;
		return NULL;
	}
	memcpy(kept->text, text, len);
	kept->text[len] = '\0';
	kept->next = build->ovf->kept;
	build->ovf->kept = kept;
	return kept->text;
}

/* Keep what libxml2 allocated, without blanks around it. */
static const char *keep_trimmed(struct ovf_build *build, xmlChar *content)
{
	const char *text = (const char *)content, *end, *kept = NULL;

	if (!content) {
		build->is_nomem = true;
		return NULL;
	}
	end = text + strlen(text);
	while (isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	if (end > text)
		kept = keep(build, text, (size_t)(end - text));
	xmlFree(content);
	return kept;
}

const char *ovf_text(struct ovf_build *build, const xmlNode *node)
{
	return node ? keep_trimmed(build, xmlNodeGetContent(node)) : NULL;
}

const char *ovf_attr(struct ovf_build *build, const xmlNode *node,
		     const char *local_name)
{
	const xmlAttr *attr = xml_attr(node, local_name);

	if (!attr || !attr->children)
		return NULL;
	return keep_trimmed(build, xmlNodeListGetString(node->doc,
							attr->children, 1));
}

const char *ovf_printf(struct ovf_build *build, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return keep(build, text, strlen(text));
}

bool ovf_number(const char *text, uint64_t *value)
{
	*value = 0;
	if (!text || !*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || !mul_u64(*value, 10, value) ||
		    !add_u64(*value, (uint64_t)(*text - '0'), value))
			return false;
	}
	return true;
}

void *ovf_append(void *array, size_t *count, size_t element_size, size_t max,
		 const char *what, struct error *err)
{
	void **elements = array;
	char *grown;

	if (*count == max) {
		error_set(err, ERR_LIMIT, "more than %zu %s", max, what);
		return NULL;
	}
	if (*count == 0 || is_power_of_two(*count)) {
		size_t room = *count ? 2 * *count : 1;

		grown = reallocarray(*elements, room, element_size);
		if (!grown) {
			error_nomem(err);
			return NULL;
		}
		*elements = grown;
	}
	grown = (char *)*elements + (*count)++ * element_size;
	return memset(grown, 0, element_size);
}

const char *ovf_section(struct ovf_build *build, const xmlNode *node)
{
	const char *name = xml_local_name(node), *type, *colon, *end;

	if (strcmp(name, "Section") && strcmp(name, "Content"))
		return name;
	type = ovf_attr(build, node, "type");
	if (!type)
		return name;
	colon = strchr(type, ':');
	type = colon ? colon + 1 : type;
	end = strstr(type, "_Type");
	if (end)
		type = keep(build, type, (size_t)(end - type));
	return type ? type : name;
}

/* Units. */

static const struct {
	const char *name;
	unsigned int shift;
} units[] = {
	{ "", 0 },
	{ "b", 0 }, { "byte", 0 }, { "bytes", 0 },
	{ "kb", 10 }, { "kib", 10 }, { "kilobyte", 10 }, { "kilobytes", 10 },
	{ "mb", 20 }, { "mib", 20 }, { "megabyte", 20 }, { "megabytes", 20 },
	{ "gb", 30 }, { "gib", 30 }, { "gigabyte", 30 }, { "gigabytes", 30 },
	{ "tb", 40 }, { "tib", 40 }, { "terabyte", 40 }, { "terabytes", 40 },
};

/* "*2^20", "*10^9", "*1024": one factor; moves *text behind it. */
static bool parse_factor(const char **text, uint64_t *product)
{
	char *end;
	unsigned long base, exponent = 1;

	if (!isdigit((unsigned char)(*text)[1]))
		return false;
	base = strtoul(*text + 1, &end, 10);
	if (*end == '^') {
		if (!isdigit((unsigned char)end[1]))
			return false;
		exponent = strtoul(end + 1, &end, 10);
	}
	if (exponent > 64)
		return false;
	while (exponent--)
		if (!mul_u64(*product, base, product))
			return false;
	*text = end;
	return true;
}

bool ovf_unit_bytes(const char *text, uint64_t *bytes)
{
	char plain[64];
	const char *rest;
	size_t n = 0, i = 0;

	for (; text && *text; text++) {
		if (isspace((unsigned char)*text))
			continue;
		if (n == sizeof(plain) - 1)
			return false;
		plain[n++] = (char)tolower((unsigned char)*text);
	}
	plain[n] = '\0';
	n = strcspn(plain, "*");
	while (strlen(units[i].name) != n || memcmp(units[i].name, plain, n))
		if (++i == sizeof(units) / sizeof(units[0]))
			return false;
	*bytes = 1ull << units[i].shift;
	for (rest = plain + n; *rest == '*';)
		if (!parse_factor(&rest, bytes))
			return false;
	return *rest == '\0' && *bytes > 0;
}

/* Files. */

size_t ovf_find_file(const struct ovf *ovf, const char *id)
{
	for (size_t i = 0; i < ovf->file_count; i++)
		if (!strcmp(ovf->files[i].id, id))
			return i;
	/* oVirt refers to files by href. */
	for (size_t i = 0; i < ovf->file_count; i++)
		if (!strcmp(ovf->files[i].href, id))
			return i;
	return OVF_NO_FILE;
}

static int read_file(struct ovf_build *build, const xmlNode *node,
		     struct error *err)
{
	struct ovf *ovf = build->ovf;
	struct ovf_file *file;
	const char *href = ovf_attr(build, node, "href");

	if (!href) {
		ovf_warn(build, "line %ld: a File without href is ignored",
			 xmlGetLineNo(node));
		return 0;
	}
	file = ovf_append(&ovf->files, &ovf->file_count, sizeof(*file),
			  OVF_FILES_MAX, "files", err);
	if (!file)
		return -1;
	file->href = href;
	file->id = ovf_attr(build, node, "id");
	if (!file->id)
		file->id = href;
	file->compression = ovf_attr(build, node, "compression");
	if (file->compression && !strcmp(file->compression, "identity"))
		file->compression = NULL;
	ovf_number(ovf_attr(build, node, "size"), &file->size);
	ovf_number(ovf_attr(build, node, "chunkSize"), &file->chunk_bytes);
	return 0;
}

static int read_files(struct ovf_build *build, const xmlNode *references,
		      struct error *err)
{
	const xmlNode *node = xml_child(references, "File");

	for (; node; node = xml_next(node, "File"))
		if (read_file(build, node, err))
			return -1;
	return 0;
}

/* Capacities, which may be given as "${property}". */

/* True if the element has no configuration or the default one. */
static bool is_in_default(struct ovf_build *build, const xmlNode *node)
{
	const char *configuration = xml_attr_text(node, "configuration");

	return !*configuration || (build->configuration &&
				   !strcmp(configuration,
					   build->configuration));
}

/* Advance *name past text if it starts with it. */
static bool skip_text(const char **name, const char *end, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(end - *name) < len || memcmp(*name, text, len))
		return false;
	*name += len;
	return true;
}

/* key, class.key or class.key.instance: what a reference may say. */
static bool property_matches(const xmlNode *property, const char *name,
			     const char *end)
{
	const char *key = xml_attr_text(property, "key");
	const char *class = xml_attr_text(property->parent, "class");
	const char *rest = name;

	if (!*key)
		return false;
	if (skip_text(&rest, end, key) && rest == end)
		return true;
	rest = name;
	if (!*class || !skip_text(&rest, end, class) ||
	    !skip_text(&rest, end, ".") || !skip_text(&rest, end, key))
		return false;
	return rest == end ||
	       (skip_text(&rest, end, ".") &&
		skip_text(&rest, end, xml_attr_text(property->parent,
						    "instance")) &&
		rest == end);
}

/* Its value in the default configuration, its value, or NULL. */
static const char *property_value(struct ovf_build *build,
				  const xmlNode *property)
{
	const xmlNode *node = xml_child(property, "Value");
	const char *value;

	for (; node; node = xml_next(node, "Value"))
		if (is_in_default(build, node) &&
		    *xml_attr_text(node, "value"))
			return ovf_attr(build, node, "value");
	value = xml_attr_text(property, "value");
	return *value ? ovf_attr(build, property, "value") : NULL;
}

/* The value of the first such property that has one, in any ProductSection.
 * Depth is bounded by libxml2 (256). */
static const char *find_property(struct ovf_build *build, const xmlNode *node,
				 const char *name, const char *end)
{
	for (node = node->children; node; node = node->next) {
		const char *value;

		if (node->type != XML_ELEMENT_NODE)
			continue;
		if (xml_is(node, "Property") &&
		    property_matches(node, name, end))
			value = property_value(build, node);
		else
			value = find_property(build, node, name, end);
		if (value)
			return value;
	}
	return NULL;
}

static uint64_t read_capacity(struct ovf_build *build, const xmlNode *node)
{
	const char *capacity = ovf_attr(build, node, "capacity");
	const char *unit_text = ovf_attr(build, node,
					 "capacityAllocationUnits");
	uint64_t unit, n;

	if (!capacity)
		return 0;
	if (!strncmp(capacity, "${", 2)) {
		const char *end = capacity + strcspn(capacity, "}");
		const char *value = find_property(build, build->root,
						  capacity + 2, end);

		if (!value) {
			ovf_warn(build, "line %ld: nothing gives a value to "
				 "the capacity \"%s\"", xmlGetLineNo(node),
				 capacity);
			return 0;
		}
		capacity = value;
	}
	if (ovf_unit_bytes(unit_text, &unit) && ovf_number(capacity, &n) &&
	    mul_u64(n, unit, &n))
		return n;
	ovf_warn(build, "line %ld: the capacity \"%s\" in units of \"%s\" is "
		 "not understood", xmlGetLineNo(node), capacity,
		 unit_text ? unit_text : "byte");
	return 0;
}

/* Disks. */

struct ovf_disk *ovf_add_disk(struct ovf_build *build, struct error *err)
{
	struct ovf *ovf = build->ovf;
	size_t count = ovf->disk_count;
	struct ovf_rank *rank = ovf_append(&build->ranks, &count,
					   sizeof(*rank), OVF_DISKS_MAX,
					   "disks", err);
	struct ovf_disk *disk;

	if (!rank)
		return NULL;
	memset(rank, 0xff, sizeof(*rank)); /* behind all attached ones */
	disk = ovf_append(&ovf->disks, &ovf->disk_count, sizeof(*disk),
			  OVF_DISKS_MAX, "disks", err);
	if (disk)
		disk->file = OVF_NO_FILE;
	return disk;
}

/* What makes this disk unreadable whatever its file holds. */
static void judge_disk(struct ovf_disk *disk, const char *file_ref,
		       const char *parent_ref)
{
	if (parent_ref)
		error_set(&disk->error, ERR_UNSUPPORTED, "disk \"%s\" holds "
			  "only the changes to disk \"%s\": consolidate it "
			  "where it was made", disk->id, parent_ref);
	else if (file_ref && disk->file == OVF_NO_FILE)
		error_set(&disk->error, ERR_CORRUPT, "disk \"%s\" refers to "
			  "file \"%s\", which is not in the References",
			  disk->id, file_ref);
	else if (!file_ref && disk->capacity == 0)
		error_set(&disk->error, ERR_CORRUPT, "disk \"%s\" has neither "
			  "a file nor a capacity", disk->id);
}

static int read_disk(struct ovf_build *build, const xmlNode *node,
		     struct error *err)
{
	const char *file_ref = ovf_attr(build, node, "fileRef");
	struct ovf_disk *disk = ovf_add_disk(build, err);

	if (!disk)
		return -1;
	disk->id = ovf_attr(build, node, "diskId");
	if (!disk->id)
		disk->id = ovf_printf(build, "disk%zu", build->ovf->disk_count);
	if (!disk->id)
		return error_nomem(err);
	disk->format = ovf_attr(build, node, "format");
	disk->capacity = read_capacity(build, node);
	ovf_number(ovf_attr(build, node, "populatedSize"), &disk->populated);
	if (file_ref)
		disk->file = ovf_find_file(build->ovf, file_ref);
	judge_disk(disk, file_ref, ovf_attr(build, node, "parentRef"));
	return 0;
}

static int read_disks(struct ovf_build *build, const xmlNode *section,
		      struct error *err)
{
	const xmlNode *node = xml_child(section, "Disk");

	for (; node; node = xml_next(node, "Disk"))
		if (read_disk(build, node, err))
			return -1;
	return 0;
}

/* The default configuration is marked, or else the first. */
static void read_configurations(struct ovf_build *build,
				const xmlNode *section)
{
	const xmlNode *node = xml_child(section, "Configuration");

	if (node)
		build->configuration = ovf_attr(build, node, "id");
	for (; node; node = xml_next(node, "Configuration")) {
		const char *is_default = ovf_attr(build, node, "default");

		if (is_default && (!strcmp(is_default, "true") ||
				   !strcmp(is_default, "1"))) {
			build->configuration = ovf_attr(build, node, "id");
			return;
		}
	}
}

/* The sections that others refer to, in the order they are needed. */
static int read_sections(struct ovf_build *build, struct error *err)
{
	const xmlNode *node;

	for (node = build->root->children; node; node = node->next) {
		if (node->type != XML_ELEMENT_NODE)
			continue;
		if (xml_is(node, "References") && read_files(build, node, err))
			return -1;
		if (!strcmp(ovf_section(build, node),
			    "DeploymentOptionSection"))
			read_configurations(build, node);
	}
	for (node = build->root->children; node; node = node->next)
		if (node->type == XML_ELEMENT_NODE &&
		    !strcmp(ovf_section(build, node), "DiskSection") &&
		    read_disks(build, node, err))
			return -1;
	if (ovf_read_systems(build, build->root, err))
		return -1;
	return ovf_sort_disks(build, err);
}

static int check_root(struct ovf_build *build, struct error *err)
{
	static const char dmtf[] = "http://schemas.dmtf.org/ovf/envelope/";
	const xmlNode *root = build->root;
	const char *uri = root->ns ? (const char *)root->ns->href : "";
	const char *number = "";

	if (!xml_is(root, "Envelope"))
		return error_set(err, ERR_CORRUPT, "not an OVF: the root is "
				 "<%.64s>, not <Envelope>", root->name);
	if (!strncmp(uri, dmtf, strlen(dmtf)))
		number = uri + strlen(dmtf);
	if (number[0] > '2' && number[0] <= '9')
		return error_set(err, ERR_UNSUPPORTED, "OVF version %.16s is "
				 "not supported, 0.9 to 2.x are", number);
	build->ovf->version = ovf_attr(build, root, "version");
	if (!build->ovf->version)
		build->ovf->version = strstr(uri, "vmware.com") ? "0.9" :
				      number[0] == '2' ? "2" : "1";
	return 0;
}

static int build_ovf(struct ovf_build *build, struct error *err)
{
	if (check_root(build, err) || read_sections(build, err))
		return -1;
	return build->is_nomem ? error_nomem(err) : 0;
}

int ovf_parse(struct ovf **out, const char *text, size_t len,
	      void (*warn)(void *arg, const char *text), void *arg,
	      struct error *err)
{
	struct ovf_build build = { .warn = warn, .warn_arg = arg };
	struct error oddity = { 0 };
	xmlDoc *doc;
	int ret;

	*out = NULL;
	if (xml_load(&doc, text, len, &oddity, err))
		return -1;
	build.root = xmlDocGetRootElement(doc);
	build.ovf = calloc(1, sizeof(*build.ovf));
	ret = build.ovf ? build_ovf(&build, err) : error_nomem(err);
	/* VMware's tools overlook an undeclared prefix, and so do we; but
	 * where no disk was found it may well be the reason. */
	if (!ret && oddity.kind && build.ovf->disk_count == 0)
		ret = error_set(err, oddity.kind, "%s", oddity.text);
	else if (!ret && oddity.kind)
		ovf_warn(&build, "%s", oddity.text);
	free(build.ranks);
	xmlFreeDoc(doc);
	if (ret)
		ovf_free(build.ovf);
	else
		*out = build.ovf;
	return ret;
}

void ovf_free(struct ovf *ovf)
{
	struct kept *next;

	if (!ovf)
		return;
	for (struct kept *kept = ovf->kept; kept; kept = next) {
		next = kept->next;
		free(kept);
	}
	free(ovf->files);
	free(ovf->disks);
	free(ovf->systems);
	free(ovf);
}
