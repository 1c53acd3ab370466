/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: what an OVA holds, read through ova.h alone.
 *
 *     ovacat list FILE            disks, files, reads, as text
 *     ovacat dump FILE NAME       the stored bytes of a disk or file
 *     ovacat info FILE            what describe() says, as JSON
 *     ovacat check FILE           what check() finds
 *     ovacat ovf FILE             a descriptor alone: files, disks, systems
 *     ovacat manifest FILE        a manifest alone
 *
 * Warnings go to stderr. Exit status: 0 good, 1 refused, 2 usage. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "format/manifest.h"
#include "format/ova.h"
#include "format/ovf.h"

#define CHUNK_BYTES (1u << 20)

/* A local file as a source that counts what is read of it. */
struct file_source {
	struct source source;
	FILE *file;
	unsigned int reads;
	uint64_t bytes;
};

static int file_source_readv(struct source *source, uint64_t offset,
			     const struct iovec *iov, int iovcnt,
			     unsigned int flags, struct error *err)
{
	struct file_source *self = (struct file_source *)source;
	ssize_t want = 0;

	for (int i = 0; i < iovcnt; i++)
		want += (ssize_t)iov[i].iov_len;
	self->reads++;
	self->bytes += (uint64_t)want;
	if (preadv(fileno(self->file), iov, iovcnt, (off_t)offset) != want)
		return error_set(err, ERR_IO, "cannot read the file");
	return 0;
}

static void file_source_close(struct source *source)
{
	struct file_source *self = (struct file_source *)source;

	fclose(self->file);
	free(self);
}

static const struct source_ops file_source_ops = {
	.readv = file_source_readv,
	.close = file_source_close,
};

static struct file_source *open_file(const char *path, struct error *err)
{
	struct file_source *self = calloc(1, sizeof(*self));
	FILE *file = fopen(path, "rb");

	if (!self || !file || fseeko(file, 0, SEEK_END) ||
	    source_init(&self->source, &file_source_ops, path,
			(uint64_t)ftello(file), NULL, err)) {
		fprintf(stderr, "ovacat: cannot open %s\n", path);
		exit(2);
	}
	self->file = file;
	return self;
}

static void print_warning(void *arg, const char *text)
{
	fprintf(stderr, "warning %s\n", text);
}

static void print_disk(const struct ova_disk *disk)
{
	printf("disk %s id=%s capacity=%" PRIu64, disk->name, disk->disk_id,
	       disk->capacity);
	if (disk->source)
		printf(" stored=%" PRIu64, disk->source->size);
	else if (!disk->error.kind)
		printf(" empty");
	if (disk->is_gzip)
		printf(" gzip");
	if (disk->error.kind)
		printf(" error=%s: %s", error_kind_name(disk->error.kind),
		       disk->error.text);
	printf("\n");
}

static int command_list(struct ova *ova, const struct file_source *file,
			const char *name, struct error *err)
{
	for (size_t i = 0; i < ova_disk_count(ova); i++)
		print_disk(ova_disk(ova, i));
	for (size_t i = 0; i < ova_file_count(ova); i++)
		printf("file %s %" PRIu64 "\n", ova_file(ova, i)->name,
		       ova_file(ova, i)->source->size);
	printf("reads %u bytes %" PRIu64 "\n", file->reads, file->bytes);
	return 0;
}

static struct source *find_source(struct ova *ova, const char *name)
{
	for (size_t i = 0; i < ova_disk_count(ova); i++)
		if (!strcmp(ova_disk(ova, i)->name, name))
			return ova_disk(ova, i)->source;
	for (size_t i = 0; i < ova_file_count(ova); i++)
		if (!strcmp(ova_file(ova, i)->name, name))
			return ova_file(ova, i)->source;
	return NULL;
}

static int command_dump(struct ova *ova, const struct file_source *file,
			const char *name, struct error *err)
{
	struct source *source = find_source(ova, name);
	AUTO_FREE char *buf = malloc(CHUNK_BYTES);

	if (!source || !buf)
		return error_set(err, ERR_NOT_FOUND, "no bytes of %s", name);
	for (uint64_t at = 0; at < source->size;) {
		size_t n = min_u64(CHUNK_BYTES, source->size - at);

		if (source_read(source, at, buf, n, 0, err))
			return -1;
		if (fwrite(buf, 1, n, stdout) != n)
			return error_set(err, ERR_IO, "cannot write");
		at += n;
	}
	return 0;
}

static int command_info(struct ova *ova, const struct file_source *file,
			const char *name, struct error *err)
{
	json_t *object = json_object();
	int ret = ova_describe(ova, object, err);

	json_dumpf(object, stdout, JSON_INDENT(1) | JSON_SORT_KEYS);
	printf("\n");
	json_decref(object);
	return ret;
}

static void print_problem(void *arg, const char *text)
{
	printf("problem %s\n", text);
}

static bool add_bytes(void *arg, uint64_t bytes)
{
	*(uint64_t *)arg += bytes;
	return true;
}

static int command_check(struct ova *ova, const struct file_source *file,
			 const char *name, struct error *err)
{
	uint64_t bytes = 0;

	if (ova_check(ova, print_problem, add_bytes, &bytes, err))
		return -1;
	printf("verified %" PRIu64 "\n", bytes);
	return 0;
}

static const char *or_dash(const char *text)
{
	return text ? text : "-";
}

static void print_system(const struct ovf_system *s)
{
	printf("system %s name=%s os=%s,%s,%s hardware=%s firmware=%s "
	       "cpus=%" PRIu64 " memory=%" PRIu64 "\n", or_dash(s->id),
	       or_dash(s->name), or_dash(s->os_id), or_dash(s->os_type),
	       or_dash(s->os_description), or_dash(s->hardware),
	       or_dash(s->firmware), s->cpus, s->memory_bytes);
	for (size_t i = 0; i < s->nic_count; i++)
		printf("nic %s network=%s type=%s\n", or_dash(s->nics[i].name),
		       or_dash(s->nics[i].network), or_dash(s->nics[i].type));
}

static int print_ovf(const char *text, size_t len, struct error *err)
{
	struct ovf *ovf;

	if (ovf_parse(&ovf, text, len, print_warning, NULL, err))
		return -1;
	printf("version %s\n", ovf->version);
	for (size_t i = 0; i < ovf->disk_count; i++) {
		const struct ovf_disk *d = &ovf->disks[i];

		printf("disk %s file=%s capacity=%" PRIu64 " device=%s%s%s\n",
		       d->id, d->file == OVF_NO_FILE ? "-" :
		       ovf->files[d->file].href, d->capacity,
		       or_dash(d->device), d->is_media ? " media" : "",
		       d->error.kind ? " error" : "");
		if (d->error.kind)
			printf("error %s\n", d->error.text);
	}
	for (size_t i = 0; i < ovf->file_count; i++)
		printf("file %s size=%" PRIu64 " chunk=%" PRIu64 " %s\n",
		       ovf->files[i].href, ovf->files[i].size,
		       ovf->files[i].chunk_bytes,
		       or_dash(ovf->files[i].compression));
	for (size_t i = 0; i < ovf->system_count; i++)
		print_system(&ovf->systems[i]);
	ovf_free(ovf);
	return 0;
}

static void print_bad_line(void *arg, unsigned int line)
{
	printf("bad line %u\n", line);
}

static int print_manifest(const char *text, size_t len, struct error *err)
{
	struct manifest *manifest;

	if (manifest_parse(&manifest, text, len, print_bad_line, NULL, err))
		return -1;
	for (size_t i = 0; i < manifest->count; i++)
		printf("%s %s\n", manifest->entries[i].algorithm,
		       manifest->entries[i].name);
	manifest_free(manifest);
	return 0;
}

static int parse_text(struct file_source *file,
		      int (*parse)(const char *text, size_t len,
				   struct error *err), struct error *err)
{
	size_t len = (size_t)file->source.size;
	AUTO_FREE char *text = malloc(len + 1);

	if (!text)
		return error_nomem(err);
	if (source_read(&file->source, 0, text, len, 0, err))
		return -1;
	return parse(text, len, err);
}

static const struct {
	const char *name;
	int argc;
	int (*on_ova)(struct ova *ova, const struct file_source *file,
		      const char *name, struct error *err);
	int (*on_text)(const char *text, size_t len, struct error *err);
} commands[] = {
	{ "list", 3, command_list, NULL },
	{ "dump", 4, command_dump, NULL },
	{ "info", 3, command_info, NULL },
	{ "check", 3, command_check, NULL },
	{ "ovf", 3, NULL, print_ovf },
	{ "manifest", 3, NULL, print_manifest },
};

static int run(size_t command, char **argv, struct error *err)
{
	struct open_args args = { .warn = print_warning };
	struct file_source *file = open_file(argv[2], err);
	struct ova *ova = NULL;
	int ret;

	if (commands[command].on_text) {
		ret = parse_text(file, commands[command].on_text, err);
	} else {
		ret = ova_open(&ova, &file->source, &args, err);
		if (!ret)
			ret = commands[command].on_ova(ova, file, argv[3], err);
	}
	ova_close(ova);
	source_unref(&file->source);
	return ret;
}

int main(int argc, char **argv)
{
	struct error err = { 0 };

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (argc < 2 || strcmp(commands[i].name, argv[1]) ||
		    argc != commands[i].argc)
			continue;
		if (!run(i, argv, &err))
			return 0;
		fprintf(stderr, "%s: %s\n", error_kind_name(err.kind),
			err.text);
		return 1;
	}
	fprintf(stderr, "usage: ovacat list|dump|info|check|ovf|manifest FILE "
		"[NAME]\n");
	return 2;
}
