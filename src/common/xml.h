/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * XML from strangers, by libxml2: no network, no DTD and so no entities, a
 * bounded number of nodes. Elements and attributes are found by local name:
 * writers of OVF and S3 servers disagree about namespaces and prefixes, never
 * about these. */
#ifndef VMIEFS_XML_H
#define VMIEFS_XML_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define XML_TEXT_MAX  (8u << 20) /* bytes of one document */
#define XML_NODES_MAX 100000     /* elements and attributes */

/* Parse text[0..len). ERR_CORRUPT with the line number where it is not well
 * formed, ERR_UNSUPPORTED for a DOCTYPE, ERR_LIMIT above the caps. An
 * undeclared prefix is tolerated: then oddity (zeroed by the caller) says
 * where. Free with xmlFreeDoc(). */
int xml_load(xmlDoc **out, const char *text, size_t len, struct error *oddity,
	     struct error *err);

/* The name without its prefix. */
const char *xml_local_name(const xmlNode *node);
bool xml_is(const xmlNode *node, const char *local_name);

/* The first element child of parent with that name, or the next sibling of
 * `after`; NULL if there is none. */
xmlNode *xml_child(const xmlNode *parent, const char *local_name);
xmlNode *xml_next(const xmlNode *after, const char *local_name);

/* The attribute with that local name; one without a namespace or in the root
 * element's goes first. NULL if there is none. */
const xmlAttr *xml_attr(const xmlNode *node, const char *local_name);

/* Its text in place, "" where it is absent or empty. */
const char *xml_attr_text(const xmlNode *node, const char *local_name);

#endif
