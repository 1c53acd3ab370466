/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The manifest of an OVF package: one digest a file. */
#ifndef VMIEFS_MANIFEST_H
#define VMIEFS_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_MAX        (4u << 20) /* bytes of a manifest's text */
#define MANIFEST_DIGEST_MAX 64         /* SHA-512 */

struct error;
struct source;

struct manifest_entry {
	char *name;            /* as written, "./" removed */
	const char *algorithm; /* "SHA1", "SHA256", "SHA384", "SHA512" */
	uint8_t digest[MANIFEST_DIGEST_MAX];
	size_t digest_len;     /* bytes */
	unsigned int line;     /* from 1 */
};

struct manifest {
	struct manifest_entry *entries;
	size_t count;
};

/* Parse text[0..len), len <= MANIFEST_MAX. Lines are "SHA256(name)= hex",
 * with blanks anywhere, or "hex  name" as sha1sum prints them. Any other line
 * is reported to bad_line (may be NULL) and left out; fails for want of
 * memory only. */
int manifest_parse(struct manifest **out, const char *text, size_t len,
		   void (*bad_line)(void *arg, unsigned int line), void *arg,
		   struct error *err);
void manifest_free(struct manifest *manifest); /* NULL is legal */

/* Hash the whole source by entry's algorithm. *matches tells whether the
 * result is entry's digest. progress() (may be NULL) gets the bytes read since
 * its last call and returns false to stop (ERR_CANCELLED). */
int manifest_verify(const struct manifest_entry *entry, struct source *source,
		    bool (*progress)(void *arg, uint64_t bytes), void *arg,
		    bool *matches, struct error *err);

#endif
