#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# A store that does not answer (a frozen file system): Ctrl-C ends a writer in
# write(), close() and fsync(), and so does -o store-timeout=; other files go
# on, and nothing comes of what was given up.
. "${0%/*}/../functions.sh"
need_fuse
need_directory "freezes a directory"
need_loop
need mkfs.ext4 fsfreeze mkfifo
truncate -s 128M "$tmp/image"
mkfs.ext4 -q "$tmp/image" || exit
mkdir "$tmp/store"
mount -o loop "$tmp/image" "$tmp/store" || skip_all "no loop mounts here"
at_exit umount -l "$tmp/store"
at_exit fsfreeze -u "$tmp/store"
rmdir "$tmp/store/lost+found"
head -c 30000000 /dev/urandom > "$tmp/data"
mkfifo "$tmp/fifo"
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" || exit

stats() {
	"$PYTHON" -c 'import json, sys
now = json.load(sys.stdin)["writing"]["now"]
print(eval(sys.argv[1], {"now": now}))' "$1" < "$m/control/stats"
}
has_taken() {
	[ "$(stats 'bool(now) and now[0]["in"] >= '"$1")" = True ]
}
has_ended() {
	[ "$(stats 'len(now)')" = 0 ]
}

# A shell ignores SIGINT in what it runs in the background.
copy="
import shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open(sys.argv[1], 'rb') as source, \\
    open(sys.argv[2], 'wb', 0) as target:
    shutil.copyfileobj(source, target, 65536)
"
for name in a.raw a.vmdk.raw a.vhdx.raw; do
	# In write(): more comes than fits into memory.
	"$PYTHON" -c "$copy" "$tmp/fifo" "$m/disks/$name" &
	writer=$!
	exec 3> "$tmp/fifo"
	head -c 100000 "$tmp/data" >&3
	ok "$name: it has begun" wait_until 20 has_taken 65536
	fsfreeze -f "$tmp/store"
	cat "$tmp/data" >&3 2> /dev/null &
	feeder=$!
	ok "$name: it goes on" wait_until 20 has_taken 1000000
	ok "$name: others are served" ls "$m/disks"
	kill -INT $writer
	exec 3>&-
	wait $writer
	is $? 130 "$name: Ctrl-C ends it in write()"
	kill $feeder 2> /dev/null
	wait $feeder 2> /dev/null
	fsfreeze -u "$tmp/store"
	ok "$name: the file ends" wait_until 20 has_ended
	is "$(ls -A "$tmp/store")" "" "$name: nothing is left"

	# In close(): all bytes are taken, and wait to be stored.
	"$PYTHON" -c "$copy" "$tmp/fifo" "$m/disks/$name" &
	writer=$!
	exec 3> "$tmp/fifo"
	head -c 65536 "$tmp/data" >&3
	ok "$name: it has begun again" wait_until 20 has_taken 65536
	fsfreeze -f "$tmp/store"
	head -c 1000000 "$tmp/data" >&3
	exec 3>&-
	ok "$name: all is taken" wait_until 20 has_taken 1065536
	kill -INT $writer
	wait $writer
	is $? 130 "$name: Ctrl-C ends it in close()"
	fsfreeze -u "$tmp/store"
	ok "$name: the file ends" wait_until 20 has_ended
	is "$(ls -A "$tmp/store")" "" "$name: nothing is left"
done

# sync CALL NAME: write a MiB, then store it by that call.
sync="
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
fd = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
os.write(fd, bytes(65536) + os.urandom(1000000))
sys.stdin.read()
getattr(os, sys.argv[1])(fd)
"
# begin CALL NAME: run that up to the call, with the store frozen.
begin() {
	mkfifo "$tmp/go"
	"$PYTHON" -c "$sync" "$1" "$m/disks/$2" < "$tmp/go" 2> "$tmp/said" &
	writer=$!
	exec 3> "$tmp/go"
	ok "$2, $1: it has begun" wait_until 20 has_taken 1000000
	fsfreeze -f "$tmp/store"
	exec 3>&-
	rm "$tmp/go"
}
# thaw NAME: what was given up comes to nothing.
thaw() {
	fsfreeze -u "$tmp/store"
	ok "$1: the file ends" wait_until 20 has_ended
	is "$(ls -A "$tmp/store")" "" "$1: nothing is left"
}
begin fsync a.vmdk.raw
kill -INT $writer
wait $writer
is $? 130 "Ctrl-C ends it in fsync()"
thaw a.vmdk.raw

unmount_vmiefs "$m"
mount_vmiefs "$tmp/store" "$m" -o store-timeout=2 || exit
for name in a.raw a.vmdk.raw a.vhd.raw; do
	for call in fsync close; do
		begin $call $name
		wait $writer
		is $? 1 "$name, $call: fails by itself"
		like "$(cat "$tmp/said")" "timed out" "$name, $call: ETIMEDOUT"
		like "$(cat "$m/control/errors")" \
			"the store has taken nothing for 2 s" "errors: why"
		ok "$name, $call: others are served" ls "$m/disks"
		thaw $name
	done
done
ok "then all is well again" cp "$tmp/data" "$m/disks/a.raw"
same_file "$tmp/data" "$m/disks/a.raw" "with all bytes"
done_testing
