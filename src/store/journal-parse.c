/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The text of a journal. Its last line may be torn, and whoever could write
 * to the directory may have written anything. */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "store/http-fields.h"
#include "store/journal.h"
#include "store/s3-url.h"
#include "store/store.h"

#define INTENTS_MAX 10000
#define TEXT_MAX    4096
#define TIME_MAX    (1ll << 40) /* seconds */

struct parse {
	struct journal_list *list;
	size_t room;
};

static void free_intent(struct journal_intent *intent)
{
	free(intent->server);
	free(intent->bucket);
	free(intent->key);
	free(intent->id);
}

void journal_list_free(struct journal_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free_intent(&list->intents[i]);
	free(list->intents);
	memset(list, 0, sizeof(*list));
}

static struct journal_intent *find(const struct parse *parse, uint64_t number)
{
	for (size_t i = parse->list->count; i-- > 0;)
		if (parse->list->intents[i].number == number)
			return &parse->list->intents[i];
	return NULL;
}

static bool get_number(const json_t *line, const char *name, int64_t max,
		       int64_t *out)
{
	const json_t *value = json_object_get(line, name);

	if (!json_is_integer(value))
		return false;
	*out = json_integer_value(value);
	return *out >= 0 && *out <= max;
}

/* A copy of a text; NULL where there is none that makes sense. */
static char *get_text(const json_t *line, const char *name)
{
	const json_t *value = json_object_get(line, name);
	const char *text = json_string_value(value);

	if (!text || strlen(text) != json_string_length(value) ||
	    strlen(text) > TEXT_MAX)
		return NULL;
	return strdup(text);
}

static bool is_good(const struct journal_intent *intent)
{
	return intent->server && intent->bucket && intent->key &&
	       field_unescape(intent->key, false) && *intent->key &&
	       strlen(intent->key) <= STORE_KEY_MAX &&
	       !s3_bucket_check(intent->bucket, NULL);
}

static int add(struct parse *parse, const json_t *line, uint64_t number,
	       struct error *err)
{
	struct journal_intent intent = { .number = number };
	struct journal_list *list = parse->list;
	int64_t within;

	if (find(parse, number) ||
	    !get_number(line, "time", TIME_MAX, &intent.since_s) ||
	    !get_number(line, "within", TIME_MAX, &within))
		return 0;
	if (list->count == INTENTS_MAX)
		return error_set(err, ERR_LIMIT, "more than %d uploads in a "
				 "journal", INTENTS_MAX);
	if (list->count == parse->room) {
		size_t room = parse->room ? 2 * parse->room : 16;
		void *intents = reallocarray(list->intents, room,
					     sizeof(*list->intents));

		if (!intents)
			return error_nomem(err);
		list->intents = intents;
		parse->room = room;
	}
	intent.until_s = intent.since_s + within;
	intent.server = get_text(line, "server");
	intent.bucket = get_text(line, "bucket");
	intent.key = get_text(line, "key");
	if (is_good(&intent))
		list->intents[list->count++] = intent;
	else
		free_intent(&intent);
	return 0;
}

static void know(struct journal_intent *intent, const json_t *line)
{
	int64_t when;

	if (!get_number(line, "time", TIME_MAX, &when) || intent->id)
		return;
	intent->id = get_text(line, "upload");
	if (intent->id && !*intent->id) {
		free(intent->id);
		intent->id = NULL;
	}
	intent->is_sure = intent->id &&
			  !json_is_true(json_object_get(line, "unsure"));
	if (when < intent->since_s)
		when = intent->since_s;
	if (when < intent->until_s)
		intent->until_s = when;
}

/* Order does not matter to whoever reads it. */
static void forget(struct journal_list *list, struct journal_intent *intent)
{
	free_intent(intent);
	*intent = list->intents[--list->count];
}

static int take_line(struct parse *parse, const json_t *line,
		     struct error *err)
{
	struct journal_intent *intent;
	int64_t number;

	if (get_number(line, "begin", INT64_MAX, &number))
		return add(parse, line, (uint64_t)number, err);
	if (get_number(line, "id", INT64_MAX, &number)) {
		intent = find(parse, (uint64_t)number);
		if (intent)
			know(intent, line);
	} else if (get_number(line, "left", INT64_MAX, &number)) {
		intent = find(parse, (uint64_t)number);
		if (intent)
			intent->is_left = true;
	} else if (get_number(line, "end", INT64_MAX, &number)) {
		intent = find(parse, (uint64_t)number);
		if (intent)
			forget(parse->list, intent);
	}
	return 0;
}

int journal_parse(struct journal_list *out, const char *text, size_t len,
		  struct error *err)
{
	struct parse parse = { .list = out };
	size_t bad = 0;

	memset(out, 0, sizeof(*out));
	for (size_t at = 0; at < len;) {
		const char *end = memchr(text + at, '\n', len - at);
		/* A line without an end was never finished: what it speaks of
		 * was not done. */
		size_t size = end ? (size_t)(end - text) - at : 0;
		json_t *line = NULL;
		int ret = 0;

		if (!end)
			break;
		if (size > 0 && size <= JOURNAL_LINE_MAX)
			line = json_loadb(text + at, size,
					  JSON_REJECT_DUPLICATES, NULL);
		if (line)
			ret = take_line(&parse, line, err);
		else if (size > 0)
			bad++;
		json_decref(line);
		if (ret) {
			journal_list_free(out);
			return -1;
		}
		at += size + 1;
	}
	if (bad)
		log_info("%zu lines of a journal of part uploads make no "
			 "sense", bad);
	return 0;
}
