#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# ls -l of 1,000 containers that nobody has opened yet, in a store where each
# call takes 20 ms: the probes run in parallel and ahead of ls, and a plain ls
# does not wait for any. 100 ms over a real server, whose own work for 3,500
# requests should not count.
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img
s=$tmp/store
m=$tmp/mnt
delay=20 faster=4
[ -z "${VMIEFS_TEST_STORE-}" ] || delay=100 faster=2
mkdir -p "$s/a" "$s/b" "$m"
truncate -s 1M "$tmp/raw"
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$tmp/raw" \
	"$tmp/x.vmdk" || exit
for i in $(seq -w 1000); do
	cp "$tmp/x.vmdk" "$s/a/disk-$i.vmdk"
	ln "$s/a/disk-$i.vmdk" "$s/b/disk-$i.vmdk"
done
VMIEFS_TEST_FAULTS="delay=$delay,log=$tmp/calls" \
	mount_program "$top_builddir/tests/vmiefs-faulty" "$s" "$m" || exit

# Milliseconds that a command takes.
took() {
	local begin=${EPOCHREALTIME/./}
	"$@" > "$tmp/out"
	echo $(((${EPOCHREALTIME/./} - begin) / 1000))
}
ms=$(took ls "$m/disks/b")
is "$(wc -l < "$tmp/out")" 1000 "ls lists all"
if [ "$ms" -lt 1000 ]; then
	pass "and waits for no probe"
else
	fail "and waits for no probe" "took $ms ms"
fi
ms=$(took ls -l "$m/disks/a")
is "$(grep -c ' 1048576 .*vmdk.raw$' "$tmp/out")" 1000 \
	"ls -l has every size"
calls=$(grep -c ' a/' "$tmp/calls")
serial=$((calls * delay))
echo "# $ms ms; one after the other $calls calls take $serial ms"
if [ "$ms" -lt $((serial / faster)) ]; then
	pass "at least $faster times faster than one after the other"
else
	fail "at least $faster times faster than one after the other" "$ms ms"
fi
ms=$(took ls -l "$m/disks/a")
again=$(grep -c '^\(open\|read\) a/' "$tmp/calls")
sleep 1.1
took ls -l "$m/disks/a" > /dev/null
is "$(grep -c '^\(open\|read\) a/' "$tmp/calls")" "$again" \
	"what is known is not opened again"
done_testing
