# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# What the tests beside this share: a partitioned disk with holes in every
# container, mounted at $tmp/mnt. Sourced behind functions.sh.
# shellcheck shell=bash disable=SC2034,SC2154

. "$top_srcdir/tests/guest/containers.sh"

disk=$tmp/disk
disks=$tmp/mnt/disks

# 96 MiB: two GPT partitions, islands of data at odd places, zeroes that are
# stored, an end that is a hole.
make_disk() {
	local at end=2222-3333-4444-555555555555

	truncate -s 96M "$disk"
	sgdisk --clear --disk-guid=11111111-$end \
		--new=1:2048:+40M --partition-guid=1:aaaaaaaa-$end \
		--change-name=1:first \
		--new=2:100000:+20M --partition-guid=2:bbbbbbbb-$end \
		--typecode=2:8200 "$disk" >/dev/null || return
	for at in 1048576 1500001 7340033 20000000 33554431 60000123; do
		head -c $((at % 3000000 + 777777)) /dev/urandom |
			dd of="$disk" bs=64K oflag=seek_bytes seek=$at \
			conv=notrunc status=none
	done
	dd if=/dev/zero of="$disk" bs=1M seek=50 count=3 conv=notrunc \
		status=none
}

# Call a function `check KEY FILE` for each container.
for_each_container() {
	local key

	need_fuse
	need_containers
	need sgdisk
	make_disk || skip_all "sgdisk cannot write the disk"
	make_containers "$disk" "$tmp/library"
	mount_vmiefs "$tmp/library" "$tmp/mnt" ||
		{ fail "mounts"; done_testing; }
	for key in "${container_keys[@]}"; do
		check "$key" "$disks/$key.raw"
	done
	done_testing
}

data_map() {
	"$PYTHON" "$top_srcdir/tests/tools-compat/list-holes.py" "$@"
}
