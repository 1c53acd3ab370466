#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Objects that change while they are read: an open file never shows a mix of
# old and new bytes but gets ESTALE, and opening again gives the new ones.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img
mkdir "$tmp/store"
for i in 1 2; do
	head -c 4000000 /dev/urandom > "$tmp/v$i"
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized \
		"$tmp/v$i" "$tmp/v$i.vmdk" || exit
	truncate -s 4000256 "$tmp/v$i"
done

# Read blocks of an open file one by one; prints "ok" and "stale" per block.
reader='
import errno, os, sys
want = open(sys.argv[2], "rb").read()
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
for line in sys.stdin:
    at = int(line)
    try:
        data = os.pread(fd, 4096, at)
        good = data == want[at:at + 4096]
        print("ok" if good else "wrong %d bytes" % len(data))
    except OSError as error:
        print(errno.errorcode[error.errno])
    same = os.fstat(fd).st_size == size
    if not same:
        print("size changed")
    sys.stdout.flush()
'
check() {
	local options=$1 name=$2 m=$tmp/mnt-$1-$2 file object
	file=$tmp/store/$name
	case $name in
	*.vmdk) object=v1.vmdk new=v2.vmdk file_in=$name.raw ;;
	*) object=v1 new=v2 file_in=$name ;;
	esac
	for change in replaced deleted truncated written; do
		cp "$tmp/$object" "$file"
		store_changed "$tmp/store"
		coproc R { exec "$PYTHON" -c "$reader" "$m/disks/$file_in" \
			"$tmp/v1"; }
		echo 0 >&"${R[1]}"
		read -r first <&"${R[0]}"
		sleep 0.01 # let the time stamp of a change differ
		case $change in
		replaced) cp "$tmp/$new" "$file.new"
			  mv "$file.new" "$file" ;;
		deleted) rm "$file" ;;
		truncated) truncate -s 3000 "$file" ;;
		written) printf changed | dd of="$file" bs=1 seek=2000000 \
			  conv=notrunc 2> /dev/null ;;
		esac
		store_changed "$tmp/store"
		# Far away from what the first read took along.
		echo 3900000 >&"${R[1]}"
		read -r second <&"${R[0]}"
		eval "exec ${R[1]}>&-"
		wait "$R_PID"
		is "$first $second" "ok ESTALE" "$name ($options): $change"
	done
	cp "$tmp/$new" "$file.new"
	mv "$file.new" "$file"
	store_changed "$tmp/store"
	ok "$name ($options): the new bytes" \
		wait_until 3 cmp "$m/disks/$file_in" "$tmp/v2"
	rm "$file"
	store_changed "$tmp/store"
	ok "$name ($options): gone" \
		wait_until 3 eval '! stat "$m/disks/$file_in"'
}
for options in kernel-cache ttl=0; do
	for name in disk.img disk.vmdk; do
		if [ $name = disk.img ]; then
			truncate -s 4000256 "$tmp/v1" "$tmp/v2"
		fi
		mount_vmiefs "$tmp/store" "$tmp/mnt-$options-$name" \
			-o "$options" || exit
		check $options $name
		unmount_vmiefs "$tmp/mnt-$options-$name"
	done
done

# However long names are trusted: once a reader has met the change, the next
# open finds the new object.
m=$tmp/mnt-long
mkdir "$tmp/long"
cp "$tmp/v1" "$tmp/long/disk.img"
cp "$tmp/v1.vmdk" "$tmp/long/disk.vmdk"
mount_vmiefs "$tmp/long" "$m" -o ttl=60 || exit
for name in disk.img disk.vmdk.raw; do
	object=${name%.raw}
	new=$tmp/v2${object#disk}
	exec 3< "$m/disks/$name"
	head -c 4096 <&3 > /dev/null
	cp "${new%.img}" "$tmp/long/new"
	mv "$tmp/long/new" "$tmp/long/$object"
	store_changed "$tmp/long"
	fails "$name: the old one is stale" "Stale" \
		dd bs=4096 skip=950 count=1 status=none <&3
	exec 3<&-
	same_file "$m/disks/$name" "$tmp/v2" "$name: the next open is new"
done
unmount_vmiefs "$m"

# ls, stat and new files within the time to live.
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" -o ttl=1 || exit
is "$(ls "$m/disks")" "" "an empty directory"
cp "$tmp/v1" "$tmp/store/new.img"
store_changed "$tmp/store"
ok "a new object is seen soon" wait_until 3 test -f "$m/disks/new.img"
ino=$(stat -c %i "$m/disks/new.img")
is "$(stat -c %i "$m/disks/new.img")" "$ino" "one identity, one inode"
cp "$tmp/v2" "$tmp/store/new.img"
store_changed "$tmp/store"
ok "new bytes, new inode" wait_until 3 eval \
	'[ "$(stat -c %i "$m/disks/new.img")" != '"$ino"' ]'
done_testing
