/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What info, map and check are asked about: a container file, opened as an
 * object of a store that is its directory, or one disk of an OVA. */
#ifndef VMIEFS_SUBJECT_H
#define VMIEFS_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command/remote.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "disk/container.h"
#include "options.h"

/* Options that the three have in common. */
struct subject_options {
	bool json;
	char *format;
	unsigned int vhd_size; /* index into subject_vhd_sizes */
	uint64_t memory_bytes;
	unsigned int threads;
	struct remote_options remote;
};

extern const char *const subject_vhd_sizes[];

/* Their rows, for a command whose struct `owner` has them as `field`. */
#define SUBJECT_ROWS(owner, field)                                             \
	{ .name = "json", .letter = 'j', .type = OPTION_FLAG,                  \
	  .offset = offsetof(owner, field.json), .since = "0.1",               \
	  .help = "print JSON instead of text" },                              \
	{ .name = "format", .letter = 'f', .type = OPTION_TEXT,                \
	  .offset = offsetof(owner, field.format), .argument = "FORMAT",       \
	  .since = "0.1",                                                      \
	  .help = "take it as raw, vmdk, vhd or vhdx instead of looking at "   \
		  "its content" },                                             \
	{ .name = "vhd-size", .type = OPTION_CHOICE,                           \
	  .offset = offsetof(owner, field.vhd_size),                           \
	  .choices = subject_vhd_sizes, .argument = "RULE",                    \
	  .fallback = "current", .since = "0.1",                               \
	  .help = "size of a VHD's disk: the footer's current size, or by "    \
		  "its geometry" },                                            \
	{ .name = "memory", .type = OPTION_BYTES,                              \
	  .offset = offsetof(owner, field.memory_bytes), .min = 16 << 20,      \
	  .max = 1ull << 40, .argument = "SIZE", .fallback = "256M",           \
	  .unit = "bytes", .since = "0.1", .help = "use at most SIZE" },       \
	{ .name = "threads", .type = OPTION_NUMBER,                            \
	  .offset = offsetof(owner, field.threads), .max = 1024,               \
	  .argument = "N", .fallback = "0", .fallback_text = "all",            \
	  .since = "0.1", .help = "cores to use" }

/* The last rows: see REMOTE_ROWS. */
#define SUBJECT_LAST_ROWS(owner, field)                                        \
	REMOTE_ROWS(OPTION_LONG, owner, field.remote)

struct subject {
	struct engine *engine;
	struct store *store;
	struct container *container;
	char *key;    /* the file's name, or the key in a bucket */
	struct object_info info; /* of it */
	char *member; /* one disk of an OVA; NULL: all */
};

/* Open what `object` names: a path, file:///path, s3://bucket/key or an
 * https:// URL, with /MEMBER behind it for one disk of an OVA (".raw" at its
 * end may be there or not), or "-" where standard input has it. The query of a
 * URL is wiped from object. On failure nothing is to be closed. */
MUST_CHECK int subject_open(struct subject *subject, char *object,
			    struct subject_options *options,
			    struct error *err);
void subject_close(struct subject *subject);

/* Is this one of the disks that were asked for? */
bool subject_selects(const struct subject *subject,
		     const struct container_disk *disk);

#endif
