/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Tar headers. DSP0243 wants POSIX ustar, which knows names of 100 bytes
 * (without a folder) and sizes below 8 GiB. A larger size is stored in base
 * 256 as GNU tar, star, libarchive, Go, Python, VirtualBox and 7-Zip know it,
 * so that the archive has no member besides its files. A longer name needs
 * one: a pax header in front, which then tells a large size as well. */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "format/tar-write.h"

#define OCTAL_SIZE_END (8ull << 30)
#define MTIME          315532800u /* 1980: tar frowns at 1970 */

struct header_disk {
	char name[100];
	char mode[8], uid[8], gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[6], version[2];
	char uname[32], gname[32];
	char dev_major[8], dev_minor[8];
	char prefix[155];
	char pad[12];
};

_Static_assert(sizeof(struct header_disk) == TAR_BLOCK, "one block");
/* "NNN path=NAME\n" and "NN size=NUMBER\n" */
_Static_assert(10 + TAR_NAME_MAX + 30 <= TAR_BLOCK,
	       "a pax header's records fit one block");

/* Octal digits and a NUL. */
static void put_octal(char *field, size_t len, uint64_t value)
{
	field[--len] = '\0';
	while (len--) {
		field[len] = (char)('0' + value % 8);
		value /= 8;
	}
}

static void put_size(char field[12], uint64_t size)
{
	if (size < OCTAL_SIZE_END) {
		put_octal(field, 12, size);
		return;
	}
	memset(field, 0, 4);
	field[0] = (char)0x80;
	be64_put(field + 4, size);
}

static void put_block(uint8_t *out, const char *name, uint64_t size, char type)
{
	struct header_disk header = { .type = type };
	size_t len = strlen(name);
	unsigned int sum = 0;

	memcpy(header.name, name,
	       len < sizeof(header.name) ? len : sizeof(header.name));
	put_octal(header.mode, sizeof(header.mode), 0644);
	put_octal(header.uid, sizeof(header.uid), 0);
	put_octal(header.gid, sizeof(header.gid), 0);
	put_size(header.size, size);
	put_octal(header.mtime, sizeof(header.mtime), MTIME);
	memcpy(header.magic, "ustar", 6);
	memcpy(header.version, "00", 2);
	put_octal(header.dev_major, sizeof(header.dev_major), 0);
	put_octal(header.dev_minor, sizeof(header.dev_minor), 0);
	memset(header.checksum, ' ', sizeof(header.checksum));
	memcpy(out, &header, sizeof(header));
	for (size_t i = 0; i < sizeof(header); i++)
		sum += out[i];
	put_octal(header.checksum, sizeof(header.checksum) - 1, sum);
	memcpy(out, &header, sizeof(header));
}

/* A record begins with its own length, digits included. */
static size_t put_record(char *out, size_t room, const char *key,
			 const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, length = rest + 1;

	while (length != rest + (size_t)snprintf(NULL, 0, "%zu", length))
		length = rest + (size_t)snprintf(NULL, 0, "%zu", length);
	assert(length < room);
	return (size_t)snprintf(out, room, "%zu %s=%s\n", length, key, value);
}

size_t tar_put_header(uint8_t out[TAR_HEADER_MAX], const char *name,
		      uint64_t size)
{
	char *records = (char *)out + TAR_BLOCK, number[21];
	size_t len;

	assert(strlen(name) <= TAR_NAME_MAX);
	if (strlen(name) <= sizeof(((struct header_disk *)out)->name)) {
		put_block(out, name, size, '0');
		return TAR_BLOCK;
	}
	memset(records, 0, TAR_BLOCK);
	len = put_record(records, TAR_BLOCK, "path", name);
	if (size >= OCTAL_SIZE_END) {
		snprintf(number, sizeof(number), "%llu",
			 (unsigned long long)size);
		len += put_record(records + len, TAR_BLOCK - len, "size",
				  number);
	}
	put_block(out, "PaxHeader", len, 'x');
	put_block(out + 2 * (size_t)TAR_BLOCK, name, size, '0');
	return TAR_HEADER_MAX;
}
