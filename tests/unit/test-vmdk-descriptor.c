/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The VMDK descriptor's parser: spellings, odd lines, what is refused and
 * what is only a name. */
#include "config.h"

#include "format/vmdk-descriptor.h"
#include "tests/tap.h"

static int parse(struct vmdk_descriptor **out, const char *text,
		 bool embedded, struct error *err)
{
	return vmdk_descriptor_parse(out, text, strlen(text), embedded, err);
}

static void test_fields(void)
{
	static const struct {
		const char *text, *key, *value;
	} rows[] = {
		{ "createType=\"vmfs\"\n", "createType", "vmfs" },
		{ "createType=vmfs\r\n", "createType", "vmfs" },
		{ "CREATETYPE = \"vmfs\"  \r\n", "createType", "vmfs" },
		{ "  createType\t=\tvmfs\t\n", "createType", "vmfs" },
		{ "createType=\"vmfs", "createType", "vmfs" },
		{ "createType=\"\"\n", "createType", "" },
		{ "createType=\n", "createType", "" },
		{ "ddb.comment = \"a = b\"\n", "ddb.comment", "a = b" },
		{ "a=1\na=2\n", "A", "1" },
		{ "RWmode=1\n", "RWmode", "1" },
		{ "#a=1\n # a=2\na=3", "a", "3" },
		{ "a=1\nb=2\n", "c", NULL },
	};
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vmdk_descriptor *d;
		const char *value;

		succeeds(parse(&d, rows[i].text, false, &err), &err,
			 rows[i].text);
		if (!d)
			continue;
		value = vmdk_descriptor_get(d, rows[i].key);
		if (rows[i].value)
			is_str(value, rows[i].value, rows[i].key);
		else
			ok(!value, "%s is not set", rows[i].key);
		vmdk_descriptor_free(d);
	}
}

static void test_extents(void)
{
	static const struct {
		const char *text;
		enum vmdk_extent_type type;
		uint64_t sectors, offset;
		const char *file;
		bool no_access;
	} rows[] = {
		{ "RW 4192256 SPARSE \"a-s001.vmdk\"\n", VMDK_EXTENT_SPARSE,
		  4192256, 0, "a-s001.vmdk", false },
		{ "rdonly 7 sparse a.vmdk\r\n", VMDK_EXTENT_SPARSE, 7, 0,
		  "a.vmdk", false },
		{ "RW 100 FLAT \"a b-flat.vmdk\" 63\r\n", VMDK_EXTENT_FLAT,
		  100, 63, "a b-flat.vmdk", false },
		{ "RW 100 FLAT \"a-flat.vmdk\"\n", VMDK_EXTENT_FLAT, 100, 0,
		  "a-flat.vmdk", false },
		{ "  RW\t100  VMFS  \"a-flat.vmdk\"", VMDK_EXTENT_FLAT, 100, 0,
		  "a-flat.vmdk", false },
		{ "RW 5 ZERO\n", VMDK_EXTENT_ZERO, 5, 0, "", false },
		{ "NOACCESS 5 ZERO \"\"\n", VMDK_EXTENT_ZERO, 5, 0, "", true },
		{ "RW 5 VMFSRDM \"a-rdm.vmdk\"\n", VMDK_EXTENT_REFUSED, 5, 0,
		  "a-rdm.vmdk", false },
	};
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vmdk_descriptor *d;

		succeeds(parse(&d, rows[i].text, false, &err), &err,
			 rows[i].text);
		if (!d || !ok(d->extent_count == 1, "one extent")) {
			vmdk_descriptor_free(d);
			continue;
		}
		is_u64(d->extents[0].type, rows[i].type, "type");
		is_u64(d->extents[0].sectors, rows[i].sectors, "sectors");
		is_u64(d->extents[0].offset, rows[i].offset, "offset");
		is_u64(d->extents[0].no_access, rows[i].no_access, "access");
		is_str(d->extents[0].file, rows[i].file, "file");
		vmdk_descriptor_free(d);
	}
}

static void test_broken(void)
{
	static const struct {
		const char *text;
		enum error_kind kind;
		const char *part;
	} rows[] = {
		{ "\n\nRW x SPARSE \"a\"\n", ERR_CORRUPT, "line 3" },
		{ "RW -5 SPARSE \"a\"\n", ERR_CORRUPT, "'-5'" },
		{ "RW 0x10 SPARSE \"a\"\n", ERR_CORRUPT, "'0x10'" },
		{ "RW 99999999999999999999 ZERO\n", ERR_CORRUPT, "sectors" },
		{ "RW 137438953473 ZERO\n", ERR_CORRUPT, "sectors" },
		{ "RW 5\n", ERR_UNSUPPORTED, "extent type ''" },
		{ "RW 5 TAPE \"a\"\n", ERR_UNSUPPORTED, "'TAPE'" },
		{ "RW 5 SPARSE\n", ERR_CORRUPT, "no file" },
		{ "RW 5 FLAT \"a\" b\n", ERR_CORRUPT, "offset" },
		{ "parentCID=xyz\n", ERR_CORRUPT, "parentCID 'xyz'" },
		{ "parentCID=123456789\n", ERR_CORRUPT, "parentCID" },
		{ "parentCID=\n", ERR_CORRUPT, "parentCID" },
	};
	struct vmdk_descriptor *d;
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fails_with(parse(&d, rows[i].text, false, &err), &err,
			   rows[i].kind, rows[i].part, rows[i].text);
		ok(!d, "no descriptor is left");
	}
	succeeds(parse(&d, "RW x SPARSE\nCID=1\n", true, &err), &err,
		 "an odd extent line in an embedded descriptor");
	is_u64(d->extent_count, 0, "is passed over");
	vmdk_descriptor_free(d);
}

static void test_cids(void)
{
	struct vmdk_descriptor *d;
	struct error err;

	succeeds(parse(&d, "CID=FFFFfffe\nparentCID=\"0a\"\n", false, &err),
		 &err, "CIDs");
	is_u64(d->cid, 0xfffffffe, "CID");
	is_u64(d->parent_cid, 10, "parentCID");
	vmdk_descriptor_free(d);
	succeeds(parse(&d, "CID=odd\n", false, &err), &err, "an odd CID");
	ok(!d->has_cid, "counts as none");
	is_u64(d->parent_cid, VMDK_NO_PARENT, "no parent by default");
	vmdk_descriptor_free(d);
	succeeds(vmdk_descriptor_parse(&d, "CID=1\0parentCID=2", 17, false,
				       &err), &err, "text behind a NUL");
	is_u64(d->parent_cid, VMDK_NO_PARENT, "is not read");
	vmdk_descriptor_free(d);
}

static void test_many(void)
{
	static char text[VMDK_DESCRIPTOR_MAX];
	struct vmdk_descriptor *d;
	struct error err;
	size_t n = 0;

	for (int i = 0; i < VMDK_EXTENTS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "RW 1 ZERO\n");
	succeeds(parse(&d, text, false, &err), &err, "the most extents");
	vmdk_descriptor_free(d);
	snprintf(text + n, sizeof(text) - n, "RW 1 ZERO\n");
	fails_with(parse(&d, text, false, &err), &err, ERR_LIMIT, "4096",
		   "one more");
	memset(text, '=', sizeof(text));
	for (size_t i = 1; i < sizeof(text); i += 2)
		text[i] = '\n';
	fails_with(vmdk_descriptor_parse(&d, text, sizeof(text), false, &err),
		   &err, ERR_LIMIT, "values", "a million empty values");
}

static void test_refused(void)
{
	static const struct {
		const char *text, *part;
	} rows[] = {
		{ "createType=\"seSparse\"", "SEsparse" },
		{ "createType=vmfsSparse", "COWD" },
		{ "createType=\"vmfsRaw\"", "raw device" },
		{ "createType=\"vmfsRDM\"", "RDM" },
		{ "createType=\"vmfsRDMP\"", "RDM" },
		{ "createType=\"VMFSRAWDEVICEMAP\"", "RDM" },
		{ "createType=\"vmfsPassthroughRawDeviceMap\"", "RDM" },
		{ "createType=\"fullDevice\"", "physical" },
		{ "createType=\"partitionedDevice\"", "physical" },
		{ "RW 1 VMFSSPARSE \"a\"", "COWD" },
		{ "RW 1 SESPARSE \"a\"", "SEsparse" },
		{ "RW 1 VMFSRDM \"a\"", "RDM" },
		{ "RW 1 VMFSRAW \"a\"", "raw device" },
	};
	struct vmdk_descriptor *d;
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		succeeds(parse(&d, rows[i].text, false, &err), &err,
			 rows[i].text);
		fails_with(vmdk_descriptor_supported(d, &err), &err,
			   ERR_UNSUPPORTED, rows[i].part, "is refused by name");
		vmdk_descriptor_free(d);
	}
}

static void test_plain_names(void)
{
	static const struct {
		const char *name, *plain;
		enum error_kind kind;
	} rows[] = {
		{ "a.vmdk", "a.vmdk", ERR_NONE },
		{ "/vmfs/volumes/5f/vm/a.vmdk", "a.vmdk", ERR_NONE },
		{ "C:\\VMs\\x\\a b.vmdk", "a b.vmdk", ERR_NONE },
		{ "../../etc/passwd", "passwd", ERR_NONE },
		{ "..", "..", ERR_NONE }, /* siblings refuse it */
		{ "", NULL, ERR_CORRUPT },
		{ "dir/", NULL, ERR_CORRUPT },
		{ "/dev/sda", NULL, ERR_UNSUPPORTED },
		{ "\\\\.\\PhysicalDrive0", NULL, ERR_UNSUPPORTED },
	};
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *plain = NULL;

		if (rows[i].plain) {
			succeeds(vmdk_plain_name(&plain, rows[i].name, &err),
				 &err, rows[i].name);
			is_str(plain, rows[i].plain, "plain name");
		} else {
			fails_with(vmdk_plain_name(&plain, rows[i].name, &err),
				   &err, rows[i].kind, "'", rows[i].name);
		}
	}
}

static void test_encoding(void)
{
	static const struct {
		const char *encoding, *text, *utf8;
	} rows[] = {
		{ "UTF-8", "\xc3\xa4", "\xc3\xa4" },
		{ "UTF-8", "a\xff" "b", "a?b" },
		{ "windows-1252", "\xe4", "\xc3\xa4" },
		{ "GBK", "\xc4\xe3", "\xe4\xbd\xa0" },
		{ "Shift_JIS", "\x82\xa0", "\xe3\x81\x82" },
		{ "../../tmp/evil", "\xe4", "?" },
		{ "UTF-8//TRANSLIT", "\xe4", "?" },
	};
	struct error err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vmdk_descriptor *d;
		char text[64], *utf8;

		snprintf(text, sizeof(text), "encoding=\"%s\"\n",
			 rows[i].encoding);
		succeeds(parse(&d, text, false, &err), &err, text);
		utf8 = vmdk_descriptor_utf8(d, rows[i].text);
		is_str(utf8, rows[i].utf8, "as UTF-8");
		free(utf8);
		vmdk_descriptor_free(d);
	}
}

int main(void)
{
	test_fields();
	test_extents();
	test_broken();
	test_cids();
	test_many();
	test_refused();
	test_plain_names();
	test_encoding();
	return tap_done();
}
