/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Finding the parent of a differencing disk: among the objects beside it, by
 * an id. Paths stored in the child are only hints, of which the last part is
 * used; the id decides. */
#ifndef VMIEFS_PARENT_H
#define VMIEFS_PARENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/format.h"

#define PARENT_NAMES_MAX 12
#define PARENT_NAME_MAX  1024 /* bytes with the NUL, UTF-8 */

/* Plain names to try first, in order; without repetition. Too large for a
 * stack: allocate it. */
struct parent_names {
	size_t count;
	char names[PARENT_NAMES_MAX][PARENT_NAME_MAX];
};

struct parent_search {
	const char *endings[3]; /* siblings to compare, ".vhd"; NULL ends;
				 * none: only the names are tried */
	const char *id;         /* what is looked for, for messages */
	/* 1 if the source has the wanted id, 0 if another or none, -1 if it
	 * could not be read. */
	int (*matches)(void *arg, struct source *source, struct error *err);
	void *arg;
};

/* Take the last part of a path in UTF-16 (NUL-terminated or filling bytes)
 * or in bytes as a name to try. What is no usable name is left out. */
void parent_add_utf16(struct parent_names *names, const uint8_t *path,
		      size_t bytes, bool big_endian);
void parent_add_path(struct parent_names *names, const char *path,
		     size_t bytes);

/* UTF-16 to a new UTF-8 string up to a NUL or `bytes`; "" if it is not
 * UTF-16, NULL without memory. */
char *utf16_text(const uint8_t *text, size_t bytes, bool big_endian);

/* Find the parent and open it as child->parent with child's format. Reports
 * which file was wanted when there is none (ERR_CORRUPT). */
int parent_open(struct map *child, const struct parent_names *names,
		const struct parent_search *search,
		const struct open_args *args, struct error *err);

#endif
