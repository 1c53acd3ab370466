/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Putting an OVA together from its disks, each a finished stream-optimised
 * VMDK of known size:
 *
 *     NAME.ovf | disk | disk | ... | NAME.mf
 *
 * A tar's headers and the descriptor tell sizes before the bytes come; as all
 * of these are known, the whole is planned first, to the byte. Payload is not
 * touched here: a plan is pieces of ours and ranges of the disks' objects,
 * which the store puts together (store/compose.h). Only a disk whose digest
 * nobody knows is read, for the manifest. The life of a plan:
 *
 *     ova_plan_new() -> ova_plan_hash() -> ova_plan_pieces() -> free
 *
 * Threads: one call at a time for a plan. */
#ifndef VMIEFS_OVA_WRITE_H
#define VMIEFS_OVA_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "format/ovf-write.h"

#define OVA_PARTS_MAX OVF_NEW_DISKS_MAX

#define OVA_DIGEST_BYTES 32u /* SHA-256 */

struct object_info;
struct open_args;
struct ova_plan;
struct source;
struct store_piece;

/* A disk of the new OVA, in device order. */
struct ova_part {
	const char *name;      /* the member's: "disk1.vmdk" */
	struct source *source; /* its bytes, all of: */
	const char *key;       /* this object, as it is by: */
	const struct object_info *info;
	const uint8_t *digest; /* of OVA_DIGEST_BYTES; NULL: not known */
};

/* May a member, or with the ending ".ova" the OVA itself, have this plain
 * name? ERR_ARG where readers of OVF, manifest or tar would take it for
 * something else. */
int ova_check_name(const char *name, const char *ending, struct error *err);

/* Plan the OVA of that plain name ("server.ova"). Opens each part to learn the
 * disk's size and that it is a stream-optimised VMDK without a parent (else
 * ERR_UNSUPPORTED). args is for opening the parts, and may be NULL; all
 * arguments are borrowed for the call, but for the sources, which are
 * referenced, and keys and infos, which outlive the plan. ERR_LIMIT above
 * OVA_PARTS_MAX parts, ERR_ARG for no parts or two of one name. */
int ova_plan_new(struct ova_plan **out, const char *name,
		 const struct ova_part *parts, size_t count,
		 const struct open_args *args, struct error *err);
void ova_plan_free(struct ova_plan *plan); /* NULL is legal */

/* Bytes of the whole OVA. */
uint64_t ova_plan_size(const struct ova_plan *plan);

/* Bytes that ova_plan_hash() has to read. */
uint64_t ova_plan_unhashed(const struct ova_plan *plan);

/* Read each disk whose digest is not known, once. progress() (may be NULL) gets
 * the bytes read since its last call and returns false to stop
 * (ERR_CANCELLED). */
int ova_plan_hash(struct ova_plan *plan,
		  bool (*progress)(void *arg, uint64_t bytes), void *arg,
		  struct error *err);

/* What the OVA is put together from, when all is hashed: (*pieces)[0..*count)
 * belong to the plan. */
int ova_plan_pieces(struct ova_plan *plan, const struct store_piece **pieces,
		    size_t *count, struct error *err);

#endif
