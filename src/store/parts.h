/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The store decorator that keeps disks of unfinished OVAs apart. Whatever is
 * below a prefix NAME.ova.part/ (in any case) is no object of its own yet: it
 * lies below the state prefix,
 *
 *     vms/app.ova.part/d1.vmdk    .vmiefs/parts/vms/app.ova.part/d1.vmdk
 *     its digest, a JSON object   .vmiefs/parts/vms/app.ova.part/d1.vmdk.sha256
 *
 * and is reached by the key on the left in every call, listings included. A
 * NAME.ova.part/ that lies in the store itself, because somebody else put it
 * there, is reached by the same key; what is made new goes to the state
 * prefix.
 *
 * A VMDK that is written there is hashed while it passes, as far as its head
 * is known before the end (sink_args.guess_head), so that nobody has to read
 * it again for the OVA's manifest. The state prefix is not trusted: whoever
 * writes there can make a manifest wrong, which then does not verify, and
 * nothing else.
 *
 * Threads: as a store. */
#ifndef VMIEFS_PARTS_H
#define VMIEFS_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "store/store.h"

#define PARTS_PREFIX       ".vmiefs/parts/"
#define PARTS_ENDING       ".ova.part"
#define PARTS_DIGEST_BYTES 32u /* SHA-256 */

/* Takes inner over, on success only. Of a service only the buckets are
 * decorated. */
int parts_store_new(struct store **out, struct store *inner, bool is_service,
		    struct error *err);

/* Is this the plain name of a directory in which an OVA is made? */
bool parts_is_name(const char *name);

/* The digest of the object `key` as it is by info, if one is kept. store may
 * be any: only a decorated one keeps some. */
bool parts_digest(struct store *store, const char *key,
		  const struct object_info *info,
		  uint8_t digest[PARTS_DIGEST_BYTES]);

#endif
