#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The tests that read a directory, over Ceph's radosgw by plain HTTP.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over rgw read-tests
