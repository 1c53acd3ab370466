#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Those of them that another server could break, over OpenStack Swift.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over swift read-tests
