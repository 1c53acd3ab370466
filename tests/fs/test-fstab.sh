#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# mount -t vmiefs and mount -t fuse.vmiefs, as lines of fstab call them. The
# helpers lie in a mount namespace of the test's own.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need_directory "about command lines for directories"
need_root
need unshare mount
[ -x /sbin/mount.fuse3 ] || skip_all "mount.fuse3 is missing"
mkdir "$tmp/store" "$tmp/mnt" "$tmp/sbin"
echo data > "$tmp/store/a.img"
cp /sbin/mount.fuse* /sbin/mount /usr/bin/mount "$tmp/sbin" 2> /dev/null
sed "s#@bindir[@]#$top_builddir#" "$top_srcdir/contrib/mount.vmiefs.in" \
	> "$tmp/sbin/mount.vmiefs" || exit
# mount.fuse3 looks for the program in mount's own PATH.
ln -s "$top_builddir/vmiefs" "$tmp/sbin/vmiefs"
chmod +x "$tmp/sbin/mount.vmiefs"

# In a namespace, so that /sbin is ours there only.
inside() {
	unshare -m bash -c 'mount --bind "$1/sbin" /sbin &&
		export PATH=$2:/bin:/usr/bin:/sbin
		m=$1/mnt s=$1/store
		eval "$3"' - "$tmp" "$top_builddir" "$1"
}
inside ':' 2> /dev/null || skip_all "no mount namespaces"

is "$(inside 'mount -t vmiefs "$s" "$m" -o ttl=5,_netdev,nofail &&
	cat "$m/disks/a.img" && grep -c " $m fuse.vmiefs" /proc/mounts
	umount "$m" && ls "$m"' 2>&1)" "data
1" "mount -t vmiefs"
is "$(inside 'mount -t fuse.vmiefs "$s" "$m" -o ttl=5 &&
	cat "$m/disks/a.img"; umount "$m"' 2>&1)" "data" \
	"mount -t fuse.vmiefs"
is "$(inside 'echo "$s $m vmiefs noauto,user,x-a=b,ttl=2 0 0" > $1/fstab
	mount -T $1/fstab "$m" && cat "$m/disks/a.img"; umount "$m"' 2>&1)" \
	"data" "a line of fstab"
like "$(inside 'mount -t vmiefs /nowhere "$m"; echo "status $?"' 2>&1)" \
	"/nowhere: No such file.*status 32" "a wrong source"
like "$(inside 'mount -t vmiefs "$s" "$m" -o ttll=3; echo "status $?"' \
	2>&1)" "unknown option -o ttll.*status 32" "a wrong option"
done_testing
