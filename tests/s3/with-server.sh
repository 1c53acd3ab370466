#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# with-server.sh COMMAND...: run it with the server that VMIEFS_TEST_STORE
# names.
. "${0%/*}/../functions.sh"
"$@"
status=$?
tap_done=yes
exit $status
