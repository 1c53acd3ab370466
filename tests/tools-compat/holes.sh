#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# SEEK_HOLE and SEEK_DATA are exact to the container's own allocation, as
# qemu-img reads it from the container itself. It cannot tell for VHDX, where
# what it has made holds the blocks that are not all zero.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/tools-compat/compat.sh"

check() {
	local key=$1 file=$2 want size
	size=$(stat -c %s "$disk")

	case $key in
	plain | fixed.vhd | flat.vmdk) # every byte is stored
		want="0 $size" ;;
	dynamic.vhdx)
		want=$(data_map --blocks $((1 << 20)) "$disk") ;;
	fixed.vhdx)
		want=$(data_map --blocks $((8 << 20)) "$disk") ;;
	app.ova/*)
		want=$(data_map --qemu vmdk "$tmp/library/footer.vmdk") ;;
	*.gz)
		want=$(data_map --qemu vmdk "$tmp/library/sparse.vmdk") ;;
	*)
		want=$(data_map --qemu "$(qemu_format "$key")" \
			"$tmp/library/$key") ;;
	esac
	is "$(data_map "$file")" "$want" "$key: data and holes"
}

for_each_container
