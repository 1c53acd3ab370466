/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of formats, recognition by content, and opening. */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "format/format.h"

#define MAGIC_MAX  32     /* bytes in one magic */
#define HEAD_BYTES 16384u /* of a format not known yet */
#define TAIL_BYTES 512u   /* where a magic may lie */
#define LIKELY_BYTES (128u << 10) /* at each of likely_at */
#define FAR_BYTES    (32u << 10)  /* where a request costs as much as that */

/* In probing order. */
static const struct format *const formats[] = {
	&vhdx_format,
	&vmdk_format,
	&vhd_format,
	&raw_format,
};

#define FORMAT_COUNT (sizeof(formats) / sizeof(formats[0]))

const struct format *format_find(const char *name)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		if (!strcasecmp(formats[i]->name, name))
			return formats[i];
	return NULL;
}

/* 1 if the magic is there, 0 if not, -1 on error. */
static int match_magic(const struct magic *magic, struct source *source,
		       struct error *err)
{
	uint64_t at = (uint64_t)magic->offset;
	char found[MAGIC_MAX];

	if (magic->offset < 0)
		at += source->size;
	if (!in_range(at, magic->length, source->size))
		return 0;
	if (source_read(source, at, found, magic->length, 0, err))
		return -1;
	return !memcmp(found, magic->bytes, magic->length);
}

/* As above, for any of the format's magics. */
static int match_magics(const struct format *format, struct source *source,
			struct error *err)
{
	int match = 0;

	for (const struct magic *magic = format->magics;
	     magic->bytes && !match; magic++)
		match = match_magic(magic, source, err);
	return match;
}

/* 1 if the content is this format's, 0 if not, -1 on error. */
static int claims(const struct format *format, struct source *source,
		  struct error *err)
{
	int match = match_magics(format, source, err);

	if (match < 0 || !format->probe)
		return match;
	if (match == 0 && format->magics[0].bytes)
		return 0;
	return format->probe(source, err);
}

int format_probe(const struct format **out, struct source *source,
		 struct error *err)
{
	*out = NULL;
	for (size_t i = 0; i < FORMAT_COUNT; i++) {
		int claim = claims(formats[i], source, err);

		if (claim < 0)
			return -1;
		if (!claim)
			continue;
		if (*out)
			return error_set(err, ERR_ARG,
					 "looks like %s and like %s; say "
					 "which with format=", (*out)->name,
					 formats[i]->name);
		*out = formats[i];
	}
	return 0;
}

/* Nothing recognised it. A container of containers is worth a hint. */
static int fail_unknown(struct source *source, const char *expected,
			struct error *err)
{
	static const struct magic tar = { 257, "ustar", 5 };
	int is_tar = match_magic(&tar, source, err);

	if (is_tar < 0)
		return -1;
	if (is_tar)
		return error_set(err, ERR_CORRUPT, "%s%s%sthe content is tar, "
				 "perhaps an OVA; rename it so that it ends "
				 "in .ova", expected ? "named as " : "",
				 expected ? expected : "",
				 expected ? ", but " : "");
	return error_set(err, ERR_CORRUPT, "%s%s%sthe content is of no known "
			 "container format", expected ? "named as " : "",
			 expected ? expected : "", expected ? ", but " : "");
}

/* Which format to open source with, by request or by content. */
static int choose(const struct format **out, struct source *source,
		  const char *expected, const struct open_args *args,
		  struct error *err)
{
	if (args->format) {
		*out = format_find(args->format);
		if (!*out)
			return error_set(err, ERR_ARG, "unknown format '%s'",
					 args->format);
		return 0;
	}
	if (format_probe(out, source, err))
		return -1;
	if (!*out)
		return fail_unknown(source, expected, err);
	if (expected && strcmp((*out)->name, expected) != 0)
		return error_set(err, ERR_CORRUPT, "named as %s, but the "
				 "content is %s (%s); rename it or say "
				 "format=%s", expected, (*out)->name,
				 (*out)->title, (*out)->name);
	return 0;
}

/* Open with this format and check what all formats have in common. */
static int open_with(struct map **out, const struct format *format,
		     struct source *source, const struct open_args *args,
		     struct error *err)
{
	if (format->open(out, source, args, err))
		return -1;
	if ((*out)->size > FORMAT_DISK_MAX) {
		unsigned long long size = (*out)->size;

		map_close(*out);
		*out = NULL;
		return error_set(err, ERR_LIMIT, "virtual size %llu is above "
				 "the limit of %llu bytes", size,
				 (unsigned long long)FORMAT_DISK_MAX);
	}
	return 0;
}

/* The format that was asked for or that the name promises, or NULL. */
static const struct format *promised(const char *expected,
				     const struct open_args *args)
{
	const char *name = args->format ? args->format : expected;

	return name ? format_find(name) : NULL;
}

static void prefetch_tail(struct source *tables, uint64_t bytes)
{
	bytes = min_u64(bytes, tables->size);
	source_prefetch(tables, tables->size - bytes, bytes);
}

/* Both ends: the format's, and where probing looks for the others. From afar
 * also what may be of no use, if it saves a wait. */
static void prefetch_ends(struct source *tables, const struct format *format,
			  const struct open_args *args)
{
	uint32_t head = format ? format->head_bytes : HEAD_BYTES;
	uint32_t tail = format ? format->tail_bytes : 0;

	if (!args->format && tail < TAIL_BYTES)
		tail = TAIL_BYTES;
	source_prefetch(tables, 0, head);
	prefetch_tail(tables, tail);
	for (size_t i = 0; format && i < 2; i++)
		if (format->likely_at[i] && tables->fetch_bytes >= FAR_BYTES)
			source_prefetch(tables, format->likely_at[i],
					LIKELY_BYTES);
}

void format_prefetch(struct source *source, const char *expected,
		     const struct open_args *args)
{
	struct source *tables;

	if (source_cached(&tables, source, args->cache, NULL))
		return;
	prefetch_ends(tables, promised(expected, args), args);
	source_unref(tables);
}

int format_open(struct map **out, struct source *source, const char *expected,
		const struct open_args *args, struct error *err)
{
	const struct format *format;
	struct source *tables; /* held, so that open() finds what was read */
	int ret;

	*out = NULL;
	if (args->depth > FORMAT_DEPTH_MAX)
		return error_set(err, ERR_LIMIT, "more than %d parents",
				 FORMAT_DEPTH_MAX);
	if (source_cached(&tables, source, args->cache, err))
		return -1;
	prefetch_ends(tables, promised(expected, args), args);
	ret = choose(&format, tables, expected, args, err);
	if (!ret)
		ret = open_with(out, format, source, args, err);
	source_unref(tables);
	return ret;
}

int format_glance(struct map **out, struct source *source,
		  const char *expected, const struct open_args *args,
		  struct error *err)
{
	const struct format *format = promised(expected, args);
	struct open_args glance = *args;
	struct error why = { 0 };
	struct source *tables;
	int ret;

	*out = NULL;
	if (!format)
		return 0;
	if (source_cached(&tables, source, args->cache, err))
		return -1;
	glance.size_only = true;
	if (format->magics[0].bytes && format->magics[0].offset < 0)
		prefetch_tail(tables, format->tail_bytes);
	else
		source_prefetch(tables, 0, format->head_bytes);
	ret = format->magics[0].bytes ?
	      match_magic(&format->magics[0], tables, &why) : 1;
	if (ret > 0)
		ret = open_with(out, format, source, &glance, &why);
	if (*out)
		(*out)->is_glance = true;
	source_unref(tables);
	if (ret && why.kind == ERR_AGAIN)
		return 0;
	if (ret && err)
		*err = why;
	return ret;
}
