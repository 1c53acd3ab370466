/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The machines of an OVF: what they are called and have, and in which order
 * they see their disks. An Item (2.x: StorageItem, EthernetPortItem) is one
 * device:
 *
 *     controller   ResourceType 5 IDE, 6 SCSI, 20 SATA or NVMe, ...
 *                  InstanceID, Address
 *     disk         ResourceType 17, Parent = a controller's InstanceID,
 *                  AddressOnParent, HostResource = ovf:/disk/ID
 *
 * Order: controllers by type as the types appear, then by Address, then disks
 * by AddressOnParent; document order decides what is left. Disks of devices
 * that the default configuration lacks come after the others. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/xml.h"
#include "format/ovf-build.h"

#define CONTROLLERS_MAX 256 /* of one machine; more count as unknown */

enum resource_type {
	RES_CPU = 3,
	RES_MEMORY = 4,
	RES_IDE = 5,
	RES_SCSI = 6,
	RES_ISCSI = 8,
	RES_ETHERNET = 10,
	RES_FLOPPY = 14,
	RES_CD = 15,
	RES_DVD = 16,
	RES_DISK = 17,
	RES_OTHER_STORAGE = 20,
};

struct controller {
	const char *instance;
	uint32_t type, bus, address, position;
	const char *subtype;
};

/* One VirtualSystem while it is read. */
struct machine {
	struct ovf_build *build;
	struct ovf_system *system;
	uint32_t number;    /* of the system */
	uint32_t items;     /* seen so far */
	struct controller controllers[CONTROLLERS_MAX];
	size_t controller_count;
};

static const char *child_text(struct machine *machine, const xmlNode *item,
			      const char *name)
{
	return ovf_text(machine->build, xml_child(item, name));
}

/* InstanceID, or InstanceId in OVF 0.9. */
static const char *instance_id(struct machine *machine, const xmlNode *item)
{
	const char *id = child_text(machine, item, "InstanceID");

	return id ? id : child_text(machine, item, "InstanceId");
}

static uint32_t rank_number(const char *text, uint32_t otherwise)
{
	uint64_t n;

	return ovf_number(text, &n) && n < otherwise ? (uint32_t)n : otherwise;
}

/* Where this type of controller first appeared. */
static uint32_t bus_of(const struct machine *machine, uint32_t type)
{
	for (size_t i = 0; i < machine->controller_count; i++)
		if (machine->controllers[i].type == type)
			return machine->controllers[i].bus;
	return (uint32_t)machine->controller_count;
}

static void add_controller(struct machine *machine, const xmlNode *item,
			   uint32_t type)
{
	const char *address = child_text(machine, item, "Address");
	struct controller *c;

	if (machine->controller_count == CONTROLLERS_MAX)
		return;
	if (!address)
		address = child_text(machine, item, "BusNumber");
	c = &machine->controllers[machine->controller_count];
	*c = (struct controller){
		.instance = instance_id(machine, item),
		.type = type,
		.bus = bus_of(machine, type),
		.address = rank_number(address, UINT32_MAX),
		.position = machine->items,
		.subtype = child_text(machine, item, "ResourceSubType"),
	};
	if (c->instance)
		machine->controller_count++;
}

static const struct controller *find_controller(const struct machine *machine,
						const char *instance)
{
	for (size_t i = 0; instance && i < machine->controller_count; i++)
		if (!strcmp(machine->controllers[i].instance, instance))
			return &machine->controllers[i];
	return NULL;
}

static const char *bus_name(const struct controller *c)
{
	const char *subtype = c->subtype ? c->subtype : "";

	switch (c->type) {
	case RES_IDE:
		return "ide";
	case RES_SCSI:
		return "scsi";
	case RES_ISCSI:
		return "iscsi";
	default:
		return strcasestr(subtype, "nvme") ? "nvme" :
		       strcasestr(subtype, "ahci") ||
		       strcasestr(subtype, "sata") ? "sata" : "storage";
	}
}

/* "scsi 0:1". */
static const char *device_name(struct machine *machine,
			       const struct controller *c,
			       const struct ovf_rank *rank)
{
	if (!c || c->address == UINT32_MAX || rank->unit == UINT32_MAX)
		return c ? bus_name(c) : "disk";
	return ovf_printf(machine->build, "%s %u:%u", bus_name(c), c->address,
			  rank->unit);
}

static bool is_media(uint32_t type)
{
	return type == RES_FLOPPY || type == RES_CD || type == RES_DVD;
}

/* What follows "ovf:/disk/", "/disk/", "ovf://disk/" or "disk/". */
static const char *after_scheme(const char *resource, const char *kind)
{
	size_t len = strlen(kind);

	if (!strncasecmp(resource, "ovf:", 4))
		resource += 4;
	while (*resource == '/')
		resource++;
	return strncmp(resource, kind, len) || resource[len] != '/' ? NULL :
	       resource + len + 1;
}

/* Index of the disk with that id, or SIZE_MAX. */
static size_t find_disk(const struct ovf *ovf, const char *id)
{
	for (size_t i = 0; i < ovf->disk_count; i++)
		if (!strcmp(ovf->disks[i].id, id))
			return i;
	return SIZE_MAX;
}

/* A disk named by its file: the Disk with that file, or a new one for a hard
 * disk whose file no Disk describes. */
static int find_disk_of_file(struct machine *machine, const char *id,
			     bool is_disk, size_t *index, struct error *err)
{
	struct ovf *ovf = machine->build->ovf;
	size_t file = ovf_find_file(ovf, id);
	struct ovf_disk *disk;

	*index = SIZE_MAX;
	if (file == OVF_NO_FILE)
		return 0;
	for (size_t i = 0; i < ovf->disk_count; i++) {
		if (ovf->disks[i].file == file) {
			*index = i;
			return 0;
		}
	}
	if (!is_disk)
		return 0;
	disk = ovf_add_disk(machine->build, err);
	if (!disk)
		return -1;
	disk->id = ovf->files[file].id;
	disk->file = file;
	*index = ovf->disk_count - 1;
	return 0;
}

/* The disk that a HostResource means; *index is SIZE_MAX if none. */
static int resolve_resource(struct machine *machine, const char *resource,
			    bool is_disk, size_t *index, struct error *err)
{
	const struct ovf *ovf = machine->build->ovf;
	const char *disk = after_scheme(resource, "disk");
	const char *file = after_scheme(resource, "file");

	*index = SIZE_MAX;
	if (file)
		return find_disk_of_file(machine, file, is_disk, index, err);
	*index = find_disk(ovf, disk ? disk : resource);
	/* oVirt writes a bare href here. */
	if (*index == SIZE_MAX && !disk)
		return find_disk_of_file(machine, resource, is_disk, index,
					 err);
	return 0;
}

static int compare_u32(uint32_t a, uint32_t b)
{
	return (a > b) - (a < b);
}

static int compare_ranks(const struct ovf_rank *a, const struct ovf_rank *b)
{
	int order = compare_u32(a->system, b->system);

	order = order ? order : compare_u32(a->is_optional, b->is_optional);
	order = order ? order : compare_u32(a->bus, b->bus);
	order = order ? order : compare_u32(a->address, b->address);
	order = order ? order : compare_u32(a->controller, b->controller);
	order = order ? order : compare_u32(a->unit, b->unit);
	return order ? order : compare_u32(a->item, b->item);
}

/* Attach the disk unless it is attached at a better place already. */
static void attach(struct machine *machine, const xmlNode *item, size_t index,
		   bool as_media, bool is_optional)
{
	struct ovf_build *build = machine->build;
	struct ovf_disk *disk = &build->ovf->disks[index];
	const struct controller *c =
		find_controller(machine, child_text(machine, item, "Parent"));
	struct ovf_rank rank = {
		.system = machine->number,
		.is_optional = is_optional,
		.bus = c ? c->bus : UINT32_MAX,
		.address = c ? c->address : UINT32_MAX,
		.controller = c ? c->position : UINT32_MAX,
		.unit = rank_number(child_text(machine, item,
					       "AddressOnParent"), UINT32_MAX),
		.item = machine->items,
	};

	if (as_media) {
		if (!disk->device)
			disk->is_media = true;
		return;
	}
	disk->is_media = false;
	if (disk->device && compare_ranks(&build->ranks[index], &rank) < 0)
		return;
	build->ranks[index] = rank;
	disk->system = machine->number;
	disk->device = device_name(machine, c, &rank);
}

static int read_disk_item(struct machine *machine, const xmlNode *item,
			  uint32_t type, bool is_optional, struct error *err)
{
	const char *resource = child_text(machine, item, "HostResource");
	size_t index;

	if (!resource)
		return 0;
	if (resolve_resource(machine, resource, type == RES_DISK, &index, err))
		return -1;
	if (index != SIZE_MAX)
		attach(machine, item, index, is_media(type), is_optional);
	else if (type == RES_DISK)
		ovf_warn(machine->build, "line %ld: no disk is called \"%s\"",
			 xmlGetLineNo(item), resource);
	return 0;
}

static void add_nic(struct machine *machine, const xmlNode *item)
{
	struct ovf_system *system = machine->system;
	struct ovf_nic *nic = &system->nics[system->nic_count];

	if (system->nic_count == OVF_NICS_MAX)
		return;
	nic->name = child_text(machine, item, "ElementName");
	if (!nic->name)
		nic->name = child_text(machine, item, "Caption");
	nic->network = child_text(machine, item, "Connection");
	nic->type = child_text(machine, item, "ResourceSubType");
	system->nic_count++;
}

static void read_memory(struct machine *machine, const xmlNode *item,
			uint64_t quantity)
{
	const char *text = child_text(machine, item, "AllocationUnits");
	uint64_t unit;

	if (!text)
		text = "MB"; /* what hand-made descriptors mean */
	if (ovf_unit_bytes(text, &unit) && mul_u64(quantity, unit, &quantity))
		machine->system->memory_bytes = quantity;
}

/* CPUs, memory and NICs are those of the default configuration. */
static int read_item(struct machine *machine, const xmlNode *item,
		     struct error *err)
{
	struct ovf_build *build = machine->build;
	const char *configuration = ovf_attr(build, item, "configuration");
	bool is_optional = configuration && build->configuration &&
			   strcmp(configuration, build->configuration);
	uint32_t type = rank_number(child_text(machine, item, "ResourceType"),
				    UINT32_MAX);
	uint64_t quantity = 0;

	machine->items++;
	ovf_number(child_text(machine, item, "VirtualQuantity"), &quantity);
	if (type == RES_CPU && !is_optional)
		machine->system->cpus = quantity;
	else if (type == RES_MEMORY && !is_optional)
		read_memory(machine, item, quantity);
	else if (type == RES_ETHERNET && !is_optional)
		add_nic(machine, item);
	return read_disk_item(machine, item, type, is_optional, err);
}

static bool is_item(const xmlNode *node)
{
	return xml_is(node, "Item") || xml_is(node, "StorageItem") ||
	       xml_is(node, "EthernetPortItem");
}

/* Controllers may be listed behind their disks. */
static void find_controllers(struct machine *machine, const xmlNode *section)
{
	const xmlNode *node;

	for (node = section->children; node; node = node->next) {
		uint32_t type;

		if (!is_item(node))
			continue;
		machine->items++;
		type = rank_number(child_text(machine, node, "ResourceType"),
				   UINT32_MAX);
		if ((type >= RES_IDE && type < RES_ETHERNET) ||
		    type == RES_OTHER_STORAGE)
			add_controller(machine, node, type);
	}
	machine->items = 0;
}

/* <vmw:Config vmw:key="firmware" vmw:value="efi"/> */
static void read_config(struct machine *machine, const xmlNode *node)
{
	if (!strcmp(xml_attr_text(node, "key"), "firmware"))
		machine->system->firmware = ovf_attr(machine->build, node,
						     "value");
}

static int read_hardware(struct machine *machine, const xmlNode *section,
			 struct error *err)
{
	const xmlNode *node = xml_child(section, "System");

	find_controllers(machine, section);
	if (node)
		machine->system->hardware =
			child_text(machine, node, "VirtualSystemType");
	for (node = section->children; node; node = node->next) {
		if (is_item(node) && read_item(machine, node, err))
			return -1;
		if (xml_is(node, "Config") || xml_is(node, "ExtraConfig"))
			read_config(machine, node);
	}
	return 0;
}

/* VirtualBox adds its own machine description:
 * <vbox:Machine><Hardware><Firmware type="EFI"/>. */
static void read_vbox(struct machine *machine, const xmlNode *vbox)
{
	const xmlNode *node = xml_child(vbox, "Hardware");
	const char *type;

	node = node ? xml_child(node, "Firmware") : NULL;
	type = node ? xml_attr_text(node, "type") : "";
	if (!strncasecmp(type, "EFI", 3))
		machine->system->firmware = "efi";
	else if (!strcasecmp(type, "BIOS"))
		machine->system->firmware = "bios";
}

static void read_os(struct machine *machine, const xmlNode *section)
{
	struct ovf_system *system = machine->system;

	system->os_id = ovf_attr(machine->build, section, "id");
	system->os_type = ovf_attr(machine->build, section, "osType");
	system->os_description = child_text(machine, section, "Description");
}

static int read_machine(struct machine *machine, const xmlNode *node,
			struct error *err)
{
	machine->system->id = ovf_attr(machine->build, node, "id");
	machine->system->name = child_text(machine, node, "Name");
	for (node = node->children; node; node = node->next) {
		const char *section;

		if (node->type != XML_ELEMENT_NODE)
			continue;
		section = ovf_section(machine->build, node);
		if (!strcmp(section, "OperatingSystemSection"))
			read_os(machine, node);
		else if (!strcmp(section, "Machine"))
			read_vbox(machine, node);
		else if (!strcmp(section, "VirtualHardwareSection") &&
			 read_hardware(machine, node, err))
			return -1;
	}
	return 0;
}

static int read_system(struct ovf_build *build, const xmlNode *node,
		       struct error *err)
{
	struct ovf *ovf = build->ovf;
	AUTO_FREE struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		return error_nomem(err);
	machine->build = build;
	machine->number = (uint32_t)ovf->system_count;
	machine->system = ovf_append(&ovf->systems, &ovf->system_count,
				     sizeof(*machine->system),
				     OVF_SYSTEMS_MAX, "virtual systems", err);
	return machine->system ? read_machine(machine, node, err) : -1;
}

int ovf_read_systems(struct ovf_build *build, const xmlNode *parent,
		     struct error *err)
{
	const xmlNode *node;

	for (node = parent->children; node; node = node->next) {
		const char *section;

		if (node->type != XML_ELEMENT_NODE)
			continue;
		section = ovf_section(build, node);
		if (!strcmp(section, "VirtualSystem")) {
			if (read_system(build, node, err))
				return -1;
		} else if (!strcmp(section, "VirtualSystemCollection")) {
			if (ovf_read_systems(build, node, err))
				return -1;
		}
	}
	return 0;
}

struct sortable {
	struct ovf_rank rank;
	struct ovf_disk disk;
	size_t position;
};

static int compare_sortables(const void *a, const void *b)
{
	const struct sortable *x = a, *y = b;
	int order = compare_ranks(&x->rank, &y->rank);

	return order ? order : (x->position > y->position) -
			       (x->position < y->position);
}

int ovf_sort_disks(struct ovf_build *build, struct error *err)
{
	size_t n = build->ovf->disk_count;
	AUTO_FREE struct sortable *all = calloc(n + 1, sizeof(*all));

	if (!all)
		return error_nomem(err);
	for (size_t i = 0; i < n; i++) {
		all[i].rank = build->ranks[i];
		all[i].disk = build->ovf->disks[i];
		all[i].position = i;
	}
	qsort(all, n, sizeof(*all), compare_sortables);
	for (size_t i = 0; i < n; i++)
		build->ovf->disks[i] = all[i].disk;
	return 0;
}
