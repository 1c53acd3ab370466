#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# A store that hangs: 64 hung reads and 64 hung probes delay neither ls nor
# other files, Ctrl-C ends each reader within a second, and unmounting works.
. "${0%/*}/../functions.sh"
need_fuse
mkdir "$tmp/store" "$tmp/store/sub"
head -c 20000000 /dev/urandom > "$tmp/store/slow.img"
head -c 1000000 /dev/urandom > "$tmp/store/good.img"
for i in $(seq 64); do
	echo "no container" > "$tmp/store/slow$i.vmdk"
done
hang=$tmp/hang
m=$tmp/mnt
export VMIEFS_TEST_FAULTS="key=slow*,on=read,hang-file=$hang"
mkdir "$m"
mount_program "$top_builddir/tests/vmiefs-faulty" "$tmp/store" "$m" \
	-o ttl=0 || exit
at_exit rm -f "$hang"

# Milliseconds that a command takes.
took() {
	local begin=${EPOCHREALTIME/./}
	"$@" > /dev/null 2>&1
	echo $(((${EPOCHREALTIME/./} - begin) / 1000))
}
# quick WHAT COMMAND...: in less than a second.
quick() {
	local what=$1 ms
	shift
	ms=$(took "$@")
	if [ "$ms" -lt 1000 ]; then
		pass "$what"
	else
		fail "$what" "took $ms ms"
	fi
}
quick "nothing hangs yet" ls "$m/disks/sub"
touch "$hang"

pids=()
for i in $(seq 64); do
	dd if="$m/disks/slow.img" of=/dev/null bs=4096 count=1 \
		skip=$((i * 60)) 2> /dev/null &
	pids+=($!)
	stat "$m/disks/slow$i.vmdk.raw" > /dev/null 2>&1 &
	pids+=($!)
done
# Each dd and each stat waits in a request of its own.
waiting() {
	local n=0 pid
	for pid in "${pids[@]}"; do
		grep -q ^request_wait "/proc/$pid/wchan" && n=$((n + 1))
	done
	[ "$n" -ge 128 ]
}
if [ "$(id -u)" = 0 ] && grep -q . /proc/self/wchan; then
	ok "128 requests hang" wait_until 20 waiting
else
	sleep 3
fi
quick "ls does not wait for them" ls "$m/disks"
quick "nor does ls of another directory" ls "$m/disks/sub" "$m/objects"
quick "nor a read of another file" cmp "$m/disks/good.img" \
	"$tmp/store/good.img"
quick "nor control/stats" cat "$m/control/stats"
all_gone() {
	local pid
	for pid in "${pids[@]}"; do
		[ ! -d "/proc/$pid" ] || grep -q '^State:.Z' \
			"/proc/$pid/status" || return 1
	done
}
kill -TERM "${pids[@]}" 2> /dev/null
quick "all 128 end when they are told to" wait_until 5 all_gone
wait

# Ctrl-C: SIGINT to a reader that waits for the store; how many milliseconds
# it lives on.
cat > "$tmp/interrupt.py" << 'PYTHON'
import signal
import subprocess
import sys
import time

def waits(pid):
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return file.read().startswith(("request_wait", "0"))
    except OSError:
        return False

reader = subprocess.Popen(
    sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
end = time.monotonic() + 10
while time.monotonic() < end and not waits(reader.pid):
    time.sleep(0.05)
time.sleep(0.5)
begin = time.monotonic()
if reader.poll() is not None:
    sys.exit("it did not hang at all")
reader.send_signal(signal.SIGINT)
try:
    reader.wait(20)
except subprocess.TimeoutExpired:
    reader.kill()
print(int((time.monotonic() - begin) * 1000))
PYTHON
interrupts() {
	local what=$1 ms
	shift
	ms=$("$PYTHON" "$tmp/interrupt.py" "$@" 2>&1)
	if [[ $ms =~ ^[0-9]+$ ]] && [ "$ms" -lt 1000 ]; then
		pass "$what"
	else
		fail "$what" "$ms ms"
	fi
}
interrupts "Ctrl-C of cat" cat "$m/disks/slow.img"
interrupts "Ctrl-C of dd" dd if="$m/disks/slow.img" of=/dev/null bs=1M
interrupts "Ctrl-C of dd in the middle" dd if="$m/disks/slow.img" \
	of=/dev/null bs=64K skip=100
interrupts "Ctrl-C of python" "$PYTHON" -c \
	"open('$m/disks/slow.img', 'rb').read()"
interrupts "Ctrl-C of dd iflag=direct" dd if="$m/disks/slow.img" \
	of=/dev/null bs=1M iflag=direct
interrupts "Ctrl-C of stat" stat "$m/disks/slow1.vmdk.raw"
interrupts "Ctrl-C of cat in objects/" cat "$m/objects/slow1.vmdk"
like "$(grep interrupted "$m/control/stats")" '"interrupted": [1-9][0-9]' \
	"control/stats counts them"

rm "$hang"
ok "the store comes back: the same file reads" cmp "$m/disks/slow.img" \
	"$tmp/store/slow.img"

touch "$hang"
cat "$m/objects/slow2.vmdk" > /dev/null 2> "$tmp/cat.err" &
reader=$!
sleep 0.3
quick "unmounting with a hung reader" fusermount3 -u -z "$m"
rm "$hang"
wait $reader
done_testing
