/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Packing of whole units: some bytes in, one zlib (RFC 1950) stream out. A
 * packer is one working state, used by one thread at a time. What comes out
 * depends on the input and the level only, for one build on one kind of
 * processor. */
#ifndef VMIEFS_PACKER_H
#define VMIEFS_PACKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct error;
struct packer;

/* -o compression= */
enum packer_level {
	PACKER_FAST,     /* ISA-L level 2, else libdeflate 1, else zlib 1 */
	PACKER_SMALL,    /* libdeflate 6, else zlib 6 */
	PACKER_SMALLEST, /* libdeflate 9, else zlib 9 */
};

int packer_new(struct packer **out, enum packer_level level,
	       struct error *err);
void packer_free(struct packer *packer); /* NULL is legal */

/* Memory that a packer takes, about. */
size_t packer_bytes(enum packer_level level);

/* The most that len bytes pack to, at any level. */
size_t packer_bound(size_t len);

/* Pack in[0..len) to out[0..cap), cap >= packer_bound(len). *out_len gets the
 * stream's length. Fails only when the library does. */
int packer_zlib(struct packer *packer, const void *in, size_t len, void *out,
		size_t cap, size_t *out_len, struct error *err);

/* "ISA-L 2.30.0 level 2": what packs here. */
const char *packer_name(enum packer_level level);

/* By the word of the option: "fast", "small", "smallest". False if it is none
 * of them. */
bool packer_level_find(const char *word, enum packer_level *level);

/* Packers for jobs that run in parallel: as many are made as ever run at once.
 * The one that was used last is taken first, as its tables are still in the
 * cache. Taking and giving from any thread. */
struct packers {
	pthread_mutex_t lock; /* of what follows */
	struct packer *free;
	enum packer_level level;
};

void packers_init(struct packers *packers, enum packer_level level);
void packers_clear(struct packers *packers); /* free those given back */
void packers_destroy(struct packers *packers);

int packers_take(struct packer **out, struct packers *packers,
		 struct error *err);
/* NULL is legal. */
void packers_give(struct packers *packers, struct packer *packer);

#endif
