/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The retry decorator over a store that fails by a script, with a clock and
 * dice of the test's own. Everything that happens is written to one log, which
 * is compared as a whole: a try, a pause or a byte too many is a failure. */
#include "config.h"

#include <limits.h>

#include "common/strbuf.h"
#include "store/retry-internal.h"
#include "tests/tap.h"

#define OBJECT_BYTES 100

/* What one try does; after the last step all succeed. */
struct step {
	enum error_kind kind;        /* ERR_NONE: it succeeds */
	unsigned int takes_ms;
	unsigned int filled;         /* of a read that fails */
	unsigned int retry_after_ms;
	bool after_entry;            /* of a list: fails behind its first one */
	bool is_long;                /* with a text that fills the error */
};

struct world {
	struct store *retry;
	uint64_t now_ms;
	unsigned int dice;           /* percent of the longest pause */
	const struct step *steps;
	size_t count, at;
	struct strbuf log;
	struct error err;
};

struct fake_store {
	struct store store;
	struct world *world;
};

struct fake_object {
	struct object object;
	struct world *world;
};

static uint64_t world_now(void *arg)
{
	return ((struct world *)arg)->now_ms;
}

static void world_sleep(void *arg, uint64_t ms)
{
	struct world *w = arg;

	strbuf_printf(&w->log, "sleep %" PRIu64 "\n", ms);
	w->now_ms += ms;
}

static uint64_t world_random(void *arg, uint64_t max)
{
	return max * ((struct world *)arg)->dice / 100;
}

/* What the next try does; it is in the log with the time that it has. */
static struct step next_step(struct world *w, const char *what)
{
	struct step step = { 0 };

	strbuf_printf(&w->log, "%s left %u\n", what, retry_time_left_ms());
	if (w->at < w->count)
		step = w->steps[w->at++];
	w->now_ms += step.takes_ms;
	return step;
}

static int outcome(struct step step, struct error *err)
{
	if (!step.kind)
		return 0;
	error_set(err, step.kind, "cause of kind %s",
		  error_kind_name(step.kind));
	if (step.is_long)
		error_prefix(err, "%0490d", 0);
	if (err) {
		err->remote.http_status = 503;
		err->remote.retry_after_ms = step.retry_after_ms;
	}
	return -1;
}

static struct world *world_of(struct store *store)
{
	return ((struct fake_store *)store)->world;
}

static int fake_stat(struct store *store, const char *key,
		     struct object_info *info, struct error *err)
{
	info->size = OBJECT_BYTES;
	return outcome(next_step(world_of(store), "stat"), err);
}

static int fake_list(struct store *store, const struct list_args *args,
		     store_list_fn *fn, void *arg, char **continuation,
		     struct error *err)
{
	struct step step = next_step(world_of(store), "list");
	struct store_entry entry = { .key = "k" };

	*continuation = strdup("more");
	if (step.kind && !step.after_entry)
		return outcome(step, err);
	if (fn(arg, &entry, err))
		return -1;
	return outcome(step, err);
}

static int fake_has_prefix(struct store *store, const char *prefix,
			   bool *found, struct error *err)
{
	*found = true;
	return outcome(next_step(world_of(store), "has_prefix"), err);
}

static int fake_check(struct store *store, struct error *err)
{
	return outcome(next_step(world_of(store), "check"), err);
}

static int fake_start(struct store *store, struct error *err)
{
	return outcome(next_step(world_of(store), "start"), err);
}

/* Byte i of the object is i. *filled of a failed read holds good. */
static int fake_readv(struct object *object, uint64_t offset,
		      const struct iovec *iov, int iovcnt, unsigned int flags,
		      uint64_t *filled, struct error *err)
{
	struct world *w = ((struct fake_object *)object)->world;
	uint64_t length = 0, most;
	struct step step;
	char what[64];

	for (int i = 0; i < iovcnt; i++)
		length += iov[i].iov_len;
	snprintf(what, sizeof(what), "read %" PRIu64 "+%" PRIu64 "%s", offset,
		 length, flags & STORE_NOWAIT ? " nowait" : "");
	step = next_step(w, what);
	most = step.kind ? step.filled : length;
	for (int i = 0; i < iovcnt; i++)
		for (size_t j = 0; j < iov[i].iov_len && *filled < most; j++) {
			((char *)iov[i].iov_base)[j] = (char)offset++;
			++*filled;
		}
	return outcome(step, err);
}

static void fake_object_close(struct object *object)
{
	strbuf_puts(&((struct fake_object *)object)->world->log, "close\n");
	free(object);
}

static const struct object_ops fake_object_ops = {
	.readv = fake_readv,
	.close = fake_object_close,
};

static int fake_open(struct object **out, struct store *store,
		     const char *key, const struct object_info *known,
		     struct error *err)
{
	struct fake_object *object;

	if (outcome(next_step(world_of(store), known ? "open known" : "open"),
		    err))
		return -1;
	object = calloc(1, sizeof(*object));
	object->object.ops = &fake_object_ops;
	object->object.info.size = OBJECT_BYTES;
	object->world = world_of(store);
	*out = &object->object;
	return 0;
}

static int fake_open_bucket(struct store **out, struct store *service,
			    const char *name, struct error *err);

static void fake_close(struct store *store)
{
	strbuf_printf(&world_of(store)->log, "close %s\n", store->url);
	free(store);
}

static const struct store_ops fake_store_ops = {
	.list = fake_list,
	.stat = fake_stat,
	.has_prefix = fake_has_prefix,
	.open = fake_open,
	.open_bucket = fake_open_bucket,
	.start = fake_start,
	.check = fake_check,
	.close = fake_close,
};

static struct store *fake_new(struct world *w, const char *url)
{
	struct fake_store *self = calloc(1, sizeof(*self));

	self->store = (struct store){ &fake_store_ops, strdup(url), 111, 222 };
	self->world = w;
	return &self->store;
}

static int fake_open_bucket(struct store **out, struct store *service,
			    const char *name, struct error *err)
{
	if (outcome(next_step(world_of(service), "open_bucket"), err))
		return -1;
	*out = fake_new(world_of(service), "fake://b");
	return 0;
}

static const struct retry_clock world_clock = {
	.now_ms = world_now,
	.sleep_ms = world_sleep,
	.random = world_random,
};

static void world_begin(struct world *w, const struct retry_options *options)
{
	struct retry_clock clock = world_clock;

	*w = (struct world){ .now_ms = 5000, .dice = 100,
			     .log = { .max = 65536 } };
	clock.arg = w;
	succeeds(retry_store_new_with_clock(&w->retry, fake_new(w, "fake://"),
					    options, &clock, &w->err),
		 &w->err, "a store with retries");
}

static void world_script(struct world *w, const struct step *steps,
			 size_t count)
{
	w->steps = steps;
	w->count = count;
	w->at = 0;
	strbuf_free(&w->log);
	strbuf_puts(&w->log, "");
}

#define SCRIPT(w, ...)                                                         \
	do {                                                                   \
		static const struct step steps_[] = { __VA_ARGS__ };           \
		world_script((w), steps_, sizeof(steps_) / sizeof(steps_[0])); \
	} while (0)

static void world_end(struct world *w)
{
	world_script(w, NULL, 0);
	store_close(w->retry);
	is_str(w->log.data, "close fake://\n", "the inner store is closed");
	strbuf_free(&w->log);
}

static const struct retry_options defaults;

static void test_pauses(void)
{
	struct object_info info;
	struct world w;

	world_begin(&w, &defaults);
	SCRIPT(&w, { ERR_NETWORK, 100 }, { ERR_NETWORK, 100 },
	       { ERR_NETWORK, 100 });
	succeeds(store_stat(w.retry, "k", &info, &w.err), &w.err,
		 "the fourth try succeeds");
	is_str(w.log.data, "stat left 60000\nsleep 200\nstat left 59700\n"
	       "sleep 400\nstat left 59200\nsleep 800\nstat left 58300\n",
	       "pauses double, each try knows what is left");
	w.dice = 10;
	SCRIPT(&w, { ERR_NETWORK }, { ERR_NETWORK });
	succeeds(store_stat(w.retry, "k", &info, &w.err), &w.err,
		 "a call of its own");
	is_str(w.log.data, "stat left 60000\nsleep 20\nstat left 59980\n"
	       "sleep 40\nstat left 59940\n", "jitter is full");
	w.dice = 0;
	SCRIPT(&w, { ERR_NETWORK });
	succeeds(store_stat(w.retry, "k", &info, &w.err), &w.err, "no pause");
	is_str(w.log.data, "stat left 60000\nsleep 0\nstat left 60000\n",
	       "and may be none");
	world_end(&w);
}

static void test_attempts(void)
{
	static const struct retry_options options = {
		.attempts = 5, .base_ms = 1000, .pause_max_ms = 3000,
	};
	struct object_info info;
	struct world w;

	world_begin(&w, &options);
	SCRIPT(&w, { ERR_NETWORK }, { ERR_NETWORK }, { ERR_NETWORK },
	       { ERR_NETWORK }, { ERR_NETWORK, 340 });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_NETWORK, "cause of kind network", "all tries fail");
	is_str(w.err.text,
	       "cause of kind network (gave up after 5 tries in 9.3 s)",
	       "the last cause and the count");
	is_str(w.log.data, "stat left 60000\nsleep 1000\nstat left 59000\n"
	       "sleep 2000\nstat left 57000\nsleep 3000\nstat left 54000\n"
	       "sleep 3000\nstat left 51000\n", "no pause above the longest");
	is_u64(w.err.remote.attempts, 5, "attempts");
	is_u64((uint64_t)w.err.remote.http_status, 503, "status is kept");
	world_end(&w);
}

static void test_ten_attempts(void)
{
	struct object_info info;
	struct world w;

	world_begin(&w, &defaults);
	w.dice = 0;
	SCRIPT(&w, { ERR_NETWORK }, { ERR_NETWORK }, { ERR_NETWORK },
	       { ERR_NETWORK }, { ERR_NETWORK }, { ERR_NETWORK },
	       { ERR_NETWORK }, { ERR_NETWORK }, { ERR_NETWORK },
	       { ERR_NETWORK });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_NETWORK, "(gave up after 10 tries in 0.0 s)",
		   "without an option ten tries are made, however short");
	is_u64(w.at, 10, "and no more");
	world_end(&w);
}

static void test_final(void)
{
	static const enum error_kind kinds[] = {
		ERR_ARG, ERR_NOT_FOUND, ERR_DENIED, ERR_CORRUPT,
		ERR_UNSUPPORTED, ERR_LIMIT, ERR_NOMEM, ERR_IO, ERR_STALE,
		ERR_AGAIN, ERR_CANCELLED, ERR_BUG,
	};
	struct object_info info;
	struct world w;

	world_begin(&w, &defaults);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct step step = { kinds[i] };
		char text[64];

		world_script(&w, &step, 1);
		snprintf(text, sizeof(text), "cause of kind %s",
			 error_kind_name(kinds[i]));
		fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
			   kinds[i], "", text);
		is_str(w.err.text, text, "the text as it was");
		is_u64(w.err.remote.attempts, 1, "one try");
		is_str(w.log.data, "stat left 60000\n", "and no other");
	}
	SCRIPT(&w, { ERR_NETWORK }, { ERR_DENIED });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_DENIED, "cause of kind denied", "refused later");
	is_u64(w.err.remote.attempts, 2, "two tries");
	is_str(w.log.data, "stat left 60000\nsleep 200\nstat left 59800\n",
	       "no third");
	world_end(&w);
}

static void test_deadline(void)
{
	static const struct retry_options options = { .timeout_ms = 10000,
						      .base_ms = 8000 };
	struct object_info info;
	struct world w;

	world_begin(&w, &options);
	/* One try of its own time-out is tried again; the pause is at most
	 * half of what is left. */
	SCRIPT(&w, { ERR_TIMEOUT, 1000 }, { ERR_NETWORK, 4000 });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_TIMEOUT, "cause of kind network (gave up after 2 tries "
		   "in 9.5 s)", "the deadline ends it");
	is_str(w.log.data, "stat left 10000\nsleep 4500\nstat left 4500\n",
	       "no try that could not end in time");
	SCRIPT(&w, { ERR_NETWORK, 30000 });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_TIMEOUT, "(gave up after 1 try in 30.0 s)",
		   "a try that overruns it");
	is_u64(w.err.remote.attempts, 1, "one try");
	is_u64(retry_time_left_ms(), UINT_MAX, "outside of a try: no limit");
	world_end(&w);
}

static void test_retry_after(void)
{
	struct object_info info;
	struct world w;

	world_begin(&w, &defaults);
	w.dice = 50;
	SCRIPT(&w, { ERR_NETWORK, .retry_after_ms = 5000 },
	       { ERR_NETWORK, .retry_after_ms = 100 });
	succeeds(store_stat(w.retry, "k", &info, &w.err), &w.err,
		 "waits as asked");
	is_str(w.log.data, "stat left 60000\nsleep 5000\nstat left 55000\n"
	       "sleep 200\nstat left 54800\n",
	       "never sooner than asked, later if the dice say so");
	SCRIPT(&w, { ERR_NETWORK, 1500, .retry_after_ms = 58500 });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_NETWORK, "cause of kind network (gave up after 1 try "
		   "in 1.5 s; the server asks to wait 58 s)",
		   "past the deadline: at once");
	is_str(w.log.data, "stat left 60000\n", "no pause");
	is_u64(w.err.remote.retry_after_ms, 58500, "what was asked for");
	world_end(&w);
}

static int count_entry(void *arg, const struct store_entry *entry,
		       struct error *err)
{
	++*(unsigned int *)arg;
	return 0;
}

static int refuse_entry(void *arg, const struct store_entry *entry,
			struct error *err)
{
	++*(unsigned int *)arg;
	return error_set(err, ERR_NETWORK, "of the caller's own");
}

static void test_list(void)
{
	struct list_args args = { .prefix = "p/" };
	unsigned int entries = 0;
	char *continuation;
	struct world w;

	world_begin(&w, &defaults);
	SCRIPT(&w, { ERR_NETWORK });
	succeeds(store_list(w.retry, &args, count_entry, &entries,
			    &continuation, &w.err), &w.err, "list");
	is_u64(entries, 1, "one entry");
	is_str(continuation, "more", "and more");
	free(continuation);
	is_str(w.log.data, "list left 60000\nsleep 200\nlist left 59800\n",
	       "again when nothing was told");
	entries = 0;
	SCRIPT(&w, { ERR_NETWORK, .after_entry = true });
	fails_with(store_list(w.retry, &args, count_entry, &entries,
			      &continuation, &w.err), &w.err, ERR_NETWORK,
		   "cause", "breaks off behind an entry");
	is_u64(entries, 1, "which is told once");
	ok(!continuation, "no continuation");
	is_str(w.log.data, "list left 60000\n", "no second try");
	entries = 0;
	SCRIPT(&w, { 0 });
	fails_with(store_list(w.retry, &args, refuse_entry, &entries,
			      &continuation, &w.err), &w.err, ERR_NETWORK,
		   "of the caller's own", "the caller stops it");
	is_u64(entries, 1, "and is not asked again");
	is_str(w.log.data, "list left 60000\n", "nor is the store");
	world_end(&w);
}

static struct object *open_object(struct world *w)
{
	struct object *object = NULL;

	SCRIPT(w, { 0 });
	succeeds(object_open(&object, w->retry, "k", NULL, &w->err), &w->err,
		 "open");
	is_u64(object->info.size, OBJECT_BYTES, "info is passed on");
	return object;
}

static void test_read(void)
{
	unsigned char data[60], want[60];
	struct iovec iov[] = { { data, 10 }, { data + 10, 0 },
			       { data + 10, 20 }, { data + 30, 30 } };
	struct object *object;
	struct world w;

	world_begin(&w, &defaults);
	w.dice = 0;
	object = open_object(&w);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (unsigned char)(i + 5);
	memset(data, 0, sizeof(data));
	SCRIPT(&w, { ERR_NETWORK }, { ERR_NETWORK, .filled = 10 },
	       { ERR_NETWORK, .filled = 7 }, { ERR_TIMEOUT, .filled = 13 },
	       { ERR_NETWORK, .filled = 29 });
	succeeds(object_readv(object, 5, iov, 4, 0, &w.err), &w.err, "read");
	is_str(w.log.data, "read 5+60 left 60000\nsleep 0\n"
	       "read 5+60 left 60000\nsleep 0\nread 15+50 left 60000\n"
	       "sleep 0\nread 22+43 left 60000\nsleep 0\n"
	       "read 35+30 left 60000\nsleep 0\nread 64+1 left 60000\n",
	       "each try goes on where the last one broke off");
	is_mem(data, want, sizeof(data), "the right bytes");
	is_u64(iov[2].iov_len, 20, "the caller's iov is untouched");
	/* Broken, but nothing is missing. */
	memset(data, 0, sizeof(data));
	SCRIPT(&w, { ERR_NETWORK, .filled = 40 },
	       { ERR_NETWORK, .filled = 20 });
	succeeds(object_readv(object, 5, iov, 4, 0, &w.err), &w.err,
		 "broken behind the last byte");
	is_str(w.log.data, "read 5+60 left 60000\nsleep 0\n"
	       "read 45+20 left 60000\n", "no try for nothing");
	is_mem(data, want, sizeof(data), "the right bytes");
	world_script(&w, NULL, 0);
	object_close(object);
	is_str(w.log.data, "close\n", "closed");
	world_end(&w);
}

static void test_read_fails(void)
{
	static const struct retry_options options = { .attempts = 3 };
	unsigned char data[60];
	struct iovec iov = { data, sizeof(data) };
	struct object *object;
	uint64_t filled = 0;
	struct world w;

	world_begin(&w, &options);
	w.dice = 0;
	object = open_object(&w);
	SCRIPT(&w, { ERR_NETWORK, .filled = 10 }, { ERR_NETWORK, .filled = 20 },
	       { ERR_NETWORK, .filled = 5 });
	fails_with(object->ops->readv(object, 0, &iov, 1, 0, &filled, &w.err),
		   &w.err, ERR_NETWORK, "(gave up after 3 tries in 0.0 s)",
		   "gives up");
	is_u64(filled, 35, "what all tries filled");
	is_str(w.log.data, "read 0+60 left 60000\nsleep 0\n"
	       "read 10+50 left 60000\nsleep 0\nread 30+30 left 60000\n",
	       "three tries");
	SCRIPT(&w, { ERR_AGAIN });
	fails_with(object_readv(object, 0, &iov, 1, STORE_NOWAIT, &w.err),
		   &w.err, ERR_AGAIN, "", "NOWAIT answers at once");
	SCRIPT(&w, { ERR_NETWORK });
	fails_with(object_readv(object, 0, &iov, 1, STORE_NOWAIT, &w.err),
		   &w.err, ERR_NETWORK, "cause of kind network",
		   "also what would be tried again");
	is_str(w.log.data, "read 0+60 nowait left 4294967295\n",
	       "once, outside of a deadline");
	SCRIPT(&w, { ERR_NETWORK, .filled = 3 }, { ERR_STALE });
	fails_with(object_readv(object, 0, &iov, 1, 0, &w.err), &w.err,
		   ERR_STALE, "cause", "replaced meanwhile");
	object_close(object);
	world_end(&w);
}

static void test_others(void)
{
	struct object_info known = { .size = 1 };
	struct object *object;
	struct world w;
	bool found;

	world_begin(&w, &defaults);
	w.dice = 0;
	is_str(w.retry->url, "fake://", "url");
	is_u64(w.retry->fetch_bytes, 111, "fetch_bytes");
	is_u64(w.retry->request_bytes, 222, "request_bytes");
	SCRIPT(&w, { ERR_NETWORK }, { 0 }, { ERR_NETWORK }, { 0 });
	succeeds(object_open(&object, w.retry, "k", &known, &w.err), &w.err,
		 "open");
	object_close(object);
	succeeds(store_has_prefix(w.retry, "p/", &found, &w.err), &w.err,
		 "has_prefix");
	ok(found, "found");
	succeeds(store_start(w.retry, &w.err), &w.err, "start");
	is_str(w.log.data, "open known left 60000\nsleep 0\n"
	       "open known left 60000\nclose\nhas_prefix left 60000\nsleep 0\n"
	       "has_prefix left 60000\nstart left 4294967295\n",
	       "each with its tries, start with one");
	SCRIPT(&w, { ERR_NETWORK, 9000 }, { ERR_NETWORK, 9000 },
	       { ERR_NETWORK, 9000 });
	fails_with(store_check(w.retry, &w.err), &w.err, ERR_TIMEOUT,
		   "gave up after 3 tries in 27.0 s", "check ends in 30 s");
	SCRIPT(&w, { ERR_NETWORK }, { ERR_NETWORK }, { ERR_NETWORK },
	       { ERR_NETWORK });
	fails_with(store_check(w.retry, &w.err), &w.err, ERR_NETWORK,
		   "gave up after 4 tries in 0.0 s", "sooner where it can");
	world_end(&w);
}

static void test_bucket(void)
{
	struct object_info info;
	struct store *bucket;
	struct world w;

	world_begin(&w, &defaults);
	SCRIPT(&w, { ERR_NETWORK });
	succeeds(store_open_bucket(&bucket, w.retry, "b", &w.err), &w.err,
		 "open a bucket");
	is_str(bucket->url, "fake://b", "its url");
	is_str(w.log.data, "open_bucket left 60000\nsleep 200\n"
	       "open_bucket left 59800\n", "with its tries");
	SCRIPT(&w, { ERR_NETWORK });
	succeeds(store_stat(bucket, "k", &info, &w.err), &w.err,
		 "stat in the bucket");
	is_str(w.log.data, "stat left 60000\nsleep 200\nstat left 59800\n",
	       "as in the service");
	world_script(&w, NULL, 0);
	store_close(bucket);
	is_str(w.log.data, "close fake://b\n", "the bucket alone is closed");
	world_end(&w);
}

/* A decorator above another one bounds it. */
static void test_nested(void)
{
	static const struct retry_options outer_options = {
		.timeout_ms = 3000, .attempts = 1 };
	struct retry_clock clock = world_clock;
	struct object_info info;
	struct store *outer;
	struct world w;

	world_begin(&w, &defaults);
	clock.arg = &w;
	succeeds(retry_store_new_with_clock(&outer, w.retry, &outer_options,
					    &clock, &w.err), &w.err, "outer");
	SCRIPT(&w, { ERR_NETWORK, 1000 }, { ERR_NETWORK, 1750 });
	fails_with(store_stat(outer, "k", &info, &w.err), &w.err, ERR_TIMEOUT,
		   "gave up after 2 tries in 2.9 s", "ends with the outer one");
	is_str(w.log.data, "stat left 3000\nsleep 200\nstat left 1800\n",
	       "by the outer deadline");
	w.retry = outer;
	world_end(&w);
}

static void test_long_text(void)
{
	static const struct retry_options options = { .attempts = 1 };
	struct object_info info;
	struct world w;

	world_begin(&w, &options);
	SCRIPT(&w, { ERR_NETWORK, .is_long = true });
	fails_with(store_stat(w.retry, "k", &info, &w.err), &w.err,
		   ERR_NETWORK, "000 (gave up after 1 try in 0.0 s)",
		   "a long cause is cut, the count is not");
	is_u64(strlen(w.err.text), sizeof(w.err.text) - 1, "all of the space");
	world_end(&w);
}

/* Real time, real dice. */
static void test_real(void)
{
	static const struct retry_options options = { .attempts = 2,
						      .base_ms = 2 };
	struct object_info info;
	struct store *outer;
	struct world w;

	world_begin(&w, &(struct retry_options){ .attempts = 1 });
	succeeds(retry_store_new(&outer, w.retry, &options, &w.err), &w.err,
		 "a store in real time");
	SCRIPT(&w, { ERR_NETWORK });
	succeeds(store_stat(outer, "k", &info, &w.err), &w.err,
		 "the second try succeeds");
	is_u64(w.at, 1, "behind the one that failed");
	w.retry = outer;
	world_end(&w);
}

int main(void)
{
	test_pauses();
	test_attempts();
	test_ten_attempts();
	test_final();
	test_deadline();
	test_retry_after();
	test_list();
	test_read();
	test_read_fails();
	test_others();
	test_bucket();
	test_nested();
	test_long_text();
	test_real();
	return tap_done();
}
