#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Those of them that TLS could break, over radosgw by TLS.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over rgw-tls read-tests
