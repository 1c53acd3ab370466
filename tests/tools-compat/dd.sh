#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# dd with odd block sizes, from odd places, with direct I/O; cat, head, tail.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/tools-compat/compat.sh"

# The same command on both files gives the same bytes.
same_output() {
	local key=$1 file=$2 what=$3
	shift 3
	is "$(cmp <("${@//FILE/$file}" 2>&1) <("${@//FILE/$disk}") 2>&1)" "" \
		"$key: $what"
}

check() {
	local key=$1 file=$2 bs

	for bs in 4097 65537 1048575 3000000; do
		same_output "$key" "$file" "dd bs=$bs" \
			dd if=FILE bs=$bs status=none
	done
	same_output "$key" "$file" "dd bs=1 at an odd place" \
		dd if=FILE bs=1 skip=7340000 count=3000 status=none
	same_output "$key" "$file" "dd bs=1000 over a border" \
		dd if=FILE bs=1000 skip=20000 count=2000 status=none
	same_output "$key" "$file" "dd over the end" \
		dd if=FILE bs=777777 skip=125 status=none
	for bs in 4096 1M; do
		is "$(cmp "$disk" \
			<(dd if="$file" bs=$bs iflag=direct status=none 2>&1) \
			2>&1)" "" "$key: dd iflag=direct bs=$bs"
	done
	same_output "$key" "$file" "cat" cat FILE
	same_output "$key" "$file" "tail" tail -c 1000001 FILE
}

for_each_container
