/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Writing an OVA: DSP0243 1.1.0, "Distribution as a single file". In memory:
 * the descriptor, the manifest, headers, and a buffer of one request for what
 * is hashed. */
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
#include "format/format.h"
#include "format/ova-write.h"
#include "format/tar-write.h"
#include "store/compose.h"

#define BUFFER_MIN (256u << 10)
#define BUFFER_MAX (8u << 20)
#define TEXT_MAX   (1u << 20) /* descriptor and manifest: far less */
#define OWN_MAX    (4u << 20) /* these, and all headers */

/* A file of the package. */
struct ova_entry {
	char *name;
	struct source *source; /* NULL: the descriptor */
	uint64_t size;
	uint64_t capacity;     /* of a disk */
	const char *key;       /* of its object */
	const struct object_info *info;
	bool is_hashed;
	uint8_t digest[OVA_DIGEST_BYTES];
};

struct ova_plan {
	char *base;                /* "server" of "server.ova" */
	char *descriptor;
	struct ova_entry *entries; /* the descriptor, then the disks */
	size_t count;
	uint64_t size;
	struct budget *budget;     /* for the buffer; NULL: unbounded */
	struct strbuf own;         /* all bytes that are no disk's */
	struct store_piece *pieces;
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
	entry->key = part->key;
	entry->info = part->info;
	entry->is_hashed = part->digest;
	if (part->digest)
		memcpy(entry->digest, part->digest, OVA_DIGEST_BYTES);
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
	entry->is_hashed = true;
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
		for (size_t k = 0; k < OVA_DIGEST_BYTES; k++)
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
	plan->own.max = OWN_MAX;
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
	strbuf_free(&plan->own);
	free(plan->pieces);
	free(plan->entries);
	free(plan->descriptor);
	free(plan->base);
	free(plan);
}

uint64_t ova_plan_size(const struct ova_plan *plan)
{
	return plan->size;
}

/* Hashing. */

struct hashing {
	uint8_t *buf;
	size_t buf_bytes;
	EVP_MD_CTX *hash;
	bool (*progress)(void *arg, uint64_t bytes);
	void *arg;
};

uint64_t ova_plan_unhashed(const struct ova_plan *plan)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < plan->count; i++)
		if (!plan->entries[i].is_hashed)
			bytes += plan->entries[i].size; /* below plan->size */
	return bytes;
}

static int hash_entry(struct hashing *self, struct ova_entry *entry,
		      struct error *err)
{
	if (!EVP_DigestInit_ex(self->hash, EVP_sha256(), NULL))
		return hash_failed(err);
	for (uint64_t at = 0; at < entry->size;) {
		size_t n = (size_t)min_u64(self->buf_bytes, entry->size - at);

		if (source_read(entry->source, at, self->buf, n, 0, err))
			return -1;
		if (!EVP_DigestUpdate(self->hash, self->buf, n))
			return hash_failed(err);
		if (self->progress && !self->progress(self->arg, n))
			return error_set(err, ERR_CANCELLED, "was cancelled");
		at += n;
	}
	if (!EVP_DigestFinal_ex(self->hash, entry->digest, NULL))
		return hash_failed(err);
	entry->is_hashed = true;
	return 0;
}

static int hash_entries(struct hashing *self, struct ova_plan *plan,
			struct error *err)
{
	for (size_t i = 0; i < plan->count; i++) {
		struct ova_entry *entry = &plan->entries[i];

		if (!entry->is_hashed && hash_entry(self, entry, err))
			return error_prefix(err, "%s", entry->name);
	}
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

int ova_plan_hash(struct ova_plan *plan,
		  bool (*progress)(void *arg, uint64_t bytes), void *arg,
		  struct error *err)
{
	struct hashing self = { .progress = progress, .arg = arg };
	int ret;

	if (!ova_plan_unhashed(plan))
		return 0;
	self.buf_bytes = choose_buffer(plan);
	if (plan->budget && budget_reserve(plan->budget, self.buf_bytes,
					   "hashing a disk", err))
		return -1;
	self.buf = malloc(self.buf_bytes);
	self.hash = EVP_MD_CTX_new();
	ret = self.buf && self.hash ? hash_entries(&self, plan, err) :
				      error_nomem(err);
	EVP_MD_CTX_free(self.hash);
	free(self.buf);
	if (plan->budget)
		budget_release(plan->budget, self.buf_bytes);
	return ret;
}

/* Pieces: bytes of ours and disks, in turn. */

static void put_zeroes(struct strbuf *own, size_t n)
{
	static const char zeroes[TAR_BLOCK];

	for (; n > sizeof(zeroes); n -= sizeof(zeroes))
		strbuf_add(own, zeroes, sizeof(zeroes));
	strbuf_add(own, zeroes, n);
}

static void put_header(struct strbuf *own, const char *name, uint64_t size)
{
	uint8_t header[TAR_HEADER_MAX];

	strbuf_add(own, header, tar_put_header(header, name, size));
}

static void put_text(struct strbuf *own, const char *name, const char *text)
{
	size_t size = strlen(text);

	put_header(own, name, size);
	strbuf_add(own, text, size);
	put_zeroes(own, tar_padding(size));
}

/* Lengths first: where our bytes are is only known when all are there. */
static void put_disks(struct ova_plan *plan)
{
	struct store_piece *piece = plan->pieces;
	size_t begin = 0;

	for (size_t i = 1; i < plan->count; i++) {
		const struct ova_entry *entry = &plan->entries[i];

		put_header(&plan->own, entry->name, entry->size);
		piece++->length = plan->own.len - begin;
		begin = plan->own.len;
		*piece++ = (struct store_piece){
			.key = entry->key,
			.info = entry->info,
			.length = entry->size,
		};
		put_zeroes(&plan->own, tar_padding(entry->size));
	}
	piece->length = begin; /* for put_end() */
}

static int put_end(struct ova_plan *plan, const char *manifest,
		   struct error *err)
{
	AUTO_FREE char *name = beside(plan, ".mf");
	struct store_piece *last = &plan->pieces[2 * (plan->count - 1)];
	uint64_t total = 0;
	size_t at = 0;

	if (!name)
		return error_nomem(err);
	put_text(&plan->own, name, manifest);
	put_zeroes(&plan->own, TAR_END_BYTES);
	if (plan->own.failed)
		return error_nomem(err);
	last->length = plan->own.len - last->length;
	for (struct store_piece *piece = plan->pieces; piece <= last; piece++) {
		total += piece->length;
		if (piece->key)
			continue;
		piece->data = plan->own.data + at;
		at += piece->length;
	}
	if (total != plan->size)
		return error_set(err, ERR_BUG, "the OVA was planned with %llu "
				 "bytes and has %llu",
				 (unsigned long long)plan->size,
				 (unsigned long long)total);
	return 0;
}

int ova_plan_pieces(struct ova_plan *plan, const struct store_piece **pieces,
		    size_t *count, struct error *err)
{
	AUTO_FREE char *manifest = NULL;

	if (ova_plan_unhashed(plan) || plan->pieces)
		return error_set(err, ERR_BUG, "a plan's calls out of order");
	manifest = make_manifest(plan, err);
	if (!manifest)
		return -1;
	plan->pieces = calloc(2 * plan->count, sizeof(*plan->pieces));
	if (!plan->pieces)
		return error_nomem(err);
	put_text(&plan->own, plan->entries[0].name, plan->descriptor);
	put_disks(plan);
	if (put_end(plan, manifest, err))
		return -1;
	*pieces = plan->pieces;
	*count = 2 * plan->count - 1;
	return 0;
}
