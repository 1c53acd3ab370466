/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * A hardened way into libxml2 (2.9.14 and later). The tree takes up to 20
 * times the text's size where a text is all tags, so nodes are counted while
 * parsing; comments and processing instructions never enter the tree. */
#include "config.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/xml.h"

#if LIBXML_VERSION >= 21200
typedef const xmlError reported_error; /* as the library declares it */
#else
typedef xmlError reported_error;
#endif

/* What the callbacks of one parse know; hangs on ctxt->_private. */
struct load {
	startElementNsSAX2Func start_element; /* libxml2's own */
	unsigned int nodes;
	struct error error; /* the first one that ends the parse */
	struct error oddity;
};

static struct load *load_of(void *ctxt)
{
	return ((xmlParserCtxt *)ctxt)->_private;
}

static void stop(void *ctxt, enum error_kind kind, const char *text)
{
	struct load *load = load_of(ctxt);

	if (load->error.kind == ERR_NONE)
		error_set(&load->error, kind, "line %d: %s",
			  xmlSAX2GetLineNumber(ctxt), text);
	xmlStopParser(ctxt);
}

static void xml_start_element(void *ctxt, const xmlChar *name,
			      const xmlChar *prefix, const xmlChar *uri,
			      int n_namespaces, const xmlChar **namespaces,
			      int n_attributes, int n_defaulted,
			      const xmlChar **attributes)
{
	struct load *load = load_of(ctxt);

	load->nodes += 1u + (unsigned int)n_namespaces +
		       (unsigned int)n_attributes;
	if (load->nodes > XML_NODES_MAX) {
		stop(ctxt, ERR_LIMIT, "more than 100000 elements and "
		     "attributes");
		return;
	}
	load->start_element(ctxt, name, prefix, uri, n_namespaces, namespaces,
			    n_attributes, n_defaulted, attributes);
}

static void xml_internal_subset(void *ctxt, const xmlChar *name,
				const xmlChar *external_id,
				const xmlChar *system_id)
{
	stop(ctxt, ERR_UNSUPPORTED, "a DOCTYPE is not accepted");
}

static void xml_error(void *ctxt, reported_error *e)
{
	struct load *load = load_of(ctxt);
	struct error *to = e->domain == XML_FROM_NAMESPACE ? &load->oddity :
			   e->level == XML_ERR_WARNING ? NULL : &load->error;
	const char *text = e->message ? e->message : "broken";

	if (to && to->kind == ERR_NONE)
		error_set(to, e->code == XML_ERR_NO_MEMORY ? ERR_NOMEM :
			  ERR_CORRUPT, "line %d: %.*s", e->line,
			  (int)strcspn(text, "\n"), text);
}

static void set_callbacks(xmlParserCtxt *ctxt, struct load *load)
{
	xmlSAXHandler *sax = ctxt->sax;

	ctxt->_private = load;
	load->start_element = sax->startElementNs;
	sax->startElementNs = xml_start_element;
	sax->internalSubset = xml_internal_subset;
	sax->externalSubset = NULL;
	sax->comment = NULL;
	sax->processingInstruction = NULL;
	sax->serror = xml_error;
}

/* XenCenter declares UTF-16 in files that it then stores as UTF-8. */
static bool declares_wrong_utf16(const char *text, size_t len)
{
	const char *end = len ? memchr(text, '>', len) : NULL;

	if (len && text[0] == '\xef') /* byte order mark of UTF-8 */
		text += len < 3 ? len : 3;
	if (!end || end - text < 6 || memcmp(text, "<?xml", 5))
		return false;
	for (; text + 6 <= end; text++)
		if (!strncasecmp(text, "utf-16", 6))
			return true;
	return false;
}

static void init_library(void)
{
	xmlInitParser();
}

int xml_load(xmlDoc **out, const char *text, size_t len, struct error *oddity,
	     struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int options = XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_COMPACT;
	struct load load = { 0 };
	xmlParserCtxt *ctxt;

	*out = NULL;
	pthread_once(&once, init_library);
	if (len == 0)
		return error_set(err, ERR_CORRUPT, "it is empty");
	if (len > XML_TEXT_MAX)
		return error_set(err, ERR_LIMIT, "it has %zu bytes, %u are "
				 "accepted", len, XML_TEXT_MAX);
	ctxt = xmlCreateMemoryParserCtxt(text, (int)len);
	if (!ctxt)
		return error_nomem(err);
	if (declares_wrong_utf16(text, len))
		options |= XML_PARSE_IGNORE_ENC;
	xmlCtxtUseOptions(ctxt, options);
	set_callbacks(ctxt, &load);
	xmlParseDocument(ctxt);
	if (ctxt->myDoc && !ctxt->wellFormed && load.error.kind == ERR_NONE)
		error_set(&load.error, ERR_CORRUPT, "it is broken");
	*out = ctxt->myDoc;
	xmlFreeParserCtxt(ctxt);
	if (load.error.kind == ERR_NONE && *out && xmlDocGetRootElement(*out)) {
		*oddity = load.oddity;
		return 0;
	}
	xmlFreeDoc(take_ptr(*out));
	if (load.error.kind == ERR_NONE)
		return error_set(err, ERR_CORRUPT, "no element");
	return error_set(err, load.error.kind, "%s", load.error.text);
}

/* libxml2 leaves an undeclared prefix in the name. */
static const char *without_prefix(const xmlChar *name)
{
	const char *colon = strrchr((const char *)name, ':');

	return colon ? colon + 1 : (const char *)name;
}

const char *xml_local_name(const xmlNode *node)
{
	return without_prefix(node->name);
}

bool xml_is(const xmlNode *node, const char *local_name)
{
	return node->type == XML_ELEMENT_NODE &&
	       !strcmp(xml_local_name(node), local_name);
}

static xmlNode *first_from(xmlNode *node, const char *local_name)
{
	while (node && !xml_is(node, local_name))
		node = node->next;
	return node;
}

xmlNode *xml_child(const xmlNode *parent, const char *local_name)
{
	return first_from(parent->children, local_name);
}

xmlNode *xml_next(const xmlNode *after, const char *local_name)
{
	return first_from(after->next, local_name);
}

const xmlAttr *xml_attr(const xmlNode *node, const char *local_name)
{
	const xmlNode *root = xmlDocGetRootElement(node->doc);
	const xmlAttr *second = NULL;

	for (const xmlAttr *a = node->properties; a; a = a->next) {
		if (strcmp(without_prefix(a->name), local_name))
			continue;
		if (!a->ns || (root->ns && xmlStrEqual(a->ns->href,
						       root->ns->href)))
			return a;
		if (!second)
			second = a;
	}
	return second;
}

/* Without entities an attribute's value is always one text node. */
const char *xml_attr_text(const xmlNode *node, const char *local_name)
{
	const xmlAttr *attr = xml_attr(node, local_name);

	if (!attr || !attr->children || !attr->children->content)
		return "";
	return (const char *)attr->children->content;
}
