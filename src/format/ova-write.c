/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing an OVA: DSP0243 1.1.0, "Distribution as a single file". The
 * descriptor comes first, the manifest last: so its digests are made while the
 * disks pass by. In memory: the descriptor, the manifest, and a buffer of one
 * request. */
#include "config.h"

#include <libxml/chvalid.h>
#include <libxml/xmlstring.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "common/budget.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/strbuf.h"
#include "common/zeroes.h"
#include "format/format.h"
#include "format/ova-write.h"
#include "format/tar-write.h"
#include "store/sink.h"

#define DIGEST_BYTES 32u /* SHA-256 */
#define BUFFER_MIN   (256u << 10)
#define BUFFER_MAX   (8u << 20)
#define TEXT_MAX     (1u << 20) /* descriptor and manifest: far less */

/* A file of the package. */
struct ova_entry {
	char *name;
	struct source *source; /* NULL: the descriptor */
	uint64_t size;
	uint64_t capacity;     /* of a disk */
	uint8_t digest[DIGEST_BYTES];
};

struct ova_plan {
	char *base;                /* "server" of "server.ova" */
	char *descriptor;
	struct ova_entry *entries; /* the descriptor, then the disks */
	size_t count;
	uint64_t size;
	struct budget *budget;     /* for the buffer; NULL: unbounded */
};

/* Names. */

/* What stands for itself in XML, as a relative URI, in a manifest, in a tar
 * and as a file's name on all systems that unpack it: '%', ':', '?' and '#'
 * mean something in an href, and readers disagree whether to heed it. */
static bool is_plain_character(int c)
{
	return c >= 0x20 && c != 0x7f && xmlIsCharQ(c) &&
	       (c > 0x7f || !strchr("/\\:%?#", c));
}

static const char *find_fault(const char *name)
{
	const xmlChar *at = BAD_CAST name;
	size_t len = strlen(name);

	if (len > TAR_NAME_MAX)
		return "has more than 255 bytes";
	if (!xmlCheckUTF8(at))
		return "is no UTF-8";
	if (name[0] == ' ' || !strncmp(name, "._", 2))
		return "begins with a blank or \"._\"";
	while (*at) {
		int n = 4, c = xmlGetUTF8Char(at, &n);

		if (!is_plain_character(c))
			return "has one of / \\ : % ? # or a control character";
		at += n;
	}
	return NULL;
}

int ova_check_name(const char *name, const char *ending, struct error *err)
{
	size_t len = strlen(name), ending_len = strlen(ending);
	const char *fault = find_fault(name);

	if (!fault && (len <= ending_len ||
		       strcasecmp(name + len - ending_len, ending) != 0))
		return error_set(err, ERR_ARG, "\"%.200s\" does not end in %s",
				 name, ending);
	if (fault)
		return error_set(err, ERR_ARG, "\"%.200s\" %s: that cannot be "
				 "a name in an OVA", name, fault);
	return 0;
}

/* Planning. */

/* "server" + ".mf" */
static char *beside(const struct ova_plan *plan, const char *ending)
{
	struct strbuf buf = { .max = TAR_NAME_MAX };

	strbuf_printf(&buf, "%s%s", plan->base, ending);
	return strbuf_take(&buf);
}

static uint64_t member_bytes(const char *name, uint64_t size)
{
	uint8_t header[TAR_HEADER_MAX];

	return tar_put_header(header, name, size) + size + tar_padding(size);
}

static int open_part(struct ova_entry *entry, const struct open_args *args,
		     struct error *err)
{
	struct open_args own = args ? *args : (struct open_args){ 0 };
	struct map *map;
	int ret = 0;

	own.format = "vmdk";
	own.file_name = entry->name;
	own.siblings = NULL;
	if (format_open(&map, entry->source, NULL, &own, err))
		return -1;
	entry->capacity = map->size;
	if (strcmp(map->subformat, "streamOptimized") != 0)
		ret = error_set(err, ERR_UNSUPPORTED, "is a %s VMDK; the disks "
				"of an OVA are streamOptimized",
				map->subformat);
	map_close(map);
	return ret;
}

static bool is_repeated(const struct ova_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->count; i++)
		if (!strcmp(plan->entries[i].name, name))
			return true;
	return false;
}

static int add_part(struct ova_plan *plan, const struct ova_part *part,
		    const struct open_args *args, struct error *err)
{
	struct ova_entry *entry = &plan->entries[plan->count];

	if (ova_check_name(part->name, ".vmdk", err))
		return -1;
	if (is_repeated(plan, part->name))
		return error_set(err, ERR_ARG, "two disks are called \"%s\"",
				 part->name);
	entry->name = strdup(part->name);
	if (!entry->name)
		return error_nomem(err);
	plan->count++;
	entry->source = source_ref(part->source);
	entry->size = part->source->size;
	return open_part(entry, args, err) ?
		error_prefix(err, "%s", part->name) : 0;
}

static int hash_failed(struct error *err)
{
	return error_set(err, ERR_BUG, "libcrypto cannot hash");
}

/* The descriptor, when all disks are known. */
static int add_descriptor(struct ova_plan *plan, struct error *err)
{
	struct ova_entry *entry = &plan->entries[0];
	struct ovf_new_disk disks[OVA_PARTS_MAX];

	for (size_t i = 1; i < plan->count; i++)
		disks[i - 1] = (struct ovf_new_disk){
			.href = plan->entries[i].name,
			.stored = plan->entries[i].size,
			.capacity = plan->entries[i].capacity,
		};
	plan->descriptor = ovf_make(plan->base, disks, plan->count - 1, err);
	if (!plan->descriptor)
		return -1;
	entry->size = strlen(plan->descriptor);
	return EVP_Digest(plan->descriptor, entry->size, entry->digest, NULL,
			  EVP_sha256(), NULL) ? 0 : hash_failed(err);
}

/* By the digests known so far; its length does not depend on them. */
static char *make_manifest(const struct ova_plan *plan, struct error *err)
{
	struct strbuf buf = { .max = TEXT_MAX };
	char *text;

	for (size_t i = 0; i < plan->count; i++) {
		const struct ova_entry *entry = &plan->entries[i];

		strbuf_printf(&buf, "SHA256(%s)= ", entry->name);
		for (size_t k = 0; k < DIGEST_BYTES; k++)
			strbuf_printf(&buf, "%02x", entry->digest[k]);
		strbuf_puts(&buf, "\n");
	}
	text = strbuf_take(&buf);
	if (!text)
		error_nomem(err);
	return text;
}

static int sum_up(struct ova_plan *plan, struct error *err)
{
	AUTO_FREE char *manifest = make_manifest(plan, err);
	AUTO_FREE char *name = beside(plan, ".mf");

	if (!manifest)
		return -1;
	if (!name)
		return error_nomem(err);
	plan->size = member_bytes(name, strlen(manifest)) + TAR_END_BYTES;
	for (size_t i = 0; i < plan->count; i++) {
		const struct ova_entry *entry = &plan->entries[i];

		if (!add_u64(plan->size, member_bytes(entry->name, entry->size),
			     &plan->size) || plan->size > INT64_MAX)
			return error_set(err, ERR_LIMIT, "no OVA is so large");
	}
	return 0;
}

static int fill_plan(struct ova_plan *plan, const char *name,
		     const struct ova_part *parts, size_t count,
		     const struct open_args *args, struct error *err)
{
	if (ova_check_name(name, ".ova", err))
		return -1;
	if (count == 0)
		return error_set(err, ERR_ARG, "an OVA has at least one disk");
	if (count > OVA_PARTS_MAX)
		return error_set(err, ERR_LIMIT, "%zu disks; an OVA that is "
				 "written has at most %d", count,
				 OVA_PARTS_MAX);
	plan->entries = calloc(count + 1, sizeof(*plan->entries));
	plan->base = strndup(name, strlen(name) - strlen(".ova"));
	if (!plan->entries || !plan->base)
		return error_nomem(err);
	plan->entries[0].name = beside(plan, ".ovf");
	if (!plan->entries[0].name)
		return error_nomem(err);
	plan->count = 1;
	for (size_t i = 0; i < count; i++)
		if (add_part(plan, &parts[i], args, err))
			return -1;
	return add_descriptor(plan, err) || sum_up(plan, err) ? -1 : 0;
}

int ova_plan_new(struct ova_plan **out, const char *name,
		 const struct ova_part *parts, size_t count,
		 const struct open_args *args, struct error *err)
{
	struct ova_plan *plan = calloc(1, sizeof(*plan));

	*out = NULL;
	if (!plan)
		return error_nomem(err);
	plan->budget = args ? args->budget : NULL;
	if (fill_plan(plan, name, parts, count, args, err)) {
		ova_plan_free(plan);
		return -1;
	}
	*out = plan;
	return 0;
}

void ova_plan_free(struct ova_plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->count; i++) {
		source_unref(plan->entries[i].source);
		free(plan->entries[i].name);
	}
	free(plan->entries);
	free(plan->descriptor);
	free(plan->base);
	free(plan);
}

uint64_t ova_plan_size(const struct ova_plan *plan)
{
	return plan->size;
}

/* Assembling. */

struct assembly {
	struct sink *sink;
	uint8_t *buf;
	size_t buf_bytes;
	EVP_MD_CTX *hash;
	bool (*progress)(void *arg, uint64_t bytes);
	void *arg;
};

static int emit_header(struct assembly *to, const char *name, uint64_t size,
		       struct error *err)
{
	uint8_t header[TAR_HEADER_MAX];
	size_t n = tar_put_header(header, name, size);

	return sink_write(to->sink, header, n, err);
}

static int emit_text(struct assembly *to, const char *name, const char *text,
		     struct error *err)
{
	size_t size = strlen(text);

	if (emit_header(to, name, size, err) ||
	    sink_write(to->sink, text, size, err))
		return -1;
	return sink_zeroes(to->sink, tar_padding(size), err);
}

/* One buffer of a disk. */
static int emit_bytes(struct assembly *to, const struct ova_entry *entry,
		      uint64_t at, size_t n, struct error *err)
{
	if (source_read(entry->source, at, to->buf, n, 0, err))
		return -1;
	if (!EVP_DigestUpdate(to->hash, to->buf, n))
		return hash_failed(err);
	if (is_all_zero(to->buf, n) ? sink_zeroes(to->sink, n, err) :
				      sink_write(to->sink, to->buf, n, err))
		return -1;
	if (to->progress && !to->progress(to->arg, n))
		return error_set(err, ERR_CANCELLED, "was cancelled");
	return 0;
}

static int emit_disk(struct assembly *to, struct ova_entry *entry,
		     struct error *err)
{
	if (!EVP_DigestInit_ex(to->hash, EVP_sha256(), NULL))
		return hash_failed(err);
	if (emit_header(to, entry->name, entry->size, err))
		return -1;
	for (uint64_t at = 0; at < entry->size; at += to->buf_bytes)
		if (emit_bytes(to, entry, at,
			       (size_t)min_u64(to->buf_bytes,
					       entry->size - at), err))
			return -1;
	if (!EVP_DigestFinal_ex(to->hash, entry->digest, NULL))
		return hash_failed(err);
	return sink_zeroes(to->sink, tar_padding(entry->size), err);
}

static int emit_manifest(struct assembly *to, const struct ova_plan *plan,
			 struct error *err)
{
	AUTO_FREE char *text = make_manifest(plan, err);
	AUTO_FREE char *name = beside(plan, ".mf");

	if (!text)
		return -1;
	if (!name)
		return error_nomem(err);
	if (emit_text(to, name, text, err))
		return -1;
	return sink_zeroes(to->sink, TAR_END_BYTES, err);
}

static int emit_all(struct assembly *to, struct ova_plan *plan,
		    struct error *err)
{
	uint64_t start = to->sink->position;

	if (emit_text(to, plan->entries[0].name, plan->descriptor, err))
		return -1;
	for (size_t i = 1; i < plan->count; i++)
		if (emit_disk(to, &plan->entries[i], err))
			return error_prefix(err, "%s", plan->entries[i].name);
	if (emit_manifest(to, plan, err))
		return -1;
	if (to->sink->position - start != plan->size)
		return error_set(err, ERR_BUG, "the OVA was planned with %llu "
				 "bytes and has %llu",
				 (unsigned long long)plan->size,
				 (unsigned long long)(to->sink->position -
						      start));
	return 0;
}

/* As much as the sources like to be asked for at once. */
static size_t choose_buffer(const struct ova_plan *plan)
{
	uint64_t bytes = BUFFER_MIN;

	for (size_t i = 1; i < plan->count; i++)
		bytes = max_u64(bytes, plan->entries[i].source->request_bytes);
	return (size_t)min_u64(bytes, BUFFER_MAX);
}

int ova_assemble(struct ova_plan *plan, struct sink *sink,
		 bool (*progress)(void *arg, uint64_t bytes), void *arg,
		 struct error *err)
{
	struct assembly to = { .sink = sink, .progress = progress, .arg = arg };
	int ret;

	to.buf_bytes = choose_buffer(plan);
	if (plan->budget && budget_reserve(plan->budget, to.buf_bytes,
					   "assembling an OVA", err))
		return -1;
	to.buf = malloc(to.buf_bytes);
	to.hash = EVP_MD_CTX_new();
	ret = to.buf && to.hash ? emit_all(&to, plan, err) : error_nomem(err);
	EVP_MD_CTX_free(to.hash);
	free(to.buf);
	if (plan->budget)
		budget_release(plan->budget, to.buf_bytes);
	return ret;
}
