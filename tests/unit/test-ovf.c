/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * OVF descriptors: snippets around one fixed frame, units, device order,
 * properties, broken ones. */
#include "config.h"

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "common/xml.h"
#include "format/ovf.h"
#include "tests/tap.h"

#define FILES(...) "<References>" __VA_ARGS__ "</References>"
#define FILE_(id, href) "<File ovf:id='" id "' ovf:href='" href "'/>"
#define DISKS(...) "<DiskSection><Info/>" __VA_ARGS__ "</DiskSection>"
#define DISK(id, file)                                                         \
	"<Disk ovf:diskId='" id "' ovf:fileRef='" file "' ovf:capacity='1'/>"
#define MACHINE(...)                                                           \
	"<VirtualSystem ovf:id='vm'><VirtualHardwareSection>" __VA_ARGS__      \
	"</VirtualHardwareSection></VirtualSystem>"
#define CONTROLLER(instance, type, address)                                    \
	"<Item><rasd:Address>" address "</rasd:Address><rasd:InstanceID>"      \
	instance "</rasd:InstanceID><rasd:ResourceType>" type                  \
	"</rasd:ResourceType></Item>"
#define ATTACH(parent, unit, resource)                                         \
	"<Item><rasd:AddressOnParent>" unit "</rasd:AddressOnParent>"          \
	"<rasd:HostResource>" resource "</rasd:HostResource><rasd:Parent>"     \
	parent "</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>"

static char last_warning[512];

static void keep_warning(void *arg, const char *text)
{
	snprintf(last_warning, sizeof(last_warning), "%s", text);
}

static int parse(struct ovf **out, const char *body, struct error *err)
{
	static const char head[] =
		"<?xml version='1.0'?>\n<Envelope "
		"xmlns='http://schemas.dmtf.org/ovf/envelope/1' "
		"xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1' "
		"xmlns:rasd='urn:rasd' xmlns:vssd='urn:vssd' "
		"xmlns:vmw='http://www.vmware.com/schema/ovf' "
		"xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\n";
	struct strbuf text = { .max = 1 << 20 };
	int ret;

	strbuf_puts(&text, head);
	strbuf_puts(&text, body);
	strbuf_puts(&text, "</Envelope>");
	last_warning[0] = '\0';
	memset(err, 0, sizeof(*err));
	ret = ovf_parse(out, text.data, text.len, keep_warning, NULL, err);
	strbuf_free(&text);
	return ret;
}

static struct ovf *parsed(const char *body)
{
	struct error err;
	struct ovf *ovf;

	if (parse(&ovf, body, &err)) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return ovf;
}

static void test_units(void)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: not understood */
	} rows[] = {
		{ NULL, 1 }, { "", 1 }, { "byte", 1 }, { "bytes", 1 },
		{ "byte * 2^10", 1024 }, { "byte*2^20", 1 << 20 },
		{ " byte  *  2 ^ 30 ", 1 << 30 }, { "byte * 2^40", 1ull << 40 },
		{ "byte * 10^9", 1000000000 },
		{ "byte * 1024 * 1024", 1 << 20 },
		{ "KiloBytes", 1 << 10 }, { "MegaBytes", 1 << 20 },
		{ "GigaBytes", 1 << 30 }, { "TeraBytes", 1ull << 40 },
		{ "MB", 1 << 20 }, { "GB", 1 << 30 }, { "gigabyte", 1 << 30 },
		{ "KB * 2", 2048 }, { "sectors", 0 }, { "byte * 2^64", 0 },
		{ "byte *", 0 }, { "byte * x", 0 }, { "byte * 2^", 0 },
		{ "byte * 0", 0 }, { "byte / 2", 0 }, { "hertz * 10^6", 0 },
		{ "byte * 2^999999999999999999999", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t bytes = 0;

		is_u64(ovf_unit_bytes(rows[i].text, &bytes), rows[i].bytes != 0,
		       rows[i].text ? rows[i].text : "(no unit)");
		if (rows[i].bytes)
			is_u64(bytes, rows[i].bytes, "its bytes");
	}
}

static void test_capacity(void)
{
	static const struct {
		const char *capacity, *units;
		uint64_t bytes;
	} rows[] = {
		{ "5", "byte * 2^30", 5ull << 30 },
		{ "512", NULL, 512 },
		{ " 10 ", "MegaBytes", 10 << 20 },
		{ "${size}", "byte * 2^20", 7 << 20 },
		{ "${com.example.size}", NULL, 7 },
		{ "${com.example.size.1}", NULL, 7 },
		{ "${by_config}", NULL, 20 },
		{ "${by_element}", NULL, 30 },
		{ "${a&amp;b}", NULL, 11 },
		{ "${nothing}", NULL, 0 },
		{ "${s}", NULL, 0 },
		{ "18446744073709551616", NULL, 0 },
		{ "18446744073709551615", "byte * 2^10", 0 },
		{ "-1", NULL, 0 },
		{ "1.5", "byte * 2^30", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[2048];
		struct ovf *ovf;

		snprintf(text, sizeof(text),
			 "<DiskSection><Disk ovf:diskId='d' ovf:capacity='%s'"
			 "%s%s%s/></DiskSection><DeploymentOptionSection>"
			 "<Configuration ovf:id='small'/>"
			 "<Configuration ovf:id='big' ovf:default='true'/>"
			 "</DeploymentOptionSection><VirtualSystem>"
			 "<ProductSection ovf:class='com.example' "
			 "ovf:instance='1'>"
			 "<Property ovf:key='size' ovf:value='7'/>"
			 "<Property ovf:key='a&amp;b' ovf:value='11'/>"
			 "<Property ovf:key='by_config' ovf:value='10'>"
			 "<Value ovf:value='15' ovf:configuration='small'/>"
			 "<Value ovf:value='20' ovf:configuration='big'/>"
			 "</Property><Property ovf:key='by_element'>"
			 "<Value ovf:value='30'/></Property>"
			 "</ProductSection></VirtualSystem>", rows[i].capacity,
			 rows[i].units ? " ovf:capacityAllocationUnits='" : "",
			 rows[i].units ? rows[i].units : "",
			 rows[i].units ? "'" : "");
		ovf = parsed(text);
		is_u64(ovf->disks[0].capacity, rows[i].bytes,
		       rows[i].capacity);
		is_u64(ovf->disks[0].error.kind,
		       rows[i].bytes ? ERR_NONE : ERR_CORRUPT,
		       "an empty disk needs a capacity");
		ok(rows[i].bytes || strstr(last_warning, "capacity"), "warns");
		ovf_free(ovf);
	}
}

/* One row: a body, and the disks that must come out as
 * "id@device=href ..." ("!" for an error, "~" for media). */
static const struct {
	const char *what, *body, *disks;
} order_rows[] = {
	{ "by AddressOnParent, not by document order",
	  FILES(FILE_("f1", "1.vmdk") FILE_("f2", "2.vmdk"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2"))
	  MACHINE(CONTROLLER("3", "6", "0") ATTACH("3", "1", "ovf:/disk/d1")
		  ATTACH("3", "0", "ovf:/disk/d2")),
	  "d2@scsi 0:0=2.vmdk d1@scsi 0:1=1.vmdk " },
	{ "controllers by Address within a type, also behind their disks",
	  FILES(FILE_("f1", "1") FILE_("f2", "2") FILE_("f3", "3"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2") DISK("d3", "f3"))
	  MACHINE(ATTACH("9", "0", "ovf:/disk/d1")
		  ATTACH("5", "0", "ovf:/disk/d2")
		  ATTACH("4", "0", "ovf:/disk/d3")
		  CONTROLLER("4", "5", "1") CONTROLLER("5", "5", "0")
		  CONTROLLER("9", "6", "0")),
	  "d2@ide 0:0=2 d3@ide 1:0=3 d1@scsi 0:0=1 " },
	{ "numbers, not texts",
	  FILES(FILE_("f1", "1") FILE_("f2", "2"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2"))
	  MACHINE(CONTROLLER("3", "6", "0") ATTACH("3", "10", "ovf:/disk/d1")
		  ATTACH("3", "9", "ovf:/disk/d2")),
	  "d2@scsi 0:9=2 d1@scsi 0:10=1 " },
	{ "spellings of HostResource",
	  FILES(FILE_("f1", "1") FILE_("f2", "2") FILE_("f3", "3")
		FILE_("f4", "4") FILE_("f5", "5") FILE_("f6", "x/6"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2") DISK("d3", "f3")
		DISK("d4", "f4") DISK("d6", "f6"))
	  MACHINE(CONTROLLER("3", "6", "0") ATTACH("3", "0", "disk/d4")
		  ATTACH("3", "1", "/disk/d3") ATTACH("3", "2", "ovf://disk/d2")
		  ATTACH("3", "3", "d1") ATTACH("3", "4", "ovf:/file/f5")
		  ATTACH("3", "5", "x/6")),
	  "d4@scsi 0:0=4 d3@scsi 0:1=3 d2@scsi 0:2=2 d1@scsi 0:3=1 "
	  "f5@scsi 0:4=5 d6@scsi 0:5=x/6 " },
	{ "an Item that names a disk's file means the disk",
	  FILES(FILE_("f1", "1")) DISKS(DISK("d1", "f1"))
	  MACHINE(ATTACH("3", "0", "ovf:/file/f1")), "d1@disk=1 " },
	{ "unattached disks last, in their order",
	  FILES(FILE_("f1", "1") FILE_("f2", "2") FILE_("f3", "3"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2") DISK("d3", "f3"))
	  MACHINE(ATTACH("3", "0", "ovf:/disk/d2")),
	  "d2@disk=2 d1@-=1 d3@-=3 " },
	{ "machines in their order",
	  FILES(FILE_("f1", "1") FILE_("f2", "2"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2"))
	  "<VirtualSystemCollection>"
	  MACHINE(CONTROLLER("3", "6", "0") ATTACH("3", "7", "ovf:/disk/d2"))
	  MACHINE(CONTROLLER("3", "6", "0") ATTACH("3", "0", "ovf:/disk/d1"))
	  "</VirtualSystemCollection>",
	  "d2@scsi 0:7=2 d1@scsi 0:0=1 " },
	{ "disks of the default configuration first",
	  FILES(FILE_("f1", "1") FILE_("f2", "2"))
	  DISKS(DISK("d1", "f1") DISK("d2", "f2"))
	  "<DeploymentOptionSection><Configuration ovf:id='a'/>"
	  "<Configuration ovf:id='b' ovf:default='true'/>"
	  "</DeploymentOptionSection>"
	  MACHINE("<Item ovf:configuration='a'><rasd:AddressOnParent>0"
		  "</rasd:AddressOnParent><rasd:HostResource>/disk/d1"
		  "</rasd:HostResource><rasd:ResourceType>17"
		  "</rasd:ResourceType></Item>"
		  "<Item ovf:configuration='b'><rasd:AddressOnParent>1"
		  "</rasd:AddressOnParent><rasd:HostResource>/disk/d2"
		  "</rasd:HostResource><rasd:ResourceType>17"
		  "</rasd:ResourceType></Item>"),
	  "d2@disk=2 d1@disk=1 " },
	{ "what only a CD drive holds is no disk",
	  FILES(FILE_("f1", "1.iso") FILE_("f2", "2.iso"))
	  DISKS(DISK("d1", "f1"))
	  MACHINE("<Item><rasd:HostResource>ovf:/disk/d1</rasd:HostResource>"
		  "<rasd:ResourceType>15</rasd:ResourceType></Item>"
		  "<Item><rasd:HostResource>ovf:/file/f2</rasd:HostResource>"
		  "<rasd:ResourceType>15</rasd:ResourceType></Item>"),
	  "d1@-=1.iso~ " },
	{ "StorageItem of OVF 2",
	  FILES(FILE_("f1", "1")) DISKS(DISK("d1", "f1"))
	  MACHINE(CONTROLLER("3", "20", "0")
		  "<StorageItem xmlns:sasd='urn:sasd'><sasd:AddressOnParent>0"
		  "</sasd:AddressOnParent><sasd:HostResource>/disk/d1"
		  "</sasd:HostResource><sasd:Parent>3</sasd:Parent>"
		  "<sasd:ResourceType>17</sasd:ResourceType></StorageItem>"),
	  "d1@storage 0:0=1 " },
	{ "fileRef by href, empty parentRef (oVirt)",
	  FILES(FILE_("f1", "a/b"))
	  DISKS("<Disk ovf:diskId='d' ovf:fileRef='a/b' ovf:parentRef=''/>"),
	  "d@-=a/b " },
	{ "delta disks, unknown files, disks of nothing",
	  FILES(FILE_("f1", "1"))
	  DISKS("<Disk ovf:diskId='a' ovf:fileRef='f1' ovf:parentRef='b'/>"
		"<Disk ovf:diskId='b' ovf:fileRef='nix' ovf:capacity='1'/>"
		"<Disk ovf:diskId='c'/><Disk ovf:capacity='512'/>"),
	  "a@-=1! b@-=-! c@-=-! disk4@-=- " },
	{ "OVF 0.9: sections by xsi:type",
	  FILES(FILE_("f1", "1"))
	  "<Section xsi:type='ovf:DiskSection_Type'>" DISK("d1", "f1")
	  "</Section><Content ovf:id='x' xsi:type='ovf:VirtualSystem_Type'>"
	  "<Section xsi:type='ovf:VirtualHardwareSection_Type'>"
	  "<Item><rasd:BusNumber>1</rasd:BusNumber><rasd:InstanceId>4"
	  "</rasd:InstanceId><rasd:ResourceType>6</rasd:ResourceType></Item>"
	  ATTACH("4", "2", "/disk/d1") "</Section></Content>",
	  "d1@scsi 1:2=1 " },
};

static void test_order(void)
{
	for (size_t i = 0; i < sizeof(order_rows) / sizeof(order_rows[0]);
	     i++) {
		struct ovf *ovf = parsed(order_rows[i].body);
		struct strbuf got = { .max = 4096 };

		for (size_t k = 0; k < ovf->disk_count; k++) {
			const struct ovf_disk *d = &ovf->disks[k];

			strbuf_printf(&got, "%s@%s=%s%s%s ", d->id,
				      d->device ? d->device : "-",
				      d->file == OVF_NO_FILE ? "-" :
				      ovf->files[d->file].href,
				      d->error.kind ? "!" : "",
				      d->is_media ? "~" : "");
		}
		is_str(got.data, order_rows[i].disks, order_rows[i].what);
		strbuf_free(&got);
		ovf_free(ovf);
	}
}

static void test_files(void)
{
	struct ovf *ovf = parsed(FILES(
		"<File id='a' href='a.vmdk' size='123' chunkSize='50'/>"
		"<ovf:File ovf:id='b' ovf:href=' b.gz ' "
		"ovf:compression='gzip'/>"
		"<File ovf:id='c' ovf:href='c' ovf:compression='identity'/>"
		"<File ovf:id='none'/>"));

	is_u64(ovf->file_count, 3, "files with an href");
	is_u64(ovf->files[0].size, 123, "attributes without prefix");
	is_u64(ovf->files[0].chunk_bytes, 50, "chunkSize");
	is_str(ovf->files[1].href, "b.gz", "trimmed");
	is_str(ovf->files[1].compression, "gzip", "gzip");
	ok(!ovf->files[2].compression, "identity is no compression");
	ok(strstr(last_warning, "File without href"), "warns");
	ovf_free(ovf);
}

static void test_system(void)
{
	struct ovf *ovf = parsed(
		"<VirtualSystem ovf:id='vm1'><Name> My machine </Name>"
		"<OperatingSystemSection ovf:id='101' vmw:osType='other64'>"
		"<Description>Some Linux</Description>"
		"</OperatingSystemSection><VirtualHardwareSection><System>"
		"<vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>"
		"</System>"
		"<Item><rasd:ResourceType>3</rasd:ResourceType>"
		"<rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>"
		"<Item><rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits>"
		"<rasd:ResourceType>4</rasd:ResourceType>"
		"<rasd:VirtualQuantity>8</rasd:VirtualQuantity></Item>"
		"<EthernetPortItem xmlns:e='urn:e'><e:Connection>net A"
		"</e:Connection><e:ResourceSubType>E1000</e:ResourceSubType>"
		"<e:ResourceType>10</e:ResourceType></EthernetPortItem>"
		"<vmw:Config vmw:key='firmware' vmw:value='efi'/>"
		"</VirtualHardwareSection></VirtualSystem>"
		"<VirtualSystem ovf:id='vm2'>"
		"<x:Machine xmlns:x='urn:x'><x:Hardware><x:Firmware "
		"type='EFI'/></x:Hardware></x:Machine></VirtualSystem>");
	const struct ovf_system *s = &ovf->systems[0];

	is_u64(ovf->system_count, 2, "systems");
	is_str(s->id, "vm1", "id");
	is_str(s->name, "My machine", "name");
	is_str(s->os_id, "101", "OS id");
	is_str(s->os_type, "other64", "OS type");
	is_str(s->os_description, "Some Linux", "OS description");
	is_str(s->hardware, "vmx-13", "hardware");
	is_str(s->firmware, "efi", "firmware");
	is_u64(s->cpus, 4, "CPUs");
	is_u64(s->memory_bytes, 8ull << 30, "memory");
	is_u64(s->nic_count, 1, "NICs");
	is_str(s->nics[0].network, "net A", "network");
	is_str(s->nics[0].type, "E1000", "its type");
	is_str(ovf->systems[1].firmware, "efi", "VirtualBox's firmware");
	is_str(ovf->version, "1", "version by namespace");
	ovf_free(ovf);
}

static void test_whole_documents(void)
{
	static const struct {
		const char *text;
		enum error_kind kind;
		const char *part;
	} rows[] = {
		{ "", ERR_CORRUPT, "empty" },
		{ " ", ERR_CORRUPT, "line 1" },
		{ "<Envelope>\n<References>\n</Envelope>", ERR_CORRUPT,
		  "line 3" },
		{ "<Envelope/>\n<x/>", ERR_CORRUPT, "line 2" },
		{ "<html/>", ERR_CORRUPT, "root is <html>" },
		{ "<!DOCTYPE x [<!ENTITY a 'b'>]><Envelope>&a;</Envelope>",
		  ERR_UNSUPPORTED, "line 1: a DOCTYPE" },
		{ "<!DOCTYPE Envelope SYSTEM 'http://127.0.0.1/x.dtd'>"
		  "<Envelope/>", ERR_UNSUPPORTED, "DOCTYPE" },
		{ "<Envelope>&a;</Envelope>", ERR_CORRUPT, "line 1" },
		{ "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/3'/>",
		  ERR_UNSUPPORTED, "OVF version 3" },
		{ "<a:Envelope/>", ERR_CORRUPT, "prefix a" },
		{ "<Envelope/>", ERR_NONE, "" },
		{ "\xef\xbb\xbf<Envelope/>", ERR_NONE, "" },
		{ "<?xml version='1.0' encoding='utf-16'?><Envelope/>",
		  ERR_NONE, "" },
		{ "<Envelope xmlns='http://www.vmware.com/schema/ovf/1/"
		  "envelope'/>", ERR_NONE, "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err;
		struct ovf *ovf;

		if (rows[i].kind) {
			fails_with(ovf_parse(&ovf, rows[i].text,
					     strlen(rows[i].text), NULL, NULL,
					     &err), &err, rows[i].kind,
				   rows[i].part, rows[i].part);
			ok(!ovf, "nothing is returned");
		} else {
			succeeds(ovf_parse(&ovf, rows[i].text,
					   strlen(rows[i].text), NULL, NULL,
					   &err), &err, "accepted");
			is_u64(ovf->disk_count, 0, "no disks");
			ovf_free(ovf);
		}
	}
}

static void test_undeclared_prefix(void)
{
	static const char text[] =
		"<Envelope><DiskSection><Disk ovf:diskId='d' "
		"ovf:capacity='512'/></DiskSection></Envelope>";
	struct error err;
	struct ovf *ovf;

	last_warning[0] = '\0';
	succeeds(ovf_parse(&ovf, text, strlen(text), keep_warning, NULL, &err),
		 &err, "an undeclared prefix is overlooked");
	is_str(ovf->disks[0].id, "d", "its attributes count");
	ok(strstr(last_warning, "prefix ovf"), "with a warning");
	ovf_free(ovf);
}

static void test_limits(void)
{
	struct strbuf text = { .max = XML_TEXT_MAX + 100 };
	struct error err;
	struct ovf *ovf;

	strbuf_puts(&text, "<Envelope>");
	for (int i = 0; i < XML_NODES_MAX; i++)
		strbuf_puts(&text, "<a/>");
	strbuf_puts(&text, "</Envelope>");
	fails_with(ovf_parse(&ovf, text.data, text.len, NULL, NULL, &err),
		   &err, ERR_LIMIT, "more than 100000", "too many elements");
	while (text.len <= XML_TEXT_MAX)
		strbuf_puts(&text, "                ");
	fails_with(ovf_parse(&ovf, text.data, text.len, NULL, NULL, &err),
		   &err, ERR_LIMIT, "8388608 are accepted", "too long");
	text.len = 0;
	strbuf_puts(&text, "<DiskSection>");
	for (int i = 0; i <= OVF_DISKS_MAX; i++)
		strbuf_puts(&text, "<Disk/>");
	strbuf_puts(&text, "</DiskSection>");
	fails_with(parse(&ovf, text.data, &err), &err, ERR_LIMIT,
		   "more than 1000 disks", "too many disks");
	strbuf_free(&text);
}

int main(void)
{
	test_units();
	test_capacity();
	test_order();
	test_files();
	test_system();
	test_whole_documents();
	test_undeclared_prefix();
	test_limits();
	return tap_done();
}
