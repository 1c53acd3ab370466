/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Linked with the whole program, makes tests/vmiefs-faulty: the linker's
 * --wrap=store_open sends every store_open() of the program here, and what it
 * opened comes back wrapped in the faults that the environment variable
 * VMIEFS_TEST_FAULTS tells. The shipped program knows nothing of this. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/faulty-store.h"

/* Names that --wrap prescribes. */
int __real_store_open(struct store **out, const char *source,
		      const struct store_options *options, struct error *err);
int __wrap_store_open(struct store **out, const char *source,
		      const struct store_options *options, struct error *err);

/* Put one decorator around *store; it is closed on failure. */
static int wrap(struct store **store, char *rule, struct error *err)
{
	struct store *outer;
	struct faults faults;

	if (faults_parse(&faults, rule, err) ||
	    faulty_store_new(&outer, *store, &faults, err)) {
		store_close(*store);
		*store = NULL;
		return error_prefix(err, "VMIEFS_TEST_FAULTS");
	}
	*store = outer;
	return 0;
}

int __wrap_store_open(struct store **out, const char *source,
		      const struct store_options *options, struct error *err)
{
	const char *text = getenv("VMIEFS_TEST_FAULTS");
	AUTO_FREE char *copy = NULL;
	char *rest, *rule;

	if (__real_store_open(out, source, options, err))
		return -1;
	copy = strdup(text ? text : "");
	if (!copy) {
		store_close(*out);
		*out = NULL;
		return error_nomem(err);
	}
	rest = copy;
	while ((rule = strsep(&rest, ";")))
		if (*rule && wrap(out, rule, err))
			return -1;
	return 0;
}
