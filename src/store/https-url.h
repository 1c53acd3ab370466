/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * URLs of single files: what may be asked for, and what may be shown. The
 * query of a presigned URL is a secret. Pure functions. */
#ifndef VMIEFS_HTTPS_URL_H
#define VMIEFS_HTTPS_URL_H

#include <stdbool.h>

#include "common/error.h"
#include "store/store.h"

struct https_url {
	char *url;    /* as it is asked for, without fragment; secret */
	char *shown;  /* without the query */
	char key[STORE_KEY_MAX + 1]; /* its last segment, as a plain name;
				      * "" where there is none */
	bool is_tls;
	bool is_local; /* this machine, link-local: nobody else's business */
};

/* https:// to any host, http:// to this machine only. ERR_ARG; the text does
 * not repeat what may be secret. Free with https_url_free() on success. */
int https_url_parse(struct https_url *out, const char *text,
		    struct error *err);

/* Where a redirect from `from` leads: location may be relative. Refused:
 * from TLS to none, and from elsewhere to this machine. */
int https_url_follow(struct https_url *out, const struct https_url *from,
		     const char *location, struct error *err);

void https_url_free(struct https_url *url);

#endif
