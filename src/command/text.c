/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Text for people out of numbers and JSON. */
#include "config.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "command/text.h"

#define DEPTH_MAX 16
#define KEY_WIDTH 16

const char *text_size(char buf[TEXT_SIZE_MAX], uint64_t bytes)
{
	static const char *const units[] = {
		"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB",
	};
	unsigned int unit = 0;
	double value = (double)bytes;

	while (value >= 1024 && unit < 6) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, TEXT_SIZE_MAX, unit ? "%.4g %s" : "%.0f %s", value,
		 units[unit]);
	return buf;
}

static void print_char(FILE *out, unsigned char c)
{
	if (c == '\n')
		fputs("\\n", out);
	else if (c == '\t')
		fputs("\\t", out);
	else if (c < 0x20 || c == 0x7f)
		fprintf(out, "\\x%02x", c);
	else
		fputc(c, out);
}

/* U+0080 to U+009F are control characters too: c2 80 to c2 9f. */
static bool is_wide_control(const char *c)
{
	return (unsigned char)c[0] == 0xc2 && ((unsigned char)c[1] & 0xe0) ==
	       0x80;
}

void text_print(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (is_wide_control(text))
			fprintf(out, "\\u%04x", (unsigned char)*++text);
		else
			print_char(out, (unsigned char)*text);
	}
}

/* One line for each line of the text. */
static void print_lines(FILE *out, int indent, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		char *line = strndup(text, len);

		if (line && len && line[len - 1] == '\r')
			line[len - 1] = '\0';
		fputc('\n', out);
		if (line && *line)
			fprintf(out, "%*s", indent, "");
		if (line)
			text_print(out, line);
		free(line);
		text += len + (text[len] == '\n');
	}
	fputc('\n', out);
}

static bool has_lines(const json_t *value)
{
	return json_is_string(value) &&
	       strchr(json_string_value(value), '\n') != NULL;
}

static void print_scalar(FILE *out, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		text_print(out, json_string_value(value));
		break;
	case JSON_INTEGER:
		fprintf(out, "%" JSON_INTEGER_FORMAT,
			json_integer_value(value));
		break;
	case JSON_REAL:
		fprintf(out, "%g", json_real_value(value));
		break;
	case JSON_NULL:
		fputs("none", out);
		break;
	default:
		fputs(json_is_true(value) ? "yes" : "no", out);
		break;
	}
	fputc('\n', out);
}

static void print_key(FILE *out, int indent, const char *key)
{
	fprintf(out, "%*s", indent, "");
	for (; *key; key++)
		print_char(out, *key == '_' ? ' ' : (unsigned char)*key);
	fputc(':', out);
}

static void print_value(FILE *out, int indent, const char *key,
			const json_t *value, int depth)
{
	const char *name;
	json_t *item;
	size_t i;

	if (depth > DEPTH_MAX)
		return;
	if (json_is_array(value)) {
		json_array_foreach(value, i, item)
			print_value(out, indent, key, item, depth + 1);
		return;
	}
	print_key(out, indent, key);
	if (has_lines(value)) {
		print_lines(out, indent + 2, json_string_value(value));
		return;
	}
	if (!json_is_object(value)) {
		int width = KEY_WIDTH - (int)strlen(key) - 1;

		fprintf(out, "%*s", width > 1 ? width : 1, "");
		print_scalar(out, value);
		return;
	}
	fputc('\n', out);
	json_object_foreach((json_t *)value, name, item)
		print_value(out, indent + 2, name, item, depth + 1);
}

void text_json(FILE *out, int indent, const char *key, const json_t *value)
{
	if (value)
		print_value(out, indent, key, value, 0);
}

int text_dump(json_t *value)
{
	int ret = json_dumpf(value, stdout, JSON_INDENT(2));

	json_decref(value);
	if (putchar('\n') == EOF || fflush(stdout))
		ret = -1;
	if (ret)
		fputs("vmiefs: cannot write the output\n", stderr);
	return ret;
}
