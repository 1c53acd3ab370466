/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The names that users see for keys, and the way back. Works on segments: the
 * part of a key between two slashes. Three steps, each of them reversible:
 *
 *   view     disks/ only: a container's segment gets ".raw"
 *   escape   "%" -> "%25", "." -> "%2E", ".." -> "%2E%2E", "" -> "%00"; an
 *            object whose name a directory has already gets a bare "%" behind
 *   shorten  above 255 bytes: a prefix, "~", SHA-256 of the whole in hex
 *
 * So one name never stands for two keys, and apart from the bare "%" a name
 * does not depend on what else exists (SEMANTICS.md 1). Thread-safe. */
#ifndef VMIEFS_NAMES_H
#define VMIEFS_NAMES_H

#include <stdbool.h>

#include "store/store.h"

#define NAME_SIZE 256 /* the longest name with its NUL */

enum view {
	VIEW_DISKS,   /* containers as the raw disks inside them */
	VIEW_OBJECTS, /* keys byte for byte */
};

/* What an object is in a view. */
enum shape {
	SHAPE_NONE, /* not shown */
	SHAPE_FILE, /* its own bytes */
	SHAPE_DISK, /* the raw disk inside it */
	SHAPE_OVA,  /* a directory of disks */
};

enum shape name_shape(enum view view, const char *segment);

/* The name of an object, or of the directory for a prefix. taken: a directory
 * has that name already. The object must have a shape in this view. */
void name_of_object(char name[NAME_SIZE], enum view view, const char *segment,
		    bool taken);
void name_of_prefix(char name[NAME_SIZE], const char *segment);

/* What a name can stand for. */
struct name_meaning {
	/* Only comparing it with the names of all keys can tell; nothing else
	 * is set then. */
	bool is_short;
	bool can_be_prefix;
	bool can_be_object;
	bool is_taken; /* an object beside a directory of that name */
	char prefix[STORE_KEY_MAX + 1]; /* segments */
	char object[STORE_KEY_MAX + 1];
};

/* Both can_be_... are false for a name that no key can have. */
void name_parse(struct name_meaning *meaning, enum view view,
		const char *name);

#endif
