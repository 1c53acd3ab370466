#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Lines of fstab whose source is a bucket, as systemd mounts them when the
# machine starts: without an environment, credentials in root's home. In a
# mount namespace of the test's own.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need_directory "begins with a server of its own"
need_root
need unshare mount findmnt setpriv
mkdir -p "$tmp"/{store/disks/vms,mnt,all,sbin,home/.aws,etc}
head -c 100000 /dev/urandom >"$tmp/store/disks/a.img"
head -c 50000 /dev/urandom >"$tmp/store/disks/vms/b.img"
cp /sbin/mount.fuse* "$tmp/sbin" 2>/dev/null
sed "s#@bindir[@]#$top_builddir#" "$top_srcdir/contrib/mount.vmiefs.in" \
	>"$tmp/sbin/mount.vmiefs" && chmod +x "$tmp/sbin/mount.vmiefs" || exit

access=TESTACCESSKEY0000001 secret=testsecretkey/00000000000000+00000000001
AWS_ACCESS_KEY_ID=$access AWS_SECRET_ACCESS_KEY=$secret setpriv \
	--pdeathsig KILL "$PYTHON" "$top_srcdir/tests/s3/server.py" \
	"$tmp/store" --ready "$tmp/ready" --region=eu-west-1 </dev/null &
at_exit kill $!
wait_until 30 test -e "$tmp/ready" || exit 99
endpoint=http://127.0.0.1:$(sed -n 's/^http=//p' "$tmp/ready")
cat >"$tmp/home/.aws/credentials" <<END
[backup]
aws_access_key_id = $access
aws_secret_access_key = $secret
[old]
aws_access_key_id = $access
aws_secret_access_key = is/wrong
END

# inside SCRIPT: where root's home, /sbin and fstab are ours.
inside() {
	echo "$fstab" >"$tmp/etc/fstab"
	unshare -m env -i PATH=/bin:/usr/bin:/sbin:/usr/sbin bash -c '
		mount --bind "$1/sbin" /sbin && mount --bind "$1/home" /root &&
		m=$1/mnt all=$1/all store=$1/store fstab=$1/etc/fstab
		eval "$2"' - "$tmp" "$1" 2>&1
}
fstab=
inside ':' >/dev/null || skip_all "no mount namespaces"

options=endpoint=$endpoint,_netdev,nofail
fstab="s3://disks $tmp/mnt vmiefs profile=backup,$options 0 0
s3:// $tmp/all vmiefs ro,x-systemd.automount,profile=backup,$options 0 0"
is "$(inside 'mount -a -T "$fstab"; echo "status $?"
	grep -E " ($m|$all) " /proc/mounts | cut -d " " -f 1,3
	cmp "$m/disks/a.img" "$store/disks/a.img" &&
	cmp "$all/disks/disks/vms/b.img" "$store/disks/vms/b.img"; echo $?
	umount "$m" "$all"; find "$m" "$all" -mindepth 1 | wc -l')" \
	"status 0
s3://disks fuse.vmiefs
s3:// fuse.vmiefs
0
0" "a bucket, and all of them; mounted, read, unmounted"
for source in s3://disks s3://disks/vms s3://disks/vms/; do
	fstab="$source $tmp/mnt vmiefs profile=backup,$options 0 0"
	is "$(inside 'mount -a -T "$fstab"; mount -a -T "$fstab"
		echo "status $?"; grep -c " $m " /proc/mounts; umount "$m"')" \
		"status 0
1" "$source: mount -a knows that it is mounted"
done
fstab="s3://disks/vms $tmp/mnt fuse.vmiefs profile=backup,$options 0 0"
cp "$top_builddir/vmiefs" "$tmp/sbin" # where mount.fuse3 finds it
is "$(inside 'mount "$m" -T "$fstab"; cmp "$m/disks/b.img" \
	"$store/disks/vms/b.img"; echo $?; umount "$m"')" 0 \
	"a prefix, by mount.fuse3"

# mount_fails WHAT PATTERN LINE: with the status of a mount that failed.
mount_fails() {
	fstab="$3 0 0"
	like "$(inside 'mount -T "$fstab" "$m"; echo "status $?"')" \
		"$2.*status 32" "$1"
}
line="$tmp/mnt vmiefs $options"
mount_fails "a wrong secret" "secret key does not fit access key $access" \
	"s3://disks $line,profile=old"
mount_fails "no such profile" "profile 'new'" "s3://disks $line,profile=new"
mount_fails "no such bucket" "no bucket 'diks'" \
	"s3://diks $line,profile=backup"
mount_fails "keys are no options" "keys and passwords are no options" \
	"s3://disks $line,secret_access_key=abc"
mount_fails "an option that is none" "did you mean -o endpoint" \
	"s3://disks $tmp/mnt vmiefs endpoints=$endpoint"
done_testing
