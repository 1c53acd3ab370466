/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Names and keys: a table of examples, and the rule itself over random
 * segments: each name leads back to its key, and no name stands for two. */
#include "config.h"

#include "fs/names.h"
#include "tests/tap.h"

#define SAMPLES 20000

static const struct {
	const char *segment;
	enum shape shape; /* in disks/ */
	const char *disks, *objects;
} rows[] = {
	{ "db.vmdk", SHAPE_DISK, "db.vmdk.raw", "db.vmdk" },
	{ "DB.VMDK", SHAPE_DISK, "DB.VMDK.raw", "DB.VMDK" },
	{ "a.vhd.gz", SHAPE_DISK, "a.vhd.gz.raw", "a.vhd.gz" },
	{ "a.avhdx", SHAPE_DISK, "a.avhdx.raw", "a.avhdx" },
	{ "golden.raw", SHAPE_FILE, "golden.raw", "golden.raw" },
	{ "golden.IMG", SHAPE_FILE, "golden.IMG", "golden.IMG" },
	{ "a.vmdk.raw", SHAPE_FILE, "a.vmdk.raw.raw", "a.vmdk.raw" },
	{ "a.vmdk.RAW", SHAPE_FILE, "a.vmdk.RAW.raw", "a.vmdk.RAW" },
	{ "a.vmdk.raw.raw", SHAPE_FILE, "a.vmdk.raw.raw.raw",
	  "a.vmdk.raw.raw" },
	{ "app.ova", SHAPE_OVA, "app.ova", "app.ova" },
	{ "app.ova.raw", SHAPE_FILE, "app.ova.raw", "app.ova.raw" },
	{ "notes.txt", SHAPE_NONE, NULL, "notes.txt" },
	{ "50%.img", SHAPE_FILE, "50%25.img", "50%25.img" },
	{ "", SHAPE_NONE, NULL, "%00" },
	{ ".", SHAPE_NONE, NULL, "%2E" },
	{ "..", SHAPE_NONE, NULL, "%2E%2E" },
	{ "...", SHAPE_NONE, NULL, "..." },
	{ ".raw", SHAPE_FILE, ".raw", ".raw" },
	{ ".vmdk", SHAPE_DISK, ".vmdk.raw", ".vmdk" },
};

static void check_back(enum view view, const char *name, const char *segment,
		       bool taken)
{
	struct name_meaning meaning;

	name_parse(&meaning, view, name);
	ok(meaning.can_be_object && meaning.is_taken == taken,
	   "\"%s\" can be an object", name);
	is_str(meaning.object, segment, "and leads back to its key");
}

static void test_rows(void)
{
	char name[NAME_SIZE];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *segment = rows[i].segment;

		is_u64(name_shape(VIEW_DISKS, segment), rows[i].shape,
		       segment);
		name_of_object(name, VIEW_OBJECTS, segment, false);
		is_str(name, rows[i].objects, "name in objects/");
		check_back(VIEW_OBJECTS, name, segment, false);
		if (!rows[i].disks)
			continue;
		name_of_object(name, VIEW_DISKS, segment, false);
		is_str(name, rows[i].disks, "name in disks/");
		check_back(VIEW_DISKS, name, segment, false);
	}
}

static void test_taken(void)
{
	char name[NAME_SIZE];

	name_of_object(name, VIEW_DISKS, "a.vmdk", true);
	is_str(name, "a.vmdk.raw%", "an object beside a directory");
	check_back(VIEW_DISKS, name, "a.vmdk", true);
	name_of_object(name, VIEW_OBJECTS, "a%", true);
	is_str(name, "a%25%", "with a literal % too");
	check_back(VIEW_OBJECTS, name, "a%", true);
}

/* Names that no key has. */
static void test_foreign(void)
{
	static const char *const names[] = {
		"a%2", "a%zz", "a%41", "a%2e", "%2F", "%%", "a%%", "%00%00",
		"x%00", "%2E%2E%2E",
	};
	struct name_meaning meaning;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		name_parse(&meaning, VIEW_OBJECTS, names[i]);
		ok(!meaning.can_be_object && !meaning.can_be_prefix,
		   "\"%s\" is nobody's name", names[i]);
	}
	name_parse(&meaning, VIEW_DISKS, "a.vmdk");
	ok(!meaning.can_be_object && meaning.can_be_prefix,
	   "a.vmdk in disks/ can only be a directory");
	name_parse(&meaning, VIEW_DISKS, "a.vmdk.RAW");
	ok(!meaning.can_be_object, "a.vmdk.RAW in disks/ is no view");
}

static void test_short(void)
{
	char segment[STORE_KEY_MAX + 1], name[NAME_SIZE];
	struct name_meaning meaning;

	memset(segment, 'x', sizeof(segment));
	memcpy(segment + 246, ".vmdk", 6);
	name_of_object(name, VIEW_DISKS, segment, false);
	ok(strlen(name) == 255 && !strcmp(name + 251, ".raw"),
	   "255 bytes are a name as they are");
	check_back(VIEW_DISKS, name, segment, false);
	memcpy(segment + 246, "xx.vmdk", 8);
	name_of_object(name, VIEW_DISKS, segment, false);
	ok(strlen(name) == 255 && name[190] == '~',
	   "257 bytes become a prefix and a hash");
	name_parse(&meaning, VIEW_DISKS, name);
	ok(meaning.is_short, "which only a listing can resolve");
	memcpy(segment, name, sizeof(name));
	name_of_object(name, VIEW_OBJECTS, segment, false);
	ok(strcmp(name, segment) != 0 && strlen(name) <= 255,
	   "a key of that very form gets another name");
	/* 188 letters and an escape across the place of the cut. */
	memset(segment, 'y', 300);
	segment[300] = '\0';
	segment[189] = '%';
	name_of_object(name, VIEW_OBJECTS, segment, false);
	ok(name[189] == '~', "no escape is cut in two");
	segment[189] = '\xc3';
	segment[190] = '\xa4';
	name_of_object(name, VIEW_OBJECTS, segment, false);
	ok(name[189] == '~', "nor a UTF-8 character");
}

/* A few letters and endings, so that samples come close to each other. */
static void random_segment(char *segment, unsigned int *seed)
{
	static const char *const parts[] = {
		".vmdk", ".raw", ".img", ".ova", ".gz", ".vhd", "%", "%25",
		"%00", ".", "~", "a", "B", "\xc3\xa4", "\xff", "%2E",
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
	};
	int n = rand_r(seed) % 6;

	*segment = '\0';
	if (rand_r(seed) % 4 == 0) {
		size_t len = (size_t)rand_r(seed) % 260;

		memset(segment, 'z', len);
		segment[len] = '\0';
	}
	while (n-- > 0) {
		const char *part = parts[(size_t)rand_r(seed) %
					 (sizeof(parts) / sizeof(parts[0]))];

		memcpy(segment + strlen(segment), part, strlen(part) + 1);
	}
}

struct sample {
	char name[NAME_SIZE];
	char key[340]; /* what it stands for, with its kind in front */
};

static int compare_samples(const void *a, const void *b)
{
	return strcmp(((const struct sample *)a)->name,
		      ((const struct sample *)b)->name);
}

static bool is_legal(const char *name)
{
	return *name && strlen(name) < NAME_SIZE && !strchr(name, '/') &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Make a sample; false where it is not shown, *good false where it does not
 * lead back. */
static bool make_sample(struct sample *sample, enum view view,
			const char *segment, unsigned int kind, bool *good)
{
	struct name_meaning meaning;
	bool is_prefix = kind == 0, taken = kind == 2;

	if (!is_prefix && name_shape(view, segment) == SHAPE_NONE)
		return false;
	if (is_prefix)
		name_of_prefix(sample->name, segment);
	else
		name_of_object(sample->name, view, segment, taken);
	/* An object has the name of its directory only when that is absent,
	 * so these two count as one. */
	snprintf(sample->key, sizeof(sample->key), "%s%s",
		 taken ? "taken " : "", segment);
	if (is_prefix && view == VIEW_DISKS)
		return false;
	name_parse(&meaning, view, sample->name);
	*good = is_legal(sample->name) &&
		(meaning.is_short ||
		 (meaning.is_taken == taken &&
		  !strcmp(is_prefix ? meaning.prefix : meaning.object,
			  segment)));
	return true;
}

static void test_property(enum view view)
{
	struct sample *samples = calloc(SAMPLES, sizeof(*samples));
	unsigned int seed = 1, kind = 0;
	size_t n = 0, bad = 0, clashes = 0;

	while (n < SAMPLES) {
		char segment[700];
		bool good = true;

		random_segment(segment, &seed);
		if (strlen(segment) > 320)
			continue;
		if (make_sample(&samples[n], view, segment, kind++ % 3,
				&good))
			n++;
		if (!good && bad++ < 5)
			printf("# bad: \"%s\"\n", segment);
	}
	ok(bad == 0, "%d names lead back to their keys", SAMPLES);
	qsort(samples, SAMPLES, sizeof(*samples), compare_samples);
	for (size_t i = 1; i < SAMPLES; i++) {
		if (strcmp(samples[i].name, samples[i - 1].name) != 0 ||
		    !strcmp(samples[i].key, samples[i - 1].key))
			continue;
		if (clashes++ < 5)
			printf("# \"%s\" is \"%s\" and \"%s\"\n",
			       samples[i].name, samples[i - 1].key,
			       samples[i].key);
	}
	ok(clashes == 0, "and no two keys share a name");
	free(samples);
}

int main(void)
{
	test_rows();
	test_taken();
	test_foreign();
	test_short();
	test_property(VIEW_DISKS);
	test_property(VIEW_OBJECTS);
	return tap_done();
}
