#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# An OVA is made of the disks in NAME.ova.part/ by renaming that.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need_directory "S3 cannot be written to yet"
need tar sha256sum qemu-img
mkdir "$tmp/store" "$tmp/out"
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" || exit
for i in 1 2; do
	head -c $((i * 3000000)) /dev/urandom > "$tmp/$i"
	truncate -s $((8 * i))M "$tmp/$i"
done

part=$m/disks/app.ova.part
ok "a directory for it" mkdir "$part"
ok "a disk" cp "$tmp/1" "$part/d1.vmdk.raw"
ok "and another" cp --sparse=always "$tmp/2" "$part/d2.vmdk.raw"
fails "only VMDKs" "Invalid argument" cp "$tmp/1" "$part/d3.vhd.raw"
same_file "$tmp/1" "$part/d1.vmdk.raw" "they can be read there"
exec 3> "$part/d3.vmdk.raw"
fails "not while one is being written" "busy" mv "$part" "$m/disks/app.ova"
rm "$part/d3.vmdk.raw"
exec 3>&-
is "$(find "$tmp/store" -type f -printf '%P\n' | grep -v 'sha256$' | sort)" \
	".vmiefs/parts/app.ova.part/d1.vmdk
.vmiefs/parts/app.ova.part/d2.vmdk" "until now there is no object"
is "$(ls -A "$m/disks" "$m/objects")" "$m/disks:
app.ova.part

$m/objects:
app.ova.part" "but a directory"
is "$(ls "$part")" "d1.vmdk.raw
d2.vmdk.raw" "with the disks"
ok "renamed" mv "$part" "$m/disks/app.ova"
is "$(find "$tmp/store" -mindepth 1 -printf "%P\n")" app.ova "all there is"
is "$(ls "$m/disks/app.ova")" "app.mf
app.ovf
d1.vmdk.raw
d2.vmdk.raw" "the OVA is a directory at once"
for i in 1 2; do
	same_file "$tmp/$i" "$m/disks/app.ova/d$i.vmdk.raw" "disk $i"
done
ok "tar unpacks it" tar -xf "$tmp/store/app.ova" -C "$tmp/out"
ok "its manifest is right" eval 'cd "$tmp/out" && sed -n \
	"s/^SHA256(\(.*\))= *\(.*\)/\2  \1/p" app.mf | sha256sum -c --strict'
ok "qemu-img reads a member" qemu-img compare -f raw -F vmdk "$tmp/2" \
	"$tmp/out/d2.vmdk"

# The name is taken; what is abandoned; a new one of the same name.
ok "another one" mkdir "$part"
fails "is empty" "No such file" mv -T "$part" "$m/disks/b.ova"
ok "has a disk" cp "$tmp/1" "$part/d1.vmdk.raw"
fails "the name is taken" "exists" "$PYTHON" -c 'import os, sys
os.rename(sys.argv[1], sys.argv[2])' "$part" "$m/disks/app.ova"
unmount_vmiefs "$m"
mount_vmiefs "$tmp/store" "$m" || exit
is "$(ls "$part")" d1.vmdk.raw "it outlives the mount"
ok "and goes with rm -r" rm -r "$part"
is "$(ls -A "$tmp/store")" app.ova "as if it had not been"
done_testing
