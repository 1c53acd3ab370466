#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Mounting: what is refused and how it is said, daemon and foreground, signals,
# options, systemd's notification, log files.
# shellcheck disable=SC2016 # evaluated later
. "${0%/*}/../functions.sh"
need_fuse
need_directory "about command lines for directories"
need timeout
s=$tmp/store
m=$tmp/mnt
mkdir "$s" "$s/inside" "$m" "$tmp/full"
head -c 100000 /dev/urandom > "$s/a.img"
touch "$tmp/full/file"

# refused STATUS PATTERN ARGUMENT...: at once, with that sentence.
refused() {
	local status=$1 pattern=$2 out
	shift 2
	out=$(timeout 10 vmiefs "$@" 2>&1)
	is $? "$status" "vmiefs ${*//$tmp/TMP} fails with status $status"
	like "$out" "$pattern" "and says so"
}
refused 1 "nowhere: No such file" "$tmp/nowhere" "$m"
refused 1 "not a directory; to look at one" "$s/a.img" "$m"
refused 1 "mount point .* does not exist; make it with mkdir" "$s" "$tmp/no"
refused 1 "mount point .* is not a directory" "$s" "$s/a.img"
refused 1 "is not empty.*choose an empty directory" "$s" "$tmp/full"
refused 1 "lies in the source" "$s" "$s/inside"
refused 1 "gopher:// is not supported" "gopher://x/y" "$m"
refused 2 "unknown option -o memroy; did you mean -o memory" "$s" "$m" \
	-o memroy=1G
refused 2 "unknown option --endpoint; did you mean -o endpoint=URL" "s3://b" \
	"$m" --endpoint=http://127.0.0.1
refused 2 "memory=1: must lie between 16M" "$s" "$m" -o memory=1
refused 2 "an argument is missing" "$s" -o ro
refused 2 "-o secret_key: keys and passwords are no options.*profile=NAME" \
	"$s" "$m" -o secret_key=abc
refused 2 "-o service: is for a directory" "s3://bucket" "$m" -o service
refused 1 "ca-bundle=$tmp/none: No such file" "s3://bucket" "$m" \
	-o "ca-bundle=$tmp/none"
refused 1 "cannot open log file" "$s" "$m" --log "$tmp/no/log"
is "$(ls "$m")" "" "and nothing is mounted"

# Daemon mode returns when the mount works.
cd "$tmp" || exit
ok "daemon" vmiefs store mnt --log log -v
cd / || exit
at_exit unmount_vmiefs "$m"
ok "its files are there at once" cmp "$m/disks/a.img" "$s/a.img"
refused 1 "is in use; unmount it with" "$s" "$m"
like "$(grep " $m " /proc/mounts)" "^$s $m fuse.vmiefs .*nosuid,nodev" \
	"/proc/mounts has source and type"
daemon=$(pgrep -f "^vmiefs store mnt --log" -n)
is "$(readlink "/proc/$daemon/fd/0" "/proc/$daemon/cwd")" "/dev/null
/" "its descriptors and directory hold nothing"
mv "$tmp/log" "$tmp/log.1"
kill -HUP "$daemon"
echo debug > "$m/control/log-level"
ok "SIGHUP reopens the log" wait_until 5 eval \
	'ls "$m/objects" && test -s "$tmp/log"'
like "$(cat "$tmp/log.1")" "info: $s is mounted on $m" "which had a start"
kill -TERM "$daemon"
ok "SIGTERM unmounts" wait_until 5 eval '! mountpoint -q "$m"'
ok "and ends the daemon" wait_until 5 eval '! test -d "/proc/$daemon"'

# Foreground: SIGINT; status 0.
vmiefs -f "$s" "$m" 2> "$tmp/err" &
fg=$!
ok "foreground" wait_until 5 test -e "$m/disks/a.img"
kill -INT $fg
wait $fg
is $? 0 "ends with status 0 on SIGINT"
ok "unmounted" eval '! mountpoint -q "$m"'
is "$(cat "$tmp/err")" "" "without a word"

# SIGTERM while a file is open and a reader waits in it.
vmiefs -f "$s" "$m" &
fg=$!
wait_until 5 test -e "$m/disks/a.img"
exec 3< "$m/disks/a.img"
kill -TERM $fg
wait $fg
is $? 0 "SIGTERM with an open file: status 0"
fails "its reader gets an error" "not connected|Software caused" cat <&3
exec 3<&-

# A daemon that was killed.
vmiefs -f "$s" "$m" &
fg=$!
wait_until 5 test -e "$m/disks/a.img"
kill -KILL $fg
wait $fg 2> /dev/null
refused 1 "left over from a daemon that died; free it with 'fusermount3 -u" \
	"$s" "$m"
fusermount3 -u "$m"

# fusermount3 does it, and not always: when it looks before the kernel has ended
# the connection, it leaves the mount alone.
frees_itself() {
	vmiefs "$s" "$m" -o auto_unmount || return
	kill -KILL "$(pgrep -f "vmiefs $s $m -o auto_unmount" | head -n 1)"
	wait_until 5 eval '! grep -q " $m " /proc/mounts' && return
	fusermount3 -u "$m"
	return 1
}
ok "auto_unmount frees the mount point" wait_until 60 frees_itself

# Options.
mount_vmiefs "$s" "$m" -o uid=12,gid=34,umask=027,control-gid=34,ro \
	-o "fsname=a\,b,nofail,x-systemd.requires=z,_netdev,noexec" || exit
is "$(stat -c '%u %g %A' "$m/disks/a.img" "$m/disks" "$m/control" \
	"$m/control/log-level")" "12 34 -r--r-----
12 34 dr-xr-x---
12 34 drwxrwx---
12 34 -rw-rw----" "uid, gid, umask, control-gid"
like "$(grep " $m " /proc/mounts)" "^a,b .* ro,.*noexec" "fsname, ro, noexec"
unmount_vmiefs "$m"

# Other users. Root may always, which is not what is asked here.
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
if [ "$(id -u)" = 0 ] && as_nobody test -x / 2> /dev/null; then
	chmod 755 "$tmp"
	mount_vmiefs "$s" "$m" || exit
	fails "others do not see the mount" "Permission denied" \
		as_nobody cat "$m/disks/a.img"
	unmount_vmiefs "$m"
	mount_vmiefs "$s" "$m" -o allow_other || exit
	ok "with allow_other they do" as_nobody cmp "$m/disks/a.img" "$s/a.img"
	fails "but not control/" "Permission denied" \
		as_nobody cat "$m/control/stats"
	unmount_vmiefs "$m"
	mount_vmiefs "$s" "$m" -o allow_other,umask=007 || exit
	fails "and umask holds for them" "Permission denied" \
		as_nobody cat "$m/disks/a.img"
	unmount_vmiefs "$m"
else
	skip "allow_other" "needs root and setpriv"
fi

# systemd.
"$PYTHON" -c '
import os, socket, subprocess, sys
path = sys.argv[1] + "/notify"
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(path)
s.settimeout(10)
os.environ["NOTIFY_SOCKET"] = path
p = subprocess.Popen(["vmiefs", "-f", *sys.argv[2:]])
print(s.recv(100).split(b"\n")[0].decode())
p.terminate()
print(s.recv(100).decode(), p.wait())
' "$tmp" "$s" "$m" > "$tmp/notified"
is "$(cat "$tmp/notified")" "READY=1
STOPPING=1 0" "systemd hears of start and end"
ok "nothing is left mounted" eval '! grep -q " $m " /proc/mounts'
done_testing
