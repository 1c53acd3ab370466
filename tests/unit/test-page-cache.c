/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The metadata cache: whose pages are whose, what one request fetches, and
 * prefetching from a store that is far away. */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include "common/budget.h"
#include "format/source.h"
#include "tests/lib/faulty-store.h"
#include "tests/lib/memory-store.h"
#include "tests/tap.h"

#define PAGE   16384u
#define BYTES  (40u * PAGE + 100)
#define DELAY  50 /* ms */

static struct budget *budget;
static struct page_cache *cache;
static struct store *store;
static uint8_t *content, buf[BYTES];
static struct error err;

static void delay(unsigned int ms)
{
	const struct faults faults = { .delay_ms = ms };

	faulty_store_set(store, &faults);
}

static struct source *open_source(void)
{
	struct object *object;
	struct source *source;

	faulty_store_reset(store);
	if (object_open(&object, store, "o", NULL, &err) ||
	    source_from_object(&source, "o", object, store, &err))
		abort();
	faulty_store_reset(store);
	return source;
}

static struct source *cached(struct source *below)
{
	struct source *source;

	if (source_cached(&source, below, cache, &err))
		abort();
	return source;
}

static void read_is(struct source *source, uint64_t offset, size_t len,
		    uint64_t place, const char *what)
{
	memset(buf, 0, len);
	succeeds(source_read(source, offset, buf, len, 0, &err), &err, what);
	is_mem(buf, content + place, len, what);
}

/* Compare the log, "OFFSET+LENGTH ..." in bytes, and forget it. A read ahead
 * that nobody waited for may still run. */
static void log_is(const char *want, const char *what)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct faulty_record *log;
	char text[512] = "";
	size_t n, done;

	for (;;) {
		log = faulty_store_log(store, &n);
		for (done = 0; done < n && log[done].end_ns; done++)
			;
		if (done == n)
			break;
		free(log);
		nanosleep(&pause, NULL);
	}
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len, "%llu+%llu ",
			 (unsigned long long)log[i].offset,
			 (unsigned long long)log[i].length);
	}
	free(log);
	is_str(text, want, what);
	faulty_store_reset(store);
}

static void test_sharing(void)
{
	struct source *source = open_source(), *first = cached(source);
	struct source *second = cached(source), *window, *third;

	ok(first == second, "one view of a source for all who ask");
	read_is(first, 100, 10, 100, "a few bytes");
	log_is("0+16384 ", "fetch a page");
	read_is(second, 16300, 84, 16300, "its other bytes");
	succeeds(source_window(&window, "w", source, 8192, 3 * PAGE, &err),
		 &err, "a window");
	third = cached(window);
	read_is(third, 0, 8192, 8192, "through a window");
	log_is("", "are there");
	read_is(third, 8192, PAGE + 1, PAGE, "the next ones");
	log_is("16384+32768 ", "come with one request");
	source_unref(first);
	source_unref(second);
	read_is(third, 8192, 100, PAGE, "the last holder");
	log_is("", "keeps them");
	source_unref(third);
	first = cached(source);
	read_is(first, 0, 1, 0, "but none");
	log_is("0+16384 ", "nothing");
	source_unref(first);
	source_unref(window);
	source_unref(source);
	is_u64(budget_stats(budget).used, 0, "all given back");
}

static void test_large(void)
{
	struct source *source = open_source(), *view = cached(source);

	read_is(view, 10, 16 * PAGE - 10, 10, "sixteen pages");
	log_is("0+262144 ", "are one request");
	read_is(view, 20 * PAGE, 16 * PAGE + 1, 20 * PAGE, "more");
	log_is("327680+262145 ", "is read as it is");
	read_is(view, 20 * PAGE, 1, 20 * PAGE, "and");
	log_is("327680+16384 ", "not kept");
	read_is(view, BYTES - 200, 200, BYTES - 200, "the end");
	log_is("638976+16484 ", "is a short page");
	source_unref(view);
	source_unref(source);
}

/* Pages are smaller than what one answer may bring: 64 KiB of 256. */
static void test_groups(void)
{
	struct source *source, *view;

	store->fetch_bytes = 16 * PAGE;
	source = open_source();
	view = cached(source);
	read_is(view, 21 * PAGE, 10, 21 * PAGE, "a table among data");
	log_is("327680+65536 ", "is fetched alone");
	read_is(view, 24 * PAGE, 10, 24 * PAGE, "what follows it");
	log_is("393216+131072 ", "comes with what one answer may bring");
	read_is(view, 16 * PAGE, 10, 16 * PAGE, "what is in front");
	log_is("262144+65536 ", "alone");
	read_is(view, 5 * PAGE, 10, 5 * PAGE, "the beginning");
	log_is("0+262144 ", "with all around it");
	read_is(view, BYTES - 10, 10, BYTES - 10, "and the end");
	log_is("524288+131172 ", "as well");
	source_unref(view);
	source_unref(source);
	store->fetch_bytes = PAGE;
}

static void test_prefetch(void)
{
	struct source *source = open_source(), *view = cached(source);
	struct faulty_stats stats;

	delay(DELAY);
	source_prefetch(view, 0, PAGE + 1);
	source_prefetch(view, 30 * PAGE, 1);
	source_prefetch(view, BYTES - 10, 1000);
	source_prefetch(view, BYTES, 1);
	fails_with(source_read(view, 100, buf, 10, SOURCE_NOWAIT, &err), &err,
		   ERR_AGAIN, "", "does not wait");
	read_is(view, 100, 10, 100, "the start");
	read_is(view, BYTES - 10, 10, BYTES - 10, "the end");
	read_is(view, 30 * PAGE, 10, 30 * PAGE, "between");
	read_is(view, PAGE, 10, PAGE, "the second page");
	stats = faulty_store_stats(store);
	is_u64(stats.calls[FAULTY_READ], 3, "one request for each range");
	is_u64(stats.bytes, 3 * PAGE + 100, "of whole pages");
	ok(stats.in_flight_max >= 2, "not one after the other");
	source_prefetch(view, 0, 2 * PAGE);
	source_unref(view);
	delay(0);
	faulty_store_reset(store);
	source_unref(source);
}

static void test_prefetch_fails(void)
{
	const struct faults faults = { .fail_every = 1, .delay_ms = 10 };
	struct source *source = open_source(), *view = cached(source);

	faulty_store_set(store, &faults);
	source_prefetch(view, 0, 1);
	fails_with(source_read(view, 0, buf, 10, 0, &err), &err, ERR_IO,
		   "on purpose", "the reader meets the failure");
	delay(0);
	read_is(view, 0, 10, 0, "but may try again");
	source_unref(view);
	source_unref(source);
}

/* Where nothing has to wait there is no thread between. */
static void test_prefetch_near(void)
{
	struct source *source = open_source(), *view = cached(source);

	source_prefetch(view, 5, 10);
	log_is("0+16384 ", "read at once");
	read_is(view, 0, PAGE, 0, "and");
	log_is("", "kept");
	source_prefetch(source, 0, 10);
	log_is("", "a source that keeps nothing fetches nothing");
	source_unref(view);
	source_unref(source);
}

int main(void)
{
	const struct faults faults = { .fetch_bytes = PAGE };
	struct store *memory;

	content = malloc(BYTES);
	if (!content)
		abort();
	for (uint32_t i = 0; i < BYTES; i++)
		content[i] = (uint8_t)(i * 2654435761u >> 24);
	succeeds(memory_store_new(&memory, &err), &err, "store");
	memory_store_put(memory, "o", content, BYTES, &err);
	succeeds(faulty_store_new(&store, memory, &faults, &err), &err,
		 "store far away");
	succeeds(budget_new(&budget, 8u << 20, &err), &err, "budget");
	succeeds(page_cache_new(&cache, budget, &err), &err, "cache");
	test_sharing();
	test_large();
	test_groups();
	test_prefetch();
	test_prefetch_fails();
	test_prefetch_near();
	page_cache_free(cache);
	is_u64(budget_stats(budget).used, 0, "all given back");
	budget_free(budget);
	store_close(store);
	free(content);
	return tap_done();
}
