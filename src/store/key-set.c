/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Sets of keys: made, counted, cleared; read from JSON; and small things that
 * all sources of keys need. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "store/credentials-internal.h"
#include "store/secret.h"

#define KEY_MAX    1024 /* bytes of an access key id or secret */
#define CODE_MAX   60   /* bytes of a code that is shown */
#define SKEW_MIN   30   /* seconds that clocks may differ unseen */
#define ATTEMPT_MS 100

const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

char *working_directory(void)
{
	char *path = getcwd(NULL, 0);

	return path || errno == ENOMEM ? path : strdup("/");
}

char *path_from(const char *directory, const char *path)
{
	struct strbuf out = { .max = 1 << 16 };

	if (*path == '/' || *path == '~')
		return strdup(path);
	strbuf_printf(&out, "%s/%s", strcmp(directory, "/") ? directory : "",
		      path);
	return strbuf_take(&out);
}

bool environment_is_true(const char *name)
{
	const char *value = environment(name);

	return value && !strcasecmp(value, "true");
}

int key_source_fetch(struct key_source *source,
		     const struct fetching *fetching, struct key_set **out,
		     struct error *err)
{
	const char *outer = atomic_exchange(fetching->asking, source->origin);
	struct key_set *set = NULL;
	int ret = source->ops->fetch(source, fetching, &set, err);

	atomic_store(fetching->asking, outer);
	if (ret == 0 && !set->origin) {
		set->origin = strdup(source->origin);
		if (!set->origin)
			ret = error_nomem(err);
	}
	if (ret == 0 && key_set_ends_within(set, 0))
		ret = error_set(err, ERR_DENIED, "%s: it gave keys that have"
				" expired already; is the clock right?",
				source->origin);
	if (ret < 0) {
		key_set_unref(set);
		return -1;
	}
	*out = set;
	return 0;
}

void key_source_close(struct key_source *source)
{
	char *origin;

	if (!source)
		return;
	origin = source->origin;
	source->ops->close(source);
	free(origin);
}

/* What goes into headers has to be visible ASCII. */
static int check_key(const char *what, const char *text, size_t max,
		     struct error *err)
{
	size_t len = strlen(text);

	if (!len)
		return error_set(err, ERR_CORRUPT, "the %s is empty", what);
	if (len > max)
		return error_set(err, ERR_CORRUPT,
				 "the %s has %zu bytes, above %zu", what, len,
				 max);
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return error_set(err, ERR_CORRUPT,
					 "the %s has blanks or other"
					 " characters that no key has", what);
	return 0;
}

static int check_keys(const struct sigv4_keys *keys, struct error *err)
{
	if (check_key("access key id", keys->access_key, KEY_MAX, err) < 0 ||
	    check_key("secret access key", keys->secret_key, KEY_MAX, err) < 0)
		return -1;
	return keys->session_token ? check_key("session token",
					       keys->session_token, TOKEN_MAX,
					       err) : 0;
}

int key_set_new(struct key_set **out, const struct sigv4_keys *keys,
		int64_t expires, const char *origin, struct error *err)
{
	struct key_set *set;
	bool is_whole;

	if (check_keys(keys, err) < 0)
		return -1;
	set = calloc(1, sizeof(*set));
	if (!set)
		return error_nomem(err);
	atomic_init(&set->refs, 1);
	set->expires = expires;
	set->keys.access_key = strdup(keys->access_key);
	set->keys.secret_key = strdup(keys->secret_key);
	is_whole = set->keys.access_key && set->keys.secret_key;
	if (keys->session_token) {
		set->keys.session_token = strdup(keys->session_token);
		is_whole = is_whole && set->keys.session_token;
	}
	if (origin) {
		set->origin = strdup(origin);
		is_whole = is_whole && set->origin;
	}
	if (!is_whole) {
		key_set_unref(set);
		return error_nomem(err);
	}
	*out = set;
	return 0;
}

struct key_set *key_set_ref(struct key_set *set)
{
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

void key_set_unref(struct key_set *set)
{
	if (!set || atomic_fetch_sub_explicit(&set->refs, 1,
					      memory_order_acq_rel) != 1)
		return;
	secret_free((char *)set->keys.access_key);
	secret_free((char *)set->keys.secret_key);
	secret_free((char *)set->keys.session_token);
	free((char *)set->origin);
	free(set);
}

bool key_set_ends_within(const struct key_set *set, int64_t seconds)
{
	return set->expires && set->expires - seconds <= (int64_t)time(NULL);
}

/* A fraction is passed over; an offset, "+01:00" or "+0100", is taken off. */
static bool parse_zone(const char *text, int64_t *seconds)
{
	int sign, hours, minutes;
	char end;

	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if (!strcmp(text, "Z") || !*text)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	sign = *text++ == '-' ? -1 : 1;
	if (sscanf(text, "%2d:%2d%c", &hours, &minutes, &end) != 2 &&
	    sscanf(text, "%2d%2d%c", &hours, &minutes, &end) != 2)
		return false;
	if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
		return false;
	*seconds -= sign * (hours * 3600 + minutes * 60);
	return true;
}

int parse_timestamp(const char *text, int64_t *seconds, struct error *err)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (end) {
		*seconds = timegm(&tm);
		if (parse_zone(end, seconds))
			return 0;
	}
	return error_set(err, ERR_CORRUPT,
			 "the expiry is no time like 2026-01-31T12:00:00Z");
}

static void cleanse_strings(const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
		if (json_is_string(value))
			OPENSSL_cleanse((char *)json_string_value(value),
					json_string_length(value));
}

static int want_string(const json_t *object, const char *name,
		       const char **out, struct error *err)
{
	*out = json_string_value(json_object_get(object, name));
	return *out ? 0 : error_set(err, ERR_CORRUPT,
				    "%s is missing in the answer", name);
}

static int check_version(const json_t *object, struct error *err)
{
	const json_t *version = json_object_get(object, "Version");

	if (!json_is_integer(version) || json_integer_value(version) != 1)
		return error_set(err, ERR_CORRUPT,
				 "\"Version\" in the answer is not 1");
	return 0;
}

/* IMDS says "Code": "Success", or what is wrong. */
static int check_code(const json_t *object, struct error *err)
{
	const char *code = json_string_value(json_object_get(object, "Code"));
	size_t len = 0;

	if (!code || !strcmp(code, "Success"))
		return 0;
	while (isalnum((unsigned char)code[len]))
		len++;
	if (code[len] || len > CODE_MAX)
		code = "an odd code";
	return error_set(err, ERR_DENIED, "the answer is no keys, but %s",
			 code);
}

static int keys_of_object(struct key_set **out, const json_t *object,
			  const char *token_name, bool is_process,
			  struct error *err)
{
	const json_t *expiry = json_object_get(object, "Expiration");
	struct sigv4_keys keys = { 0 };
	int64_t expires = 0;

	if (!json_is_object(object))
		return error_set(err, ERR_CORRUPT,
				 "the answer is no JSON object");
	if ((is_process ? check_version : check_code)(object, err) < 0)
		return -1;
	if (want_string(object, "AccessKeyId", &keys.access_key, err) < 0 ||
	    want_string(object, "SecretAccessKey", &keys.secret_key, err) < 0)
		return -1;
	keys.session_token =
		json_string_value(json_object_get(object, token_name));
	if (keys.session_token && !*keys.session_token)
		keys.session_token = NULL;
	if (json_is_string(expiry) && json_string_length(expiry) &&
	    parse_timestamp(json_string_value(expiry), &expires, err) < 0)
		return -1;
	return key_set_new(out, &keys, expires, NULL, err);
}

int key_set_from_json(struct key_set **out, const struct strbuf *text,
		      const char *token_name, bool is_process,
		      struct error *err)
{
	json_error_t problem;
	json_t *object = json_loadb(text->len ? text->data : "", text->len, 0,
				    &problem);
	int ret;

	/* Not jansson's own text: it quotes what it did not like. */
	if (!object)
		return error_set(err, ERR_CORRUPT,
				 "the answer is no JSON (line %d, column %d)",
				 problem.line, problem.column);
	ret = keys_of_object(out, object, token_name, is_process, err);
	cleanse_strings(object);
	json_decref(object);
	return ret;
}

int64_t clock_ahead(const struct http_response *response)
{
	int64_t date = http_date(response);
	int64_t ahead = date ? date - (int64_t)time(NULL) : 0;

	return ahead > -SKEW_MIN && ahead < SKEW_MIN ? 0 : ahead;
}

bool pause_ms(const struct fetching *fetching, unsigned int ms)
{
	struct pollfd stop = { .fd = fetching->stop_fd, .events = POLLIN };
	int ret = poll(&stop, 1, (int)ms);

	return ret == 0 || (ret < 0 && errno == EINTR);
}

bool pause_before(const struct fetching *fetching, unsigned int attempt)
{
	unsigned int ms = ATTEMPT_MS << (attempt < 8 ? attempt : 8);
	unsigned int jitter = 0;

	if (attempt == 0)
		return pause_ms(fetching, 0);
	if (getrandom(&jitter, sizeof(jitter), 0) < 0)
		jitter = 0; /* only a pause */
	return pause_ms(fetching, ms / 2 + jitter % ms);
}
