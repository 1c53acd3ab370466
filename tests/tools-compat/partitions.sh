#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# fdisk, sfdisk, sgdisk and parted read the partitions of mounted disks.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/tools-compat/compat.sh"
need fdisk sfdisk sgdisk parted

# The output without the disk's own name, and without columns that are as wide
# as the name is long.
listing() {
	local file=$1
	shift
	"$@" "$file" 2>&1 | sed "s|$file|DISK|g" | tr -s ' ' |
		grep -v '^Warning: .*read-only'
}

parted_print() {
	parted -s -m "$1" unit B print
}

check() {
	local key=$1 file=$2

	is "$(listing "$file" fdisk -l)" "$(listing "$disk" fdisk -l)" \
		"$key: fdisk"
	is "$(listing "$file" sfdisk --dump)" \
		"$(listing "$disk" sfdisk --dump)" "$key: sfdisk"
	is "$(listing "$file" sgdisk --print --info=1 --verify)" \
		"$(listing "$disk" sgdisk --print --info=1 --verify)" \
		"$key: sgdisk"
	is "$(listing "$file" parted_print)" "$(listing "$disk" parted_print)" \
		"$key: parted"
}

for_each_container
