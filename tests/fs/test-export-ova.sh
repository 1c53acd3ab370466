#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# An OVA is made of the disks in NAME.ova.part/ by renaming that: until then
# they lie below the state prefix, and none of their bytes is moved then.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need tar sha256sum qemu-img
mkdir "$tmp/store"
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" || exit
for i in 1 2; do
	head -c $((i * 3000000)) /dev/urandom > "$tmp/$i"
	truncate -s $((8 * i))M "$tmp/$i"
done

# stat_of NAME: a counter of control/stats.
stat_of() {
	"$PYTHON" -c 'import json, sys
print(json.load(open(sys.argv[1]))["fs"][sys.argv[2]])' "$m/control/stats" "$1"
}

# check_manifest OVA: unpack it and check its digests.
check_manifest() {
	rm -rf "$tmp/out" && mkdir "$tmp/out" &&
		tar -xf "$1" -C "$tmp/out" && (
		cd "$tmp/out" && sed -n \
			"s/^SHA256(\(.*\))= *\(.*\)/\2  \1/p" ./*.mf |
			sha256sum -c --strict)
}

# rename FROM TO: a directory, over an OVA, which is one as well.
rename() {
	"$PYTHON" -c 'import os, sys
os.rename(sys.argv[1], sys.argv[2])' "$@"
}

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
fetch_store "$tmp/store"
is "$(find "$tmp/store" -type f -printf '%P\n' | sort)" \
	".vmiefs/parts/app.ova.part/d1.vmdk
.vmiefs/parts/app.ova.part/d1.vmdk.sha256
.vmiefs/parts/app.ova.part/d2.vmdk
.vmiefs/parts/app.ova.part/d2.vmdk.sha256" "until now there is no object"
is "$(ls -A "$m/disks" "$m/objects")" "$m/disks:
app.ova.part

$m/objects:
app.ova.part" "but a directory"
is "$(ls "$part")" "d1.vmdk.raw
d2.vmdk.raw" "with the disks"
ok "renamed" mv "$part" "$m/disks/app.ova"
fetch_store "$tmp/store"
is "$(find "$tmp/store" -type f -printf "%P\n")" app.ova "all there is"
is "$(ls "$m/disks/app.ova")" "app.mf
app.ovf
d1.vmdk.raw
d2.vmdk.raw" "the OVA is a directory at once"
for i in 1 2; do
	same_file "$tmp/$i" "$m/disks/app.ova/d$i.vmdk.raw" "disk $i"
done
is "$(stat_of ovas) $(stat_of ova_bytes) $(stat_of ova_read_bytes)" \
	"1 $(stat -c %s "$tmp/store/app.ova") 0" "without reading a disk again"
ok "tar unpacks it, its manifest is right" check_manifest "$tmp/store/app.ova"
ok "qemu-img reads a member" qemu-img compare -f raw -F vmdk "$tmp/2" \
	"$tmp/out/d2.vmdk"
for reader in "7z t" "bsdtar -tf"; do
	if command -v "${reader%% *}" > /dev/null; then
		# shellcheck disable=SC2086 # a command and its options
		ok "$reader, too" $reader "$tmp/store/app.ova"
	else
		skip "$reader, too" "is missing"
	fi
done

# Each way to write a disk whose size is known before its data.
part=$m/disks/ways.ova.part
mkdir "$part"
ok "by cp --sparse=never" cp --sparse=never "$tmp/1" "$part/cp.vmdk.raw"
ok "by dd" dd if="$tmp/2" of="$part/dd.vmdk.raw" bs=100k status=none
ok "by cat" eval 'cat "$tmp/1" > "$part/cat.vmdk.raw"'
ok "sized first" truncate -s 16M "$part/size.vmdk.raw"
ok "then written" dd if="$tmp/2" of="$part/size.vmdk.raw" bs=1M conv=notrunc \
	status=none
ok "by qemu-img" qemu-img convert -f raw -O raw "$tmp/2" "$part/qemu.vmdk.raw"
ok "renamed" mv "$part" "$m/disks/ways.ova"
is "$(stat_of ova_read_bytes)" 0 "nothing was read again"
fetch_store "$tmp/store"
ok "the digests are right" check_manifest "$tmp/store/ways.ova"

# One whose size nobody can know is read once: the first bytes are in the store
# before the last ones come, from a process that has no file open.
part=$m/disks/pipe.ova.part
mkdir "$part"
ok "of no file" "$PYTHON" -c '
import json, sys, time
with open(sys.argv[1], "rb") as file:
	data = file.read()
with open(sys.argv[2], "wb", 0) as file:
	for at in range(0, len(data), 1 << 20):
		file.write(data[at:at + (1 << 20)])
		while at == 1 << 20:
			with open(sys.argv[3]) as stats:
				now = json.load(stats)["writing"]["now"]
			if now[0]["out"] > 1 << 18:
				break
			time.sleep(0.01)
' "$tmp/1" "$part/d.vmdk.raw" "$m/control/stats"
fetch_store "$tmp/store"
size=$(stat -c %s "$tmp/store/.vmiefs/parts/pipe.ova.part/d.vmdk")
ok "renamed" mv "$part" "$m/disks/pipe.ova"
is "$(stat_of ova_read_bytes)" "$size" "the disk was read once"
fetch_store "$tmp/store"
ok "its digest is right" check_manifest "$tmp/store/pipe.ova"
rm "$tmp/store/ways.ova" "$tmp/store/pipe.ova"
store_changed "$tmp/store"

# The name is taken; what is abandoned; a new one of the same name.
part=$m/disks/app.ova.part
ok "another one" mkdir "$part"
fails "is empty" "No such file" mv -T "$part" "$m/disks/b.ova"
ok "has a disk" cp "$tmp/1" "$part/d1.vmdk.raw"
fails "the name is taken" "exists" rename "$part" "$m/disks/app.ova"
unmount_vmiefs "$m"
mount_vmiefs "$tmp/store" "$m" || exit
is "$(ls "$m/disks") $(ls "$part")" "app.ova
app.ova.part d1.vmdk.raw" "it outlives the mount"
ok "and goes with rm -r" rm -r "$part"
fetch_store "$tmp/store"
is "$(find "$tmp/store" -type f -printf "%P\n")" app.ova \
	"as if it had not been"

# An OVA that exists is replaced where that is allowed; what somebody else has
# put below a directory of such a name is the same.
unmount_vmiefs "$m"
mkdir "$tmp/store/new.OVA.PART"
check_manifest "$tmp/store/app.ova" > "$tmp/log"
cp "$tmp/out/d2.vmdk" "$tmp/store/new.OVA.PART"
mount_vmiefs "$tmp/store" "$m" -o overwrite || exit
ok "replaced" rename "$m/disks/new.OVA.PART" "$m/disks/app.ova"
is "$(ls "$m/disks/app.ova")" "app.mf
app.ovf
d2.vmdk.raw" "by the new one"
fetch_store "$tmp/store"
ok "whose digests are right" check_manifest "$tmp/store/app.ova"
is "$(find "$tmp/store" -type f -printf "%P\n")" app.ova \
	"nothing else is left"

# It is one object, which can be removed and renamed as such only.
unmount_vmiefs "$m"
mount_vmiefs "$tmp/store" "$m" -o delete || exit
ova=$m/disks/app.ova
fails "no disk of it is removed" "Read-only" rm "$ova/d2.vmdk.raw"
fails "nor renamed" "Read-only" mv "$ova/d2.vmdk.raw" "$m/disks/d.vmdk.raw"
fails "nor is it removed" "not empty" rmdir "$ova"
fails "or renamed as a directory" "not permitted" \
	rename "$ova" "$m/disks/b.ova"
like "$(tail -n 1 "$m/control/errors")" "below objects/" "what to do is said"
ok "but as an object" mv "$m/objects/app.ova" "$m/objects/b.ova"
is "$(ls "$m/disks/b.ova")" "app.mf
app.ovf
d2.vmdk.raw" "with all that is in it"
ok "and removed" rm "$m/objects/b.ova"
is "$(ls "$m/disks")" "" "it is gone"
done_testing
