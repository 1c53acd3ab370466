#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# control/: counters that count, a ring of failures, the log level.
. "${0%/*}/../functions.sh"
need_fuse
mkdir "$tmp/store"
head -c 3000000 /dev/urandom > "$tmp/store/a.img"
for i in 1 2 3; do
	echo "no container" > "$tmp/store/bad$i.vmdk"
done
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" -o kernel-cache || exit

stat_of() {
	"$PYTHON" -c '
import json, sys
print(json.load(open(sys.argv[1]))[sys.argv[2]][sys.argv[3]])
' "$m/control/stats" "$1" "$2"
}
is "$(stat_of fs opens)" 0 "nothing was opened yet"
cat "$m/disks/a.img" > /dev/null
is "$(stat_of fs opens) $(stat_of fs read_bytes)" "1 3000000" \
	"an open and its bytes"
cat "$m/disks/a.img" > /dev/null
is "$(stat_of fs opens) $(stat_of fs read_bytes)" "2 3000000" \
	"an unchanged object is read from the kernel's cache"
exec 3< "$m/disks/a.img"
is "$(stat_of fs handles_open)" 1 "an open handle"
exec 3<&-
ok "is counted while it is open" \
	wait_until 5 test "$(stat_of fs handles_open)" = 0
is "$(stat_of engine memory_limit)" $((256 << 20)) "the engine's limit"
is "$(stat -c %s "$m/control/log-level")" \
	"$(wc -c < "$m/control/log-level")" "size of the text"

is "$(wc -c < "$m/control/errors")" 0 "no failure yet"
for i in 1 2 3; do
	cat "$m/disks/bad$i.vmdk.raw" 2> /dev/null
done
cat "$m/disks/bad3.vmdk.raw" 2> /dev/null
is "$(wc -l < "$m/control/errors")" 3 "three failures"
like "$(tail -n 1 "$m/control/errors")" '"count":2.*named as vmdk' \
	"one of them twice"
is "$(stat_of fs opens_failed) $(stat_of fs failures)" "4 4" \
	"counted in stats, too"

is "$(cat "$m/control/log-level")" warning "the log level"
echo debug > "$m/control/log-level"
is "$(cat "$m/control/log-level")" debug "can be changed"
fails "not to anything" "Invalid argument" \
	bash -c "echo loud > '$m/control/log-level'"
is "$(cat "$m/control/log-level")" debug "which changes nothing"
done_testing
