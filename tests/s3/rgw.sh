#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The tests that read a directory, over Ceph's radosgw by plain HTTP.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/run.sh"

run_over rgw \
	fs/test-changes.sh \
	fs/test-cold-listing.sh \
	fs/test-control.sh \
	fs/test-hang.sh \
	fs/test-memory.sh \
	fs/test-service.sh \
	fs/test-signals.sh \
	fs/test-tree.sh \
	tools-compat/copy.sh \
	tools-compat/dd.sh \
	tools-compat/holes.sh \
	tools-compat/partitions.sh \
	tools-compat/qemu-img.sh \
	guest/guest-ext4.sh
