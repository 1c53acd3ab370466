/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Printing for people. Names, labels and descriptors come from hostile files:
 * control characters never reach the terminal. */
#ifndef VMIEFS_TEXT_H
#define VMIEFS_TEXT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define TEXT_SIZE_MAX 32

/* "512 bytes", "1.5 GiB": at most two digits behind the point. */
const char *text_size(char buf[TEXT_SIZE_MAX], uint64_t bytes);

/* Print with control characters as \n, \t or \xNN. */
void text_print(FILE *out, const char *text);

/* Print a value under its key, indented; objects and arrays take a line for
 * each member, text of several lines is indented. */
void text_json(FILE *out, int indent, const char *key, const json_t *value);

/* Print JSON for programs and release it. -1 if stdout does not take it. */
int text_dump(json_t *value);

#endif
