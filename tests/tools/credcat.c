/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * For tests: the keys that environment and profiles give.
 *
 *     credcat [-a] [-p PROFILE] [-r REGION] ACTION...
 *
 *     get          origin, key id, seconds left (0: for ever), and the start
 *                  of the SHA-256 of secret and token ("-": none)
 *     get:MS       the same, waiting so long at most
 *     refresh      the server says that the last ones have expired
 *     sleep:MS     wait
 *     load:MS      four threads get keys for so long: how many were had, how
 *                  many not, and the longest wait in ms
 *     region, endpoint
 *
 * One line an action. A failed one prints its error and ends it all with
 * status 1; 2 is usage. -a: anonymous. */
#include "config.h"

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "store/credentials.h"
#include "store/http.h"

#define LOADERS 4

struct credcat {
	struct credentials *credentials;
	struct key_set *last;
	struct error err;
};

struct loader {
	pthread_t thread;
	struct credentials *credentials;
	int64_t until_ms, longest_ms;
	unsigned int had, failed;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

static const char *digest(char hex[SIGV4_HASH_SIZE], const char *text)
{
	if (!text)
		return "-";
	sigv4_hash(hex, text, strlen(text));
	hex[12] = '\0';
	return hex;
}

static int get(struct credcat *self, unsigned int timeout_ms)
{
	char secret[SIGV4_HASH_SIZE], token[SIGV4_HASH_SIZE];
	const struct key_set *set;

	key_set_unref(self->last);
	self->last = NULL;
	if (credentials_get(self->credentials, &self->last, timeout_ms,
			    &self->err) < 0)
		return -1;
	set = self->last;
	printf("%s\t%s\t%" PRId64 "\t%s\t%s\n", set->origin,
	       set->keys.access_key,
	       set->expires ? set->expires - (int64_t)time(NULL) : 0,
	       digest(secret, set->keys.secret_key),
	       digest(token, set->keys.session_token));
	return 0;
}

static void *load(void *arg)
{
	struct loader *loader = arg;

	while (now_ms() < loader->until_ms) {
		int64_t start = now_ms();
		struct key_set *set;

		if (credentials_get(loader->credentials, &set, UINT_MAX,
				    NULL) == 0)
			loader->had++;
		else
			loader->failed++;
		key_set_unref(set);
		if (now_ms() - start > loader->longest_ms)
			loader->longest_ms = now_ms() - start;
		sleep_ms(1);
	}
	return NULL;
}

static int load_for(const struct credcat *self, unsigned int ms)
{
	struct loader loaders[LOADERS] = { 0 }, all = { 0 };

	for (int i = 0; i < LOADERS; i++) {
		loaders[i].credentials = self->credentials;
		loaders[i].until_ms = now_ms() + ms;
		if (pthread_create(&loaders[i].thread, NULL, load,
				   &loaders[i]))
			abort();
	}
	for (int i = 0; i < LOADERS; i++) {
		pthread_join(loaders[i].thread, NULL);
		all.had += loaders[i].had;
		all.failed += loaders[i].failed;
		if (loaders[i].longest_ms > all.longest_ms)
			all.longest_ms = loaders[i].longest_ms;
	}
	printf("%u\t%u\t%" PRId64 "\n", all.had, all.failed, all.longest_ms);
	return 0;
}

static int print_text(const char *text)
{
	printf("%s\n", text ? text : "-");
	return 0;
}

static int act(struct credcat *self, const char *action)
{
	if (!strcmp(action, "get"))
		return get(self, UINT_MAX);
	if (!strncmp(action, "get:", 4))
		return get(self, (unsigned int)strtoul(action + 4, NULL, 10));
	if (!strcmp(action, "refresh") && self->last)
		return print_text(credentials_refresh(self->credentials,
						      self->last) ?
				  "more" : "no more");
	if (!strcmp(action, "region"))
		return print_text(credentials_region(self->credentials));
	if (!strcmp(action, "endpoint"))
		return print_text(credentials_endpoint(self->credentials));
	if (!strncmp(action, "load:", 5))
		return load_for(self, (unsigned int)strtoul(action + 5, NULL,
							    10));
	if (strncmp(action, "sleep:", 6) != 0)
		return error_set(&self->err, ERR_ARG, "what is '%s'?", action);
	sleep_ms((unsigned int)strtoul(action + 6, NULL, 10));
	return 0;
}

static int run(struct credcat *self, struct http *http,
	       const struct credentials_options *options, char **actions)
{
	if (http_start(http, &self->err) < 0 ||
	    credentials_new(&self->credentials, http, options, &self->err) <
		    0 ||
	    credentials_start(self->credentials, &self->err) < 0)
		return -1;
	for (; *actions; actions++) {
		if (act(self, *actions) < 0)
			return -1;
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct credentials_options options = { 0 };
	struct http_options http_options = { 0 };
	struct credcat self = { 0 };
	struct http *http;
	int option, ret;

	while ((option = getopt(argc, argv, "ap:r:")) >= 0) {
		if (option == 'a')
			options.is_anonymous = true;
		else if (option == 'p')
			options.profile = optarg;
		else if (option == 'r')
			options.region = optarg;
		else
			return 2;
	}
	if (http_new(&http, &http_options, &self.err) < 0)
		return 2;
	ret = run(&self, http, &options, argv + optind);
	if (ret < 0)
		printf("error %s: %s\n", error_kind_name(self.err.kind),
		       self.err.text);
	key_set_unref(self.last);
	http_cancel(http);
	credentials_unref(self.credentials);
	http_unref(http);
	return ret < 0 ? 1 : 0;
}
