#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# -o service: a directory of buckets; each is one directory below disks/ and
# objects/, and nothing leads from one to another or out.
. "${0%/*}/../functions.sh"
need_fuse
s=$tmp/store
m=$tmp/mnt
mkdir -p "$s/one/sub" "$s/two" "$s/.vmiefs/tasks" "$tmp/outside"
head -c 1000 /dev/urandom > "$s/one/sub/a.img"
head -c 2000 /dev/urandom > "$s/two/b.img"
echo stray > "$s/stray.img"
echo secret > "$tmp/outside/secret.img"
ln -s "$tmp/outside" "$s/out"
ln -s ../two "$s/one/link"
mount_vmiefs "$s" "$m" -o service || exit
is "$(cd "$m" && find disks objects | LC_ALL=C sort)" "disks
disks/one
disks/one/sub
disks/one/sub/a.img
disks/two
disks/two/b.img
objects
objects/one
objects/one/sub
objects/one/sub/a.img
objects/two
objects/two/b.img" "buckets and what is in them"
same_file "$m/disks/one/sub/a.img" "$s/one/sub/a.img" "bytes of one"
same_file "$m/disks/two/b.img" "$s/two/b.img" "bytes of the other"
is "$(getfattr --absolute-names --only-values -n user.vmiefs.container \
	"$m/disks/one/sub/a.img")" "sub/a.img" "a key is within its bucket"
fails "a link out of the service is no bucket" "No such file" \
	cat "$m/disks/out/secret.img"
fails "nor is a link into another bucket a prefix" "No such file" \
	cat "$m/disks/one/link/b.img"
mkdir "$s/three"
store_changed "$s"
ok "a new bucket appears" wait_until 3 test -d "$m/disks/three"
done_testing
