/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Containers: what a name promises, contents that break the promise, OVAs
 * whose disks fail one by one, identity and currency. */
#include "config.h"

#include "common/bytes.h"
#include "disk/container.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

#define DISK_BYTES 65536

static struct engine *engine;
static struct store *store;
static struct error err;

/* A fixed VHD of DISK_BYTES bytes: data and footer (FORMATS 2.1). */
static void make_vhd(unsigned char *vhd)
{
	unsigned char *footer = vhd + DISK_BYTES;
	uint32_t sum = 0;

	memset(vhd, 'v', DISK_BYTES);
	memset(footer, 0, 512);
	memcpy(footer, "conectix", 8);
	be32_put(footer + 8, 2);
	be32_put(footer + 12, 0x00010000);
	be64_put(footer + 16, UINT64_MAX);
	memcpy(footer + 28, "win ", 4);
	be64_put(footer + 40, DISK_BYTES);
	be64_put(footer + 48, DISK_BYTES);
	be32_put(footer + 60, 2);
	for (int i = 0; i < 512; i++)
		sum += footer[i];
	be32_put(footer + 64, ~sum);
}

static void put(const char *key, const void *data, size_t size)
{
	if (memory_store_put(store, key, data, size, &err))
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
	static unsigned char vhd[DISK_BYTES + 512];
	struct container *container;

	make_vhd(vhd);
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
	static unsigned char vhd[DISK_BYTES + 512];
	struct container *container;
	char before[65];

	make_vhd(vhd);
	put("vms/a.vhd", vhd, sizeof(vhd));
	succeeds(open_key(&container, "vms/a.vhd"), &err, "open a VHD");
	is_u64(container_disk_count(container), 1, "one disk");
	is_str(container_disk(container, 0)->name, "a.vhd", "its name");
	is_u64(container_disk(container, 0)->map->size, DISK_BYTES, "size");
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
	memory_store_remove(store, "vms/a.vhd", &err);
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

static void test_ova(void)
{
	static unsigned char vhd[DISK_BYTES + 512], tar[DISK_BYTES + 8192];
	const struct container_disk *disk;
	struct container *container;
	size_t end;

	make_vhd(vhd);
	end = add_member(tar, 0, "app.ovf", ovf, strlen(ovf));
	end = add_member(tar, end, "one.vhd", vhd, sizeof(vhd));
	end = add_member(tar, end, "two.vmdk", "not a disk", 10);
	put("app.ova", tar, end + 1024);
	succeeds(open_key(&container, "app.ova"), &err, "open an OVA");
	if (!container)
		return;
	ok(container_is_ova(container), "is one");
	is_u64(container_disk_count(container), 4, "four disks");
	disk = container_disk(container, 0);
	is_str(disk->name, "one.vhd", "the first by its file");
	ok(disk->map && disk->map->size == DISK_BYTES, "and readable");
	ok(container_warning_count(container) > 0 &&
	   strstr(container_warning(container, 0), "capacity"),
	   "the OVF's other capacity is a warning");
	disk = container_disk(container, 1);
	ok(!disk->map && disk->error.kind == ERR_CORRUPT &&
	   strstr(disk->error.text, "two.vmdk"), "damage stays with its disk");
	disk = container_disk(container, 2);
	ok(!disk->map && strstr(disk->error.text, "three.vmdk"),
	   "so does a missing member");
	disk = container_disk(container, 3);
	is_str(disk->name, "d4", "an empty disk is named by its id");
	ok(disk->map && disk->map->size == 8ull << 30, "and has its size");
	container_unref(container);
}

int main(void)
{
	struct engine_options options = { 0 };

	succeeds(memory_store_new(&store, &err), &err, "store");
	succeeds(engine_new(&engine, &options, &err), &err, "engine");
	test_classify();
	test_names_that_lie();
	test_identity();
	test_ova();
	engine_free(engine);
	store_close(store);
	return tap_done();
}
