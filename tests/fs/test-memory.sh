#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# -o memory=64M is a bound: 100 parallel readers over 50 disks of all kinds
# get every byte right, and the daemon stays below 128 MiB.
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img
s=$tmp/store
m=$tmp/mnt
mkdir "$s"
"$PYTHON" - "$top_srcdir/tests/cmd" "$tmp" << 'PYTHON' || exit
import os, sys
sys.path.insert(0, sys.argv[1])
from containers import KINDS, convert, make_raw
from images import MIB
top = sys.argv[2]
make_raw(top + "/raw", 24 * MIB)
for kind in ("stream.vmdk", "sparse.vmdk", "dynamic.vhd", "dynamic.vhdx"):
    path = convert(top + "/raw", top, kind)
    for i in range(12):
        os.link(path, f"{top}/store/{i:02}-{kind}")
os.link(top + "/raw", top + "/store/48.img")
os.link(top + "/raw", top + "/store/49.raw")
PYTHON
mount_vmiefs "$s" "$m" -o memory=64M || exit
daemon=$(daemon_of "$m")
is "$(find "$m/disks" -type f | wc -l)" 50 "fifty disks"
want=$(sha256sum < "$tmp/raw")
pids=()
n=0
for round in 1 2; do
	for disk in "$m"/disks/*; do
		n=$((n + 1))
		# Half of them from the end to the start.
		if [ $round = 1 ]; then
			sha256sum < "$disk" > "$tmp/sum.$n" &
		else
			tac -s '' "$disk" | tac -s '' | sha256sum \
				> "$tmp/sum.$n" &
		fi
		pids+=($!)
	done
done
wait "${pids[@]}"
is "$(cat "$tmp"/sum.* | sort | uniq -c | sed 's/^ *//')" "100 $want" \
	"100 readers have the same bytes"
peak=$(awk '/^VmHWM:/ { print int($2 / 1024) }' "/proc/$daemon/status")
memory_below 128 "$peak" "peak memory"
like "$(cat "$m/control/errors")" '^$' "no failure was met"
done_testing
