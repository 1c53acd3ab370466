/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Descriptor text as UTF-8. A descriptor names its encoding ("encoding" or
 * "ddb.encoding"); that name is hostile input, and iconv_open() would look for
 * a converter of any name, so only those that VMware writes are accepted. */
#include "config.h"

#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "format/vmdk-descriptor.h"

static const struct {
	const char *name;  /* in descriptors */
	const char *iconv; /* here */
} encodings[] = {
	{ "UTF-8", "UTF-8" },           { "US-ASCII", "UTF-8" },
	{ "windows-1250", "CP1250" },   { "windows-1251", "CP1251" },
	{ "windows-1252", "CP1252" },   { "windows-1253", "CP1253" },
	{ "windows-1254", "CP1254" },   { "windows-1255", "CP1255" },
	{ "windows-1256", "CP1256" },   { "windows-1257", "CP1257" },
	{ "windows-1258", "CP1258" },   { "windows-874", "CP874" },
	{ "windows-932", "CP932" },     { "windows-936", "GBK" },
	{ "windows-949", "CP949" },     { "windows-950", "CP950" },
	{ "Shift_JIS", "SHIFT_JIS" },   { "EUC-JP", "EUC-JP" },
	{ "GBK", "GBK" },               { "GB18030", "GB18030" },
	{ "GB2312", "GBK" },            { "Big5", "BIG5" },
	{ "EUC-KR", "EUC-KR" },         { "ISO-8859-1", "CP1252" },
	{ "ISO-8859-2", "ISO-8859-2" }, { "ISO-8859-15", "ISO-8859-15" },
};

static const char *find_encoding(const struct vmdk_descriptor *descriptor)
{
	const char *name = vmdk_descriptor_get(descriptor, "encoding");

	if (!name)
		name = vmdk_descriptor_get(descriptor, "ddb.encoding");
	for (size_t i = 0;
	     name && i < sizeof(encodings) / sizeof(encodings[0]); i++)
		if (!strcasecmp(encodings[i].name, name))
			return encodings[i].iconv;
	return "UTF-8";
}

/* Convert with '?' for each byte that is not of the encoding. out has room
 * for 4 bytes for each of in: every encoding above needs at most 3. */
static void convert(iconv_t converter, char *in, size_t in_left, char *out,
		    size_t out_left)
{
	while (in_left) {
		if (iconv(converter, &in, &in_left, &out, &out_left) !=
		    (size_t)-1)
			break;
		if (!out_left)
			break;
		*out++ = '?';
		out_left--;
		in++;
		in_left--;
	}
	*out = 0;
}

char *vmdk_descriptor_utf8(const struct vmdk_descriptor *descriptor,
			   const char *text)
{
	size_t length = strlen(text);
	char *copy = strdup(text);
	char *out = calloc(length + 1, 4);
	iconv_t converter = iconv_open("UTF-8", find_encoding(descriptor));

	if (converter == (iconv_t)-1) /* not on this system */
		converter = iconv_open("UTF-8", "UTF-8");
	if (copy && out && converter != (iconv_t)-1)
		convert(converter, copy, length, out, length * 4);
	if (converter == (iconv_t)-1 || !copy) {
		free(out);
		out = NULL;
	}
	if (converter != (iconv_t)-1)
		iconv_close(converter);
	free(copy);
	return out;
}
