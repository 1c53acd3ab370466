/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * What is told of files being written, and of those that have ended lately:
 * for control/stats. Rates are those of the last seconds. */
#include "config.h"

#include <stdlib.h>

#include "common/scratch.h"
#include "fs/clock.h"
#include "fs/export-internal.h"

static void rates(const struct export *export, int64_t now, uint64_t *in,
		  uint64_t *out)
{
	const struct sample *oldest =
		&export->samples[export->next_sample % SAMPLES];
	double seconds;

	if (!oldest->at_ns) /* there are not so many yet */
		oldest = &export->samples[0];
	seconds = (double)(now - oldest->at_ns) / (double)NS_PER_S;
	if (seconds <= 0)
		seconds = 1;
	*in = (uint64_t)((double)(export->in - oldest->in) / seconds);
	*out = (uint64_t)((double)(export->out - oldest->out) / seconds);
}

void export_sample(struct export *export)
{
	struct sample *sample =
		&export->samples[export->next_sample++ % SAMPLES];

	if (export->live)
		export->out = pack_progress(export->live).out;
	*sample = (struct sample){ clock_ns(), export->in, export->out };
}

/* Its lock is held. */
static json_t *describe(const struct export *export, int64_t now)
{
	double seconds = (double)(now - export->started_ns) / (double)NS_PER_S;
	uint64_t in, out;

	rates(export, now, &in, &out);
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:I}",
			 "bucket", export->bucket->name,
			 "object", export->key,
			 "format", export->is_plain ? "object" :
						      export->format->name,
			 "size", (json_int_t)export->size,
			 "in", (json_int_t)export->in,
			 "out", (json_int_t)export->out,
			 "spooled", (json_int_t)export->spooled,
			 "seconds", seconds,
			 "rate", (json_int_t)in,
			 "rate_out", (json_int_t)out);
}

static void forget_first(struct exports *exports)
{
	struct ended *ended = ring_item(exports->ended.next, struct ended,
					in_ended);

	ring_remove(&ended->in_ended);
	exports->ended_count--;
	json_decref(ended->what);
	free(ended);
}

void exports_forget_ended(struct exports *exports)
{
	while (exports->ended_count)
		forget_first(exports);
}

/* Those that nobody needs to know of any more. */
static void forget_old(struct exports *exports, int64_t now)
{
	while (exports->ended_count) {
		const struct ended *oldest = ring_item(exports->ended.next,
						       struct ended, in_ended);

		if (exports->ended_count <= ENDED_MAX &&
		    now - oldest->at_ns < ENDED_S * NS_PER_S)
			break;
		forget_first(exports);
	}
}

static void keep(struct exports *exports, json_t *what, int64_t now)
{
	struct ended *ended = what ? calloc(1, sizeof(*ended)) : NULL;

	if (!ended) {
		json_decref(what); /* then it is not shown */
		return;
	}
	ended->what = what;
	ended->at_ns = now;
	ring_append(&exports->ended, &ended->in_ended);
	exports->ended_count++;
	forget_old(exports, now);
}

/* Over its whole life. */
static void set_average(json_t *what, const struct export *export, int64_t now)
{
	double seconds = (double)(now - export->started_ns) / (double)NS_PER_S;

	if (seconds < 0.001)
		seconds = 0.001;
	json_object_set_new(what, "rate", json_integer((json_int_t)
			    ((double)export->in / seconds)));
	json_object_set_new(what, "rate_out", json_integer((json_int_t)
			    ((double)export->out / seconds)));
}

void exports_note_ended(struct exports *exports, struct export *export)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&export->lock);
	bool has_failed = export->failure.kind != ERR_NONE;
	int64_t now = clock_ns();
	json_t *what;

	(void)held;
	if (!has_failed && !export->is_published)
		return; /* nothing was to be done */
	if (has_failed)
		exports->failed++;
	else
		exports->published++;
	what = describe(export, now);
	set_average(what, export, now);
	json_object_set_new(what, "result", json_string(has_failed ?
			    "dropped" : "published"));
	if (has_failed)
		json_object_set_new(what, "error",
				    json_string(export->failure.text));
	keep(exports, what, now);
}

static int add_writes(struct exports *exports, json_t *writes,
		      struct error *err)
{
	for (struct ring *at = exports->all.next; at != &exports->all;
	     at = at->next) {
		struct export *export = ring_item(at, struct export, in_all);
		json_t *write;

		pthread_mutex_lock(&export->lock);
		write = describe(export, clock_ns());
		pthread_mutex_unlock(&export->lock);
		if (json_array_append_new(writes, write))
			return error_nomem(err);
	}
	return 0;
}

/* With their age. */
static int add_ended(struct exports *exports, json_t *list, struct error *err)
{
	int64_t now = clock_ns();

	forget_old(exports, now);
	for (struct ring *at = exports->ended.next; at != &exports->ended;
	     at = at->next) {
		const struct ended *ended = ring_item(at, struct ended,
						      in_ended);
		json_t *what = json_deep_copy(ended->what);
		double ago = (double)(now - ended->at_ns) / (double)NS_PER_S;

		if (json_object_set_new(what, "ago", json_real(ago)) ||
		    json_array_append(list, what)) {
			json_decref(what);
			return error_nomem(err);
		}
		json_decref(what);
	}
	return 0;
}

int exports_stats(struct exports *exports, json_t *object, struct error *err)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&exports->lock);
	struct scratch_stats scratch = scratch_stats(exports->scratch);
	json_t *writes = json_array(), *ended = json_array();

	if (json_object_set_new(object, "now", writes) ||
	    json_object_set_new(object, "ended", ended) ||
	    json_object_set_new(object, "scratch",
				json_pack("{s:I, s:I, s:I}",
					  "limit", (json_int_t)scratch.limit,
					  "used", (json_int_t)scratch.used,
					  "peak", (json_int_t)scratch.peak)) ||
	    json_object_set_new(object, "published",
				json_integer((json_int_t)
					     exports->published)) ||
	    json_object_set_new(object, "failed",
				json_integer((json_int_t)exports->failed)) ||
	    json_object_set_new(object, "copied",
				json_integer((json_int_t)exports->copied)) ||
	    json_object_set_new(object, "bytes_copied",
				json_integer((json_int_t)
					     exports->bytes_copied)) ||
	    json_object_set_new(object, "bytes_in",
				json_integer((json_int_t)
					     exports->bytes_in)) ||
	    json_object_set_new(object, "bytes_out",
				json_integer((json_int_t)
					     exports->bytes_out)))
		return error_nomem(err);
	return add_writes(exports, writes, err) ||
	       add_ended(exports, ended, err) ? -1 : 0;
}
