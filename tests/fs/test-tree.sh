#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The tree that users see: names, bytes, attributes, xattrs, and what files
# that cannot be opened say about it.
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img getfattr stat
ok "a library" "$PYTHON" "$top_srcdir/tests/fs/library.py" "$tmp"
mkdir -p "$tmp/store/.vmiefs/tasks" "$tmp/store/vms/empty"
echo secret > "$tmp/store/.vmiefs/tasks/t.json"
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" || exit

is "$(cd "$m" && LC_ALL=C find . -mindepth 1 | LC_ALL=C sort)" "./control
./control/errors
./control/log-level
./control/stats
./disks
./disks/app.ova
./disks/app.ova/stream.vmdk.raw
./disks/app.ova/test.mf
./disks/app.ova/test.ovf
./disks/bad.vmdk.raw
./disks/cowd.vmdk.raw
./disks/parts.vmdk.raw
./disks/vms
./disks/vms/disk.img
./disks/vms/dynamic.vhd.raw
./disks/vms/dynamic.vhdx.raw
./disks/vms/empty
./disks/vms/sparse.vmdk.raw
./disks/vms/stream.vmdk.raw
./objects
./objects/app.ova
./objects/bad.vmdk
./objects/cowd.vmdk
./objects/notes.txt
./objects/parts.vmdk
./objects/vms
./objects/vms/disk.img
./objects/vms/dynamic.vhd
./objects/vms/dynamic.vhdx
./objects/vms/empty
./objects/vms/sparse.vmdk
./objects/vms/stream.vmdk" "the whole tree, without the state"
fails "the state has no other way in" "No such file" \
	cat "$m/objects/.vmiefs/tasks/t.json"
fails "nor by an escaped name" "No such file" \
	cat "$m/objects/%2E/.vmiefs/tasks/t.json"

for name in app.ova/stream.vmdk vms/dynamic.vhd vms/dynamic.vhdx \
	vms/sparse.vmdk vms/stream.vmdk; do
	same_file "$m/disks/$name.raw" "$tmp/want.raw" "$name has its bytes"
done
same_file "$m/disks/vms/disk.img" "$tmp/want.raw" "so has a raw disk"
for name in app.ova vms/stream.vmdk vms/disk.img notes.txt; do
	same_file "$m/objects/$name" "$tmp/store/$name" "objects/$name"
done
like "$(cat "$m/disks/app.ova/test.ovf")" "^<.xml" "an OVA's descriptor"

is "$(stat -c '%A %s %U' "$m/disks/vms/stream.vmdk.raw")" \
	"-r--r--r-- 12582912 $(id -un)" "mode, virtual size, owner"
is "$(stat -c %y "$m/disks/vms/stream.vmdk.raw")" \
	"$(stat -c %y "$tmp/store/vms/stream.vmdk")" "the object's mtime"
is "$(stat -c '%A' "$m/disks/app.ova" "$m/control" "$m/control/stats" \
	"$m/control/log-level")" "dr-xr-xr-x
drwx------
-r--------
-rw-------" "modes of directories and control files"
is "$(stat -c %b "$m/disks/vms/stream.vmdk.raw")" \
	"$(($(stat -c %s "$tmp/store/vms/stream.vmdk") / 512))" \
	"blocks: what is stored"
is "$(stat -c %b "$m/disks/vms/disk.img")" $((12 << 11)) \
	"blocks of a raw disk: all of it"

attr() {
	getfattr --absolute-names --only-values -n "user.vmiefs.$1" "$2" 2>&1
}
f=$m/disks/vms/stream.vmdk.raw
is "$(attr format "$f") $(attr subformat "$f") $(attr container "$f")" \
	"vmdk streamOptimized vms/stream.vmdk" "format, subformat, container"
like "$(attr etag "$f")" '^[0-9a-f]{64}$' "the identity"
like "$(attr error "$f")" "No such attribute" "and no error"
is "$(attr format "$m/disks/app.ova/stream.vmdk.raw") $(attr container \
	"$m/disks/app.ova/stream.vmdk.raw")" "vmdk app.ova" "in an OVA, too"
is "$(attr format "$m/disks/app.ova")" ova "of the OVA itself"
is "$(attr format "$m/disks/vms/disk.img")" raw "of a raw disk"
like "$(getfattr -n security.selinux "$f" 2>&1)" "No such attribute" \
	"a foreign name"

is "$(stat -c %s "$m/disks/bad.vmdk.raw" "$m/disks/cowd.vmdk.raw")" "0
0" "what cannot be understood lists, with size 0"
fails "a damaged container does not open" "Input/output error" \
	cat "$m/disks/bad.vmdk.raw"
fails "nor does one that is not supported" "not supported" \
	cat "$m/disks/cowd.vmdk.raw"
fails "nor does one with a part missing, though it is there itself" \
	"Input/output error" cat "$m/disks/parts.vmdk.raw"
like "$(attr error "$m/disks/bad.vmdk.raw")" \
	"^bad.vmdk: named as vmdk, but" "an xattr says why"
like "$(attr error "$m/disks/cowd.vmdk.raw")" "COWD" "and names the format"
is "$("$PYTHON" -c '
import json, sys
for line in sys.stdin:
    e = json.loads(line)
    print(e["operation"], e["path"], e["kind"], e["errno"], e["count"])
' < "$m/control/errors")" "open disks/bad.vmdk.raw corrupt 5 1
open disks/cowd.vmdk.raw unsupported 95 1
open disks/parts.vmdk.raw not-found 5 1" "control/errors: opens, no stats"
same_file "$m/objects/bad.vmdk" "$tmp/store/bad.vmdk" \
	"objects/ has its bytes all the same"

unmount_vmiefs "$m"
mount_vmiefs "$tmp/store" "$m" -o ro || exit
for what in "touch $m/disks/new.vmdk.raw" "mkdir $m/disks/d" \
	"rm -f $m/disks/vms/disk.img" "mv $f $m/disks/x.vmdk.raw" \
	"ln -s x $m/disks/l" "chmod 600 $f" "truncate -s 0 $f" \
	"setfattr -n user.x -v y $f"; do
	# shellcheck disable=SC2086
	fails "read-only: ${what%% *}" "Read-only file system" $what
done
done_testing
