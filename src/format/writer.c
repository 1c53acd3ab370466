/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The checked entry points of all writers, and what they share. */
#include "config.h"

#include <openssl/evp.h>
#include <string.h>

#include "common/bytes.h"
#include "common/checked.h"
#include "format/writer.h"

static const char *size_text(char text[40], uint64_t bytes)
{
	if (bytes % (1ull << 30) == 0)
		snprintf(text, 40, "%llu GiB",
			 (unsigned long long)(bytes >> 30));
	else
		snprintf(text, 40, "%llu bytes", (unsigned long long)bytes);
	return text;
}

int writer_new(struct writer **out, const struct format *format,
	       const struct write_args *args, struct error *err)
{
	struct writer *writer;

	*out = NULL;
	if (!format->create)
		return error_set(err, ERR_UNSUPPORTED, "%s is not written, "
				 "only read", format->title);
	if (format->create(&writer, args, err))
		return error_prefix(err, "%s", format->name);
	writer->size = args->size;
	writer->level = args->level;
	if (args->size != WRITE_SIZE_UNKNOWN &&
	    writer_check_size(writer, args->size, err)) {
		writer_free(writer);
		return error_prefix(err, "%s", format->name);
	}
	*out = writer;
	return 0;
}

void writer_free(struct writer *writer)
{
	if (writer)
		writer->ops->free(writer);
}

int writer_start(struct writer *writer, struct sink *sink, struct error *err)
{
	writer->sink = sink;
	return writer->ops->start ? writer->ops->start(writer, err) : 0;
}

int writer_check_size(const struct writer *writer, uint64_t size,
		      struct error *err)
{
	char text[40];

	if (size > writer->size_max)
		return error_set(err, ERR_LIMIT, "a disk of this format ends "
				 "at %s", size_text(text, writer->size_max));
	if (writer->size != WRITE_SIZE_UNKNOWN && size > writer->size)
		return error_set(err, ERR_LIMIT, "the disk was announced with "
				 "%s", size_text(text, writer->size));
	return 0;
}

int writer_pieces(struct writer *writer, const struct piece *pieces,
		  size_t count, struct error *err)
{
	return count ? writer->ops->pieces(writer, pieces, count, err) : 0;
}

bool writer_guess_head(const struct writer *writer, uint64_t size, void *out)
{
	uint64_t sector = writer->sector_bytes;

	return writer->ops->head && size <= writer->size_max &&
	       !writer->ops->head(writer, div_round_up(size, sector) * sector,
				  out, NULL);
}

int writer_finish(struct writer *writer, uint64_t size, struct error *err)
{
	uint64_t sector = writer->sector_bytes;

	if (size == 0 && sector > 1)
		return error_set(err, ERR_ARG, "a container cannot hold a "
				 "disk of no bytes");
	if (writer->size != WRITE_SIZE_UNKNOWN && size != writer->size)
		return error_set(err, ERR_ARG, "the disk has %llu bytes, it "
				 "was announced with %llu",
				 (unsigned long long)size,
				 (unsigned long long)writer->size);
	return writer->ops->finish(writer, div_round_up(size, sector) * sector,
				   err);
}

int writer_choose(const struct write_args *args, const char *const *words,
		  unsigned int *choice, struct error *err)
{
	*choice = 0;
	if (!args->subformat)
		return 0;
	for (; words[*choice]; ++*choice)
		if (!strcmp(words[*choice], args->subformat))
			return 0;
	return error_set(err, ERR_UNSUPPORTED, "cannot write '%s'",
			 args->subformat);
}

uint64_t writer_likely_size(const struct write_args *args)
{
	return args->size == WRITE_SIZE_UNKNOWN && args->size_hint ?
	       args->size_hint : args->size;
}

int writer_identity(uint8_t id[16], const char *purpose, const char *name,
		    uint64_t size, uint32_t content, struct error *err)
{
	uint8_t digest[EVP_MAX_MD_SIZE], numbers[12];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	le64_put(numbers, size);
	le32_put(numbers + 8, content);
	good = good && EVP_DigestUpdate(ctx, purpose, strlen(purpose) + 1) &&
	       EVP_DigestUpdate(ctx, name, strlen(name) + 1) &&
	       EVP_DigestUpdate(ctx, numbers, sizeof(numbers)) &&
	       EVP_DigestFinal_ex(ctx, digest, NULL);
	EVP_MD_CTX_free(ctx);
	if (!good)
		return error_nomem(err);
	memcpy(id, digest, 16);
	return 0;
}
