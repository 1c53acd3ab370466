#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# vmiefs status: the files being written, as a table, as JSON, and live.
. "${0%/*}/../functions.sh"
need_fuse
mkdir "$tmp/store"
m=$tmp/mnt
mount_vmiefs "$tmp/store" "$m" || exit

like "$(vmiefs status "$m")" "^ +IN +OUT +RATE .*
0 being written, 0 published, 0 dropped; scratch 0 bytes of 16 GiB$" "nothing"
exec 3> "$m/disks/a.vmdk.raw"
"$PYTHON" -c 'import os, sys; os.truncate(sys.argv[1], 4 << 20)' \
	"$m/disks/a.vmdk.raw"
head -c 1M /dev/urandom >&3
like "$(vmiefs status "$m")" "
 +1 MiB .*/s +4 MiB \[#####\.{15}\] a\.vmdk
1 being written, 0 published" "a file, by a quarter"
is "$(vmiefs status --json "$m" | "$PYTHON" -c 'import json, sys
for w in json.load(sys.stdin)["now"]:
    print(w["object"], w["format"], w["in"], w["size"])')" \
	"a.vmdk vmdk 1048576 4194304" "as JSON"
is "$("$PYTHON" - "$m" << 'END'
import os, pty, signal, subprocess, sys
ours, theirs = pty.openpty()
child = subprocess.Popen(["vmiefs", "status", sys.argv[1]], stdout=theirs)
os.close(theirs)
text = b""
while text.count(b"a.vmdk") < 2:
    text += os.read(ours, 4096)
child.send_signal(signal.SIGINT)
print(child.wait())
END
)" 0 "live on a terminal, until Ctrl-C"
exec 3>&-
like "$(vmiefs status -1 "$m")" "
 +1 MiB .*/s +4 MiB published [0-9]+ s ago +a\.vmdk
0 being written, 1 published" "it is there, and was a moment ago"
"$PYTHON" -c 'import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, bytes(999))
os.unlink(sys.argv[1])' "$m/disks/gone.raw"
has_dropped() {
	vmiefs status -1 "$m" | grep -q "1 published, 1 dropped"
}
ok "a file that is removed ends" wait_until 20 has_dropped
like "$(vmiefs status "$m")" \
	"dropped [0-9]+ s ago +gone\.raw: was removed while it was written" \
	"with the reason"
is "$(vmiefs status --json "$m" | "$PYTHON" -c 'import json, sys
for w in json.load(sys.stdin)["ended"]:
    print(w["object"], w["result"], w["in"], w["rate"] > 0,
          w["ago"] < 3600)')" \
	"a.vmdk published 1048576 True True
gone.raw dropped 999 True True" "as JSON"
fails "no mount" "is no mount of vmiefs" vmiefs status "$tmp"
fails "a URL" "status takes the mount point" \
	vmiefs status 'https://host/a?X-Amz-Signature=SECRET'
is "$(vmiefs status 'https://host/a?X-Amz-Signature=SECRET' 2>&1 |
	grep -c SECRET)" 0 "whose secret is not repeated"
fails "no argument" "status" vmiefs status
done_testing
