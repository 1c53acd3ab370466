#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# cp, rsync and tar copy mounted disks: the same bytes, the same holes.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/tools-compat/compat.sh"
need rsync tar

copy=$tmp/copy

# The copy has holes at least where the source has.
same_holes() {
	is "$(data_map --within "$1" "$copy")" "" "$2: the same holes"
}

check() {
	local key=$1 file=$2

	cp --sparse=auto "$file" "$copy"
	same_file "$copy" "$disk" "$key: cp --sparse=auto"
	same_holes "$file" "$key: cp --sparse=auto"
	cp --sparse=always "$file" "$copy"
	same_file "$copy" "$disk" "$key: cp --sparse=always"
	cp --sparse=always "$disk" "$tmp/reference"
	is "$(data_map "$copy")" "$(data_map "$tmp/reference")" \
		"$key: cp --sparse=always: holes as from the raw disk"
	rm "$copy"
	cp --sparse=never "$file" "$copy"
	same_file "$copy" "$disk" "$key: cp --sparse=never"
	rm "$copy"
	rsync --sparse "$file" "$copy"
	same_file "$copy" "$disk" "$key: rsync --sparse"
	rm "$copy"
	tar -S -C "${file%/*}" -cf "$tmp/tar" "${file##*/}"
	tar -S -C "$tmp" -xf "$tmp/tar"
	mv "$tmp/${file##*/}" "$copy"
	same_file "$copy" "$disk" "$key: tar -S"
	same_holes "$file" "$key: tar -S"
	rm "$copy" "$tmp/tar"
}

for_each_container
