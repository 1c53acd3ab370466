#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Signals that a program handles do not make its reads fail: the kernel tells
# of them as of Ctrl-C, but what is not stuck is answered as if nothing were.
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img

"$PYTHON" "$top_srcdir/tests/fs/library.py" "$tmp" || exit 99
mount_vmiefs "$tmp/store" "$tmp/mnt" || exit 99
for name in stream.vmdk dynamic.vhdx; do
	is "$("$PYTHON" "$top_srcdir/tests/fs/signals.py" \
		"$tmp/mnt/disks/vms/$name.raw")" \
		"many calls, none failed" "$name: a signal every millisecond"
done
done_testing
