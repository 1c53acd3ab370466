/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What a key's name promises, by its ending alone. */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "disk/container.h"

static const struct {
	const char *ending, *format;
	enum container_class class;
} endings[] = {
	{ ".vmdk", "vmdk", CONTAINER_DISK },
	{ ".vmdk.gz", "vmdk", CONTAINER_DISK },
	{ ".vhd", "vhd", CONTAINER_DISK },
	{ ".vhd.gz", "vhd", CONTAINER_DISK },
	{ ".avhd", "vhd", CONTAINER_DISK },
	{ ".avhd.gz", "vhd", CONTAINER_DISK },
	{ ".vhdx", "vhdx", CONTAINER_DISK },
	{ ".vhdx.gz", "vhdx", CONTAINER_DISK },
	{ ".avhdx", "vhdx", CONTAINER_DISK },
	{ ".avhdx.gz", "vhdx", CONTAINER_DISK },
	{ ".ova", "ova", CONTAINER_OVA },
	{ ".raw", "raw", CONTAINER_RAW },
	{ ".img", "raw", CONTAINER_RAW },
};

/* Index of the row that key ends with, or -1. A name that is nothing but an
 * ending (".vmdk") counts too. */
static int find_ending(const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t n = strlen(endings[i].ending);

		if (len >= n && !strcasecmp(key + len - n, endings[i].ending))
			return (int)i;
	}
	return -1;
}

enum container_class container_classify(const char *key)
{
	int i = find_ending(key);

	return i < 0 ? CONTAINER_NONE : endings[i].class;
}

const char *container_expected_format(const char *key)
{
	int i = find_ending(key);

	return i < 0 ? NULL : endings[i].format;
}
