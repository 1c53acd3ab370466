#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Over real servers: a daemon killed while it uploads leaves parts behind, the
# next mount aborts them, and `vmiefs uploads` sees all of this. What nobody
# has a journal of is aborted by --abort.
# shellcheck disable=SC2154
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/each-server.sh"
need_fuse
export AWS_ACCESS_KEY_ID=$s3_access AWS_SECRET_ACCESS_KEY=$s3_secret

# What is listed, or what was said instead.
uploads() {
	"$top_builddir/vmiefs" uploads "s3://disks$1" --endpoint="$endpoint" \
		--addressing=path "${@:2}" 2>&1
}

count() {
	uploads "$@" | sed -n 's/^\([0-9]*\) uploads\{0,1\} of parts.*/\1/p'
}

# becomes WANT WHAT COMMAND...: before long.
becomes() {
	local want=$1 what=$2 i
	shift 2

	for ((i = 0; i < 300; i++)); do
		[ "$("$@")" != "$want" ] || break
		sleep 0.2
	done
	is "$("$@")" "$want" "$what"
}

mount_bucket() {
	"$top_builddir/vmiefs" s3://disks "$tmp/mnt" \
		-o "endpoint=$endpoint,addressing=path,scratch=$tmp/scratch"
}

unmount_bucket() {
	fusermount3 -q -u -z "$tmp/mnt" || :
}

check_killed() {
	local pid writer

	mount_bucket || return
	pid=$(daemon_of "$tmp/mnt")
	# It holds the file open until the daemon is gone.
	{ head -c 40M /dev/urandom && sleep 60; } \
		>"$tmp/mnt/objects/left behind" 2>/dev/null &
	writer=$!
	becomes 1 "$1: an upload is on its way" count ""
	becomes 1 "$1: with its journal" journals
	kill -9 "$pid"
	kill "$writer"
	wait "$writer" 2>/dev/null
	unmount_bucket
	like "$(uploads "" | head -n 1)" "left behind: begun 20.*, id .*" \
		"$1: it is left behind"
	mount_bucket
	becomes 0 "$1: and gone after the next mount" count ""
	becomes 0 "$1: with its journal" journals
	ok "$1: no object" [ ! -e "$tmp/mnt/objects/left behind" ]
	unmount_bucket
}

journals() {
	find "$tmp/scratch" -name 'uploads-*' | wc -l
}

begin() {
	"$PYTHON" -c '
import sys
sys.path.insert(0, sys.argv[1])
import put
client = put.Client(sys.argv[2])
for key in sys.argv[3:]:
    client.ask("POST", "/disks/" + key, "uploads=")' \
		"$top_srcdir/tests/s3" "$endpoint" "$@"
}

check_orphans() {
	begin vms/a vms/b other
	is "$(count "")" 3 "$1: all uploads"
	is "$(count /vms)" 2 "$1: of a prefix"
	is "$(count "" --older-than=1h)" 0 "$1: that are old"
	becomes 2 "$1: that rest for a second" count /vms --older-than=1s
	uploads /vms --abort --older-than=1s >"$tmp/out"
	like "$(tail -n 1 "$tmp/out")" \
		"2 uploads of parts, 0 bytes, 2 aborted" "$1: aborted"
	is "$(count "")" 1 "$1: but no other"
	becomes 1 "$1: which rests, too" count "" --older-than=1s
	uploads "" --abort --older-than=1s >/dev/null
	is "$(count "")" 0 "$1: none is left"
}

check_server() {
	endpoint=$s3_endpoint
	mkdir -p "$tmp/empty" "$tmp/mnt" "$tmp/scratch"
	bucket "$endpoint" sync "$tmp/empty" disks "$tmp/state-$1"
	check_killed "$1"
	check_orphans "$1"
	bucket "$endpoint" drop disks
}

at_exit unmount_bucket
each_server check_server
done_testing
