/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Error values: setting, prefixing, and their translation to errno. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/error.h"

/* One row a kind, in the order of the enum. */
static const struct {
	const char *name;
	int errnum;
} kinds[] = {
	[ERR_NONE] = { "none", 0 },
	[ERR_ARG] = { "invalid", EINVAL },
	[ERR_NOT_FOUND] = { "not-found", ENOENT },
	[ERR_EXISTS] = { "exists", EEXIST },
	[ERR_DENIED] = { "denied", EACCES },
	[ERR_CORRUPT] = { "corrupt", EIO },
	[ERR_UNSUPPORTED] = { "unsupported", EOPNOTSUPP },
	[ERR_LIMIT] = { "limit", EFBIG },
	[ERR_NOMEM] = { "no-memory", ENOMEM },
	[ERR_IO] = { "io", EIO },
	[ERR_NETWORK] = { "network", EIO },
	[ERR_TIMEOUT] = { "timeout", ETIMEDOUT },
	[ERR_STALE] = { "stale", ESTALE },
	[ERR_AGAIN] = { "again", EAGAIN },
	[ERR_CANCELLED] = { "cancelled", EINTR },
	[ERR_BUG] = { "bug", EIO },
};

__attribute__((format(printf, 4, 0)))
static int set_text(struct error *err, enum error_kind kind, int errnum,
		    const char *fmt, va_list args)
{
	if (!err)
		return -1;
	err->kind = kind;
	err->errnum = errnum;
	memset(&err->remote, 0, sizeof(err->remote));
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	return -1;
}

int error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set_text(err, kind, 0, fmt, args);
	va_end(args);
	return -1;
}

static enum error_kind kind_of_errno(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case ENOMEM:
		return ERR_NOMEM;
	case ESTALE:
		return ERR_STALE;
	case EAGAIN:
		return ERR_AGAIN;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	default:
		return ERR_IO;
	}
}

int error_errno(struct error *err, int errnum, const char *fmt, ...)
{
	char reason[128];
	const char *text;
	size_t len;
	va_list args;

	if (!err)
		return -1;
	va_start(args, fmt);
	set_text(err, kind_of_errno(errnum), errnum, fmt, args);
	va_end(args);
	text = strerror_r(errnum, reason, sizeof(reason));
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", text);
	return -1;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list args;
	int len;

	if (!err || err->kind == ERR_NONE)
		return -1;
	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (len >= 0 && (size_t)len < sizeof(text) - 2)
		snprintf(text + len, sizeof(text) - len, ": %.*s",
			 (int)(sizeof(text) - len - 3), err->text);
	memcpy(err->text, text, sizeof(text));
	return -1;
}

int error_nomem(struct error *err)
{
	return error_set(err, ERR_NOMEM, "out of memory");
}

void error_clear(struct error *err)
{
	memset(err, 0, sizeof(*err));
}

int error_to_errno(const struct error *err)
{
	if (err->kind == ERR_IO && err->errnum)
		return err->errnum;
	return kinds[err->kind].errnum;
}

bool error_is_passing(enum error_kind kind)
{
	switch (kind) {
	case ERR_NOMEM:
	case ERR_IO:
	case ERR_NETWORK:
	case ERR_TIMEOUT:
	case ERR_STALE:
	case ERR_AGAIN:
	case ERR_CANCELLED:
		return true;
	default:
		return false;
	}
}

const char *error_kind_name(enum error_kind kind)
{
	return kinds[kind].name;
}
