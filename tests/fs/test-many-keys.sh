#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# 100,000 keys in one prefix: all are listed, each is found by its name, and
# the daemon's memory stays bounded. 10,000 over a server, since each has to be
# uploaded; s3/test-listing.py has the others.
. "${0%/*}/../functions.sh"
need_fuse
s=$tmp/store
m=$tmp/mnt
keys=100000
[ -z "${VMIEFS_TEST_STORE-}" ] || keys=10000
"$PYTHON" -c '
import os, sys
os.mkdir(sys.argv[1])
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    name = "disk-%06d%s" % (i, (".img", ".vmdk", ".txt")[i % 3])
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
' "$s" $keys
mount_vmiefs "$s" "$m" -o memory=64M,ttl=60 || exit
daemon=$(daemon_of "$m")
# Memory of the daemon in MiB at its peak.
peak() {
	awk '/^VmHWM:/ { print int($2 / 1024) }' "/proc/$daemon/status"
}

is "$(find "$m/objects" -mindepth 1 | wc -l)" $keys "objects/ has all"
is "$(cd "$m/disks" && printf '%s\n' .* * | grep -c '^disk-.*[gw]$')" \
	$((keys * 2 / 3 + 1)) \
	"disks/ has those that are disks"
is "$(cd "$m/objects" && printf '%s\n' * | sha256sum)" \
	"$(cd "$s" && printf '%s\n' * | sha256sum)" "under their names"
last=$(printf 'disk-%06d.img' $((keys - 1)))
is "$(stat -c %s "$m/objects/$last" "$m/disks/$last")" "0
0" "the last one is found"
fails "what is not there is not" "No such file" \
	stat "$m/objects/disk-$(printf %06d $keys).img"
memory_below 128 "$(peak)" "peak memory after listing"
ls -l "$m/objects" > "$tmp/long"
is "$(wc -l < "$tmp/long")" $((keys + 1)) "ls -l has a line for each object"
memory_below 160 "$(peak)" \
	"peak memory with all nodes known to the kernel"
done_testing
