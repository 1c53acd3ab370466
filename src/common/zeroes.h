/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Are all bytes zero? At the speed of memcmp(), and at once for most data. */
#ifndef VMIEFS_ZEROES_H
#define VMIEFS_ZEROES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool is_all_zero(const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t head = len < 16 ? len : 16;

	for (size_t i = 0; i < head; i++)
		if (p[i])
			return false;
	/* Each byte equals the one 16 before it, so all are like the first. */
	return !memcmp(p, p + head, len - head);
}

#endif
