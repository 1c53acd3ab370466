# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# guest_test: a guest file system read through every container. Sourced by
# the scripts beside it, behind functions.sh.
# shellcheck shell=bash disable=SC2034,SC2154

. "$top_srcdir/tests/guest/containers.sh"

# make_files DIR: a tree with what file systems store in different ways.
make_files() {
	local i

	mkdir -p "$1/deep/er/and/deeper" "$1/many"
	head -c 20000000 /dev/urandom >"$1/random"
	tar -C /usr/share -cf "$1/text.tar" doc --exclude='*.gz' 2>/dev/null
	truncate -s 30000000 "$1/text.tar"
	: >"$1/empty"
	echo short >"$1/deep/er/and/deeper/short"
	truncate -s 50M "$1/sparse"
	echo middle | dd of="$1/sparse" bs=1 seek=25000001 conv=notrunc \
		status=none
	ln -s ../random "$1/deep/link"
	ln "$1/random" "$1/deep/hard"
	touch "$1/name with spaces" "$1/n\303\244me"
	for ((i = 0; i < 300; i++)); do
		echo "file $i" >"$1/many/$i"
	done
}

# Everything that a reader of the tree can see, as one hash.
digest() {
	(
		cd "$1" || exit
		find . -xdev -path ./lost+found -prune -o -type f -print0 |
			sort -z | xargs -0 sha256sum
		find . -xdev -path ./lost+found -prune -o \
			\( -type d -printf 'd %m %p\n' -o \
			-printf '%y %m %s %l %p\n' \) | sort
	) | sha256sum
}

# A loop device for FILE, in $loop; "-r" for read-only.
attach() {
	loop=$(losetup --find --show "$@") || return
	at_exit detach "$loop"
}

detach() {
	! losetup "$1" >/dev/null 2>&1 || losetup -d "$1"
}

unmount_guest() {
	! mountpoint -q "$1" || umount "$1"
}

# make_guest RAW FSTYPE MKFS...: a disk with that file system, full of files.
# Prints the digest of what was put there.
make_guest() {
	local raw=$1 fstype=$2
	shift 2
	truncate -s 384M "$raw"
	"$@" "$raw" >/dev/null 2>&1 || return
	mkdir -p "$tmp/original"
	attach "$raw" || return
	mount -t "$fstype" "$loop" "$tmp/original" || return
	at_exit unmount_guest "$tmp/original"
	make_files "$tmp/original"
	sync -f "$tmp/original"
	digest "$tmp/original"
	umount "$tmp/original"
	detach "$loop"
}

# guest_digest FILE FSTYPE: mount the disk in FILE read-only and look.
guest_digest() {
	mkdir -p "$tmp/guest"
	attach -r "$1" || return
	if ! mount -t "$2" -o ro "$loop" "$tmp/guest"; then
		detach "$loop"
		return 1
	fi
	at_exit unmount_guest "$tmp/guest"
	digest "$tmp/guest"
	umount "$tmp/guest"
	detach "$loop"
}

# guest_test FSTYPE MKFS...: the whole test.
guest_test() {
	local fstype=$1 key
	shift
	need_fuse
	need_loop
	need_containers
	need "$1" sha256sum
	modprobe "$fstype" 2>/dev/null || true
	grep -qw "$fstype" /proc/filesystems ||
		skip_all "this kernel has no $fstype"
	make_guest "$tmp/disk" "$fstype" "$@" >"$tmp/want" ||
		skip_all "cannot make a disk with $fstype"
	make_containers "$tmp/disk" "$tmp/library"
	mount_vmiefs "$tmp/library" "$tmp/mnt" ||
		{ fail "mounts"; done_testing; }
	for key in "${container_keys[@]}"; do
		guest_digest "$tmp/mnt/disks/$key.raw" "$fstype" >"$tmp/got"
		is "$(cat "$tmp/got")" "$(cat "$tmp/want")" \
			"$fstype in $key: every file as it was"
	done
	done_testing
}
