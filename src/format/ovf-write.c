/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing an OVF 1.x descriptor: DSP0243, "Open Virtualization Format
 * Specification" 1.1.0, in the form of VMware's exporter: a package of a raw
 * disk says nothing about its machine, so that all but the disks is the least
 * that hypervisors ask for. Elements of an Item come in the order of the
 * schema, which is alphabetical. */
#include "config.h"

#include <libxml/xmlwriter.h>
#include <string.h>

#include "common/checked.h"
#include "format/ovf-write.h"

#define NS_OVF  "http://schemas.dmtf.org/ovf/envelope/1"
#define NS_CIM  "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
#define NS_RASD NS_CIM "CIM_ResourceAllocationSettingData"
#define NS_VSSD NS_CIM "CIM_VirtualSystemSettingData"
#define VMDK_URI "http://www.vmware.com/interfaces/specifications/vmdk.html" \
		 "#streamOptimized"

#define NETWORK    "VM Network"
#define HARDWARE   "vmx-07" /* any VMware since 2009; VirtualBox takes it */
#define CPUS       "1"
#define MEMORY_MIB "1024"

/* CIM_ResourceAllocationSettingData.ResourceType */
#define TYPE_CPU    "3"
#define TYPE_MEMORY "4"
#define TYPE_SCSI   "6"
#define TYPE_NIC    "10"
#define TYPE_DISK   "17"

/* CIM_OperatingSystem.OSType 102, "other 64-bit": 1 or 0 would make a 32-bit
 * machine of it. */
#define OS_ID "102"

/* A parallel SCSI bus has 16 ids, and the controller itself has number 7. */
#define BUS_DISKS     15u
#define CONTROLLER_ID 7u

/* InstanceIDs: 1 to 3 are CPU, memory and network adapter. */
#define ID_CONTROLLER 4u
#define ID_DISK       8u

_Static_assert(OVF_NEW_DISKS_MAX == (ID_DISK - ID_CONTROLLER) * BUS_DISKS,
	       "all disks have a controller");

struct ovf_writer {
	xmlTextWriter *xml;
	bool failed;
};

/* An Item; what is NULL is left out. */
struct item {
	const char *address, *address_on_parent, *allocation_units;
	const char *automatic, *connection, *name, *host_resource, *id;
	const char *parent, *subtype, *type, *quantity;
};

static void begin(struct ovf_writer *w, const char *name)
{
	w->failed |= xmlTextWriterStartElement(w->xml, BAD_CAST name) < 0;
}

static void end(struct ovf_writer *w)
{
	w->failed |= xmlTextWriterEndElement(w->xml) < 0;
}

static void attribute(struct ovf_writer *w, const char *name,
		      const char *value)
{
	w->failed |= xmlTextWriterWriteAttribute(w->xml, BAD_CAST name,
						 BAD_CAST value) < 0;
}

static void number_attribute(struct ovf_writer *w, const char *name,
			     const char *before, uint64_t value)
{
	char text[40];

	snprintf(text, sizeof(text), "%s%llu", before,
		 (unsigned long long)value);
	attribute(w, name, text);
}

static void element(struct ovf_writer *w, const char *name, const char *text)
{
	if (text)
		w->failed |= xmlTextWriterWriteElement(w->xml, BAD_CAST name,
						       BAD_CAST text) < 0;
}

static void put_item(struct ovf_writer *w, const struct item *item)
{
	begin(w, "Item");
	element(w, "rasd:Address", item->address);
	element(w, "rasd:AddressOnParent", item->address_on_parent);
	element(w, "rasd:AllocationUnits", item->allocation_units);
	element(w, "rasd:AutomaticAllocation", item->automatic);
	element(w, "rasd:Connection", item->connection);
	element(w, "rasd:ElementName", item->name);
	element(w, "rasd:HostResource", item->host_resource);
	element(w, "rasd:InstanceID", item->id);
	element(w, "rasd:Parent", item->parent);
	element(w, "rasd:ResourceSubType", item->subtype);
	element(w, "rasd:ResourceType", item->type);
	element(w, "rasd:VirtualQuantity", item->quantity);
	end(w);
}

static void put_references(struct ovf_writer *w,
			   const struct ovf_new_disk *disks, size_t count)
{
	begin(w, "References");
	for (size_t i = 0; i < count; i++) {
		begin(w, "File");
		attribute(w, "ovf:href", disks[i].href);
		number_attribute(w, "ovf:id", "file", i + 1);
		number_attribute(w, "ovf:size", "", disks[i].stored);
		end(w);
	}
	end(w);
}

static void put_disks(struct ovf_writer *w, const struct ovf_new_disk *disks,
		      size_t count)
{
	begin(w, "DiskSection");
	element(w, "Info", "Virtual disk information");
	for (size_t i = 0; i < count; i++) {
		begin(w, "Disk");
		number_attribute(w, "ovf:capacity", "", disks[i].capacity);
		attribute(w, "ovf:capacityAllocationUnits", "byte");
		number_attribute(w, "ovf:diskId", "vmdisk", i + 1);
		number_attribute(w, "ovf:fileRef", "file", i + 1);
		attribute(w, "ovf:format", VMDK_URI);
		end(w);
	}
	end(w);
}

static void put_networks(struct ovf_writer *w)
{
	begin(w, "NetworkSection");
	element(w, "Info", "The list of logical networks");
	begin(w, "Network");
	attribute(w, "ovf:name", NETWORK);
	element(w, "Description", "The " NETWORK " network");
	end(w);
	end(w);
}

static void put_controller(struct ovf_writer *w, unsigned int n)
{
	char address[12], name[24], id[12];

	snprintf(address, sizeof(address), "%u", n);
	snprintf(name, sizeof(name), "SCSI controller %u", n);
	snprintf(id, sizeof(id), "%u", ID_CONTROLLER + n);
	put_item(w, &(struct item){ .address = address, .name = name,
				    .id = id, .subtype = "lsilogic",
				    .type = TYPE_SCSI });
}

static void put_disk(struct ovf_writer *w, unsigned int n)
{
	unsigned int unit = n % BUS_DISKS;
	char address[12], name[24], resource[32], id[12], parent[12];

	snprintf(address, sizeof(address), "%u",
		 unit < CONTROLLER_ID ? unit : unit + 1);
	snprintf(name, sizeof(name), "Hard disk %u", n + 1);
	snprintf(resource, sizeof(resource), "ovf:/disk/vmdisk%u", n + 1);
	snprintf(id, sizeof(id), "%u", ID_DISK + n);
	snprintf(parent, sizeof(parent), "%u", ID_CONTROLLER + n / BUS_DISKS);
	put_item(w, &(struct item){ .address_on_parent = address, .name = name,
				    .host_resource = resource, .id = id,
				    .parent = parent, .type = TYPE_DISK });
}

static void put_items(struct ovf_writer *w, size_t disks)
{
	static const struct item cpu = {
		.allocation_units = "hertz * 10^6", .id = "1",
		.name = CPUS " virtual CPU", .type = TYPE_CPU,
		.quantity = CPUS,
	}, memory = {
		.allocation_units = "byte * 2^20", .id = "2",
		.name = MEMORY_MIB " MiB of memory", .type = TYPE_MEMORY,
		.quantity = MEMORY_MIB,
	}, nic = {
		.automatic = "true", .connection = NETWORK, .id = "3",
		.name = "Network adapter 1", .subtype = "E1000",
		.type = TYPE_NIC,
	};

	put_item(w, &cpu);
	put_item(w, &memory);
	for (unsigned int n = 0; n * BUS_DISKS < disks; n++)
		put_controller(w, n);
	for (unsigned int n = 0; n < disks; n++)
		put_disk(w, n);
	put_item(w, &nic);
}

static void put_hardware(struct ovf_writer *w, const char *name, size_t disks)
{
	begin(w, "VirtualHardwareSection");
	element(w, "Info", "Virtual hardware requirements");
	begin(w, "System");
	element(w, "vssd:ElementName", "Virtual Hardware Family");
	element(w, "vssd:InstanceID", "0");
	element(w, "vssd:VirtualSystemIdentifier", name);
	element(w, "vssd:VirtualSystemType", HARDWARE);
	end(w);
	put_items(w, disks);
	end(w);
}

static void put_machine(struct ovf_writer *w, const char *name, size_t disks)
{
	begin(w, "VirtualSystem");
	attribute(w, "ovf:id", name);
	element(w, "Info", "A virtual machine");
	element(w, "Name", name);
	begin(w, "OperatingSystemSection");
	attribute(w, "ovf:id", OS_ID);
	element(w, "Info", "The kind of installed guest operating system");
	end(w);
	put_hardware(w, name, disks);
	end(w);
}

static void put_document(struct ovf_writer *w, const char *name,
			 const struct ovf_new_disk *disks, size_t count)
{
	w->failed |= xmlTextWriterSetIndent(w->xml, 1) < 0 ||
		     xmlTextWriterStartDocument(w->xml, "1.0", "UTF-8",
						NULL) < 0;
	begin(w, "Envelope");
	attribute(w, "xmlns", NS_OVF);
	attribute(w, "xmlns:ovf", NS_OVF);
	attribute(w, "xmlns:rasd", NS_RASD);
	attribute(w, "xmlns:vssd", NS_VSSD);
	put_references(w, disks, count);
	put_disks(w, disks, count);
	put_networks(w);
	put_machine(w, name, count);
	end(w);
	w->failed |= xmlTextWriterEndDocument(w->xml) < 0;
}

char *ovf_make(const char *name, const struct ovf_new_disk *disks,
	       size_t count, struct error *err)
{
	xmlBuffer *buf = xmlBufferCreate();
	struct ovf_writer w = { 0 };
	char *text = NULL;

	if (buf)
		w.xml = xmlNewTextWriterMemory(buf, 0);
	if (w.xml) {
		put_document(&w, name, disks, count);
		xmlFreeTextWriter(w.xml); /* and writes out the rest */
		if (!w.failed)
			text = strdup((const char *)xmlBufferContent(buf));
	}
	if (buf)
		xmlBufferFree(buf);
	if (!text)
		error_nomem(err);
	return text;
}
