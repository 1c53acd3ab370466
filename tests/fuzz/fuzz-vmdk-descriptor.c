/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: a VMDK descriptor with files beside it. Every name that holds
 * a "g" is gone; one that starts with "s" is a small sparse extent, with "p" a
 * parent, with "c" the descriptor itself; all others are flat. */
#include "config.h"

#include <string.h>

#include "common/bytes.h"
#include "tests/fuzz/walk.h"

#define SECTOR 512
#define SPARSE_BYTES (4 * SECTOR)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char parent_text[] =
	"# Disk DescriptorFile\nCID=0000000a\nparentCID=ffffffff\n"
	"createType=\"vmfs\"\nRW 64 VMFS \"flat\"\n";

struct fuzz_siblings {
	struct siblings siblings;
	const uint8_t *data;
	size_t size;
};

/* 64 sectors, of which the first 8 are stored nowhere. */
static void make_sparse(uint8_t *file)
{
	memcpy(file, "KDMV", 4);
	le32_put(file + 4, 1);
	le64_put(file + 12, 64);
	le64_put(file + 20, 8);
	le32_put(file + 44, 8);
	le64_put(file + 56, 1);
	le32_put(file + SECTOR, 2);
	le32_put(file + 2 * SECTOR + 4, 3);
}

static int sibling_open(struct siblings *siblings, const char *name,
			struct source **out, struct error *err)
{
	const struct fuzz_siblings *self = (struct fuzz_siblings *)siblings;
	uint8_t sparse[SPARSE_BYTES] = { 0 };

	*out = NULL;
	if (strchr(name, 'g'))
		return error_set(err, ERR_NOT_FOUND, "gone");
	switch (name[0]) {
	case 'c':
		return source_memory(out, name, self->data, self->size, err);
	case 'p':
		return source_memory(out, name, parent_text,
				     sizeof(parent_text) - 1, err);
	case 's':
		make_sparse(sparse);
		break;
	default:
		break;
	}
	return source_memory(out, name, sparse, sizeof(sparse), err);
}

static int sibling_each(struct siblings *siblings,
			int (*fn)(void *arg, const char *name,
				  struct error *err),
			void *arg, struct error *err)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_siblings siblings = {
		.siblings = { .open = sibling_open, .each = sibling_each },
		.data = data, .size = size,
	};

	fuzz_walk("vmdk", data, size, &siblings.siblings);
	return 0;
}
