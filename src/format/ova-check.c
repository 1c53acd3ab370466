/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What `vmiefs info` tells about an OVA and what `vmiefs check` verifies: the
 * manifest's digests, and that tar, OVF and manifest agree. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "format/manifest.h"
#include "format/ova-build.h"

/* Set a text member unless it is NULL or no UTF-8. */
static void set_text(json_t *object, const char *key, const char *text)
{
	if (text)
		json_object_set_new(object, key, json_string(text));
}

static void set_number(json_t *object, const char *key, uint64_t n)
{
	if (n)
		json_object_set_new(object, key, json_integer((json_int_t)n));
}

static json_t *describe_nics(const struct ovf_system *system)
{
	json_t *nics = json_array();

	for (size_t i = 0; i < system->nic_count; i++) {
		json_t *nic = json_object();

		set_text(nic, "name", system->nics[i].name);
		set_text(nic, "network", system->nics[i].network);
		set_text(nic, "type", system->nics[i].type);
		json_array_append_new(nics, nic);
	}
	return nics;
}

static json_t *describe_system(const struct ovf_system *system)
{
	json_t *object = json_object();

	set_text(object, "id", system->id);
	set_text(object, "name", system->name);
	set_text(object, "os_id", system->os_id);
	set_text(object, "os_type", system->os_type);
	set_text(object, "os_description", system->os_description);
	set_text(object, "hardware", system->hardware);
	set_text(object, "firmware", system->firmware);
	set_number(object, "cpus", system->cpus);
	set_number(object, "memory_bytes", system->memory_bytes);
	json_object_set_new(object, "nics", describe_nics(system));
	return object;
}

static json_t *describe_disk(const struct ova *ova, size_t i)
{
	const struct ovf_disk *described = &ova->ovf->disks[ova->ovf_disks[i]];
	const struct ova_disk *disk = &ova->disks[i];
	json_t *object = json_object();

	set_text(object, "name", disk->name);
	set_text(object, "disk_id", disk->disk_id);
	if (described->file != OVF_NO_FILE)
		set_text(object, "href",
			 ova->ovf->files[described->file].href);
	if (described->device)
		set_text(object, "system",
			 ova->ovf->systems[described->system].id);
	set_text(object, "device", described->device);
	set_number(object, "capacity_bytes", disk->capacity);
	set_number(object, "populated_bytes", described->populated);
	if (disk->source)
		set_number(object, "stored_bytes", disk->source->size);
	if (disk->is_gzip)
		set_text(object, "compression", "gzip");
	set_text(object, "declared_format", described->format);
	if (disk->error.kind)
		set_text(object, "error", disk->error.text);
	return object;
}

static json_t *describe_files(const struct ova *ova)
{
	json_t *files = json_array();

	for (size_t i = 0; i < ova->file_count; i++) {
		json_t *file = json_object();

		set_text(file, "name", ova->files[i].name);
		json_object_set_new(file, "size", json_integer(
			(json_int_t)ova->files[i].source->size));
		json_array_append_new(files, file);
	}
	return files;
}

int ova_describe(const struct ova *ova, json_t *object, struct error *err)
{
	json_t *systems = json_array(), *disks = json_array();
	int ret = 0;

	for (size_t i = 0; i < ova->ovf->system_count; i++)
		json_array_append_new(systems,
				      describe_system(&ova->ovf->systems[i]));
	for (size_t i = 0; i < ova->disk_count; i++)
		json_array_append_new(disks, describe_disk(ova, i));
	set_text(object, "descriptor", ova->descriptor->name);
	set_text(object, "ovf_version", ova->ovf->version);
	ret |= json_object_set_new(object, "systems", systems);
	ret |= json_object_set_new(object, "disks", disks);
	ret |= json_object_set_new(object, "files", describe_files(ova));
	return ret ? error_nomem(err) : 0;
}

/* One run of ova_check(). */
struct check {
	const struct ova *ova;
	void (*problem)(void *arg, const char *text);
	bool (*progress)(void *arg, uint64_t bytes);
	void *arg;
	const struct tar_member *manifest;
	bool *is_listed; /* by member: the manifest has a line for it */
};

__attribute__((format(printf, 2, 3)))
static void report(struct check *check, const char *fmt, ...)
{
	char text[768];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	check->problem(check->arg, text);
}

/* The .mf with the descriptor's name, or else the only one. NULL: none. */
static const struct tar_member *find_manifest(const struct ova *ova)
{
	const struct tar_member *found = NULL;
	size_t stem = strlen(ova->descriptor->name) - strlen(".ovf");

	for (size_t i = 0; i < ova->tar->count; i++) {
		const struct tar_member *member = &ova->tar->members[i];

		if (!ova_has_ending(member->name, ".mf"))
			continue;
		if (strlen(member->name) == stem + strlen(".mf") &&
		    !strncmp(member->name, ova->descriptor->name, stem))
			return member;
		found = member;
	}
	return found;
}

static void report_bad_line(void *arg, unsigned int line)
{
	struct check *check = arg;

	report(check, "%s: line %u is not understood", check->manifest->name,
	       line);
}

static int check_entry(struct check *check, const struct manifest_entry *entry,
		       struct error *err)
{
	struct error none = { 0 };
	struct tar_member *member = ova_find_member(check->ova, entry->name,
						    &none);
	struct source *source;
	bool matches;
	int ret;

	if (!member) {
		report(check, "%s: line %u: %s", check->manifest->name,
		       entry->line, none.text);
		return 0;
	}
	check->is_listed[member - check->ova->tar->members] = true;
	if (member->stored < member->size) {
		report(check, "%s: the OVA ends after %llu of its %llu bytes",
		       member->name, (unsigned long long)member->stored,
		       (unsigned long long)member->size);
		return 0;
	}
	if (ova_open_member(&source, check->ova, member, err))
		return -1;
	ret = manifest_verify(entry, source, check->progress, check->arg,
			      &matches, err);
	source_unref(source);
	if (ret)
		return error_prefix(err, "%s", member->name);
	if (!matches)
		report(check, "%s: its %s digest is not the one in line %u of "
		       "%s", member->name, entry->algorithm, entry->line,
		       check->manifest->name);
	return 0;
}

static void check_listed(struct check *check)
{
	const struct tar *tar = check->ova->tar;

	for (size_t i = 0; i < tar->count; i++)
		if (!check->is_listed[i] &&
		    !ova_has_ending(tar->members[i].name, ".mf") &&
		    !ova_has_ending(tar->members[i].name, ".cert"))
			report(check, "%s: %s has no digest of it",
			       tar->members[i].name, check->manifest->name);
}

static int check_manifest(struct check *check, struct error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE bool *is_listed = calloc(check->ova->tar->count + 1,
					   sizeof(*is_listed));
	struct manifest *manifest;
	size_t len;
	int ret = 0;

	if (!is_listed)
		return error_nomem(err);
	check->is_listed = is_listed;
	text = ova_read_text(check->ova, check->manifest, MANIFEST_MAX, &len,
			     err);
	if (!text || manifest_parse(&manifest, text, len, report_bad_line,
				    check, err))
		return -1;
	for (size_t i = 0; !ret && i < manifest->count; i++)
		ret = check_entry(check, &manifest->entries[i], err);
	if (!ret)
		check_listed(check);
	manifest_free(manifest);
	return ret;
}

/* The sizes that the OVF states for files in one piece. */
static void check_sizes(struct check *check)
{
	const struct ovf *ovf = check->ova->ovf;

	for (size_t i = 0; i < ovf->file_count; i++) {
		const struct ovf_file *file = &ovf->files[i];
		struct error none = { 0 };
		struct tar_member *member =
			ova_find_member(check->ova, file->href, &none);

		if (member && file->size && member->size != file->size)
			report(check, "%s: has %llu bytes, the OVF says %llu",
			       member->name, (unsigned long long)member->size,
			       (unsigned long long)file->size);
	}
}

int ova_check(const struct ova *ova,
	      void (*problem)(void *arg, const char *text),
	      bool (*progress)(void *arg, uint64_t bytes), void *arg,
	      struct error *err)
{
	struct check check = {
		.ova = ova,
		.problem = problem,
		.progress = progress,
		.arg = arg,
		.manifest = find_manifest(ova),
	};

	if (ova->tar->damage.kind)
		report(&check, "%s", ova->tar->damage.text);
	check_sizes(&check);
	return check.manifest ? check_manifest(&check, err) : 0;
}
