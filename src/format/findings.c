/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Findings of a check, with a limit. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "format/findings.h"

#define SHOWN_MAX 100

void findings_add(struct findings *findings, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (++findings->count > SHOWN_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	findings->problem(findings->arg, text);
}

void findings_finish(struct findings *findings)
{
	char text[64];

	if (findings->count <= SHOWN_MAX)
		return;
	snprintf(text, sizeof(text), "and %llu more findings",
		 (unsigned long long)(findings->count - SHOWN_MAX));
	findings->problem(findings->arg, text);
}
