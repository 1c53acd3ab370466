/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Faults as text: "word=value,word=value". */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/faulty-store.h"

static int parse_u64(uint64_t *number, const char *text, char **end,
		     struct error *err)
{
	errno = 0;
	*number = strtoull(text, end, 0);
	if (errno || *end == text)
		return error_set(err, ERR_ARG, "'%s' is no number", text);
	return 0;
}

static int parse_whole(uint64_t *number, const char *text, uint64_t max,
		       struct error *err)
{
	char *end;

	if (parse_u64(number, text, &end, err))
		return -1;
	if (*end || *number > max)
		return error_set(err, ERR_ARG, "'%s' is no number up to %llu",
				 text, (unsigned long long)max);
	return 0;
}

static int parse_uint(unsigned int *number, const char *text,
		      struct error *err)
{
	uint64_t wide;

	if (parse_whole(&wide, text, UINT32_MAX, err))
		return -1;
	*number = (unsigned int)wide;
	return 0;
}

static int parse_text(char *out, size_t size, const char *text,
		      struct error *err)
{
	if (snprintf(out, size, "%s", text) >= (int)size)
		return error_set(err, ERR_ARG, "'%s' is too long", text);
	return 0;
}

static int parse_kind(enum error_kind *kind, const char *text,
		      struct error *err)
{
	for (int i = ERR_ARG; i <= ERR_BUG; i++) {
		if (!strcmp(error_kind_name((enum error_kind)i), text)) {
			*kind = (enum error_kind)i;
			return 0;
		}
	}
	return error_set(err, ERR_ARG, "'%s' is no kind of error", text);
}

/* "read+open" */
static int parse_calls(unsigned int *mask, char *text, struct error *err)
{
	static const char *const names[] = { "list", "stat", "open", "read" };
	char *word;

	while ((word = strsep(&text, "+"))) {
		int i = FAULTY_READ;

		while (i >= 0 && strcmp(names[i], word))
			i--;
		if (i < 0)
			return error_set(err, ERR_ARG, "'%s' is no call", word);
		*mask |= 1u << i;
	}
	return 0;
}

/* "OFFSET:LENGTH" */
static int parse_range(struct faults *faults, const char *text,
		       struct error *err)
{
	char *end;

	if (parse_u64(&faults->bad_offset, text, &end, err))
		return -1;
	if (*end != ':')
		return error_set(err, ERR_ARG, "'%s' is not OFFSET:LENGTH",
				 text);
	return parse_whole(&faults->bad_length, end + 1, UINT64_MAX, err);
}

static int parse_word(struct faults *f, const char *word, char *value,
		      struct error *err)
{
	if (!strcmp(word, "on"))
		return parse_calls(&f->calls, value, err);
	if (!strcmp(word, "key"))
		return parse_text(f->key, sizeof(f->key), value, err);
	if (!strcmp(word, "delay"))
		return parse_uint(&f->delay_ms, value, err);
	if (!strcmp(word, "rate"))
		return parse_whole(&f->bytes_per_second, value, UINT64_MAX,
				   err);
	if (!strcmp(word, "fail-every"))
		return parse_uint(&f->fail_every, value, err);
	if (!strcmp(word, "fail-kind"))
		return parse_kind(&f->fail_kind, value, err);
	if (!strcmp(word, "bad"))
		return parse_range(f, value, err);
	if (!strcmp(word, "hang-file"))
		return parse_text(f->hang_file, sizeof(f->hang_file), value,
				  err);
	if (!strcmp(word, "log"))
		return parse_text(f->log_file, sizeof(f->log_file), value,
				  err);
	if (!strcmp(word, "fetch"))
		return parse_uint(&f->fetch_bytes, value, err);
	if (!strcmp(word, "request"))
		return parse_uint(&f->request_bytes, value, err);
	return error_set(err, ERR_ARG, "'%s' is no known word", word);
}

int faults_parse(struct faults *faults, char *text, struct error *err)
{
	memset(faults, 0, sizeof(*faults));
	while (text && *text) {
		char *word = strsep(&text, ",");
		char *value = strchr(word, '=');

		if (!value)
			return error_set(err, ERR_ARG, "'%s' has no value",
					 word);
		*value++ = '\0';
		if (parse_word(faults, word, value, err))
			return error_prefix(err, "%s", word);
	}
	return 0;
}
