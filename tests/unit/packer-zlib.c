/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The packer as it is where ISA-L and libdeflate are missing, under names of
 * its own, so that test-packer can try both. */
#include "config.h"

#define PACKER_ZLIB_ONLY
#define packer_new        zlib_packer_new
#define packer_free       zlib_packer_free
#define packer_bytes      zlib_packer_bytes
#define packer_bound      zlib_packer_bound
#define packer_zlib       zlib_packer_zlib
#define packer_name       zlib_packer_name
#define packer_level_find zlib_packer_level_find
#define packers_init      zlib_packers_init
#define packers_clear     zlib_packers_clear
#define packers_destroy   zlib_packers_destroy
#define packers_take      zlib_packers_take
#define packers_give      zlib_packers_give
#include "src/common/packer.c"
