/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Names and keys. */
#include "config.h"

#include <assert.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "disk/container.h"
#include "fs/names.h"

#define RAW        ".raw"
#define RAW_CHARS  4
#define HASH_CHARS (2 * SHA256_DIGEST_LENGTH)
#define KEEP_CHARS (NAME_SIZE - 2 - HASH_CHARS) /* in front of the "~" */
#define CUT_CHARS  6 /* at most so many fewer, to cut between characters */
#define FULL_SIZE  (3 * (STORE_KEY_MAX + RAW_CHARS) + 2)

static bool ends_in_raw(const char *text, size_t len)
{
	return len >= RAW_CHARS &&
	       !strncasecmp(text + len - RAW_CHARS, RAW, RAW_CHARS);
}

/* Does the view add ".raw"? Where the segment without its ".raw"s names a
 * container, it does: so "a.vmdk" and "a.vmdk.raw" keep different names. */
static bool gets_raw(const char *segment)
{
	char base[STORE_KEY_MAX + 1];
	size_t len = strlen(segment);

	if (len >= sizeof(base))
		return false;
	memcpy(base, segment, len + 1);
	while (ends_in_raw(base, len))
		len -= RAW_CHARS;
	base[len] = '\0';
	return container_classify(base) == CONTAINER_DISK;
}

enum shape name_shape(enum view view, const char *segment)
{
	if (view == VIEW_OBJECTS)
		return SHAPE_FILE;
	switch (container_classify(segment)) {
	case CONTAINER_DISK:
		return SHAPE_DISK;
	case CONTAINER_OVA:
		return SHAPE_OVA;
	case CONTAINER_RAW:
		return SHAPE_FILE;
	case CONTAINER_NONE:
		break;
	}
	return SHAPE_NONE;
}

static bool is_dots(const char *text)
{
	return !strcmp(text, ".") || !strcmp(text, "..");
}

/* Does it have the form that shorten() gives? */
static bool looks_short(const char *name, size_t len)
{
	return len >= NAME_SIZE - 1 - CUT_CHARS && len < NAME_SIZE &&
	       name[len - HASH_CHARS - 1] == '~' &&
	       strspn(name + len - HASH_CHARS, "0123456789abcdef") ==
		       HASH_CHARS;
}

/* Escape segment; returns the length. */
static size_t escape(char full[FULL_SIZE], const char *segment)
{
	bool dots = is_dots(segment);
	char *out = full;

	if (!*segment)
		return (size_t)snprintf(full, FULL_SIZE, "%%00");
	for (; *segment; segment++) {
		if (*segment == '%' || dots) {
			memcpy(out, dots ? "%2E" : "%25", 3);
			out += 3;
		} else {
			*out++ = *segment;
		}
	}
	*out = '\0';
	return (size_t)(out - full);
}

/* A key may have the very form of a shortened name: then its last "~" is
 * escaped, so that the two stay apart. */
static size_t escape_tilde(char full[FULL_SIZE], size_t len)
{
	char *tilde;

	if (!looks_short(full, len))
		return len;
	tilde = full + len - HASH_CHARS - 1;
	memmove(tilde + 3, tilde + 1, HASH_CHARS + 1);
	memcpy(tilde, "%7E", 3);
	return len + 2;
}

/* How much of full to keep: not half of an escape, nor of a UTF-8 character
 * (bytes that are not UTF-8 are cut anywhere). */
static size_t cut_point(const char *full)
{
	size_t at = KEEP_CHARS;

	for (int i = 0; i < 3 && ((unsigned char)full[at] & 0xc0) == 0x80; i++)
		at--;
	for (size_t back = 1; back < 3; back++)
		if (full[at - back] == '%')
			return at - back;
	return at;
}

static void shorten(char name[NAME_SIZE], const char *full, size_t len)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	size_t keep = cut_point(full);
	char *out = name + keep;

	memcpy(name, full, keep);
	SHA256((const unsigned char *)full, len, hash);
	*out++ = '~';
	for (size_t i = 0; i < sizeof(hash); i++, out += 2)
		snprintf(out, 3, "%02x", hash[i]);
}

static void make_name(char name[NAME_SIZE], const char *segment, bool taken)
{
	char full[FULL_SIZE];
	size_t len;

	assert(strlen(segment) <= STORE_KEY_MAX + RAW_CHARS);
	len = escape_tilde(full, escape(full, segment));
	if (taken)
		full[len++] = '%';
	full[len] = '\0';
	if (len < NAME_SIZE)
		memcpy(name, full, len + 1);
	else
		shorten(name, full, len);
}

void name_of_object(char name[NAME_SIZE], enum view view, const char *segment,
		    bool taken)
{
	char viewed[STORE_KEY_MAX + RAW_CHARS + 1];
	bool adds = view == VIEW_DISKS && gets_raw(segment);

	snprintf(viewed, sizeof(viewed), "%s%s", segment, adds ? RAW : "");
	make_name(name, viewed, taken);
}

void name_of_prefix(char name[NAME_SIZE], const char *segment)
{
	make_name(name, segment, false);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undo the escapes of len bytes of name. False for what is no escape; whether
 * it is one that escape() makes is for the caller to see. */
static bool unescape(char segment[NAME_SIZE], const char *name, size_t len)
{
	char *out = segment;

	for (size_t i = 0; i < len; i++) {
		int high, low;

		if (name[i] != '%') {
			*out++ = name[i];
			continue;
		}
		if (len - i < 3)
			return false;
		high = hex_digit(name[i + 1]);
		low = hex_digit(name[i + 2]);
		if (high < 0 || low < 0)
			return false;
		if (high || low)
			*out++ = (char)(high << 4 | low);
		i += 2;
	}
	*out = '\0';
	return true;
}

/* The key segment whose view is `viewed`, if it has one. */
static bool find_object(struct name_meaning *meaning, enum view view,
			const char *viewed)
{
	size_t len = strlen(viewed);

	snprintf(meaning->object, sizeof(meaning->object), "%s", viewed);
	if (view == VIEW_OBJECTS)
		return true;
	if (!gets_raw(viewed))
		return name_shape(view, viewed) != SHAPE_NONE;
	/* It is the view of a shorter segment, with exactly ".raw" added. */
	if (strcmp(viewed + len - RAW_CHARS, RAW) != 0)
		return false;
	meaning->object[len - RAW_CHARS] = '\0';
	return true;
}

void name_parse(struct name_meaning *meaning, enum view view,
		const char *name)
{
	char viewed[NAME_SIZE], again[NAME_SIZE];
	size_t len = strlen(name);

	*meaning = (struct name_meaning){ 0 };
	if (len >= NAME_SIZE || len == 0)
		return;
	if (looks_short(name, len)) {
		meaning->is_short = true;
		return;
	}
	meaning->is_taken = name[len - 1] == '%';
	if (!unescape(viewed, name, len - meaning->is_taken))
		return;
	make_name(again, viewed, meaning->is_taken);
	if (strcmp(again, name) != 0)
		return;
	meaning->can_be_object = find_object(meaning, view, viewed);
	meaning->can_be_prefix = !meaning->is_taken;
	memcpy(meaning->prefix, viewed, strlen(viewed) + 1);
}
