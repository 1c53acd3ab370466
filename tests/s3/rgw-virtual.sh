#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Those of them that addresses could break, over radosgw with buckets as host
# names.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over rgw-virtual read-tests
