#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# VHD and VHDX disks that qemu-img makes read as what it made them of: whole,
# at random places, and with holes where qemu-img sees them.

. "${0%/*}/../functions.sh"
need qemu-img qemu-io
mapcat=$top_builddir/tests/tools/mapcat

# A disk of 70 MiB and a bit with data at odd places, and at its very end.
truncate -s $((70 * 1024 * 1024 + 512)) "$tmp/source.raw"
for at in 0 1000448 2097152 33553920 73399808; do
	head -c 20000 /dev/urandom |
		dd of="$tmp/source.raw" bs=512 seek=$((at / 512)) conv=notrunc \
			status=none
done
truncate -s $((70 * 1024 * 1024 + 512)) "$tmp/source.raw"

# check NAME FORMAT OPTIONS: make it, and compare with qemu-img's own view,
# since VHD sizes are rounded to cylinders.
check() {
	local name=$1 format=$2 options=$3 disk=$tmp/$1
	if ! qemu-img convert -f raw -O "$format" -o "$options" \
			"$tmp/source.raw" "$disk"; then
		fail "$name: qemu-img makes it"
		return
	fi
	qemu-img convert -f "$format" -O raw "$disk" "$tmp/want.raw"
	"$mapcat" raw "$disk" >"$tmp/got.raw" 2>"$tmp/warnings"
	same_file "$tmp/got.raw" "$tmp/want.raw" "$name: bytes"
	ok "$name: the source's bytes" cmp -n $((70 * 1024 * 1024 + 512)) \
		"$tmp/got.raw" "$tmp/source.raw"
	is "$(cat "$tmp/warnings")" "" "$name: no warnings"
	ok "$name: random reads" "$mapcat" random "$disk" "$tmp/want.raw" \
		10000 7
	is "$("$mapcat" check "$disk")" "" "$name: nothing found"
	rm "$disk"
}

check fixed.vhd vpc subformat=fixed
check fixed-size.vhd vpc subformat=fixed,force_size=on
check dynamic.vhd vpc subformat=dynamic
check dynamic-size.vhd vpc subformat=dynamic,force_size=on
check fixed.vhdx vhdx subformat=fixed
check dynamic.vhdx vhdx subformat=dynamic
check small-blocks.vhdx vhdx subformat=dynamic,block_size=1M
check large-blocks.vhdx vhdx subformat=dynamic,block_size=256M
check absent-blocks.vhdx vhdx \
	subformat=dynamic,block_size=1M,block_state_zero=off
check log.vhdx vhdx subformat=dynamic,log_size=4M

# What qemu writes into an existing disk, out of order.
qemu-img create -q -f vhdx -o block_size=2M "$tmp/written.vhdx" 64M
qemu-io -f vhdx -c "write -P 1 40M 3M" -c "write -P 2 1M 64k" \
	-c "write -P 3 63M 1M" "$tmp/written.vhdx" >"$tmp/io" 2>&1 ||
	fail "qemu-io" "$(cat "$tmp/io")"
qemu-img convert -f vhdx -O raw "$tmp/written.vhdx" "$tmp/want.raw"
ok "written by qemu-io: random reads" "$mapcat" random "$tmp/written.vhdx" \
	"$tmp/want.raw" 10000 8
is "$("$mapcat" holes "$tmp/written.vhdx" | grep -c data)" 3 \
	"written by qemu-io: three runs of data"
done_testing
