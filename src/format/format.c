/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of formats, recognition by content, and opening. */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "format/format.h"

#define MAGIC_MAX 32 /* bytes in one magic */

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

/* 1 if one of the format's magics is there, 0 if not, -1 on error. */
static int match_magics(const struct format *format, struct source *source,
			struct error *err)
{
	for (const struct magic *magic = format->magics; magic->bytes;
	     magic++) {
		uint64_t at = (uint64_t)magic->offset;
		char found[MAGIC_MAX];

		if (magic->offset < 0)
			at += source->size;
		if (!in_range(at, magic->length, source->size))
			continue;
		if (source_read(source, at, found, magic->length, 0, err))
			return -1;
		if (!memcmp(found, magic->bytes, magic->length))
			return 1;
	}
	return 0;
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
		return error_set(err, ERR_CORRUPT, "%s%s%sthe content is of "
				 "no known container format",
				 expected ? "named as " : "",
				 expected ? expected : "",
				 expected ? ", but " : "");
	if (expected && strcmp((*out)->name, expected) != 0)
		return error_set(err, ERR_CORRUPT, "named as %s, but the "
				 "content is %s (%s); rename it or say "
				 "format=%s", expected, (*out)->name,
				 (*out)->title, (*out)->name);
	return 0;
}

int format_open(struct map **out, struct source *source, const char *expected,
		const struct open_args *args, struct error *err)
{
	const struct format *format;

	*out = NULL;
	if (args->depth > FORMAT_DEPTH_MAX)
		return error_set(err, ERR_LIMIT, "more than %d parents",
				 FORMAT_DEPTH_MAX);
	if (choose(&format, source, expected, args, err))
		return -1;
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
