/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * An OVA: the tar's table of contents and the OVF descriptor put together.
 * DSP0243 wants the .ovf first and the files in the order of References; no
 * reader can rely on that, so any order is accepted. What concerns one disk
 * (a missing member, a delta disk, a URL) is that disk's error; the whole
 * fails only where no list of disks can be made. */
#include "config.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/strbuf.h"
#include "common/xml.h"
#include "format/ova-build.h"

#define END_BYTES 1024u /* zero blocks behind the last member */

/* Unique names. */

struct used_name {
	char *name;
	unsigned int next; /* suffix to try for the next equal one */
};

static int compare_used(const void *a, const void *b)
{
	return strcmp(((const struct used_name *)a)->name,
		      ((const struct used_name *)b)->name);
}

static void free_used(void *node)
{
	struct used_name *used = node;

	free(used->name);
	free(used);
}

static const struct used_name *use_name(struct ova *ova, char *name,
					struct error *err)
{
	struct used_name *used = calloc(1, sizeof(*used));

	if (used)
		*used = (struct used_name){ .name = name, .next = 2 };
	if (used && tsearch(used, &ova->names, compare_used))
		return used;
	free(name);
	free(used);
	error_nomem(err);
	return NULL;
}

/* name + ending if that is free, else name~2 + ending and so on. The result
 * (in which `ending` is part of the text) belongs to the ova. */
static const char *unique_name(struct ova *ova, const char *name,
			       const char *ending, struct error *err)
{
	struct strbuf text = { .max = TAR_PATH_MAX + 64 };
	struct used_name key, **first, **found;
	const struct used_name *used;

	strbuf_printf(&text, "%s%s", name, ending);
	key.name = text.data;
	first = found = text.failed ? NULL :
		tfind(&key, &ova->names, compare_used);
	while (found && !text.failed) {
		text.len = 0;
		strbuf_printf(&text, "%s~%u%s", name, (*first)->next++, ending);
		key.name = text.data;
		found = tfind(&key, &ova->names, compare_used);
	}
	if (text.failed) {
		strbuf_free(&text);
		error_set(err, ERR_LIMIT, "a disk's name is above %d bytes",
			  TAR_PATH_MAX);
		return NULL;
	}
	used = use_name(ova, strbuf_take(&text), err);
	return used ? used->name : NULL;
}

/* Members. */

int ova_open_member(struct source **out, const struct ova *ova,
		    const struct tar_member *member, struct error *err)
{
	return source_window(out, member->name, ova->source, member->offset,
			     member->stored, err);
}

char *ova_read_text(const struct ova *ova, const struct tar_member *member,
		    size_t max, size_t *len, struct error *err)
{
	char *text;

	if (member->stored < member->size) {
		error_set(err, ERR_CORRUPT, "%s: the OVA ends in it",
			  member->name);
		return NULL;
	}
	if (member->size > max) {
		error_set(err, ERR_LIMIT, "%s: %llu bytes, %zu are accepted",
			  member->name, (unsigned long long)member->size, max);
		return NULL;
	}
	*len = (size_t)member->size;
	text = malloc(*len + 1);
	if (!text) {
		error_nomem(err);
		return NULL;
	}
	text[*len] = '\0';
	if (source_read(ova->cached, member->offset, text, *len, 0, err)) {
		error_prefix(err, "%s", member->name);
		free(text);
		return NULL;
	}
	return text;
}

static int find_descriptor(struct ova *ova, struct error *err)
{
	const struct error *damage = &ova->tar->damage;

	for (size_t i = 0; i < ova->tar->count; i++) {
		struct tar_member *member = &ova->tar->members[i];

		if (!ova_has_ending(member->name, ".ovf"))
			continue;
		if (ova->descriptor)
			return error_set(err, ERR_CORRUPT, "several OVF "
					 "descriptors: %.150s and %.150s",
					 ova->descriptor->path, member->path);
		ova->descriptor = member;
	}
	if (ova->descriptor)
		return 0;
	if (damage->kind)
		return error_set(err, damage->kind, "%s", damage->text);
	return error_set(err, ERR_CORRUPT, "no OVF descriptor among the %zu "
			 "members", ova->tar->count);
}

static void warn_ovf(void *arg, const char *text)
{
	const struct open_args *args = arg;

	open_warn(args, "OVF: %s", text);
}

static int read_descriptor(struct ova *ova, const struct open_args *args,
			   struct error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	if (find_descriptor(ova, err))
		return -1;
	text = ova_read_text(ova, ova->descriptor, XML_TEXT_MAX, &len, err);
	if (!text)
		return -1;
	if (ovf_parse(&ova->ovf, text, len, warn_ovf, (void *)args, err))
		return error_prefix(err, "%s", ova->descriptor->name);
	return 0;
}

/* Siblings. */

static int ova_siblings_open(struct siblings *siblings, const char *name,
			     struct source **out, struct error *err)
{
	struct ova_siblings *self = (struct ova_siblings *)siblings;
	const struct ova *ova = self->ova;
	const struct tar_member *member;
	size_t count;

	*out = NULL;
	atomic_fetch_add(&self->opened, 1);
	if (strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return error_set(err, ERR_DENIED, "\"%.200s\" is no plain name",
				 name);
	member = tar_find_name(ova->tar, name, &count);
	if (!member)
		return error_set(err, ERR_NOT_FOUND, "\"%.200s\" is not in the "
				 "OVA", name);
	if (count > 1 || member->is_sparse)
		return error_set(err, ERR_UNSUPPORTED, "\"%.200s\" is in the "
				 "OVA %s", name, count > 1 ? "several times" :
				 "as a GNU sparse file");
	return ova_open_member(out, ova, member, err);
}

static int ova_siblings_each(struct siblings *siblings,
			     int (*fn)(void *arg, const char *name,
				       struct error *err),
			     void *arg, struct error *err)
{
	const struct ova *ova = ((struct ova_siblings *)siblings)->ova;

	for (size_t i = 0; i < ova->tar->count; i++)
		if (fn(arg, ova->tar->members[i].name, err))
			return -1;
	return 0;
}

struct siblings *ova_siblings(struct ova *ova)
{
	return &ova->siblings.siblings;
}

unsigned int ova_siblings_opened(const struct ova *ova)
{
	return atomic_load(&ova->siblings.opened);
}

/* Disks. */

static size_t member_index(const struct ova *ova,
			   const struct tar_member *member)
{
	return (size_t)(member - ova->tar->members);
}

/* Look at the content: writers set compression="gzip" on files that are not
 * compressed (and the other way round). */
static int detect_gzip(const struct ova *ova, struct ova_disk *disk,
		       const struct tar_member *first,
		       const struct ovf_file *file,
		       const struct open_args *args, struct error *err)
{
	static const uint8_t magic[] = { 0x1f, 0x8b, 8 };
	uint8_t start[sizeof(magic)];
	struct error why = { 0 };
	bool is_claimed = file->compression &&
			  !strcmp(file->compression, "gzip");

	if (file->compression && !is_claimed) {
		error_set(&disk->error, ERR_UNSUPPORTED, "file \"%.100s\" has "
			  "the compression \"%.100s\"; only gzip is supported",
			  file->href, file->compression);
		return 0;
	}
	if (first->stored < sizeof(magic))
		return 0;
	if (open_goes_on(args, err))
		return -1;
	if (source_read(ova->cached, first->offset, start, sizeof(start), 0,
			&why)) {
		/* A bad sector of one disk is no reason to lose the others. */
		if (why.kind != ERR_IO)
			return error_set(err, why.kind, "%s", why.text);
		disk->error = why;
		return 0;
	}
	disk->is_gzip = !memcmp(start, magic, sizeof(magic));
	if (is_claimed && !disk->is_gzip)
		open_warn(args, "file \"%.200s\" is declared as gzip but is "
			  "not compressed", file->href);
	return 0;
}

/* One source of all parts. */
static int join_parts(const struct ova *ova, struct ova_disk *disk,
		      const struct ova_parts *parts, struct error *err)
{
	AUTO_FREE struct source **sources = NULL;
	size_t n = 0;
	int ret = 0;

	if (parts->count == 1) {
		const struct tar_member *member = parts->members[0];

		disk->offset = member->offset;
		disk->stored = member->stored == member->size ? member->size :
								0;
		return ova_open_member(&disk->source, ova, member, err);
	}
	sources = calloc(parts->count, sizeof(*sources));
	if (!sources)
		return error_nomem(err);
	while (!ret && n < parts->count) {
		ret = ova_open_member(&sources[n], ova, parts->members[n], err);
		n += !ret;
	}
	if (!ret)
		ret = source_concat(&disk->source, disk->name, sources, n, err);
	while (n)
		source_unref(sources[--n]);
	return ret;
}

/* Name the disk so that NAME.raw is unique among what is shown. */
static int name_disk(struct ova *ova, struct ova_disk *disk, const char *name,
		     struct error *err)
{
	AUTO_FREE char *plain = strdup(name);
	const char *shown;

	if (!plain)
		return error_nomem(err);
	for (char *c = plain; *c; c++)
		if (*c == '/')
			*c = '_';
	shown = unique_name(ova, plain, ".raw", err);
	if (!shown)
		return -1;
	disk->name = strndup(shown, strlen(shown) - strlen(".raw"));
	return disk->name ? 0 : error_nomem(err);
}

/* A disk that is no file: all zeroes. */
static void fill_empty_disk(struct ova_disk *disk)
{
	if (disk->capacity > FORMAT_DISK_MAX)
		error_set(&disk->error, ERR_LIMIT, "disk \"%.200s\" has a "
			  "capacity of %llu bytes, %llu are supported",
			  disk->disk_id, (unsigned long long)disk->capacity,
			  FORMAT_DISK_MAX);
}

static int fill_disk(struct ova *ova, struct ova_disk *disk,
		     const struct ovf_file *file, struct ova_parts *parts,
		     const struct open_args *args, struct error *err)
{
	for (size_t i = 0; i < parts->count; i++)
		ova->is_disk[member_index(ova, parts->members[i])] = true;
	if (detect_gzip(ova, disk, parts->members[0], file, args, err))
		return -1;
	return disk->error.kind ? 0 : join_parts(ova, disk, parts, err);
}

/* Find the parts of the disk's file. Failing that, the disk's error is set;
 * *is_repeated: another disk has this file already. */
static int locate_disk(const struct ova *ova, struct ova_disk *disk,
		       const struct ovf_file *file, struct ova_parts *parts,
		       bool *is_repeated, struct error *err)
{
	struct error why = { 0 };

	*is_repeated = false;
	if (ova_locate(parts, ova, file, &why)) {
		if (error_is_passing(why.kind))
			return error_set(err, why.kind, "%s", why.text);
		disk->error = why;
		return 0;
	}
	*is_repeated =
		ova->is_disk[member_index(ova, parts->members[0])];
	return 0;
}

/* "d.vmdk" for "disks/d.vmdk", for the chunk d.vmdk.000000000 as well. */
static const char *file_name(const struct ovf_file *file)
{
	size_t len = strlen(file->href);

	while (len && file->href[len - 1] != '/' && file->href[len - 1] != '\\')
		len--;
	return file->href[len] ? file->href + len : file->id;
}

/* Add ovf->disks[i]; whether it is kept depends on what its file is. */
static int add_disk(struct ova *ova, size_t i, const struct open_args *args,
		    struct error *err)
{
	const struct ovf_disk *described = &ova->ovf->disks[i];
	const struct ovf_file *file = described->file == OVF_NO_FILE ? NULL :
				      &ova->ovf->files[described->file];
	struct ova_disk *disk = &ova->disks[ova->disk_count];
	struct ova_parts parts = { 0 };
	bool is_repeated = false;
	int ret = 0;

	*disk = (struct ova_disk){ .capacity = described->capacity,
				   .disk_id = described->id,
				   .error = described->error };
	if (file && !disk->error.kind)
		ret = locate_disk(ova, disk, file, &parts, &is_repeated, err);
	if (!ret && !is_repeated) {
		ova->ovf_disks[ova->disk_count++] = i;
		ret = name_disk(ova, disk, file ? file_name(file) :
				described->id, err);
		if (!ret && parts.count)
			ret = fill_disk(ova, disk, file, &parts, args, err);
		else if (!file && !disk->error.kind)
			fill_empty_disk(disk);
	}
	free(parts.members);
	return ret;
}

static int list_disks(struct ova *ova, const struct open_args *args,
		      struct error *err)
{
	size_t n = ova->ovf->disk_count;

	ova->disks = calloc(n + 1, sizeof(*ova->disks));
	ova->ovf_disks = calloc(n + 1, sizeof(*ova->ovf_disks));
	ova->is_disk = calloc(ova->tar->count + 1, sizeof(*ova->is_disk));
	if (!ova->disks || !ova->ovf_disks || !ova->is_disk)
		return error_nomem(err);
	for (size_t i = 0; i < n; i++)
		if (!ova->ovf->disks[i].is_media && add_disk(ova, i, args, err))
			return -1;
	return 0;
}

/* What is no disk is shown as it is; a cut member as far as it goes. */
static int list_files(struct ova *ova, struct error *err)
{
	ova->files = calloc(ova->tar->count + 1, sizeof(*ova->files));
	if (!ova->files)
		return error_nomem(err);
	for (size_t i = 0; i < ova->tar->count; i++) {
		const struct tar_member *member = &ova->tar->members[i];
		struct ova_file *file = &ova->files[ova->file_count];

		if (ova->is_disk[i] || member->is_sparse)
			continue;
		file->name = unique_name(ova, member->name, "", err);
		if (!file->name ||
		    ova_open_member(&file->source, ova, member, err))
			return -1;
		ova->file_count++;
	}
	return 0;
}

/* Writers put the manifest last, and behind it the tar ends. */
static void prefetch_end(struct ova *ova)
{
	uint64_t bytes = min_u64(END_BYTES, ova->source->size);

	source_prefetch(ova->cached, ova->source->size - bytes, bytes);
}

static int open_ova(struct ova *ova, const struct open_args *args,
		    struct error *err)
{
	if (source_cached(&ova->cached, ova->source, args->cache, err))
		return -1;
	prefetch_end(ova);
	if (tar_read(&ova->tar, ova->cached, args, err))
		return -1;
	if (ova->tar->damage.kind)
		open_warn(args, "%s", ova->tar->damage.text);
	if (read_descriptor(ova, args, err) || list_disks(ova, args, err))
		return -1;
	return list_files(ova, err);
}

int ova_open(struct ova **out, struct source *source,
	     const struct open_args *args, struct error *err)
{
	struct ova *ova = calloc(1, sizeof(*ova));

	*out = NULL;
	if (!ova)
		return error_nomem(err);
	ova->source = source_ref(source);
	ova->siblings.siblings.open = ova_siblings_open;
	ova->siblings.siblings.each = ova_siblings_each;
	ova->siblings.ova = ova;
	if (open_ova(ova, args, err)) {
		ova_close(ova);
		return -1;
	}
	*out = ova;
	return 0;
}

void ova_close(struct ova *ova)
{
	if (!ova)
		return;
	for (size_t i = 0; i < ova->disk_count; i++) {
		source_unref(ova->disks[i].source);
		free((char *)ova->disks[i].name);
	}
	for (size_t i = 0; i < ova->file_count; i++)
		source_unref(ova->files[i].source);
	tdestroy(ova->names, free_used);
	free(ova->disks);
	free(ova->ovf_disks);
	free(ova->is_disk);
	free(ova->files);
	ovf_free(ova->ovf);
	tar_free(ova->tar);
	source_unref(ova->cached);
	source_unref(ova->source);
	free(ova);
}

size_t ova_disk_count(const struct ova *ova)
{
	return ova->disk_count;
}

const struct ova_disk *ova_disk(const struct ova *ova, size_t i)
{
	return &ova->disks[i];
}

size_t ova_file_count(const struct ova *ova)
{
	return ova->file_count;
}

const struct ova_file *ova_file(const struct ova *ova, size_t i)
{
	return &ova->files[i];
}
