/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * OVAs in memory: what becomes a disk, what stays a file, whose error is
 * whose, names, chunks, snapshots, siblings. tests/format/ova.py compares
 * whole generated OVAs besides. */
#include "config.h"

#include "format/ova.h"
#include "tests/tap.h"
#include "tests/unit/failing-source.h"
#include "tests/unit/tar-image.h"

#define MAGIC "KDMV and so on"

static char last_warning[512];

static void keep_warning(void *arg, const char *text)
{
	snprintf(last_warning, sizeof(last_warning), "%s", text);
}

static const struct open_args open_args = { .warn = keep_warning };

/* An OVF with these File and Disk elements. */
static void add_ovf(struct strbuf *image, const char *name, const char *files,
		    const char *disks)
{
	struct strbuf text = { .max = 1 << 20 };

	strbuf_printf(&text, "<Envelope><References>%s</References>"
		      "<DiskSection>%s</DiskSection></Envelope>", files,
		      disks);
	image_file(image, name, text.data);
	strbuf_free(&text);
}

static struct ova *open_image(struct strbuf *image)
{
	struct source *source = image_source(image);
	struct error err = { 0 };
	struct ova *ova;

	last_warning[0] = '\0';
	if (ova_open(&ova, source, &open_args, &err)) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	source_unref(source);
	return ova;
}

static void refuses(struct strbuf *image, enum error_kind kind,
		    const char *part, const char *what)
{
	struct source *source = image_source(image);
	struct error err;
	struct ova *ova;

	fails_with(ova_open(&ova, source, &open_args, &err), &err, kind, part,
		   what);
	ok(!ova, "nothing is returned");
	source_unref(source);
}

static void holds(struct source *source, const char *text, const char *what)
{
	char buf[256] = { 0 };
	struct error err;

	if (!ok(source && source->size == strlen(text), "%s: size", what))
		return;
	succeeds(source_read(source, 0, buf, strlen(text), 0, &err), &err,
		 what);
	is_str(buf, text, what);
}

/* What the tests below have in common: one disk, one File. */
static struct ova *one_disk(const char *file_attributes, const char *member,
			    const char *text)
{
	char files[512];
	TAR_IMAGE(image);

	snprintf(files, sizeof(files), "<File id='f' %s/>", file_attributes);
	add_ovf(&image, "vm.ovf", files,
		"<Disk diskId='d' fileRef='f' capacity='512'/>");
	if (member)
		image_file(&image, member, text);
	image_end(&image);
	return open_image(&image);
}

static void test_plain(void)
{
	TAR_IMAGE(image);
	struct ova *ova;

	image_file(&image, "b.vmdk", "second");
	image_file(&image, "a.vmdk", "first");
	add_ovf(&image, "vm.OVF", "<File id='fa' href='a.vmdk'/>"
		"<File id='fb' href='b.vmdk'/><File id='n' href='vm.nvram'/>",
		"<Disk diskId='da' fileRef='fa' capacity='512'/>"
		"<Disk diskId='db' fileRef='fb'/>"
		"<Disk diskId='again' fileRef='fa'/>"
		"<Disk diskId='empty/1' capacity='4096'/>");
	image_file(&image, "vm.nvram", "nvram");
	ova = open_image(&image);
	is_u64(ova_disk_count(ova), 3, "two Disks on one file are one");
	is_str(ova_disk(ova, 0)->name, "a.vmdk", "order of the OVF");
	is_str(ova_disk(ova, 0)->disk_id, "da", "id of the first");
	is_u64(ova_disk(ova, 0)->capacity, 512, "capacity");
	holds(ova_disk(ova, 0)->source, "first", "a.vmdk");
	is_u64(ova_disk(ova, 0)->offset, 3 * 512, "begins there");
	is_u64(ova_disk(ova, 0)->stored, 5, "and has so many bytes");
	holds(ova_disk(ova, 1)->source, "second", "b.vmdk");
	is_str(ova_disk(ova, 2)->name, "empty_1", "an empty disk by its id");
	ok(!ova_disk(ova, 2)->source && !ova_disk(ova, 2)->error.kind,
	   "no bytes, no error");
	is_u64(ova_file_count(ova), 2, "what is no disk is a file");
	is_str(ova_file(ova, 0)->name, "vm.OVF", "the descriptor");
	holds(ova_file(ova, 1)->source, "nvram", "vm.nvram");
	ova_close(ova);
}

static void test_refused(void)
{
	TAR_IMAGE(image);
	uint8_t *header;

	image_file(&image, "a.vmdk", "x");
	image_end(&image);
	refuses(&image, ERR_CORRUPT, "no OVF descriptor among the 1 members",
		"no descriptor");
	add_ovf(&image, "a.ovf", "", "");
	add_ovf(&image, "x/b.ovf", "", "");
	refuses(&image, ERR_CORRUPT, "several OVF descriptors: a.ovf and "
		"x/b.ovf", "two descriptors");
	image_file(&image, "a.ovf", "<Envelope>\n<oops\n");
	refuses(&image, ERR_CORRUPT, "a.ovf: line", "broken XML");
	image_file(&image, "a.vmdk", "x");
	header = image_header(&image, "a.ovf", '0', 0);
	header[0] = 'b';
	refuses(&image, ERR_CORRUPT, "damaged at byte 1024",
		"damage before a descriptor is found");
	image_header(&image, "a.ovf", '0', 10000);
	strbuf_puts(&image, "<Envelope>");
	refuses(&image, ERR_CORRUPT, "a.ovf: the OVA ends in it",
		"a cut descriptor");
	image_header(&image, "a.ovf", '0', 9u << 20);
	while (image.len < (9u << 20) + 1024)
		image_end(&image);
	refuses(&image, ERR_LIMIT, "8388608 are accepted", "a huge descriptor");
	image_data(&image, "\x1f\x8b\x08", 3);
	refuses(&image, ERR_UNSUPPORTED, "gzip", "a compressed tar");
}

/* Hrefs that lead nowhere are their disk's error. */
static void test_hrefs(void)
{
	static const struct {
		const char *href, *member; /* member NULL: none */
		enum error_kind kind;
		const char *part;
	} rows[] = {
		{ "d.vmdk", "d.vmdk", ERR_NONE, "" },
		{ "./d.vmdk", "d.vmdk", ERR_NONE, "" },
		{ "disks/d.vmdk", "disks/d.vmdk", ERR_NONE, "" },
		{ "disks/d.vmdk", "d.vmdk", ERR_NONE, "" },
		{ "d.vmdk", "folder/d.vmdk", ERR_NONE, "" },
		{ "my%20disk.vmdk", "my disk.vmdk", ERR_NONE, "" },
		{ "50%.vmdk", "50%.vmdk", ERR_NONE, "" },
		{ "d%2f.vmdk", "d%2f.vmdk", ERR_NONE, "" },
		{ "d.vmdk", NULL, ERR_NOT_FOUND, "\"d.vmdk\" is not in" },
		{ "d%00.vmdk", "d", ERR_NOT_FOUND, "is not in the OVA" },
		{ "http://example.com/d.vmdk", "d.vmdk", ERR_DENIED, "URL" },
		{ "file:///etc/passwd", "passwd", ERR_DENIED, "URL" },
		{ "/etc/passwd", "passwd", ERR_DENIED, "absolute" },
		{ "\\\\host\\d.vmdk", "d.vmdk", ERR_DENIED, "absolute" },
		{ "C:\\d.vmdk", "d.vmdk", ERR_DENIED, "absolute" },
		{ "../d.vmdk", "d.vmdk", ERR_DENIED, "leads out" },
		{ "x/../../d.vmdk", "d.vmdk", ERR_DENIED, "leads out" },
		{ "%2e%2e/nix", "d.vmdk", ERR_DENIED, "leads out" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char attributes[256];
		const struct ova_disk *disk;
		struct ova *ova;

		snprintf(attributes, sizeof(attributes), "href='%s'",
			 rows[i].href);
		ova = one_disk(attributes, rows[i].member, "bytes");
		disk = ova_disk(ova, 0);
		is_u64(ova_disk_count(ova), 1, rows[i].href);
		is_u64(disk->error.kind, rows[i].kind, "the disk's error");
		ok(strstr(disk->error.text, rows[i].part), "says \"%s\"",
		   rows[i].part);
		ok(!!disk->source == !rows[i].kind, "source");
		ova_close(ova);
	}
}

static void test_same_names(void)
{
	TAR_IMAGE(image);
	struct ova *ova;

	add_ovf(&image, "in/vm.ovf",
		"<File id='f1' href='a/d.vmdk'/><File id='f2' href='d.vmdk'/>"
		"<File id='f3' href='x.vmdk'/>",
		"<Disk diskId='1' fileRef='f1'/><Disk diskId='2' fileRef='f2'/>"
		"<Disk diskId='3' fileRef='f3'/>"
		"<Disk diskId='d.vmdk' capacity='1'/>");
	image_file(&image, "a/d.vmdk", "A");
	image_file(&image, "in/d.vmdk", "IN");
	image_file(&image, "b/x.vmdk", "B");
	image_file(&image, "c/x.vmdk", "C");
	image_file(&image, "d.vmdk.raw", "RAW");
	ova = open_image(&image);
	holds(ova_disk(ova, 0)->source, "A", "by its whole path");
	holds(ova_disk(ova, 1)->source, "IN", "beside the descriptor");
	is_str(ova_disk(ova, 0)->name, "d.vmdk", "the first has the name");
	is_str(ova_disk(ova, 1)->name + strlen(ova_disk(ova, 1)->name) - 2,
	       "~2", "the second a number");
	ok(strstr(ova_disk(ova, 2)->error.text, "2 members called \"x.vmdk\""),
	   "two members come into question");
	ok(strcmp(ova_disk(ova, 3)->name, "d.vmdk"), "a disk id gives way too");
	for (size_t i = 0; i < ova_file_count(ova); i++)
		ok(strcmp(ova_file(ova, i)->name, "d.vmdk.raw"),
		   "no file is shown like a disk");
	ova_close(ova);
}

/* Numbered members: chunks or snapshots. Each row's members are their texts,
 * NULL where the number is missing. */
static const struct {
	const char *what, *attributes, *members[4], *want; /* or the error */
} numbered_rows[] = {
	{ "chunks", "href='d' chunkSize='3'", { "abc", "def", "g" },
	  "abcdefg" },
	{ "chunks and size", "href='d' chunkSize='3' size='7'",
	  { "abc", "def", "g" }, "abcdefg" },
	{ "one chunk", "href='d' chunkSize='9'", { "abc" }, "abc" },
	{ "a chunk is missing", "href='d' chunkSize='3'",
	  { "abc", NULL, "g" }, "chunk 000000001 of \"d\" is missing" },
	{ "the first is missing", "href='d' chunkSize='3'",
	  { NULL, "def", "g" }, "chunk 000000000 of \"d\" is missing" },
	{ "the last is missing", "href='d' chunkSize='3' size='7'",
	  { "abc", "def" }, "chunk 000000002 of \"d\" is missing" },
	{ "a short chunk", "href='d' chunkSize='3'", { "ab", "def" },
	  "chunk 000000000 of \"d\" has 2 bytes, not 3" },
	{ "pieces without chunkSize", "href='d'",
	  { "KDMV-begin", "middle", "end" }, "KDMV-beginmiddleend" },
	{ "snapshots: the last", "href='d'",
	  { MAGIC " 0", MAGIC " 1", MAGIC " 2" }, MAGIC " 2" },
	{ "snapshots with a gap", "href='d'",
	  { MAGIC " 0", NULL, MAGIC " 2" }, MAGIC " 2" },
	{ "a snapshot by its own name", "href='d.000000001'",
	  { MAGIC " 0", MAGIC " 1", MAGIC " 2" }, MAGIC " 1" },
};

/* Bytes of the one member that the disk is, 0 where it is of several. */
static size_t stored_of(size_t row)
{
	const char *want = numbered_rows[row].want;

	for (size_t i = 0; i < 4; i++)
		if (numbered_rows[row].members[i] &&
		    !strcmp(numbered_rows[row].members[i], want))
			return strlen(want);
	return 0;
}

static void test_numbered(void)
{
	for (size_t i = 0;
	     i < sizeof(numbered_rows) / sizeof(numbered_rows[0]); i++) {
		char files[256], name[32];
		const struct ova_disk *disk;
		TAR_IMAGE(image);
		struct ova *ova;

		snprintf(files, sizeof(files), "<File id='f' %s/>",
			 numbered_rows[i].attributes);
		for (int k = 3; k >= 0; k--) { /* any order */
			if (!numbered_rows[i].members[k])
				continue;
			snprintf(name, sizeof(name), "d.%09d", k);
			image_file(&image, name, numbered_rows[i].members[k]);
		}
		image_file(&image, "d.0000000001", "ten digits");
		image_file(&image, "d.00000000x", "no digit");
		add_ovf(&image, "vm.ovf", files,
			"<Disk diskId='d' fileRef='f'/>");
		ova = open_image(&image);
		disk = ova_disk(ova, 0);
		if (disk->error.kind)
			is_str(disk->error.text, numbered_rows[i].want,
			       numbered_rows[i].what);
		else
			holds(disk->source, numbered_rows[i].want,
			      numbered_rows[i].what);
		is_u64(disk->stored, stored_of(i), "lies in one place, or not");
		ova_close(ova);
	}
}

static void test_not_chunked(void)
{
	struct ova *ova = one_disk("href='d' chunkSize='3'", "d", "whole");

	holds(ova_disk(ova, 0)->source, "whole", "chunkSize, but one member");
	ova_close(ova);
}

static void test_compression(void)
{
	struct ova *ova = one_disk("href='d' compression='gzip'", "d",
				   "\x1f\x8b\x08 packed");

	ok(ova_disk(ova, 0)->is_gzip, "declared and packed");
	ova_close(ova);
	ova = one_disk("href='d'", "d", "\x1f\x8b\x08 packed");
	ok(ova_disk(ova, 0)->is_gzip, "packed, not declared");
	ova_close(ova);
	ova = one_disk("href='d' compression='gzip'", "d", "plain");
	ok(!ova_disk(ova, 0)->is_gzip, "declared, not packed");
	ok(strstr(last_warning, "not compressed"), "is a warning");
	ova_close(ova);
	ova = one_disk("href='d' compression='bzip2'", "d", "BZh9");
	is_u64(ova_disk(ova, 0)->error.kind, ERR_UNSUPPORTED, "bzip2");
	ova_close(ova);
}

static void test_cut_member(void)
{
	TAR_IMAGE(image);
	const struct ova_disk *disk;
	struct ova *ova;

	add_ovf(&image, "vm.ovf", "<File id='f' href='d'/>",
		"<Disk diskId='x' fileRef='f'/>");
	image_header(&image, "d", '0', 5000);
	strbuf_add(&image, "cut", 3);
	ova = open_image(&image);
	disk = ova_disk(ova, 0);
	is_u64(disk->error.kind, ERR_CORRUPT, "a cut member");
	is_str(disk->error.text, "member \"d\" is cut: the OVA ends after 3 of "
	       "its 5000 bytes", "says so");
	is_u64(ova_file_count(ova), 2, "what is left of it is a file");
	ova_close(ova);
}

static void test_damage_behind(void)
{
	TAR_IMAGE(image);
	uint8_t *header;
	struct ova *ova;

	add_ovf(&image, "vm.ovf", "<File id='f' href='d'/><File id='g' "
		"href='e'/>", "<Disk diskId='x' fileRef='f'/>"
		"<Disk diskId='y' fileRef='g'/>");
	image_file(&image, "d", "good");
	header = image_header(&image, "e", '0', 0);
	header[0] = 'x';
	ova = open_image(&image);
	holds(ova_disk(ova, 0)->source, "good", "before the damage");
	ok(strstr(ova_disk(ova, 1)->error.text, "damaged at byte"),
	   "the missing one tells of the damage");
	ok(strstr(last_warning, "damaged at byte"), "a warning tells as well");
	ova_close(ova);
}

static int count_name(void *arg, const char *name, struct error *err)
{
	++*(int *)arg;
	return strcmp(name, "stop") ? 0 : error_set(err, ERR_BUG, "stopped");
}

static void test_siblings(void)
{
	TAR_IMAGE(image);
	struct siblings *siblings;
	struct source *source;
	struct error err;
	struct ova *ova;
	int names = 0;

	add_ovf(&image, "vm.ovf", "", "");
	image_file(&image, "x/d-flat.vmdk", "flat");
	image_file(&image, "a/twice", "1");
	image_file(&image, "b/twice", "2");
	ova = open_image(&image);
	siblings = ova_siblings(ova);
	succeeds(siblings->open(siblings, "d-flat.vmdk", &source, &err), &err,
		 "a member as a sibling");
	holds(source, "flat", "its bytes");
	source_unref(source);
	fails_with(siblings->open(siblings, "nix", &source, &err), &err,
		   ERR_NOT_FOUND, "nix", "no such member");
	fails_with(siblings->open(siblings, "../x", &source, &err), &err,
		   ERR_DENIED, "plain name", "no way out");
	fails_with(siblings->open(siblings, "twice", &source, &err), &err,
		   ERR_UNSUPPORTED, "several times", "ambiguous");
	succeeds(siblings->each(siblings, count_name, &names, &err), &err,
		 "each");
	is_u64((uint64_t)names, 4, "all members");
	ova_close(ova);
}

/* Whatever read fails, the whole fails and may be tried again: no disk gets
 * an error that a second attempt would not find. */
static void test_failing_reads(void)
{
	TAR_IMAGE(image);
	struct source *below;
	int n = 0, ret = -1;

	add_ovf(&image, "vm.ovf", "<File id='f' href='d'/><File id='g' "
		"href='e'/>", "<Disk diskId='x' fileRef='f'/>"
		"<Disk diskId='y' fileRef='g'/>");
	image_meta(&image, 'L', "d", 2);
	image_file(&image, "short", "KDMV");
	image_file(&image, "e.000000000", "KDMV");
	image_file(&image, "e.000000001", "KDMV");
	below = image_source(&image);
	while (ret && n < 100) {
		struct failing *failing = failing_source(below, ++n);
		struct error err = { 0 };
		struct ova *ova;

		ret = ova_open(&ova, &failing->source, &open_args, &err);
		if (ret)
			ok(!ova && err.kind == ERR_NETWORK &&
			   strstr(err.text, "connection lost"),
			   "read %d fails: %s", n, err.text);
		ova_close(ova);
		source_unref(&failing->source);
	}
	ok(n > 8, "%d reads open it", n - 1);
	source_unref(below);
}

static int problems;
static char last_problem[768];

static void keep_problem(void *arg, const char *text)
{
	problems++;
	snprintf(last_problem, sizeof(last_problem), "%s", text);
}

static bool go_on(void *arg, uint64_t bytes)
{
	*(uint64_t *)arg += bytes;
	return true;
}

static void test_check(void)
{
	TAR_IMAGE(image);
	uint64_t bytes = 0;
	struct error err;
	struct ova *ova;

	add_ovf(&image, "vm.ovf", "<File id='f' href='d' size='3'/>",
		"<Disk diskId='x' fileRef='f'/>");
	image_file(&image, "d", "abc");
	image_file(&image, "other.mf", "nonsense\n");
	image_file(&image, "vm.mf",
		   "SHA1(d)= a9993e364706816aba3e25717850c26c9cd0d89d\n");
	ova = open_image(&image);
	succeeds(ova_check(ova, keep_problem, go_on, &bytes, &err), &err,
		 "check");
	is_u64((uint64_t)problems, 1, "one problem");
	is_str(last_problem, "vm.ovf: vm.mf has no digest of it", "this one");
	is_u64(bytes, 3, "bytes verified");
	ova_close(ova);
}

static void test_describe(void)
{
	struct ova *ova = one_disk("href='d'", "d", "abc");
	json_t *object = json_object();
	struct error err;

	succeeds(ova_describe(ova, object, &err), &err, "describe");
	is_str(json_string_value(json_object_get(json_array_get(
		json_object_get(object, "disks"), 0), "disk_id")), "d",
	       "disks");
	is_str(json_string_value(json_object_get(object, "descriptor")),
	       "vm.ovf", "descriptor");
	json_decref(object);
	ova_close(ova);
}

int main(void)
{
	test_plain();
	test_refused();
	test_hrefs();
	test_same_names();
	test_numbered();
	test_not_chunked();
	test_compression();
	test_cut_member();
	test_damage_behind();
	test_siblings();
	test_failing_reads();
	test_check();
	test_describe();
	return tap_done();
}
