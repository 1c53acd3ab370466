/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The codec as it is where libdeflate is missing, under names of its own, so
 * that test-codec can compare both. */
#include "config.h"

#define CODEC_WITHOUT_LIBDEFLATE
#define codec_unzlib        zlib_codec_unzlib
#define codec_unpacker_name zlib_codec_unpacker_name
#include "src/common/codec.c"
