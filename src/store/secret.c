/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Memory that held a secret is overwritten before it is freed. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/secret.h"

void secret_free(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

int secret_buf_new(struct strbuf *buf, size_t max, struct error *err)
{
	*buf = (struct strbuf){ .data = malloc(max + 1), .size = max + 1,
				.max = max };
	if (!buf->data) {
		buf->size = 0;
		return error_nomem(err);
	}
	buf->data[0] = '\0';
	return 0;
}

void secret_buf_free(struct strbuf *buf)
{
	if (buf->data)
		OPENSSL_cleanse(buf->data, buf->len);
	strbuf_free(buf);
}

/* 0 with *len at most max + 1. */
static int read_up_to(const char *path, char *text, size_t max, size_t *len,
		      struct error *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	*len = 0;
	if (fd < 0)
		return error_errno(err, errno, "%s", path);
	while (*len <= max) {
		ssize_t got = read(fd, text + *len, max + 1 - *len);

		if (got == 0)
			return 0;
		if (got > 0)
			*len += (size_t)got;
		else if (errno != EINTR)
			return error_errno(err, errno, "%s", path);
	}
	return 0;
}

/* Cut outer blanks off; what is left goes into headers and bodies. */
static int trim_token(char *text, size_t len, const char *path,
		      struct error *err)
{
	size_t start = 0;

	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	while (start < len && strchr(" \t\r\n", text[start]))
		start++;
	if (start == len)
		return error_set(err, ERR_ARG, "%s is empty", path);
	for (size_t i = start; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return error_set(err, ERR_ARG,
					 "%s has control characters in it",
					 path);
	memmove(text, text + start, len - start);
	text[len - start] = '\0';
	return 0;
}

char *secret_load(const char *path, size_t max, struct error *err)
{
	char *text = malloc(max + 2);
	size_t len;
	int ret;

	if (!text) {
		error_nomem(err);
		return NULL;
	}
	ret = read_up_to(path, text, max, &len, err);
	if (ret == 0 && len > max)
		ret = error_set(err, ERR_LIMIT, "%s is above %zu bytes", path,
				max);
	if (ret == 0)
		ret = trim_token(text, len, path, err);
	if (ret == 0)
		return text;
	OPENSSL_cleanse(text, len);
	free(text);
	return NULL;
}
