# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# For tests of real servers, each in its turn: sourced behind functions.sh.
# shellcheck shell=bash disable=SC2154

. "$top_srcdir/tests/s3/servers.sh"

need setpriv openssl
unset "${!AWS_@}"
export HOME=$tmp AWS_EC2_METADATA_DISABLED=true

# with_keys COMMAND...: with those that the servers know.
with_keys() {
	AWS_ACCESS_KEY_ID=$s3_access AWS_SECRET_ACCESS_KEY=$s3_secret "$@"
}

# bucket ARGUMENT...: as put.py's.
bucket() {
	with_keys "$PYTHON" "$top_srcdir/tests/s3/put.py" "$@" || exit 99
}

# storecat of the bucket, with the array options; what it is to do is its input.
cat_store() {
	with_keys "$top_builddir/tests/tools/storecat" "${options[@]}" \
		s3://disks
}

# sum_of KEY SIZE: of what the server has.
sum_of() {
	printf '%s\n' "open $1" "read 0 $2" | cat_store | tail -n 1
}

# uploads_left TRIES: how many uploads of parts there are, looked at so many
# times, for those that are being aborted.
uploads_left() {
	with_keys "$PYTHON" -c '
import sys, time
sys.path.insert(0, sys.argv[1])
import put
client = put.Client(sys.argv[2])
for left in reversed(range(int(sys.argv[3]))):
    count = client.ask("GET", "/disks", "uploads=")[1].count(b"<Upload>")
    if not count or not left:
        break
    time.sleep(0.1)
print(count)' "$top_srcdir/tests/s3" "$s3_endpoint" "$1"
}

has_radosgw() {
	local tool

	for tool in ceph ceph-mon ceph-osd radosgw radosgw-admin; do
		command -v "$tool" >/dev/null || return
	done
}

has_swift() {
	/usr/bin/python3 -c 'import swift' 2>/dev/null
}

# each_server COMMAND: "COMMAND radosgw" and "COMMAND swift" while that runs, as
# far as they are installed.
each_server() {
	local server ran=no

	at_exit stop_servers
	for server in radosgw swift; do
		"has_$server" || continue
		ran=yes
		mkdir "$tmp/$server"
		"start_$server" "$tmp/$server" || exit 99
		"$1" "$server"
		stop_servers
	done
	[ $ran = yes ] || skip_all "no S3 server is installed"
}
