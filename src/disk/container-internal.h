/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A container while it is being opened: shared by container.c and its
 * helpers only. */
#ifndef VMIEFS_CONTAINER_INTERNAL_H
#define VMIEFS_CONTAINER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "disk/container.h"

/* An object that the container reads. */
struct dependency {
	struct dependency *next;
	char etag[STORE_ETAG_MAX];
	char key[];
};

struct container {
	atomic_uint refs;
	struct engine *engine;
	struct store *store;
	char *key;
	struct object_info info;
	char identity[65];
	struct source *source; /* the object's stored bytes */
	struct ova *ova;       /* or NULL */
	struct container_disk *disks;
	size_t disk_count;
	char **warnings;
	size_t warning_count;
	struct dependency *dependencies;
};

struct sibling;

/* Objects beside the container in its store (siblings.c). Lives as long as one
 * open. */
struct store_siblings {
	struct siblings siblings;
	struct container *container;
	size_t prefix_len; /* of container->key, up to the last '/' */
	struct sibling *known;
	size_t known_count, known_size;
	size_t held_count; /* fetched ahead */
	bool was_listed;   /* the level, its first page */
	bool is_all_known; /* what is not among known is not there */
};

void store_siblings_init(struct store_siblings *self,
			 struct container *container);
void store_siblings_destroy(struct store_siblings *self);

/* Open key as a source named by its last part. known as in object_open();
 * info (may be NULL) gets what was opened. */
int container_open_source(struct container *container, const char *key,
			  const struct object_info *known,
			  struct object_info *info, struct source **out,
			  struct error *err);

/* Note an object that the container reads. */
int container_depend(struct container *container, const char *key,
		     const char *etag, struct error *err);

/* Both. */
int container_open_object(struct container *container, const char *key,
			  const struct object_info *known,
			  struct object_info *info, struct source **out,
			  struct error *err);

/* Replace the reference to a gzip stream by one to what it unpacks to. */
int container_unzip(struct container *container, struct source **source,
		    const struct container_options *options,
		    struct error *err);

/* open_args for this container, without siblings. */
struct open_args container_open_args(struct container *container,
				     const struct container_options *options,
				     const char *file_name);

/* Fill disks[] from an OVA that was opened. */
int container_open_ova(struct container *container,
		       const struct container_options *options,
		       struct error *err);

#endif
