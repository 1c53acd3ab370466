#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# A part of them over OpenStack Swift, the other server.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over swift \
	fs/test-changes.sh \
	fs/test-service.sh \
	fs/test-tree.sh \
	tools-compat/holes.sh
