/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Listings of S3. Keys come percent-encoded (XML cannot hold all of their
 * bytes), but only where the answer says so: some servers overlook that they
 * were asked to. */
#include "config.h"

#include <string.h>

#include "common/log.h"
#include "common/xml.h"
#include "store/http-fields.h"
#include "store/s3-error.h"
#include "store/s3-list.h"
#include "store/s3-url.h"
#include "store/sigv4.h"

#define TOKEN_MAX    4096
#define ENTRIES_MAX  10000 /* of one page: some servers send more than 1000 */

/* What one page's parse carries along. */
struct parse {
	struct s3_page *page;
	const char *base, *prefix;
	bool is_encoded;
	size_t room;
};

void s3_list_query(struct strbuf *out, const struct list_args *args,
		   const char *prefix)
{
	unsigned int keys = args->max_keys;

	if (keys == 0 || keys > S3_PAGE_KEYS)
		keys = S3_PAGE_KEYS;
	/* In the order that signatures want. */
	if (args->continuation) {
		strbuf_puts(out, "continuation-token=");
		uri_encode(out, args->continuation, false);
		strbuf_puts(out, "&");
	}
	if (args->delimiter) {
		char delimiter[2] = { args->delimiter };

		strbuf_puts(out, "delimiter=");
		uri_encode(out, delimiter, false);
		strbuf_puts(out, "&");
	}
	strbuf_printf(out, "encoding-type=url&list-type=2&max-keys=%u&prefix=",
		      keys);
	uri_encode(out, prefix, false);
}

bool s3_is_marker(const char *key, uint64_t size)
{
	size_t len = strlen(key);

	return len > 0 && key[len - 1] == '/' && size == 0;
}

/* The text of a child, "" where there is none. NULL: out of memory. */
static char *text_of(const xmlNode *parent, const char *name)
{
	const xmlNode *node = xml_child(parent, name);
	xmlChar *content;
	char *text;

	if (!node)
		return strdup("");
	content = xmlNodeGetContent(node);
	text = content ? strdup((const char *)content) : NULL;
	xmlFree(content);
	return text;
}

static struct store_entry *add_entry(struct parse *parse, struct error *err)
{
	struct s3_page *page = parse->page;
	struct store_entry *entries;

	if (page->count == ENTRIES_MAX) {
		error_set(err, ERR_LIMIT, "more than %d keys in one page",
			  ENTRIES_MAX);
		return NULL;
	}
	if (page->count == parse->room) {
		size_t room = parse->room ? 2 * parse->room : 64;

		entries = reallocarray(page->entries, room, sizeof(*entries));
		if (!entries) {
			error_nomem(err);
			return NULL;
		}
		page->entries = entries;
		parse->room = room;
	}
	memset(&page->entries[page->count], 0, sizeof(*page->entries));
	return &page->entries[page->count];
}

/* Read a key (or common prefix) and what remains of it without the base;
 * *key is NULL where it is to be left out. */
static int read_key(const struct parse *parse, const xmlNode *node,
		    const char *name, bool is_prefix, char **key,
		    struct error *err)
{
	AUTO_FREE char *text = text_of(node, name);
	size_t len;

	*key = NULL;
	if (!text)
		return error_nomem(err);
	if (parse->is_encoded && !field_unescape(text, true)) {
		log_warning("a listing has a key that cannot be decoded: "
			    "left out");
		return 0;
	}
	len = strlen(text);
	if (strncmp(text, parse->prefix, strlen(parse->prefix)) != 0)
		return error_set(err, ERR_CORRUPT, "the answer has a key that "
				 "does not begin with the prefix asked for");
	if (is_prefix && (len == 0 || text[len - 1] != '/'))
		return error_set(err, ERR_CORRUPT, "the answer has a common "
				 "prefix without '/' at its end");
	if (len == strlen(parse->base))
		return 0; /* the store's own directory */
	if (len > STORE_KEY_MAX) {
		log_warning("a listing has a key of %zu bytes: left out", len);
		return 0;
	}
	*key = strdup(text + strlen(parse->base));
	return *key ? 0 : error_nomem(err);
}

/* An ETag that is missing or odd is no reason to refuse the listing: whoever
 * opens the object asks for it then. */
static int read_info(struct object_info *info, const xmlNode *node,
		     struct error *err)
{
	AUTO_FREE char *size = text_of(node, "Size");
	AUTO_FREE char *etag = text_of(node, "ETag");
	AUTO_FREE char *time = text_of(node, "LastModified");

	if (!size || !etag || !time)
		return error_nomem(err);
	if (!field_number(size, &info->size))
		return error_set(err, ERR_CORRUPT, "the answer has a size of "
				 "'%.30s'", size);
	if (!field_iso_time(time, &info->mtime_ns))
		return error_set(err, ERR_CORRUPT, "the answer has a time of "
				 "'%.40s'", time);
	/* HEAD tells seconds: one object, one time, whoever was asked. */
	info->mtime_ns -= info->mtime_ns % 1000000000;
	if (!field_etag(etag, info->etag, NULL))
		info->etag[0] = '\0';
	return 0;
}

static int read_object(struct parse *parse, const xmlNode *node,
		       struct error *err)
{
	struct store_entry *entry = add_entry(parse, err);
	char *key;

	if (!entry || read_key(parse, node, "Key", false, &key, err))
		return -1;
	if (!key)
		return 0;
	if (read_info(&entry->info, node, err)) {
		free(key);
		return -1;
	}
	if (s3_is_marker(key, entry->info.size)) {
		free(key);
		return 0;
	}
	entry->key = key;
	parse->page->count++;
	return 0;
}

static int read_prefix(struct parse *parse, const xmlNode *node,
		       struct error *err)
{
	struct store_entry *entry = add_entry(parse, err);
	char *key;

	if (!entry || read_key(parse, node, "Prefix", true, &key, err))
		return -1;
	if (!key)
		return 0;
	entry->key = key;
	entry->is_prefix = true;
	parse->page->count++;
	return 0;
}

/* Take over what the next page is asked for with. */
static int read_token(struct s3_page *page, const xmlNode *root,
		      const char *name, bool is_truncated, struct error *err)
{
	AUTO_FREE char *token = text_of(root, name);

	if (!token)
		return error_nomem(err);
	if (!is_truncated)
		return 0;
	if (!*token)
		return error_set(err, ERR_UNSUPPORTED, "the server says that "
				 "there are more keys, but not how to ask for "
				 "them: it does not know ListObjectsV2");
	if (strlen(token) > TOKEN_MAX)
		return error_set(err, ERR_LIMIT, "the answer has a "
				 "continuation token of %zu bytes, %d are "
				 "accepted", strlen(token), TOKEN_MAX);
	page->token = take_ptr(token);
	return 0;
}

static int read_objects(struct parse *parse, const xmlNode *root,
			struct error *err)
{
	AUTO_FREE char *encoding = text_of(root, "EncodingType");
	AUTO_FREE char *truncated = text_of(root, "IsTruncated");

	if (!encoding || !truncated)
		return error_nomem(err);
	parse->is_encoded = !strcmp(encoding, "url");
	for (const xmlNode *at = root->children; at; at = at->next) {
		bool is_object = xml_is(at, "Contents");

		if (!is_object && !xml_is(at, "CommonPrefixes"))
			continue;
		parse->page->seen++;
		if (is_object ? read_object(parse, at, err) :
				read_prefix(parse, at, err))
			return -1;
	}
	return read_token(parse->page, root, "NextContinuationToken",
			  !strcmp(truncated, "true"), err);
}

static int read_bucket(struct parse *parse, const xmlNode *node,
		       struct error *err)
{
	struct store_entry *entry = add_entry(parse, err);
	AUTO_FREE char *name = text_of(node, "Name");
	struct error why = { 0 };
	char *key;

	if (!entry)
		return -1;
	if (!name)
		return error_nomem(err);
	parse->page->seen++;
	if (s3_bucket_check(name, &why)) {
		log_warning("left out of the list of buckets: %s", why.text);
		return 0;
	}
	if (asprintf(&key, "%s/", name) < 0)
		return error_nomem(err);
	entry->key = key;
	entry->is_prefix = true;
	parse->page->count++;
	return 0;
}

static int read_buckets(struct parse *parse, const xmlNode *root,
			struct error *err)
{
	const xmlNode *buckets = xml_child(root, "Buckets");
	const xmlNode *token = xml_child(root, "ContinuationToken");
	const xmlNode *at = buckets ? xml_child(buckets, "Bucket") : NULL;

	for (; at; at = xml_next(at, "Bucket"))
		if (read_bucket(parse, at, err))
			return -1;
	return read_token(parse->page, root, "ContinuationToken",
			  token && token->children, err);
}

/* Load text and hand its root, which must be `name`, to read. */
static int parse_page(struct parse *parse, const char *text, size_t len,
		      const char *name,
		      int (*read)(struct parse *, const xmlNode *,
				  struct error *),
		      struct error *err)
{
	struct error oddity = { 0 };
	const xmlNode *root;
	xmlDoc *doc;
	int ret;

	memset(parse->page, 0, sizeof(*parse->page));
	if (s3_is_html(text, len))
		return error_set(err, ERR_ARG, "the answer is a web page: this "
				 "is no S3 endpoint");
	if (xml_load(&doc, text, len, &oddity, err))
		return error_prefix(err, "the answer is no listing of S3's");
	root = xmlDocGetRootElement(doc);
	if (xml_is(root, name))
		ret = read(parse, root, err);
	else
		ret = error_set(err, ERR_CORRUPT, "the answer is no listing of "
				"S3's: it is <%.40s>", xml_local_name(root));
	xmlFreeDoc(doc);
	return ret;
}

int s3_list_parse(struct s3_page *out, const char *text, size_t len,
		  const char *base, const char *prefix, struct error *err)
{
	struct parse parse = { .page = out, .base = base, .prefix = prefix };

	return parse_page(&parse, text, len, "ListBucketResult", read_objects,
			  err);
}

int s3_buckets_parse(struct s3_page *out, const char *text, size_t len,
		     struct error *err)
{
	struct parse parse = { .page = out };

	return parse_page(&parse, text, len, "ListAllMyBucketsResult",
			  read_buckets, err);
}

void s3_page_free(struct s3_page *page)
{
	for (size_t i = 0; i < page->count; i++)
		free((char *)page->entries[i].key);
	free(page->entries);
	free(page->token);
	memset(page, 0, sizeof(*page));
}
