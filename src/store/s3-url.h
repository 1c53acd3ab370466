/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * How buckets and keys are addressed: s3:// URLs, endpoints, path style and
 * virtual-hosted. Pure functions. */
#ifndef VMIEFS_S3_URL_H
#define VMIEFS_S3_URL_H

#include <stdbool.h>

#include "common/error.h"
#include "common/strbuf.h"
#include "store/store.h"

#define S3_BUCKET_MAX 64  /* with the NUL; S3 allows 63 characters */
#define S3_REGION_MAX 64  /* with the NUL */
#define S3_HOST_MAX   264 /* with port and NUL */
#define S3_URL_MAX    (2 * S3_HOST_MAX + 16) /* of an endpoint's URL */

/* "s3://bucket/prefix", taken literally: nothing in it is decoded. */
struct s3_source {
	char bucket[S3_BUCKET_MAX];     /* "" for "s3://": a service */
	char prefix[STORE_KEY_MAX + 1]; /* "" or with a '/' at its end */
};

/* ERR_ARG with what is wrong; ERR_UNSUPPORTED for ARNs and directory
 * buckets, with the way out. */
int s3_source_parse(struct s3_source *out, const char *source,
		    struct error *err);

/* May a bucket have this name? Letters of either case and '_' pass, which old
 * buckets and other servers have. */
int s3_bucket_check(const char *name, struct error *err);

/* May this name be a region's (and so go into a host name)? */
bool s3_region_is_valid(const char *name);

struct s3_endpoint {
	bool is_tls;
	bool is_aws;            /* no endpoint given: by region */
	bool is_ip;
	char host[S3_HOST_MAX]; /* with a port that is not the scheme's */
	char path[S3_HOST_MAX]; /* "" or "/base", as it goes out */
};

/* text: "https://host[:port][/base]"; NULL or "" is AWS. ERR_ARG. */
int s3_endpoint_parse(struct s3_endpoint *out, const char *text,
		      struct error *err);

/* Its URL, or "AWS". */
void s3_endpoint_name(const struct s3_endpoint *endpoint,
		      char name[S3_URL_MAX]);

/* Is the bucket's name part of the path? */
bool s3_is_path_style(const struct s3_endpoint *endpoint,
		      enum s3_addressing addressing, const char *bucket);

/* Where a request goes. bucket "" is the service, key "" the bucket. host
 * has no scheme; path is percent-encoded. ERR_ARG where the name of a bucket
 * cannot be part of a host's. */
int s3_address(const struct s3_endpoint *endpoint,
	       enum s3_addressing addressing, const char *region,
	       const char *bucket, const char *key, struct strbuf *host,
	       struct strbuf *path, struct error *err);

/* May a redirect to host be followed with a signature? Only to the endpoint's
 * own host and to those below it, by the same scheme and port: *there and
 * *addressing are how to get there. Never for AWS, where the region leads, nor
 * for addresses. */
bool s3_redirect(const struct s3_endpoint *endpoint, const char *bucket,
		 const char *host, struct s3_endpoint *there,
		 enum s3_addressing *addressing);

/* Is host one of S3's own? */
bool s3_is_aws_host(const char *host);

/* The region that such a host names ("b.s3.eu-west-1.amazonaws.com"), or
 * false and "". */
bool s3_region_of_host(const char *host, char region[S3_REGION_MAX]);

#endif
