/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The keys that there are now, and the thread that gets the next ones in
 * time. Keys that never change need no thread. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/pool.h"
#include "store/credentials-internal.h"

#define ADVANCE_MAX_MS 900000 /* renewed so long before the end, or */
#define ADVANCE_PART   4      /* when this part of the life is left */
#define DEMAND_MS      1000   /* at least from one fetch to the next */
#define BACKOFF_MS     60000  /* at most, while there are keys that serve */
#define GLANCE_MS      30000  /* how long the clock is not looked at */

struct credentials {
	atomic_uint refs;
	struct http *http;
	struct key_source *source; /* the thread's; NULL: anonymous */
	struct fetching fetching;  /* the thread's */
	char *profile;             /* of the options; NULL: none */
	char *directory;           /* where we began: a daemon leaves it */
	char *region, *endpoint, *sts_region, *sts_endpoint;
	bool is_fixed;
	bool is_of_file; /* is_fixed, and found in a profile */
	bool is_started;
	pthread_t thread;

	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;  /* to the thread */
	pthread_cond_t ended; /* a fetch has; to those who wait for keys */
	struct key_set *current;
	int64_t advance_ms;     /* before its end the next is asked for */
	bool is_wanted, is_stopping;
	_Atomic(const char *) asking; /* of fetching */
	uint64_t fetches;       /* that have ended */
	unsigned int failures;  /* in a row */
	int64_t last_ms;        /* when the last one ended */
	struct error failure;   /* of that */
};

static int64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* Until the set ends; the clock may be set in between. */
static int64_t life_ms(const struct key_set *set)
{
	return set->expires * 1000 - clock_ms(CLOCK_REALTIME);
}

static bool copy(char **out, const char *text, struct error *err)
{
	*out = text ? strdup(text) : NULL;
	if (text && !*out)
		error_nomem(err);
	return *out || !text;
}

static const char *first_of(const char *a, const char *b, const char *c)
{
	return a ? a : b ? b : c;
}

/* What environment and profile say about regions and endpoints. */
static int read_places(struct credentials *self,
		       const struct credentials_options *options,
		       const struct profiles *profiles, struct error *err)
{
	const char *name = profiles_name(profiles);
	const char *all = environment("AWS_ENDPOINT_URL");
	const char *ignore = profiles_get(profiles, name,
					  "ignore_configured_endpoint_urls");
	const char *region = first_of(environment("AWS_REGION"),
				      environment("AWS_DEFAULT_REGION"),
				      profiles_get(profiles, name, "region"));
	const char *s3 = first_of(environment("AWS_ENDPOINT_URL_S3"), all,
				  profiles_endpoint(profiles, "s3"));
	const char *sts = first_of(environment("AWS_ENDPOINT_URL_STS"), all,
				   profiles_endpoint(profiles, "sts"));

	if (environment_is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") ||
	    (ignore && !strcmp(ignore, "true")))
		s3 = sts = NULL;
	if (!copy(&self->region, region, err) ||
	    !copy(&self->endpoint, s3, err) ||
	    !copy(&self->sts_endpoint, sts, err) ||
	    !copy(&self->sts_region,
		  options->region ? options->region : region, err))
		return -1;
	return 0;
}

static int anonymous(struct credentials *self, struct error *err)
{
	struct key_set *set = calloc(1, sizeof(*set));

	self->is_fixed = true;
	if (!set)
		return error_nomem(err);
	atomic_init(&set->refs, 1);
	set->keys.access_key = strdup("");
	set->keys.secret_key = strdup("");
	set->origin = strdup("anonymous");
	self->current = set;
	if (!set->keys.access_key || !set->keys.secret_key || !set->origin)
		return error_nomem(err);
	return 0;
}

static int find_source(struct credentials *self,
		       const struct profiles *profiles, struct error *err)
{
	if (chain_new(&self->source, &self->is_fixed, profiles,
		      self->profile != NULL, err) < 0)
		return -1;
	if (!self->is_fixed)
		return 0;
	self->is_of_file = strcmp(self->source->origin, "environment") != 0;
	return key_source_fetch(self->source, &self->fetching, &self->current,
				err);
}

static int set_up(struct credentials *self,
		  const struct credentials_options *options,
		  struct error *err)
{
	struct profiles *profiles = NULL;
	int ret;

	self->directory = working_directory();
	if (!self->directory)
		return error_nomem(err);
	if (!copy(&self->profile, options->profile, err) ||
	    profiles_new(&profiles, options->profile, self->directory, err) < 0)
		return -1;
	ret = read_places(self, options, profiles, err);
	if (ret == 0)
		ret = options->is_anonymous ? anonymous(self, err) :
					      find_source(self, profiles, err);
	profiles_free(profiles);
	return ret;
}

int credentials_new(struct credentials **out, struct http *http,
		    const struct credentials_options *options,
		    struct error *err)
{
	struct credentials *self = calloc(1, sizeof(*self));
	pthread_condattr_t attributes;

	*out = NULL;
	if (!self)
		return error_nomem(err);
	atomic_init(&self->refs, 1);
	pthread_mutex_init(&self->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&self->wake, &attributes);
	pthread_cond_init(&self->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	self->fetching.stop_fd = -1;
	self->fetching.asking = &self->asking;
	self->http = http_ref(http);
	if (set_up(self, options, err) < 0) {
		credentials_unref(self);
		return -1;
	}
	self->fetching.http = self->http;
	self->fetching.region = self->sts_region;
	self->fetching.sts_endpoint = self->sts_endpoint;
	*out = self;
	return 0;
}

/* With the lock held. */
static bool is_usable(const struct credentials *self)
{
	return self->current && !key_set_ends_within(self->current, 0);
}

/* With the lock held: how long until the next fetch; 0: now. */
static int64_t wait_ms(const struct credentials *self)
{
	int64_t pause = DEMAND_MS, left;

	if (!is_usable(self))
		return !self->is_wanted	     ? GLANCE_MS :
		       self->failures == 0   ? 0 :
			       self->last_ms + DEMAND_MS - now_ms();
	if (!self->current->expires)
		return GLANCE_MS;
	left = life_ms(self->current) - self->advance_ms;
	for (unsigned int i = 1; i < self->failures && pause < BACKOFF_MS; i++)
		pause *= 2;
	pause += self->last_ms - now_ms();
	return left > pause ? left : pause;
}

/* With the lock held. */
static void wait_until(struct credentials *self, pthread_cond_t *what,
		       int64_t until_ms)
{
	struct timespec deadline = {
		.tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000,
	};

	pthread_cond_timedwait(what, &self->lock, &deadline);
}

/* With the lock held; takes set over. */
static void end_fetch(struct credentials *self, struct key_set *set,
		      const struct error *failure)
{
	if (set) {
		key_set_unref(self->current);
		self->current = set;
		self->advance_ms = life_ms(set) / ADVANCE_PART;
		if (self->advance_ms > ADVANCE_MAX_MS)
			self->advance_ms = ADVANCE_MAX_MS;
		self->failures = 0;
		error_clear(&self->failure);
		log_debug("credentials: new keys of %s", set->origin);
	} else {
		self->failure = *failure;
		if (self->failures++ == 0 && is_usable(self) &&
		    !self->is_stopping)
			log_warning("credentials: %s; the keys at hand end in"
				    " %lld s", failure->text,
				    (long long)life_ms(self->current) / 1000);
	}
	self->is_wanted = false;
	self->last_ms = now_ms();
	self->fetches++;
	pthread_cond_broadcast(&self->ended);
}

static void *renew(void *arg)
{
	struct credentials *self = arg;
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	while (!self->is_stopping) {
		int64_t ms = wait_ms(self);
		struct error failure = { 0 };
		struct key_set *set = NULL;

		if (ms > 0) {
			wait_until(self, &self->wake, now_ms() +
				   (ms < GLANCE_MS ? ms : GLANCE_MS));
			continue;
		}
		pthread_mutex_unlock(&self->lock);
		if (key_source_fetch(self->source, &self->fetching, &set,
				     &failure) < 0)
			set = NULL;
		pthread_mutex_lock(&self->lock);
		end_fetch(self, set, &failure);
	}
	return NULL;
}

/* Signals are for the main thread. */
static int start_thread(struct credentials *self, struct error *err)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&self->thread, NULL, renew, self);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret)
		return error_errno(err, ret, "a thread for credentials");
	pthread_setname_np(self->thread, "credentials");
	self->is_started = true;
	return 0;
}

int credentials_start(struct credentials *self, struct error *err)
{
	if (self->is_fixed)
		return 0;
	self->fetching.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (self->fetching.stop_fd < 0)
		return error_errno(err, errno, "eventfd");
	return start_thread(self, err);
}

struct credentials *credentials_ref(struct credentials *self)
{
	atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
	return self;
}

void credentials_cancel(struct credentials *self)
{
	pthread_mutex_lock(&self->lock);
	self->is_stopping = true;
	pthread_cond_signal(&self->wake);
	pthread_cond_broadcast(&self->ended);
	pthread_mutex_unlock(&self->lock);
	if (self->fetching.stop_fd >= 0)
		eventfd_write(self->fetching.stop_fd, 1);
}

void credentials_unref(struct credentials *self)
{
	if (!self || atomic_fetch_sub_explicit(&self->refs, 1,
					       memory_order_acq_rel) != 1)
		return;
	if (self->is_started) {
		credentials_cancel(self);
		pthread_join(self->thread, NULL);
	}
	if (self->fetching.stop_fd >= 0)
		close(self->fetching.stop_fd);
	key_source_close(self->source);
	key_set_unref(self->current);
	pthread_cond_destroy(&self->ended);
	pthread_cond_destroy(&self->wake);
	pthread_mutex_destroy(&self->lock);
	free(self->profile);
	free(self->directory);
	free(self->region);
	free(self->endpoint);
	free(self->sts_region);
	free(self->sts_endpoint);
	http_unref(self->http);
	free(self);
}

/* With the lock held: a failure that a new try would only repeat. */
static bool has_just_failed(const struct credentials *self)
{
	return self->failures && now_ms() < self->last_ms + DEMAND_MS;
}

/* With the lock held. */
static int fail_late(const struct credentials *self, unsigned int waited_ms,
		     struct error *err)
{
	const char *asking = atomic_load(&self->asking);

	return error_set(err, ERR_TIMEOUT,
			 "%s did not give keys within %u.%u s",
			 asking ? asking : "the source of keys",
			 waited_ms / 1000, waited_ms % 1000 / 100);
}

/* With the lock held. */
static int wait_for_keys(struct credentials *self, unsigned int timeout_ms,
			 struct error *err)
{
	int64_t until = now_ms() + timeout_ms;
	uint64_t fetches = self->fetches;

	while (!is_usable(self)) {
		if (self->is_stopping)
			return error_set(err, ERR_CANCELLED, "stopped");
		if (self->failures &&
		    (self->fetches != fetches || has_just_failed(self))) {
			if (err)
				*err = self->failure;
			return -1;
		}
		if (now_ms() >= until)
			return fail_late(self, timeout_ms, err);
		self->is_wanted = true;
		pthread_cond_signal(&self->wake);
		wait_until(self, &self->ended, until);
	}
	return 0;
}

static struct key_set *keys_at_hand(struct credentials *self)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	(void)held;
	return is_usable(self) ? key_set_ref(self->current) : NULL;
}

int credentials_get(struct credentials *self, struct key_set **out,
		    unsigned int timeout_ms, struct error *err)
{
	int ret;

	*out = keys_at_hand(self);
	if (*out)
		return 0;
	if (!self->is_started)
		return error_set(err, ERR_BUG,
				 "credentials have not been started");
	pool_blocking_begin();
	pthread_mutex_lock(&self->lock);
	ret = wait_for_keys(self, timeout_ms, err);
	if (ret == 0)
		*out = key_set_ref(self->current);
	pthread_mutex_unlock(&self->lock);
	pool_blocking_end();
	return ret;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool is_same(const struct key_set *a, const struct key_set *b)
{
	return same_text(a->keys.access_key, b->keys.access_key) &&
	       same_text(a->keys.secret_key, b->keys.secret_key) &&
	       same_text(a->keys.session_token, b->keys.session_token);
}

/* With the lock held: somebody may have written new keys to the profile. */
static bool read_again(struct credentials *self)
{
	struct profiles *profiles = NULL;
	struct key_set *set = NULL;
	bool is_new;

	if (!self->is_of_file ||
	    profiles_new(&profiles, self->profile, self->directory, NULL) < 0)
		return false;
	if (profiles_keys(profiles, profiles_name(profiles), &set, NULL) < 0)
		set = NULL;
	profiles_free(profiles);
	is_new = set && !is_same(set, self->current);
	if (is_new) {
		key_set_unref(self->current);
		self->current = take_ptr(set);
		log_info("credentials: new keys in %s", self->current->origin);
	}
	key_set_unref(set);
	return is_new;
}

bool credentials_refresh(struct credentials *self,
			 const struct key_set *expired)
{
	AUTO_UNLOCK pthread_mutex_t *held = mutex_locked(&self->lock);

	/* Others have come in the meantime. */
	if (self->current && !is_same(self->current, expired))
		return true;
	if (self->is_fixed)
		return read_again(self);
	key_set_unref(self->current);
	self->current = NULL;
	return true;
}

const char *credentials_region(const struct credentials *self)
{
	return self->region;
}

const char *credentials_endpoint(const struct credentials *self)
{
	return self->endpoint;
}
