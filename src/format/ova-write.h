/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Putting an OVA together from its disks, each a finished stream-optimised
 * VMDK of known size:
 *
 *     NAME.ovf | disk | disk | ... | NAME.mf
 *
 * A tar's headers and the descriptor tell sizes before the bytes come; as all
 * of these are known, the whole is planned first, to the byte, and then
 * emitted to a sink that only needs to append. The life of a plan:
 *
 *     ova_plan_new() -> sink with ova_plan_size() -> ova_assemble() -> free
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

struct open_args;
struct ova_plan;
struct sink;
struct source;

/* A disk of the new OVA, in device order. */
struct ova_part {
	const char *name;      /* the member's: "disk1.vmdk" */
	struct source *source; /* its bytes */
};

/* May a member, or with the ending ".ova" the OVA itself, have this plain
 * name? ERR_ARG where readers of OVF, manifest or tar would take it for
 * something else. */
int ova_check_name(const char *name, const char *ending, struct error *err);

/* Plan the OVA of that plain name ("server.ova"). Opens each part to learn the
 * disk's size and that it is a stream-optimised VMDK without a parent (else
 * ERR_UNSUPPORTED). args is for opening the parts, and may be NULL; all
 * arguments are borrowed for the call, but for the sources, which are
 * referenced. ERR_LIMIT above OVA_PARTS_MAX parts, ERR_ARG for no parts or two
 * of one name. */
int ova_plan_new(struct ova_plan **out, const char *name,
		 const struct ova_part *parts, size_t count,
		 const struct open_args *args, struct error *err);
void ova_plan_free(struct ova_plan *plan); /* NULL is legal */

/* Bytes of the whole OVA: for sink_args. No head is needed. */
uint64_t ova_plan_size(const struct ova_plan *plan);

/* Emit the OVA; every byte of the parts is read once, hashed and appended.
 * progress() (may be NULL) gets the bytes appended since its last call and
 * returns false to stop (ERR_CANCELLED). The sink is the caller's to finish or
 * discard. */
int ova_assemble(struct ova_plan *plan, struct sink *sink,
		 bool (*progress)(void *arg, uint64_t bytes), void *arg,
		 struct error *err);

#endif
