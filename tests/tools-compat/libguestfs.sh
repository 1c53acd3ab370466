#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# libguestfs (guestfish) reads mounted disks: bytes and partitions, as seen by
# the kernel of its own small virtual machine.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/tools-compat/compat.sh"
export LIBGUESTFS_BACKEND=direct
need_fuse
need_containers
need guestfish sgdisk timeout
# It needs a kernel in /boot, and some patience where there is no KVM.
timeout 300 guestfish -a /dev/null run >"$tmp/boot" 2>&1 ||
	skip_all "guestfish does not start: $(tail -n 1 "$tmp/boot")"
make_disk || skip_all "sgdisk cannot write the disk"
make_containers "$disk" "$tmp/library"
mount_vmiefs "$tmp/library" "$tmp/mnt" || { fail "mounts"; done_testing; }

# One machine with three disks, which names them in this order.
keys=(stream.vmdk dynamic.vhdx app.ova/app-disk1.vmdk)
args=()
for key in "${keys[@]}"; do
	args+=(-a "$disks/$key.raw")
done
timeout 600 guestfish --ro --format=raw "${args[@]}" >"$tmp/got" 2>&1 <<END
run
checksum-device sha256 /dev/sda
checksum-device sha256 /dev/sdb
checksum-device sha256 /dev/sdc
list-partitions
END
sum=$(sha256sum <"$disk")
is "$(cat "$tmp/got")" "${sum%% *}
${sum%% *}
${sum%% *}
/dev/sda1
/dev/sda2
/dev/sdb1
/dev/sdb2
/dev/sdc1
/dev/sdc2" "${keys[*]}: bytes and partitions"
done_testing
