#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# A raw disk written below disks/ becomes a container: every usual tool, every
# format; read back through the mount and by qemu-img.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img rsync tar tee truncate fallocate
mkdir -p "$tmp/store/exports"
s=$tmp/store/exports
mount_vmiefs "$tmp/store" "$tmp/mnt" || exit
m=$tmp/mnt/disks/exports

is "$(stat -c %A "$tmp/mnt/disks" "$m" "$tmp/mnt/objects")" "drwxr-xr-x
drwxr-xr-x
drwxr-xr-x" "directories say that they can be written to"

# Zeroes at the start, in the middle and at the end; 3 sectors above 12 MiB.
want=$tmp/want.raw
"$PYTHON" - "$want" << 'END'
import random, sys
make = random.Random(4)
with open(sys.argv[1], "wb") as f:
    for at, n in ((70000, 1 << 20), (5 << 20, 200000), (9 << 20, 3000000)):
        f.seek(at)
        f.write(make.randbytes(n))
    f.truncate((12 << 20) + 1536)
END
size=$(stat -c %s "$want")

# fresh EXT: a name in $n that nothing has had yet.
fresh() {
	n=$((++serial)).$1
}
serial=0

# is_exported NAME WHAT: NAME.raw has the bytes, and so has the container.
is_exported() {
	local name=$1 format

	fetch_store "$tmp/store"
	same_file "$want" "$m/$name.raw" "$2: reads back"
	case $name in
	*.vmdk) format=vmdk ;;
	*.vhd) format=vpc ;;
	*.vhdx) format=vhdx ;;
	esac
	ok "$2: qemu-img reads the same" qemu-img compare -f raw -F $format \
		"$want" "$s/$name"
	rm -f "$s/$name"
	store_changed "$tmp/store"
}

for ext in vmdk vhd vhdx; do
	fresh "$ext"
	ok "$ext: cp" cp "$want" "$m/$n.raw"
	is_exported "$n" "$ext: cp"
	fresh "$ext"
	ok "$ext: cp --sparse=always" cp --sparse=always "$want" "$m/$n.raw"
	is_exported "$n" "$ext: cp --sparse=always"
	fresh "$ext"
	ok "$ext: cp -p" cp -p "$want" "$m/$n.raw"
	is_exported "$n" "$ext: cp -p"
	fresh "$ext"
	ok "$ext: dd" dd if="$want" of="$m/$n.raw" bs=4M status=none
	is_exported "$n" "$ext: dd"
	fresh "$ext"
	ok "$ext: dd conv=sparse,fsync" dd if="$want" of="$m/$n.raw" bs=7777 \
		conv=sparse,fsync status=none
	is_exported "$n" "$ext: dd conv=sparse,fsync"
	fresh "$ext"
	ok "$ext: cat" eval 'cat "$want" > "$m/$n.raw"'
	is_exported "$n" "$ext: cat"
	fresh "$ext"
	ok "$ext: tee" eval 'tee "$m/$n.raw" < "$want" > /dev/null'
	is_exported "$n" "$ext: tee"
	fresh "$ext"
	ok "$ext: rsync --inplace" rsync --inplace "$want" "$m/$n.raw"
	is_exported "$n" "$ext: rsync --inplace"
	fresh "$ext"
	ok "$ext: qemu-img convert" qemu-img convert -f raw -O raw "$want" \
		"$m/$n.raw"
	is_exported "$n" "$ext: qemu-img convert"
	fresh "$ext"
	ok "$ext: truncate" truncate -s "$size" "$m/$n.raw"
	ok "$ext: qemu-img convert -n -W" qemu-img convert -n -W -m 16 -f raw \
		-O raw "$want" "$m/$n.raw"
	is_exported "$n" "$ext: qemu-img convert -n -W"
done

# Shells: groups, and a descriptor that children share.
ok "a group" eval '{ head -c 5000000 && cat; } < "$want" > "$m/a1.vmdk.raw"'
is_exported a1.vmdk "a group"
ok "a subshell" eval '(head -c 5000000; cat) < "$want" > "$m/a2.vmdk.raw"'
is_exported a2.vmdk "a subshell"
exec 3> "$m/a.vmdk.raw"
cat "$want" >&3
fetch_store "$tmp/store"
is "$(ls "$s")" "" "a child's end completes nothing"
is "$(stat -c %s "$m/a.vmdk.raw")" "$size" "the mount shows what came so far"
exec 3>&-
is_exported a.vmdk "a descriptor of the shell"
ok "dd, one sector at a time" eval \
	'head -c 102400 "$want" | dd of="$m/a.vhd.raw" bs=512 status=none'
is "$(cmp -n 102400 "$want" "$m/a.vhd.raw" && stat -c %s "$m/a.vhd.raw")" \
	102400 "has its bytes"

# Programs that make files in other ways.
ok "mv" eval 'cp "$want" "$tmp/moved" && mv "$tmp/moved" "$m/b1.vhdx.raw"'
is_exported b1.vhdx "mv"
ln "$want" "$tmp/b2.vmdk.raw"
ok "tar" eval 'tar -C "$tmp" -c b2.vmdk.raw | tar -C "$m" -x'
is_exported b2.vmdk "tar"
ok "sparse tar" eval 'tar -C "$tmp" -S -c b2.vmdk.raw | tar -C "$m" -x'
is_exported b2.vmdk "sparse tar"
ok "install" install -m 600 "$want" "$m/b3.vhd.raw"
is_exported b3.vhd "install"
fails "rsync, by way of a temporary name" "Invalid argument" \
	rsync "$want" "$m/b4.vmdk.raw"
like "$(tail -n 1 "$tmp/mnt/control/errors")" "rsync: use --inplace" \
	"errors name the remedy"
fetch_store "$tmp/store"
is "$(find "$s" -name '*b4*')" "" "nothing comes of it"

# Parts, seeks, sizes.
fails "an object is not replaced" "File exists" cp "$want" "$m/a.vhd.raw"
fails "nor changed" "File exists" truncate -s 1 "$m/a.vhd.raw"
unmount_vmiefs "$tmp/mnt"
mount_vmiefs "$tmp/store" "$tmp/mnt" -o overwrite || exit
ok "with -o overwrite it is replaced" cp "$want" "$m/a.vhd.raw"
is_exported a.vhd "with -o overwrite"
ok "dd seek= makes a hole" eval \
	'printf x | dd of="$m/b.vhdx.raw" bs=1 seek=5000000 status=none'
is "$(stat -c %s "$m/b.vhdx.raw")" 5000192 "up to a whole sector"
ok "dd conv=notrunc changes a part" eval \
	'printf y | dd of="$m/b.vhdx.raw" bs=1 seek=100 conv=notrunc \
	status=none'
is "$(tr -d '\0' < "$m/b.vhdx.raw")" yx "and keeps the rest"
ok "fallocate" fallocate -l 10M "$m/c.vhd.raw"
is "$(stat -c %s "$m/c.vhd.raw") $(tr -d '\0' < "$m/c.vhd.raw" | wc -c)" \
	"10485760 0" "is all zeroes"
ok "truncate" truncate -s 3G "$m/d.vmdk.raw"
is "$(stat -c %s "$m/d.vmdk.raw")" $((3 << 30)) "has its size"
ok "appending" eval 'printf abc >> "$m/e.raw" && printf def >> "$m/e.raw"'
is "$(cat "$m/e.raw")" abcdef "has both parts"

# Raw disks, and objects byte for byte.
for f in "$m/f.raw" "$m/f.img" "$tmp/mnt/objects/exports/f.bin"; do
	ok "${f##*/}" cp "$want" "$f"
	fetch_store "$tmp/store"
	same_file "$want" "$s/${f##*/}" "${f##*/}: stored as it is"
done
ok "an empty raw disk" touch "$m/g.raw"
is_stored() {
	fetch_store "$tmp/store" && test -f "$s/$1"
}
ok "exists" wait_until 5 is_stored g.raw
is "$(stat -c %s "$s/g.raw")" 0 "and is empty"

# What is refused, and the reason.
fails "a name that says nothing" "Invalid argument" cp "$want" "$m/x.txt"
fails "an OVA" "Invalid argument" cp "$want" "$m/x.ova.raw"
fails "gzip" "Invalid argument" cp "$want" "$m/x.vmdk.gz.raw"
fails "a disk of no bytes" "Invalid argument" truncate -s 0 "$m/x.vmdk.raw"
fails "a VHD above its limit" "too large" truncate -s 3T "$m/x.vhd.raw"
fails "shared mappings" "No such device" "$PYTHON" -c '
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 4096)
mmap.mmap(fd, 4096)' "$m/x.vmdk.raw"
errors=$(cat "$tmp/mnt/control/errors")
like "$errors" "the name says what is made" "errors: the name"
like "$errors" "NAME.ova.part/" "errors: how to make an OVA"
like "$errors" "leave the .gz out" "errors: gzip"
like "$errors" "a vhd disk has at most" "errors: the limit"
fetch_store "$tmp/store"
is "$(find "$s" -name 'x*' -printf '%f')" "x.vmdk" "nothing else came to be"
like "$("$PYTHON" -c 'import json, sys
s = json.load(sys.stdin)["writing"]
print(s["now"], s["scratch"]["used"], s["published"] > 8)' \
	< "$tmp/mnt/control/stats")" "^\[\] 0 True" "stats: nothing is held"
done_testing
