/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Fuzz target: a text as s3:// URL, endpoint, https:// URL and redirect. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "store/https-url.h"
#include "store/s3-url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_source(const char *text)
{
	struct s3_source source;
	struct error err = { 0 };

	if (s3_source_parse(&source, text, &err) ? !*err.text :
	    strlen(source.prefix) >= STORE_KEY_MAX)
		abort();
}

static void try_endpoint(const char *text)
{
	struct strbuf host = { .max = 1000 }, path = { .max = 8000 };
	struct s3_endpoint endpoint;
	struct error err = { 0 };

	if (!s3_endpoint_parse(&endpoint, text, &err) &&
	    !s3_address(&endpoint, S3_ADDRESSING_AUTO, "region", "bucket",
			"key", &host, &path, &err) &&
	    (!host.len || strpbrk(host.data, "/@ \r\n") ||
	     path.data[0] != '/'))
		abort();
	strbuf_free(&host);
	strbuf_free(&path);
}

static void try_https(const char *text)
{
	struct https_url url, next;
	struct error err = { 0 };

	if (!https_url_parse(&url, text, &err)) {
		if (strchr(url.key, '/') || strpbrk(url.shown, "?#") ||
		    (!url.is_tls && !url.is_local))
			abort();
		https_url_free(&url);
	}
	if (https_url_parse(&url, "https://host.example/a/b", &err))
		abort();
	if (!https_url_follow(&next, &url, text, &err)) {
		if (!next.is_tls || next.is_local)
			abort();
		https_url_free(&next);
	}
	https_url_free(&url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	try_source(text);
	try_endpoint(text);
	try_https(text);
	free(text);
	return 0;
}
