/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: journals of part uploads. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "store/journal.h"
#include "store/s3-url.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_intent(const struct journal_intent *intent)
{
	if (!intent->server || s3_bucket_check(intent->bucket, NULL) ||
	    !*intent->key || strlen(intent->key) > STORE_KEY_MAX)
		abort();
	if (intent->since_s < 0 || intent->until_s < 0)
		abort();
	if (intent->id ? !*intent->id : intent->is_sure)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_list list;
	struct error err = { 0 };

	log_set_level(LOG_LEVEL_ERROR);
	if (journal_parse(&list, (const char *)data, size, &err)) {
		if (list.intents || list.count || !err.kind || !*err.text)
			abort();
		return 0;
	}
	for (size_t i = 0; i < list.count; i++) {
		check_intent(&list.intents[i]);
		for (size_t k = 0; k < i && i < 50; k++)
			if (list.intents[k].number == list.intents[i].number)
				abort();
	}
	journal_list_free(&list);
	return 0;
}
