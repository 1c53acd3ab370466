#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# An xfs of a guest, mounted read-only through every kind of container.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/guest/guest.sh"

guest_test xfs mkfs.xfs -q -f
