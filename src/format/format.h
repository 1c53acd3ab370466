/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What containers mean. A format is one file with one const table entry that
 * opens a source and gives a map; a map answers extents() and never moves
 * payload. The life of a map:
 *
 *     format_open() -> open() -> { extents(), describe() }* -> close()
 *
 * Threads: open() runs once; extents() and describe() may run in parallel on
 * one map; close() when nobody uses it any more. */
#ifndef VMIEFS_FORMAT_H
#define VMIEFS_FORMAT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "format/extents.h"
#include "format/source.h"

#define FORMAT_DISK_MAX  (64ull << 40) /* the largest virtual disk, bytes */
#define FORMAT_UNIT_MAX  (1u << 20)    /* the largest packed unit, bytes */
#define FORMAT_DEPTH_MAX 32            /* links in a chain of parents */

struct map;
struct open_args;
struct write_args;
struct writer;

/* Bytes at an offset by which a format is recognised. */
struct magic {
	int64_t offset;    /* negative: from the end of the source */
	const char *bytes; /* NULL ends the list */
	uint8_t length;
};

struct format {
	const char *name;       /* "vmdk": for users, options and logs */
	const char *title;      /* "VMware virtual disk" */
	struct magic magics[6]; /* any of them; the first is at the end that
				 * tells the disk's size */
	uint32_t head_bytes;    /* what open() reads first at the start ... */
	uint32_t tail_bytes;    /* ... and at the end, to be fetched at once */
	uint64_t likely_at[2];  /* where writers put what open() reads then:
				 * fetched at once from afar; 0 = nowhere */
	/* Optional: confirm after a magic matched, or recognise without one.
	 * 1 yes, 0 no, -1 error. */
	int (*probe)(struct source *source, struct error *err);
	int (*open)(struct map **out, struct source *source,
		    const struct open_args *args, struct error *err);
	/* As writer_new() (writer.h). NULL = is only read. */
	int (*create)(struct writer **out, const struct write_args *args,
		      struct error *err);
};

struct map_ops {
	/* Add pieces for the asked range (within the disk, checked). It may
	 * stop early but must add at least the piece at ex->offset. Table
	 * reads use ex->flags. Damage confined to a place is EXTENT_BAD there;
	 * an error fails the whole question. */
	int (*extents)(struct map *map, struct extents *ex, struct error *err);
	/* Optional: add to a JSON object what `vmiefs info` shows beyond the
	 * common fields (descriptor text, block size, creator, ids). */
	int (*describe)(struct map *map, json_t *object, struct error *err);
	/* Optional: verify tables and redundant copies beyond what reading all
	 * extents shows; calls problem() once for each finding. */
	int (*check)(struct map *map, void (*problem)(void *arg, const char *),
		     void *arg, struct error *err);
	void (*close)(struct map *map);
};

/* First member of a driver's own map; map_init() fills it. */
struct map {
	const struct map_ops *ops;
	const struct format *format;
	const char *subformat;   /* "streamOptimized", "dynamic": static text */
	uint64_t size;           /* virtual size, bytes, fixed at open */
	uint32_t unit_bytes;     /* largest PACKED unit, 0 = has none */
	bool can_have_holes;     /* false: every byte is stored */
	bool is_glance;          /* of format_glance(): has no extents */
	struct source *source;   /* a reference, released by map_close() */
	struct map *parent;      /* differencing disks; owned; else NULL */
};

/* Objects beside the container that is being opened: the only way for a
 * driver to reach another file. Implementations look under the container's
 * own prefix only and record what they opened for the disk's identity. */
struct siblings {
	/* Open the sibling with this plain name (no '/', not "." or "..";
	 * others are ERR_DENIED). ERR_NOT_FOUND where there is none. */
	int (*open)(struct siblings *siblings, const char *name,
		    struct source **out, struct error *err);
	/* Call fn for the plain name of every sibling object. */
	int (*each)(struct siblings *siblings,
		    int (*fn)(void *arg, const char *name, struct error *err),
		    void *arg, struct error *err);
	/* Optional hint: all of these will be opened, so what each open() has
	 * to ask can be asked together. May wait for answers; what fails is
	 * for open() to meet. */
	void (*expect)(struct siblings *siblings, const char *const *names,
		       size_t n);
	/* Optional hint: format_open() will be called with args for some of
	 * these, and where `endings` is given for others that end so, as each
	 * names the next: begin to fetch what they start with. */
	void (*expect_parents)(struct siblings *siblings,
			       const char *const *names, size_t n,
			       const char *const *endings,
			       const struct open_args *args);
};

struct open_args {
	const char *format;         /* "vhd": skip probing; NULL = probe */
	const char *file_name;      /* the container's plain name, or "" */
	struct siblings *siblings;  /* NULL: nothing beside it */
	struct page_cache *cache;   /* NULL: uncached table reads */
	struct budget *budget;      /* for tables kept whole; NULL: unbounded */
	bool vhd_chs;               /* -o vhd-size=chs */
	bool size_only;             /* format_glance(): what confirms or serves
				     * reading only may be left out; ERR_AGAIN
				     * where that would not save much */
	unsigned int depth;         /* links of the parent chain so far */
	const struct open_args *child; /* of the disk whose parent this is:
					* by their file_name a chain that is
					* a circle is seen; NULL: the first */
	/* Something odd that does not prevent reading; NULL: not wanted. */
	void (*warn)(void *arg, const char *text);
	void *warn_arg;
	/* Asked now and then by what takes long; false: stop. NULL: never. */
	bool (*keep_going)(void *arg);
	void *keep_going_arg;
};

/* Report a warning through args (which may have no listener). */
void open_warn(const struct open_args *args, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Does who asked still wait? ERR_CANCELLED if not. What reads many places
 * while it opens calls this between them. args == NULL: yes. */
int open_goes_on(const struct open_args *args, struct error *err);

/* Recognise the content. Reads a few KiB at both ends. *out is NULL when no
 * format claims it (then it can only be raw). ERR_ARG naming both where two
 * formats claim it. `raw` is never recognised, only asked for by name. */
int format_probe(const struct format **out, struct source *source,
		 struct error *err);

/* By name ("raw", "vmdk", "vhd", "vhdx"); NULL for an unknown one. */
const struct format *format_find(const char *name);

/* Open the disk in source: args->format or probing decides which format. An
 * unrecognised source is ERR_CORRUPT; expected (may be NULL) is the format
 * that the name promises, for a message that names both. A gzip stream is
 * unpacked first (gzip.h). The map takes its own reference of the source. */
int format_open(struct map **out, struct source *source, const char *expected,
		const struct open_args *args, struct error *err);

/* As format_open(), for who wants to know size and kind alone: reads no more
 * than the end of the source that tells them, if the content is what the name
 * promises (args->format or expected). *out is NULL on success too, where a
 * look at that end is not enough; then only format_open() tells. The map can
 * answer nothing but what is in struct map, and opening in full may still
 * find that the disk is damaged or, where its copies of the size disagree,
 * has another one. */
int format_glance(struct map **out, struct source *source,
		  const char *expected, const struct open_args *args,
		  struct error *err);

/* Begin to fetch what format_open() will read first. */
void format_prefetch(struct source *source, const char *expected,
		     const struct open_args *args);

/* For drivers: fill the common part and take a reference of source. */
void map_init(struct map *map, const struct map_ops *ops,
	      const struct format *format, struct source *source);
void map_close(struct map *map); /* NULL is legal; closes the parent too */

/* Where do the bytes lie? ex was set up by extents_init() with a range within
 * the disk. PARENT pieces are answered by the parent's map (what lies past
 * the parent's end is ZERO), so the result has none; at least the first piece
 * is there on success. */
int map_extents(struct map *map, struct extents *ex, struct error *err);

extern const struct format raw_format, vmdk_format, vhd_format, vhdx_format;

#endif
