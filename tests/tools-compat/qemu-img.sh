#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# qemu-img info, compare, convert and map on mounted disks.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/tools-compat/compat.sh"

check() {
	local key=$1 file=$2

	is "$(qemu-img info --output=json -f raw "$file" |
		grep -o '"virtual-size": [0-9]*')" \
		"\"virtual-size\": $(stat -c %s "$disk")" "$key: info"
	ok "$key: compare" \
		qemu-img compare -f raw -F raw "$disk" "$file"
	qemu-img convert -f raw -O raw "$file" "$tmp/copy"
	same_file "$tmp/copy" "$disk" "$key: convert"
	rm "$tmp/copy"
	is "$(data_map --qemu raw "$file")" "$(data_map "$file")" \
		"$key: map finds the holes that SEEK_HOLE tells"
}

for_each_container
