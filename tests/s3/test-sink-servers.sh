#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Objects of every size are written into real servers, plain and as VMDKs, and
# read back: they are what a directory gets. What exists is not replaced, and
# no upload is left.
# shellcheck disable=SC2154
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/servers.sh"
need setpriv openssl
unset "${!AWS_@}"
export HOME=$tmp AWS_EC2_METADATA_DISABLED=true
export AWS_ACCESS_KEY_ID=$s3_access AWS_SECRET_ACCESS_KEY=$s3_secret
mib=$((1 << 20))
sizes=(0 1 $((5 * mib)) $((8 * mib - 1)) $((8 * mib)) $((8 * mib + 1))
	$((100 * mib)))

# Random, with a hole in it where there is room for one.
make_files() {
	local size

	mkdir "$tmp/raw" "$tmp/dir" "$tmp/empty"
	for size in "${sizes[@]}"; do
		head -c "$size" /dev/urandom >"$tmp/raw/$size" &&
		{ [ "$size" -lt $((9 * mib)) ] ||
		  fallocate -p -o $((20 * mib)) -l $((30 * mib)) \
			"$tmp/raw/$size"; }
	done
}

cat_store() {
	"$top_builddir/tests/tools/storecat" "${options[@]}" s3://disks
}

# sum_of KEY SIZE: of what the server has.
sum_of() {
	printf '%s\n' "open $1" "read 0 $2" | cat_store | tail -n 1
}

check_raw() {
	local size sum head

	for size in "${sizes[@]}"; do
		sum=$(sha256sum <"$tmp/raw/$size")
		for head in 0 1; do
			[ $head -le "$size" ] || continue
			cat_store >"$tmp/out" <<-END
			put raw/$size-$head $tmp/raw/$size new $head
			put raw/$size-$head $tmp/raw/0
			END
			is "$(sum_of "raw/$size-$head" "$size")" \
				"ok ${sum%% *}" \
				"$1: $size bytes, $head of them last"
			like "$(tail -n 1 "$tmp/out")" "error exists .*" \
				"$1: and stay"
		done
	done
}

# In a directory and in the bucket: the same bytes.
check_vmdk() {
	local size sum length

	for size in "${sizes[@]:1}"; do
		[ -e "$tmp/dir/$size.vmdk" ] ||
			"$top_builddir/tests/tools/disksink" vmdk \
				"$tmp/raw/$size" "$tmp/dir" "$size.vmdk" \
				>/dev/null
		AWS_ENDPOINT_URL=$2 "$top_builddir/tests/tools/disksink" \
			vmdk "$tmp/raw/$size" s3://disks "$size.vmdk" \
			>"$tmp/out" 2>&1
		sum=$(sha256sum <"$tmp/dir/$size.vmdk")
		length=$(stat -c %s "$tmp/dir/$size.vmdk")
		is "$(sum_of "$size.vmdk" "$length")" "ok ${sum%% *}" \
			"$1: $size bytes as a VMDK"
	done
}

# How many there are at ENDPOINT.
uploads() {
	"$PYTHON" -c '
import sys
sys.path.insert(0, sys.argv[1])
import put
print(put.Client(sys.argv[2]).ask("GET", "/disks", "uploads=")[1]
      .count(b"<Upload>"))' \
		"$top_srcdir/tests/s3" "$1"
}

# check_server NAME ENDPOINT CA PLAIN-ENDPOINT: disksink has the options that
# the environment can give.
check_server() {
	options=(-o "endpoint=$2" -o path ${3:+-o "ca-bundle=$3"})
	bucket "$4" sync "$tmp/empty" disks "$tmp/state-$1"
	check_raw "$1"
	[ -n "$3" ] || check_vmdk "$1" "$2"
	is "$(uploads "$4")" 0 "$1: no upload is left"
	bucket "$4" drop disks
}

bucket() {
	"$PYTHON" "$top_srcdir/tests/s3/put.py" "$@" || exit 99
}

have() {
	local tool

	for tool; do
		command -v "$tool" >/dev/null || return
	done
}

make_files
at_exit stop_servers
ran=no
if have ceph ceph-mon ceph-osd radosgw radosgw-admin; then
	ran=yes
	mkdir "$tmp/radosgw"
	start_radosgw "$tmp/radosgw" || exit 99
	check_server radosgw "$s3_endpoint" "" "$s3_endpoint"
	check_server "radosgw-TLS" "$s3_tls_endpoint" "$s3_ca" "$s3_endpoint"
	stop_servers
fi
if /usr/bin/python3 -c 'import swift' 2>/dev/null; then
	ran=yes
	mkdir "$tmp/swift"
	start_swift "$tmp/swift" || exit 99
	check_server Swift "$s3_endpoint" "" "$s3_endpoint"
fi
[ $ran = yes ] || skip_all "no S3 server is installed"
done_testing
