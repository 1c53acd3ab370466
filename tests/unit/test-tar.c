/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The table of contents of tars: dialects, long names, odd ends, damage. */
#include "config.h"

#include "format/tar.h"
#include "tests/tap.h"
#include "tests/unit/tar-image.h"

static struct tar *read_image(struct strbuf *image)
{
	struct source *source = image_source(image);
	struct error err = { 0 };
	struct tar *tar;

	if (tar_read(&tar, source, NULL, &err)) {
		ok(false, "tar_read: %s", err.text);
		exit(1);
	}
	source_unref(source);
	return tar;
}

static void refuses(struct strbuf *image, enum error_kind kind,
		    const char *part, const char *what)
{
	struct source *source = image_source(image);
	struct error err;
	struct tar *tar;

	fails_with(tar_read(&tar, source, NULL, &err), &err, kind, part, what);
	ok(tar == NULL, "nothing is returned");
	source_unref(source);
}

static void test_ustar(void)
{
	TAR_IMAGE(image);
	uint8_t *header;
	struct tar *tar;
	size_t count;

	image_header(&image, "folder/", '5', 0);
	image_file(&image, "./a.ovf", "hello");
	header = image_header(&image, "b.vmdk", '0', 3);
	memcpy(header + 345, "deep/er", 7);
	image_checksum(&image);
	image_data(&image, "xyz", 3);
	image_file(&image, "._b.vmdk", "resource fork");
	image_header(&image, "link", '2', 0);
	image_header(&image, "rest", 'M', 4);
	image_data(&image, "rest", 4);
	image_header(&image, "label", 'V', 0);
	image_end(&image);
	tar = read_image(&image);
	is_u64(tar->count, 2, "files only");
	is_str(tar->members[0].path, "a.ovf", "./ is dropped");
	is_u64(tar->members[0].offset, 1024, "data offset");
	is_u64(tar->members[0].size, 5, "size");
	is_str(tar->members[1].path, "deep/er/b.vmdk", "prefix");
	is_str(tar->members[1].name, "b.vmdk", "last component");
	is_u64(tar->members[1].offset, 2048, "after the padding");
	ok(tar_find_path(tar, "deep/er/b.vmdk") == &tar->members[1], "by path");
	ok(!tar_find_path(tar, "b.vmdk"), "not by a part of it");
	ok(tar_find_name(tar, "b.vmdk", &count) == &tar->members[1] &&
	   count == 1, "by name");
	ok(!tar->damage.kind, "undamaged");
	tar_free(tar);
}

static void test_v7(void)
{
	TAR_IMAGE(image);
	struct tar *tar;
	uint8_t *header = image_header(&image, "old", '\0', 0);

	memset(header + 257, 0, 8);
	memcpy(header + 124, "         10 ", 12); /* blanks, no NUL */
	image_checksum(&image);
	image_data(&image, "12345678", 8);
	tar = read_image(&image);
	is_u64(tar->count, 1, "v7 header without end blocks");
	is_u64(tar->members[0].size, 8, "blank-padded octal size");
	tar_free(tar);
}

static void test_signed_checksum(void)
{
	TAR_IMAGE(image);
	struct tar *tar;
	uint8_t *header = image_header(&image, "n\xe4me", '0', 0);
	int sum = 8 * ' ';

	for (int i = 0; i < 512; i++)
		if (i < 148 || i >= 156)
			sum += (int8_t)header[i];
	snprintf((char *)header + 148, 8, "%06o", (unsigned int)sum);
	tar = read_image(&image);
	is_u64(tar->count, 1, "checksum over signed bytes");
	tar_free(tar);
}

static void test_gnu(void)
{
	static const uint8_t big[12] = { 0x80, 0, 0, 0, 0, 0, 0, 0x32 };
	TAR_IMAGE(image);
	char name[300];
	struct tar *tar;
	uint8_t *header;

	memset(name, 'n', sizeof(name));
	memcpy(name, "dir/", 4);
	name[299] = '\0';
	image_meta(&image, 'L', name, sizeof(name));
	header = image_header(&image, "dir/nnnn", '0', 0);
	memcpy(header + 257, "ustar  ", 8);
	memcpy(header + 345, "12345670", 8); /* GNU keeps times there */
	memcpy(header + 124, big, 12);       /* 0x3200000000 = 200 GiB */
	image_checksum(&image);
	strbuf_add(&image, "the first bytes", 15);
	tar = read_image(&image);
	is_u64(tar->count, 1, "GNU long name");
	is_str(tar->members[0].path, name, "its text");
	is_u64(tar->members[0].size, 200ull << 30, "base-256 size");
	is_u64(tar->members[0].stored, 15, "cut after 15 bytes");
	tar_free(tar);
}

static void test_pax(void)
{
	static const char text[] = "19 path=long/namex\n"
				   "30 mtime=1350244992.023960108\n"
				   "12 size=600\n";
	static const char global[] = "21 comment=a comment\n";
	static const char data[600] = "payload";
	TAR_IMAGE(image);
	struct tar *tar;

	image_meta(&image, 'g', global, strlen(global));
	image_meta(&image, 'x', text, strlen(text));
	image_header(&image, "short", '0', 1);
	image_data(&image, data, sizeof(data));
	image_file(&image, "next", "n");
	tar = read_image(&image);
	is_u64(tar->count, 2, "pax members");
	is_str(tar->members[0].path, "long/namex", "pax path");
	is_u64(tar->members[0].size, 600, "pax size");
	is_str(tar->members[1].path, "next", "the next one has its own name");
	is_u64(tar->members[1].size, 1, "and size");
	tar_free(tar);
}

static void test_sparse(void)
{
	static const char ext[512];
	TAR_IMAGE(image);
	struct tar *tar;
	uint8_t *header = image_header(&image, "sparse", 'S', 512);

	header[482] = 1;
	image_checksum(&image);
	strbuf_add(&image, ext, 512); /* extension header, the last */
	image_data(&image, ext, 512);
	image_meta(&image, 'x', "22 GNU.sparse.major=1\n", 22);
	image_file(&image, "pax-sparse", "map");
	image_file(&image, "plain", "p");
	tar = read_image(&image);
	is_u64(tar->count, 3, "sparse members are listed");
	ok(tar->members[0].is_sparse, "old GNU sparse");
	is_u64(tar->members[0].offset, 1024, "behind its extension header");
	ok(tar->members[1].is_sparse, "pax sparse");
	ok(!tar->members[2].is_sparse, "the next one is plain");
	tar_free(tar);
}

static void test_duplicates(void)
{
	TAR_IMAGE(image);
	struct tar *tar;
	size_t count;

	image_file(&image, "a", "old");
	image_file(&image, "b", "b");
	image_file(&image, "./a", "newer");
	image_file(&image, "x/a", "elsewhere");
	image_end(&image);
	tar = read_image(&image);
	is_u64(tar->count, 3, "one of each path");
	is_str(tar->members[0].path, "b", "the first a is gone");
	is_u64(tar->members[1].size, 5, "the last a stays");
	ok(tar_find_name(tar, "a", &count) == &tar->members[1], "first a");
	is_u64(count, 2, "two have that name");
	ok(!tar_find_name(tar, "c", &count) && count == 0, "no c");
	tar_free(tar);
}

static void test_ends(void)
{
	TAR_IMAGE(image);
	struct tar *tar;

	image_file(&image, "a", "a");
	strbuf_add(&image, "garbage", 7);
	tar = read_image(&image);
	is_u64(tar->count, 1, "less than a block is padding");
	ok(!tar->damage.kind, "and no damage");
	tar_free(tar);

	image_file(&image, "a", "a");
	image_end(&image);
	image_file(&image, "b", "b");
	tar = read_image(&image);
	is_u64(tar->count, 1, "nothing counts behind the end");
	tar_free(tar);
}

static void test_damage(void)
{
	TAR_IMAGE(image);
	struct tar *tar;
	uint8_t *header;

	image_file(&image, "a", "a");
	header = image_header(&image, "b", '0', 0);
	header[0] = 'c';
	tar = read_image(&image);
	is_u64(tar->count, 1, "what lies before the damage");
	is_u64(tar->damage.kind, ERR_CORRUPT, "damage");
	is_str(tar->damage.text, "the tar is damaged at byte 1024: no valid "
	       "tar header", "says where");
	tar_free(tar);

	image_file(&image, "a", "a");
	header = image_header(&image, "b", '0', 0);
	memcpy(header + 124, "12x", 3);
	image_checksum(&image);
	tar = read_image(&image);
	ok(strstr(tar->damage.text, "size is no number"), "bad size");
	tar_free(tar);

	image_file(&image, "a", "a");
	image_meta(&image, 'x', "999 path=x\n", 11);
	image_file(&image, "b", "b");
	tar = read_image(&image);
	ok(strstr(tar->damage.text, "broken pax record"), "bad pax record");
	is_u64(tar->count, 1, "the member behind it cannot be trusted");
	tar_free(tar);
}

static void test_not_a_tar(void)
{
	static const char *const starts[][2] = {
		{ "\x1f\x8b\x08", "compressed with gzip" },
		{ "\xfd" "7zXZ", "compressed with xz" },
		{ "BZh9", "compressed with bzip2" },
		{ "\x28\xb5\x2f\xfd", "compressed with zstd" },
		{ "PK\3\4", "a zip archive" },
		{ "7z\xbc\xaf\x27\x1c", "a 7z archive" },
	};
	TAR_IMAGE(image);

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		image_data(&image, starts[i][0], strlen(starts[i][0]));
		refuses(&image, ERR_UNSUPPORTED, starts[i][1], starts[i][1]);
	}
	image_end(&image);
	refuses(&image, ERR_CORRUPT, "empty", "an empty tar");
	image_data(&image, "something else", 14);
	refuses(&image, ERR_CORRUPT, "not a tar", "something else");
	strbuf_add(&image, "x", 1);
	refuses(&image, ERR_CORRUPT, "too short", "one byte");
}

static void test_limits(void)
{
	static char name[TAR_PATH_MAX + 2];
	TAR_IMAGE(image);

	for (int i = 0; i <= TAR_MEMBERS_MAX; i++) {
		snprintf(name, sizeof(name), "%d", i);
		image_header(&image, name, '0', 0);
	}
	refuses(&image, ERR_LIMIT, "more than 10000", "too many members");
	memset(name, 'n', sizeof(name) - 1);
	image_meta(&image, 'L', name, sizeof(name));
	image_header(&image, "n", '0', 0);
	refuses(&image, ERR_LIMIT, "4097 bytes; 4096", "too long a path");
}

int main(void)
{
	test_ustar();
	test_v7();
	test_signed_checksum();
	test_gnu();
	test_pax();
	test_sparse();
	test_duplicates();
	test_ends();
	test_damage();
	test_not_a_tar();
	test_limits();
	return tap_done();
}
