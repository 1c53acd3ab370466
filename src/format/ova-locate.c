/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * From a File element to the members that hold its bytes. Hrefs are names
 * from a stranger's file: they lead to members of the same OVA or nowhere.
 *
 *     href="d.vmdk"                  d.vmdk
 *     href="d.vmdk" chunkSize="N"    d.vmdk.000000000, .000000001, ... joined
 *     href="d.vmdk"                  d.vmdk.00000000N: VMware exports a disk
 *                                    with snapshots so; the last is the disk */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "format/ova-build.h"

#define CHUNK_DIGITS 9

bool ova_has_ending(const char *name, const char *ending)
{
	size_t len = strlen(name), ending_len = strlen(ending);

	return len >= ending_len &&
	       !strcasecmp(name + len - ending_len, ending);
}

/* "http:", "file:", but not "C:". */
static bool has_url_scheme(const char *href)
{
	size_t n = strcspn(href, ":/\\");

	return n > 1 && href[n] == ':';
}

static bool leads_up(const char *href)
{
	while (*href) {
		size_t n = strcspn(href, "/\\");

		if (n == 2 && href[0] == '.' && href[1] == '.')
			return true;
		href += n;
		href += *href != '\0';
	}
	return false;
}

static int check_href(const char *href, struct error *err)
{
	if (has_url_scheme(href))
		return error_set(err, ERR_DENIED, "the file \"%.200s\" is a "
				 "URL; only files inside the OVA are read",
				 href);
	if (href[0] == '/' || href[0] == '\\' ||
	    (href[0] && href[1] == ':'))
		return error_set(err, ERR_DENIED, "the file \"%.200s\" has an "
				 "absolute path; only files inside the OVA "
				 "are read", href);
	if (leads_up(href))
		return error_set(err, ERR_DENIED, "the file \"%.200s\" leads "
				 "out of the OVA; only files inside it are "
				 "read", href);
	return 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* An href is a URI reference, so a name's blank may be written as %20. */
static char *percent_decoded(const char *href)
{
	char *name = strdup(href), *to = name;

	for (const char *from = href; name && *from; from++) {
		int high = *from == '%' ? hex_value(from[1]) : -1;
		int low = high < 0 ? -1 : hex_value(from[2]);

		if (low >= 0 && (high || low)) {
			*to++ = (char)(high << 4 | low);
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	if (name)
		*to = '\0';
	return name;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* name seen from the folder that holds the descriptor. */
static struct tar_member *find_beside_descriptor(const struct ova *ova,
						 const char *name)
{
	const struct tar_member *ovf = ova->descriptor;
	size_t folder_len = (size_t)(ovf->name - ovf->path);
	AUTO_FREE char *path = malloc(folder_len + strlen(name) + 1);

	if (!path)
		return NULL;
	memcpy(path, ovf->path, folder_len);
	memcpy(path + folder_len, name, strlen(name) + 1);
	return tar_find_path(ova->tar, path);
}

struct tar_member *ova_find_member(const struct ova *ova, const char *name,
				   struct error *err)
{
	struct tar_member *member;
	size_t count;

	while (name[0] == '.' && name[1] == '/')
		name += 2;
	member = tar_find_path(ova->tar, name);
	if (!member)
		member = find_beside_descriptor(ova, name);
	if (member)
		return member;
	member = tar_find_name(ova->tar, last_component(name), &count);
	if (count == 1)
		return member;
	if (count)
		error_set(err, ERR_NOT_FOUND, "the OVA has %zu members called "
			  "\"%.200s\" in different folders", count,
			  last_component(name));
	else if (ova->tar->damage.kind)
		error_set(err, ERR_CORRUPT, "\"%.150s\" was not found: %s",
			  name, ova->tar->damage.text);
	else
		error_set(err, ERR_NOT_FOUND, "the file \"%.200s\" is not in "
			  "the OVA", name);
	return NULL;
}

/* NAME.000000017 -> 17; -1 for other names. */
static int64_t chunk_number(const char *member_name, const char *name)
{
	size_t len = strlen(name);
	int64_t n = 0;

	if (strncmp(member_name, name, len) || member_name[len] != '.')
		return -1;
	for (member_name += len + 1; *member_name; member_name++, len++) {
		if (*member_name < '0' || *member_name > '9' || n > 99999999)
			return -1;
		n = 10 * n + (*member_name - '0');
	}
	return len == strlen(name) + CHUNK_DIGITS ? n : -1;
}

struct numbered {
	int64_t number;
	struct tar_member *member;
};

static int compare_numbers(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* All members NAME.ddddddddd in ascending order. */
static int find_numbered(struct numbered **out, size_t *count,
			 const struct ova *ova, const char *name,
			 struct error *err)
{
	struct numbered *found = calloc(ova->tar->count + 1, sizeof(*found));

	*out = found;
	*count = 0;
	if (!found)
		return error_nomem(err);
	for (size_t i = 0; i < ova->tar->count; i++) {
		struct tar_member *member = &ova->tar->members[i];
		int64_t number = chunk_number(member->name, name);

		if (number >= 0)
			found[(*count)++] = (struct numbered){ number, member };
	}
	qsort(found, *count, sizeof(*found), compare_numbers);
	return 0;
}

/* Chunks are complete: numbers from 0 on without a gap, all but the last of
 * chunkSize, and as many as File's size asks for. */
static int check_chunks(const struct numbered *chunks, size_t count,
			const struct ovf_file *file, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t size = chunks[i].member->size;

		if (chunks[i].number != (int64_t)i)
			return error_set(err, ERR_CORRUPT, "chunk %09zu of "
					 "\"%.200s\" is %s", i, file->href,
					 chunks[i].number > (int64_t)i ?
					 "missing" : "there twice");
		if (file->chunk_bytes && i + 1 < count &&
		    size != file->chunk_bytes)
			return error_set(err, ERR_CORRUPT, "chunk %09zu of "
					 "\"%.200s\" has %llu bytes, not %llu",
					 i, file->href,
					 (unsigned long long)size,
					 (unsigned long long)file->chunk_bytes);
	}
	if (file->chunk_bytes &&
	    div_round_up(file->size, file->chunk_bytes) > count)
		return error_set(err, ERR_CORRUPT, "chunk %09zu of \"%.200s\" "
				 "is missing", count, file->href);
	return 0;
}

/* Without chunkSize: are these whole containers (snapshots of one disk)
 * rather than pieces of one? Then the second starts like the first. */
static int are_snapshots(const struct ova *ova, const struct numbered *found,
			 size_t count, struct error *err)
{
	char magic[2][4];

	for (size_t i = 0; i < 2; i++) {
		const struct tar_member *member = found[count - 1 - i].member;

		if (member->stored < sizeof(magic[i]))
			return 0;
		if (source_read(ova->cached, member->offset, magic[i],
				sizeof(magic[i]), 0, err))
			return -1;
	}
	return !memcmp(magic[0], magic[1], 4) &&
	       (!memcmp(magic[0], "KDMV", 4) || !memcmp(magic[0], "COWD", 4) ||
		!memcmp(magic[0], "# Di", 4));
}

static int set_parts(struct ova_parts *parts, const struct numbered *found,
		     size_t count, struct error *err)
{
	parts->members = calloc(count, sizeof(struct tar_member *));
	if (!parts->members)
		return error_nomem(err);
	for (size_t i = 0; i < count; i++)
		parts->members[i] = found[i].member;
	parts->count = count;
	return 0;
}

/* The file in numbered members; parts stays empty where there are none. */
static int locate_numbered(struct ova_parts *parts, const struct ova *ova,
			   const struct ovf_file *file, const char *name,
			   struct error *err)
{
	AUTO_FREE struct numbered *found = NULL;
	struct numbered *first;
	size_t count;
	int snapshots = 0;

	if (find_numbered(&found, &count, ova, last_component(name), err))
		return -1;
	if (count == 0)
		return 0;
	if (!file->chunk_bytes && count > 1)
		snapshots = are_snapshots(ova, found, count, err);
	if (snapshots < 0)
		return -1;
	first = found;
	if (snapshots) {
		first += count - 1;
		count = 1;
	} else if ((file->chunk_bytes || count > 1) &&
		   check_chunks(found, count, file, err)) {
		return -1;
	}
	return set_parts(parts, first, count, err);
}

static int locate_name(struct ova_parts *parts, const struct ova *ova,
		       const struct ovf_file *file, const char *name,
		       struct error *err)
{
	struct numbered whole = { 0 };
	struct error none = { 0 };

	if (check_href(name, err))
		return -1;
	whole.member = ova_find_member(ova, name, &none);
	if (whole.member)
		return set_parts(parts, &whole, 1, err);
	if (locate_numbered(parts, ova, file, name, err))
		return -1;
	return parts->count ? 0 : error_set(err, none.kind, "%s", none.text);
}

/* Bytes that are not there or are not the file's. */
static int check_members(const struct ova_parts *parts, struct error *err)
{
	for (size_t i = 0; i < parts->count; i++) {
		const struct tar_member *member = parts->members[i];

		if (member->is_sparse)
			return error_set(err, ERR_UNSUPPORTED, "member "
					 "\"%.200s\" is stored as a GNU sparse "
					 "file: repack the OVA without -S",
					 member->name);
		if (member->stored < member->size)
			return error_set(err, ERR_CORRUPT, "member \"%.200s\" "
					 "is cut: the OVA ends after %llu of "
					 "its %llu bytes", member->name,
					 (unsigned long long)member->stored,
					 (unsigned long long)member->size);
	}
	return 0;
}

int ova_locate(struct ova_parts *parts, const struct ova *ova,
	       const struct ovf_file *file, struct error *err)
{
	AUTO_FREE char *decoded = percent_decoded(file->href);
	int ret;

	*parts = (struct ova_parts){ 0 };
	if (!decoded)
		return error_nomem(err);
	ret = locate_name(parts, ova, file, file->href, err);
	if (ret && strcmp(decoded, file->href) &&
	    (err->kind == ERR_NOT_FOUND || err->kind == ERR_CORRUPT)) {
		struct error first = *err;

		ret = locate_name(parts, ova, file, decoded, err);
		if (ret && err->kind == ERR_NOT_FOUND)
			*err = first;
	}
	if (!ret)
		ret = check_members(parts, err);
	if (ret) {
		free(parts->members);
		*parts = (struct ova_parts){ 0 };
	}
	return ret;
}
