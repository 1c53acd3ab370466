/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Containers: what a name promises, contents that break the promise, OVAs
 * whose disks fail one by one, trouble that passes, identity and currency. */
#include "config.h"

#include "disk/container.h"
#include "tests/lib/faulty-store.h"
#include "tests/lib/fixed-vhd.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

#define PAGE 4096 /* what tables are read by */

static struct engine *engine;
static struct store *memory, *store; /* store: memory, with faults */
static struct error err;

static void put(const char *key, const void *data, size_t size)
{
	if (memory_store_put(memory, key, data, size, &err))
		ok(false, "put %s: %s", key, err.text);
}

static int open_key(struct container **out, const char *key)
{
	struct container_options options = { 0 };

	return container_open(out, engine, store, key, NULL, &options, &err);
}

static void test_classify(void)
{
	static const struct {
		const char *key;
		enum container_class class;
		const char *format;
	} rows[] = {
		{ "a/b.vmdk", CONTAINER_DISK, "vmdk" },
		{ "a/B.VMDK", CONTAINER_DISK, "vmdk" },
		{ "b.vhd.gz", CONTAINER_DISK, "vhd" },
		{ "b.avhdx", CONTAINER_DISK, "vhdx" },
		{ "b.ova", CONTAINER_OVA, "ova" },
		{ "b.ova.gz", CONTAINER_NONE, NULL },
		{ "golden.img", CONTAINER_RAW, "raw" },
		{ "golden.raw", CONTAINER_RAW, "raw" },
		{ "golden.vmdk.raw", CONTAINER_RAW, "raw" },
		{ "vmdk", CONTAINER_NONE, NULL },
		{ "a.vmdk.txt", CONTAINER_NONE, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *format = container_expected_format(rows[i].key);

		is_u64(container_classify(rows[i].key), rows[i].class,
		       rows[i].key);
		if (rows[i].format)
			is_str(format, rows[i].format, rows[i].key);
		else
			ok(!format, "%s promises nothing", rows[i].key);
	}
}

static void test_names_that_lie(void)
{
	static unsigned char vhd[FIXED_VHD_BYTES];
	struct container *container;

	fixed_vhd_fill(vhd, 'v');
	put("d/lie.vmdk", vhd, sizeof(vhd));
	put("d/text.vhdx", "hello, world", 12);
	put("d/plain.vhd.gz", vhd, sizeof(vhd));
	put("d/packed.vhd", "\x1f\x8b\x08 and so on", 13);
	put("d/magic.raw", "KDMV\1\0\0\0, a guest's own bytes", 30);
	fails_with(open_key(&container, "d/lie.vmdk"), &err, ERR_CORRUPT,
		   "named as vmdk, but the content is vhd", "names both");
	ok(strstr(err.text, "d/lie.vmdk") != NULL, "names the object");
	fails_with(open_key(&container, "d/text.vhdx"), &err, ERR_CORRUPT,
		   "named as vhdx", "no known format");
	fails_with(open_key(&container, "d/plain.vhd.gz"), &err, ERR_CORRUPT,
		   "not gzip", "gz by name only");
	fails_with(open_key(&container, "d/packed.vhd"), &err, ERR_CORRUPT,
		   "gzip-compressed", "gz by content only");
	fails_with(open_key(&container, "d/none.vhd"), &err, ERR_NOT_FOUND,
		   "d/none.vhd", "absent");
	succeeds(open_key(&container, "d/magic.raw"), &err,
		 "a raw object is never probed");
	is_str(container_disk(container, 0)->map->format->name, "raw", "raw");
	container_unref(container);
}

static void test_identity(void)
{
	static unsigned char vhd[FIXED_VHD_BYTES];
	struct container *container;
	char before[65];

	fixed_vhd_fill(vhd, 'v');
	put("vms/a.vhd", vhd, sizeof(vhd));
	succeeds(open_key(&container, "vms/a.vhd"), &err, "open a VHD");
	is_u64(container_disk_count(container), 1, "one disk");
	is_str(container_disk(container, 0)->name, "a.vhd", "its name");
	is_u64(container_disk(container, 0)->map->size, FIXED_VHD_DISK_BYTES,
	       "size");
	is_u64(strlen(container_identity(container)), 64, "identity");
	memcpy(before, container_identity(container), sizeof(before));
	is_u64((uint64_t)container_is_current(container, &err), 1, "current");
	vhd[0] ^= 1;
	put("vms/a.vhd", vhd, sizeof(vhd));
	is_u64((uint64_t)container_is_current(container, &err), 0,
	       "not current after replacing");
	container_unref(container);
	succeeds(open_key(&container, "vms/a.vhd"), &err, "open again");
	ok(strcmp(before, container_identity(container)) != 0,
	   "a new identity");
	memory_store_remove(memory, "vms/a.vhd", &err);
	is_u64((uint64_t)container_is_current(container, &err), 0,
	       "not current after removal");
	container_unref(container);
}

/* Append a ustar member; returns where the next one goes. */
static size_t add_member(unsigned char *tar, size_t at, const char *name,
			 const void *data, size_t size)
{
	unsigned char *header = tar + at;
	unsigned int sum = 0;

	memset(header, 0, 512);
	snprintf((char *)header, 100, "%s", name);
	memcpy(header + 100, "0000644", 7);
	snprintf((char *)header + 124, 12, "%011zo", size);
	memcpy(header + 136, "00000000000", 11);
	memset(header + 148, ' ', 8);
	header[156] = '0';
	memcpy(header + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += header[i];
	snprintf((char *)header + 148, 8, "%06o", sum);
	memcpy(header + 512, data, size);
	return at + 512 + (size + 511) / 512 * 512;
}

static const char ovf[] =
	"<?xml version=\"1.0\"?>\n"
	"<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\""
	" xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\">"
	"<References>"
	"<File ovf:id=\"f1\" ovf:href=\"one.vhd\"/>"
	"<File ovf:id=\"f2\" ovf:href=\"two.vmdk\"/>"
	"<File ovf:id=\"f3\" ovf:href=\"three.vmdk\"/>"
	"</References><DiskSection><Info/>"
	"<Disk ovf:diskId=\"d1\" ovf:fileRef=\"f1\" ovf:capacity=\"1\""
	" ovf:capacityAllocationUnits=\"byte * 2^20\"/>"
	"<Disk ovf:diskId=\"d2\" ovf:fileRef=\"f2\" ovf:capacity=\"65536\"/>"
	"<Disk ovf:diskId=\"d3\" ovf:fileRef=\"f3\" ovf:capacity=\"65536\"/>"
	"<Disk ovf:diskId=\"d4\" ovf:capacity=\"8\""
	" ovf:capacityAllocationUnits=\"byte * 2^30\"/>"
	"</DiskSection><VirtualSystem ovf:id=\"vm\"><Info/>"
	"</VirtualSystem></Envelope>";

/* An OVA whose second disk is damaged and whose third is missing. Returns
 * where the first one's footer lies, far from any tar header; `shift` moves
 * it. */
static size_t put_shifted_ova(size_t shift)
{
	static unsigned char vhd[FIXED_VHD_BYTES], tar[FIXED_VHD_BYTES + 8192];
	size_t at, end;

	fixed_vhd_fill(vhd, 'v');
	end = add_member(tar, 0, "app.ovf", ovf, strlen(ovf));
	at = add_member(tar, end, "padding", vhd,
			PAGE - 1024 - end - 512 + shift);
	end = add_member(tar, at, "one.vhd", vhd, sizeof(vhd));
	is_u64(end % PAGE, shift, "where the footer ends");
	end = add_member(tar, end, "two.vmdk", "not a disk", 10);
	put("app.ova", tar, end + 1024);
	return at + 512 + FIXED_VHD_DISK_BYTES;
}

/* The footer ends a page. */
static size_t put_ova(void)
{
	return put_shifted_ova(0);
}

static void test_ova(void)
{
	const struct container_disk *disk;
	struct container *container;

	put_ova();
	succeeds(open_key(&container, "app.ova"), &err, "open an OVA");
	if (!container)
		return;
	ok(container_is_ova(container), "is one");
	is_u64(container_disk_count(container), 4, "four disks");
	disk = container_disk(container, 0);
	is_str(disk->name, "one.vhd", "the first by its file");
	ok(disk->map && disk->map->size == FIXED_VHD_DISK_BYTES,
	   "and readable");
	ok(container_warning_count(container) > 0 &&
	   strstr(container_warning(container, 0), "capacity"),
	   "the OVF's other capacity is a warning");
	disk = container_disk(container, 1);
	ok(!disk->map && disk->error.kind == ERR_CORRUPT &&
	   strstr(disk->error.text, "no known container"),
	   "damage stays with its disk");
	disk = container_disk(container, 2);
	ok(!disk->map && strstr(disk->error.text, "three.vmdk"),
	   "so does a missing member");
	disk = container_disk(container, 3);
	is_str(disk->name, "d4", "an empty disk is named by its id");
	ok(disk->map && disk->map->size == 8ull << 30, "and has its size");
	container_unref(container);
}

/* A name that promises a disk, or the other way round. */
static void test_tars_that_lie(void)
{
	static unsigned char tar[4096], vhd[FIXED_VHD_BYTES];
	struct container *container;
	size_t end = add_member(tar, 0, "app.ovf", ovf, strlen(ovf));

	fixed_vhd_fill(vhd, 'v');
	put("t/app.vmdk", tar, end + 1024);
	put("t/app.vhd", tar, end + 1024);
	put("t/disk.ova", vhd, sizeof(vhd));
	fails_with(open_key(&container, "t/app.vmdk"), &err, ERR_CORRUPT,
		   "named as vmdk, but the content is tar, perhaps an OVA; "
		   "rename it", "a tar named .vmdk");
	fails_with(open_key(&container, "t/app.vhd"), &err, ERR_CORRUPT,
		   "named as vhd, but the content is tar", "and .vhd");
	fails_with(open_key(&container, "t/disk.ova"), &err, ERR_CORRUPT,
		   "ova", "a disk named .ova");
	ok(strstr(err.text, "vhd") != NULL, "names both: %s", err.text);
}

/* What says nothing about a disk must not be remembered as its error. */
static void test_passing_trouble(void)
{
	struct faults faults = {
		.calls = 1 << FAULTY_READ,
		.bad_offset = put_ova(),
		.bad_length = 512,
		.fail_kind = ERR_NETWORK,
	}, none = { 0 };
	struct container *container;

	faulty_store_set(store, &faults);
	fails_with(open_key(&container, "app.ova"), &err, ERR_NETWORK,
		   "app.ova: one.vhd: ", "the network fails under one disk");
	faulty_store_set(store, &none);
	succeeds(open_key(&container, "app.ova"), &err, "it is back");
	if (container)
		ok(container_disk(container, 0)->map, "the disk opens");
	container_unref(container);
}

/* A bad sector is a matter of the disk that lies on it. */
static void test_bad_sector(void)
{
	struct faults faults = {
		.calls = 1 << FAULTY_READ,
		.bad_offset = put_ova(),
		.bad_length = 512,
		.fail_kind = ERR_IO,
	}, none = { 0 };
	struct container *container;
	const struct container_disk *disk;

	faulty_store_set(store, &faults);
	succeeds(open_key(&container, "app.ova"), &err, "a bad sector");
	disk = container_disk(container, 0);
	ok(!disk->map && disk->error.kind == ERR_IO,
	   "fails the disk on it: %s", disk->error.text);
	ok(container_disk(container, 3)->map, "and no other");
	container_unref(container);
	/* Where the disk's first bytes are looked at, which begin a page. */
	faults.bad_offset = put_shifted_ova(512) - FIXED_VHD_DISK_BYTES;
	is_u64(faults.bad_offset % PAGE, 0, "a page behind the header's");
	faulty_store_set(store, &faults);
	succeeds(open_key(&container, "app.ova"), &err, "one at its start");
	disk = container_disk(container, 0);
	ok(!disk->map && disk->error.kind == ERR_IO, "fails that disk");
	ok(container_disk(container, 3)->map, "and no other");
	container_unref(container);
	faulty_store_set(store, &none);
	succeeds(open_key(&container, "app.ova"), &err, "it is readable again");
	ok(container_disk(container, 0)->map, "so is the disk");
	container_unref(container);
}

static bool has_patience(void *arg)
{
	unsigned int *left = arg;

	return *left && (*left)--;
}

/* Who opens may give up at any point. */
static void test_giving_up(void)
{
	struct container_options options = { .keep_going = has_patience };
	struct container *container;
	unsigned int times = 0, left;
	int ret;

	put_ova();
	options.keep_going_arg = &left;
	do {
		left = times;
		ret = container_open(&container, engine, store, "app.ova",
				     NULL, &options, &err);
		if (ret && err.kind != ERR_CANCELLED)
			break;
	} while (ret && ++times < 100);
	succeeds(ret, &err, "opened in the end");
	ok(times >= 4 + 1 + 4, "asked %u times: 4 members, 1 start, 4 disks",
	   times);
	container_unref(container);
}

int main(void)
{
	struct engine_options options = { 0 };

	succeeds(memory_store_new(&memory, &err), &err, "store");
	succeeds(faulty_store_new(&store, memory, NULL, &err), &err, "faults");
	succeeds(engine_new(&engine, &options, &err), &err, "engine");
	test_classify();
	test_names_that_lie();
	test_identity();
	test_ova();
	test_tars_that_lie();
	test_passing_trouble();
	test_bad_sector();
	test_giving_up();
	engine_free(engine);
	store_close(store);
	return tap_done();
}
