/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A container opened from a store: one object (and what lies beside it) that
 * holds one disk, or an OVA with several. This is what fs/ and the command
 * line open; it ties stores, formats and the engine together.
 *
 * Threads: opening may run in parallel for different containers; an open
 * container is immutable and may be used from any thread. Opening blocks on
 * the store. */
#ifndef VMIEFS_CONTAINER_H
#define VMIEFS_CONTAINER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/engine.h"
#include "format/format.h"
#include "format/ova.h"
#include "store/store.h"

/* What a key's name promises. Decided by the ending alone, without regard to
 * case (SEMANTICS.md 1). */
enum container_class {
	CONTAINER_NONE, /* no container: shown in objects/ only */
	CONTAINER_RAW,  /* .raw .img: its own raw view, never probed */
	CONTAINER_DISK, /* .vmdk .vhd .vhdx .avhd .avhdx, also .gz */
	CONTAINER_OVA,  /* .ova */
};

enum container_class container_classify(const char *key);

/* The format that the ending promises ("vmdk", "vhd", "vhdx", "ova", "raw"),
 * NULL for none. */
const char *container_expected_format(const char *key);

struct container;

struct container_options {
	const char *format; /* explicit format; NULL = probe */
	bool vhd_chs;
	/* As format_glance(): disks in the container can be asked for what is
	 * in struct map, not be read. */
	bool size_only;
	/* As in struct open_args. */
	bool (*keep_going)(void *arg);
	void *keep_going_arg;
};

struct container_disk {
	const char *name;  /* OVA: member or disk id; else the key's end */
	struct map *map;   /* NULL where error is set */
	uint64_t capacity; /* by the OVF, 0 = not known */
	uint64_t offset, stored; /* the bytes of the object that are all of its
				  * own container; stored 0: there are none */
	struct error error; /* OVA: why it cannot be read; without its name */
};

/* Open key. known (or NULL) as in object_open(). A failed open tells in err
 * what failed on which object. *out is NULL then. */
int container_open(struct container **out, struct engine *engine,
		   struct store *store, const char *key,
		   const struct object_info *known,
		   const struct container_options *options,
		   struct error *err);
struct container *container_ref(struct container *container);
void container_unref(struct container *container); /* NULL is legal */

bool container_is_ova(const struct container *container);

/* With size_only: was a look at one end enough? If not, it was opened in full
 * and can be read. */
bool container_is_glance(const struct container *container);
const struct object_info *container_info(const struct container *container);

/* SHA-256 in hex over (key, ETag) of every object it reads, and the sizes of
 * its disks: what a glance took for another size is another thing. */
const char *container_identity(const struct container *container);

/* How many objects its disks are read from: 1 where all lies in the one. */
size_t container_object_count(const struct container *container);

size_t container_disk_count(const struct container *container);
const struct container_disk *container_disk(const struct container *container,
					    size_t i);
/* The OVA behind it; NULL for other containers. */
const struct ova *container_ova(const struct container *container);

/* Warnings gathered while opening, each one sentence. */
size_t container_warning_count(const struct container *container);
const char *container_warning(const struct container *container, size_t i);

/* True while every object that the container reads still has the ETag it was
 * opened with. Blocks on the store. -1 on error. */
int container_is_current(struct container *container, struct error *err);

#endif
