/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * control/errors: a line for each failure, with the server's part in it, and
 * repetitions counted. */
#include "config.h"

#include <jansson.h>

#include "fs/failures.h"
#include "fs/known.h"
#include "tests/tap.h"

static struct error err;

/* Line i of what is printed, parsed. */
static json_t *line_of(struct failures *failures, size_t i)
{
	struct strbuf out = { .max = 1 << 20 };
	json_t *line;
	char *at;

	failures_print(failures, &out);
	at = out.data;
	for (; i && at; i--)
		at = strchr(at, '\n') + 1;
	line = json_loads(at ? at : "", JSON_DISABLE_EOF_CHECK, NULL);
	strbuf_free(&out);
	return line;
}

static const char *text_of(json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));

	return text ? text : "";
}

static json_int_t number_of(json_t *line, const char *key)
{
	return json_integer_value(json_object_get(line, key));
}

static void refuse(struct error *why)
{
	error_set(why, ERR_DENIED, "GET was refused: AccessDenied");
	why->remote = (struct error_remote){
		.http_status = 403,
		.attempts = 1,
		.code = "AccessDenied",
		.request_id = "tx1",
	};
}

static void test_lines(void)
{
	struct failures *failures;
	struct error why = { 0 };
	json_t *line;

	succeeds(failures_new(&failures, &err), &err, "a list");
	error_set(&why, ERR_CORRUPT, "no footer");
	failures_add(failures, "open", "disks/a.vhd.raw", &why, 5);
	refuse(&why);
	failures_add(failures, "lookup", "disks/b\xff.vhd.raw", &why, 13);
	failures_add(failures, "lookup", "disks/b\xff.vhd.raw", &why, 13);
	is_u64(failures_count(failures), 3, "three failures");

	line = line_of(failures, 0);
	is_str(text_of(line, "kind"), "corrupt", "the first");
	ok(!json_object_get(line, "status") &&
	   !json_object_get(line, "attempts"), "had no server behind it");
	json_decref(line);

	line = line_of(failures, 1);
	is_str(text_of(line, "operation"), "lookup", "the second");
	is_str(text_of(line, "path"), "disks/b?.vhd.raw", "in ASCII");
	is_u64((uint64_t)number_of(line, "count"), 2, "happened twice");
	is_u64((uint64_t)number_of(line, "errno"), 13, "errno");
	is_u64((uint64_t)number_of(line, "status"), 403, "status");
	is_u64((uint64_t)number_of(line, "attempts"), 1, "attempts");
	is_str(text_of(line, "code"), "AccessDenied", "the server's code");
	is_str(text_of(line, "request_id"), "tx1", "and request id");
	json_decref(line);
	ok(!line_of(failures, 2), "no third line");
	failures_free(failures);
}

/* A verdict that is kept keeps what the server said. */
static void test_verdict(void)
{
	struct object_info info = { .size = 1, .etag = "e" };
	struct error why = { 0 }, again = { 0 };
	struct known *known;

	refuse(&why);
	succeeds(known_from_error(&known, "b.vhd", &info, false, &why, &err),
		 &err, "a verdict");
	fails_with(known_fail(known, &again), &again, ERR_DENIED,
		   "AccessDenied", "fails as it did");
	is_u64((uint64_t)again.remote.http_status, 403, "with the status");
	is_str(again.remote.request_id, "tx1", "and the request id");
	known_unref(known);
	error_set(&why, ERR_CORRUPT, "no footer");
	succeeds(known_from_error(&known, "b.vhd", &info, false, &why, &err),
		 &err, "a verdict without a server");
	ok(!known->remote, "holds none");
	known_unref(known);
}

int main(void)
{
	test_lines();
	test_verdict();
	return tap_done();
}
