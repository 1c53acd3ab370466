#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# over-server.sh CORPUS BUILD: check-corpus.py with a bucket of the server that
# VMIEFS_TEST_STORE names (see s3/store.sh).
# shellcheck disable=SC2154
. "${0%/*}/../functions.sh"
need_fuse
[ -n "${VMIEFS_TEST_STORE-}" ] || exit 2
tap_done=yes
"$PYTHON" "$top_srcdir/tests/corpus/check-corpus.py" "$@" \
	--server "$s3_endpoint" --mount-options "${server_options[1]}"
