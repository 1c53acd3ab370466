/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Memory that held a secret is overwritten before it is freed. Threads: pure
 * functions of their arguments. */
#ifndef VMIEFS_SECRET_H
#define VMIEFS_SECRET_H

#include <stddef.h>

#include "common/error.h"
#include "common/strbuf.h"

/* NULL is legal. */
void secret_free(char *text);

static inline void cleanup_secret(void *p)
{
	secret_free(*(char **)p);
}

#define AUTO_SECRET __attribute__((cleanup(cleanup_secret)))

/* A buffer for up to max bytes that never moves as it grows, so that it leaves
 * no copies; for secret_buf_free(), which takes a zeroed one, too. */
int secret_buf_new(struct strbuf *buf, size_t max, struct error *err);
void secret_buf_free(struct strbuf *buf);

/* The contents of a small file that holds a token, without outer blanks; NULL
 * on failure. ERR_LIMIT above max bytes, ERR_ARG where it is empty or has
 * control characters. Free with secret_free(). */
char *secret_load(const char *path, size_t max, struct error *err);

#endif
