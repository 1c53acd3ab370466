#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The tests that write, over OpenStack Swift.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over swift write-tests
