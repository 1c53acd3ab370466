/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: tars, and the OVAs that they may be. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "format/ova.h"
#include "format/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tar(const struct tar *tar, const struct source *source)
{
	for (size_t i = 0; i < tar->count; i++) {
		const struct tar_member *member = &tar->members[i];
		size_t count;

		if (!in_range(member->offset, member->stored, source->size) ||
		    member->stored > member->size || !*member->name ||
		    strchr(member->name, '/') ||
		    tar_find_path(tar, member->path) != member ||
		    !tar_find_name(tar, member->name, &count) || count < 1)
			abort();
	}
}

static void ignore_problem(void *arg, const char *text)
{
}

static void check_source(struct source *source)
{
	struct error err = { 0 };
	char last;

	if (source && source->size &&
	    source_read(source, source->size - 1, &last, 1, 0, &err))
		abort(); /* the bytes are there, so they can be read */
}

static void walk_ova(struct ova *ova)
{
	json_t *object = json_object();
	struct error err = { 0 };

	for (size_t i = 0; i < ova_disk_count(ova); i++) {
		const struct ova_disk *disk = ova_disk(ova, i);

		if (!disk->name || !disk->disk_id || strchr(disk->name, '/') ||
		    (disk->source && disk->error.kind))
			abort();
		check_source(disk->source);
	}
	for (size_t i = 0; i < ova_file_count(ova); i++)
		check_source(ova_file(ova, i)->source);
	if (ova_describe(ova, object, &err))
		abort();
	if (ova_check(ova, ignore_problem, NULL, NULL, &err) && !err.kind)
		abort();
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct open_args args = { 0 };
	struct error err = { 0 };
	struct source *source;
	struct tar *tar;
	struct ova *ova;

	if (source_memory(&source, "fuzz", data, size, &err))
		return 0;
	if (!tar_read(&tar, source, NULL, &err)) {
		check_tar(tar, source);
		tar_free(tar);
	} else if (!err.kind || !*err.text || tar) {
		abort();
	}
	if (!ova_open(&ova, source, &args, &err))
		walk_ova(ova);
	ova_close(ova);
	source_unref(source);
	return 0;
}
