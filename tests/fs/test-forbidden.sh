#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# What the store refuses gives EACCES, by stat(2) already, since not even its
# size is known; network trouble gives EIO, and nothing of it is remembered.
# Both leave their reason in control/errors.
. "${0%/*}/../functions.sh"
need_fuse
need qemu-img
s=$tmp/store
m=$tmp/mnt
mkdir "$s" "$s/net"
head -c 1000000 /dev/urandom > "$tmp/raw"
for name in good secret net/1 net/2; do
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized \
		"$tmp/raw" "$s/$name.vmdk" || exit
done
cp "$tmp/raw" "$s/secret.img"
cp "$tmp/raw" "$s/secret.ova"
# The second open fails; no ls may open them ahead.
export VMIEFS_TEST_FAULTS="key=secret*,on=open+read,fail-every=1,\
fail-kind=denied;key=net/*,on=open,fail-every=2,fail-kind=network"
mount_program "$top_builddir/tests/vmiefs-faulty" "$s" "$m" || exit

is "$(cd "$m/disks" && echo *)" "good.vmdk.raw net secret.img secret.ova \
secret.vmdk.raw" "ls shows them all"
fails "a forbidden container has no attributes" "Permission denied" \
	stat "$m/disks/secret.vmdk.raw"
fails "and does not open" "Permission denied" cat "$m/disks/secret.vmdk.raw"
fails "ls -l says so" "secret.vmdk.raw.*Permission denied" ls -l "$m/disks"
like "$(ls -l "$m/disks" 2> /dev/null)" "good.vmdk.raw" "and shows the others"
is "$(stat -c %s "$m/disks/secret.img")" 1000000 \
	"a raw object has the size that was listed"
fails "and does not open" "Permission denied" cat "$m/disks/secret.img"
is "$(stat -c %F "$m/disks/secret.ova")" "directory" "an OVA is a directory"
fails "and cannot be listed" "Permission denied" ls "$m/disks/secret.ova"
fails "nor looked into" "Permission denied" stat "$m/disks/secret.ova/a.raw"

ok "trouble spares the first open" stat "$m/disks/net/1.vmdk.raw"
fails "and meets the second" "Input/output error" stat "$m/disks/net/2.vmdk.raw"
# A busy machine may look more often, and meet the next one.
ok "of which nothing is remembered" wait_until 10 cmp -n 1000000 \
	"$m/disks/net/2.vmdk.raw" "$tmp/raw"

"$PYTHON" - "$m/control/errors" > "$tmp/errors" <<'END'
import json
import sys
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        said = json.loads(line)
        print(said["operation"], said["path"], said["kind"], said["errno"])
END
is "$(LC_ALL=C sort -u "$tmp/errors" |
	grep -v '^open disks/net/')" "lookup disks/net/2.vmdk.raw network 5
lookup disks/secret.ova/a.raw denied 13
lookup disks/secret.vmdk.raw denied 13
open disks/secret.img denied 13
open disks/secret.ova denied 13" "control/errors has the reasons"
done_testing
