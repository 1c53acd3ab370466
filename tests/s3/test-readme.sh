#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The S3 parts of README.md and of vmiefs-s3(5) work as written: each command
# is run, word by word, against the server that the README says how to start,
# and those for AWS against the same one. In namespaces of the test's own, where
# /mnt and all ports are free.
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/guest/containers.sh"
need_root
need_fuse
need unshare aws fdisk qemu-img tar openssl
missing=$(bash -c '. "$1/contrib/functions.sh"
	missing_packages "$1/contrib/packages-s3"' - "$top_srcdir")
[ -z "$missing" ] || skip_all "not installed: ${missing//$'\n'/, }"
if [ "${1-}" != inside ]; then
	unshare -mn true 2>/dev/null || skip_all "no namespaces"
	tap_done=yes
	unshare -mn bash "$0" inside
	exit
fi

"$PYTHON" -c '
import fcntl, socket, struct
up = struct.pack("16sh14x", b"lo", 1)
fcntl.ioctl(socket.socket(), 0x8914, up) # SIOCSIFFLAGS' || exit 99
mkdir -p "$tmp/mnt/vm" "$tmp/mnt/all" "$tmp/home/.aws" "$tmp/work"
mount --bind "$tmp/mnt" /mnt || exit 99
at_exit umount -l /mnt
export HOME=$tmp/home TMPDIR=$tmp
unset "${!AWS_@}" "${!VMIEFS_TEST@}"

# block N: the commands of the README's Nth block about S3.
block() {
	awk -v want="$1" '
		/^## / { inside = $2 == "S3" }
		inside && /^    / && !was_code { n++ }
		{ was_code = /^    / }
		inside && was_code && n == want { print substr($0, 5) }
		' "$top_srcdir/README.md"
}

# The examples of the man page.
man_examples() {
	sed -n '/^\.SH EXAMPLES/,/^\.RE/{ s/\\-/-/g; /^vmiefs /p }' \
		"$top_srcdir/man/vmiefs-s3.5"
}

# run LINE: with what has to be true behind it.
run() {
	local line=$1 disk=/mnt/vm/disks/db.vmdk.raw

	if eval "$line" >"$tmp/out" 2>&1 </dev/null; then
		pass "$line"
	else
		fail "$line" "$(cat "$tmp/out")"
	fi
	case $line in
	vmiefs*" /mnt/vm"*)
		mounted=/mnt/vm
		[[ $line != *import* ]] || disk=/mnt/vm/disks/$member.raw
		same_file "$disk" "$tmp/disk" "the disk is there" ;;
	vmiefs*" /mnt/all"*)
		mounted=/mnt/all
		same_file "/mnt/all/disks/my-import-bucket/$member.raw" \
			"$tmp/disk" "every bucket is there" ;;
	cp*" /mnt/vm/disks/server.vmdk.raw")
		same_file /mnt/vm/disks/server.vmdk.raw server.raw \
			"the disk can be read back" ;;
	"vmiefs info"*)
		like "$(cat "$tmp/out")" "vmdk" "says what it is" ;;
	fdisk*)
		like "$(cat "$tmp/out")" "Disk .*: 8 MiB" "fdisk knows it" ;;
	esac
}

# run_block TEXT: each line; what one has mounted goes away before the next
# mounts there, and in the end.
run_block() {
	local line mounted=

	while read -r line; do
		[[ $line != vmiefs*" $mounted"* ]] || unmount_vmiefs "$mounted"
		[ -z "$line" ] || run "$line"
	done <<<"$1"
	unmount_vmiefs /mnt/vm
	unmount_vmiefs /mnt/all
}

stop_server() {
	[ -n "$server" ] || return 0
	kill "$server"
	wait "$server"
} 2>/dev/null

# What the text takes to be there.
cd "$tmp/work" || exit 99
member=app.ova/app-disk1.vmdk
head -c 8M /dev/urandom >"$tmp/disk"
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$tmp/disk" \
	db.vmdk || exit 99
cp db.vmdk "${member#*/}"
{ head -c 3M /dev/urandom; head -c 5M /dev/zero; } >server.raw
make_ova app.ova "${member#*/}" "$tmp/disk"

is "$(block 4)" "" "three blocks of commands"
is "$(block 2)" contrib/s3-server "the second one starts a server"
"$top_srcdir/$(block 2)" >"$tmp/server" 2>&1 &
server=$!
at_exit stop_server
ok "the server starts" wait_until 100 grep -q "Ctrl-C" "$tmp/server"
sed 's/^/# /' "$tmp/server"
like "$(cat "$tmp/server")" "$(block 3 | head -n 1)" \
	"it has the credentials that the README has"
run_block "$(block 3)"

# AWS, and an account with such a profile.
endpoint=http://127.0.0.1:8340
cat >"$HOME/.aws/credentials" <<END
[imports]
aws_access_key_id = $AWS_ACCESS_KEY_ID
aws_secret_access_key = $AWS_SECRET_ACCESS_KEY
END
aws=(aws --endpoint-url "$endpoint" s3)
{
	"${aws[@]}" mb s3://my-import-bucket &&
	"${aws[@]}" cp app.ova s3://my-import-bucket/ &&
	"${aws[@]}" cp db.vmdk s3://images/vms/
} >"$tmp/out" 2>&1 || fail "uploads" "$(cat "$tmp/out")"
export AWS_ENDPOINT_URL=$endpoint
run_block "$(block 1)"
run_block "$(man_examples)"
stop_server
status=$?
server=
is "$status $(echo "$tmp"/vmiefs-s3.*)" "0 $tmp/vmiefs-s3.*" \
	"the server ends without a trace"
done_testing
