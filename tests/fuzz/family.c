/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A child and its parent out of one input. */
#include "config.h"

#include "common/checked.h"
#include "tests/fuzz/family.h"
#include "tests/fuzz/walk.h"

#define UNIT 256

struct family {
	struct siblings siblings;
	const char *parent_name;
	family_source_fn *make;
	const uint8_t *data; /* the parent's */
	size_t size;
};

static int family_open(struct siblings *siblings, const char *name,
		       struct source **out, struct error *err)
{
	struct family *self = (struct family *)siblings;

	*out = self->make(name, self->data, self->size);
	return *out ? 0 : error_nomem(err);
}

static int family_each(struct siblings *siblings,
		       int (*fn)(void *arg, const char *name,
				 struct error *err),
		       void *arg, struct error *err)
{
	struct family *self = (struct family *)siblings;

	return fn(arg, self->parent_name, err);
}

void family_walk(const char *format, const char *parent_name,
		 family_source_fn *make, const uint8_t *data, size_t size)
{
	struct family family = { .siblings = { family_open, family_each },
				 .parent_name = parent_name, .make = make };
	struct source *child;
	size_t child_size;

	if (size == 0)
		return;
	child_size = data[0] == 255 ? size - 1 :
				      min_u64(size - 1, data[0] * UNIT);
	family.data = data + 1 + child_size;
	family.size = size - 1 - child_size;
	child = make("child", data + 1, child_size);
	if (!child)
		return;
	fuzz_walk_source(format, child, &family.siblings);
	source_unref(child);
}
