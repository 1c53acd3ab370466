#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Objects of every size are written into real servers, plain and as VMDKs, and
# read back: they are what a directory gets. What exists is not replaced, and
# no upload is left.
# shellcheck disable=SC2154
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/each-server.sh"
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

check_raw() {
	local size sum head

	for size in "${sizes[@]}"; do
		sum=$(sha256sum <"$tmp/raw/$size")
		for head in 0 1; do
			[ "$head" -le "$size" ] || continue
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
		AWS_ENDPOINT_URL=$s3_endpoint \
			with_keys "$top_builddir/tests/tools/disksink" \
			vmdk "$tmp/raw/$size" s3://disks "$size.vmdk" \
			>"$tmp/out" 2>&1
		sum=$(sha256sum <"$tmp/dir/$size.vmdk")
		length=$(stat -c %s "$tmp/dir/$size.vmdk")
		is "$(sum_of "$size.vmdk" "$length")" "ok ${sum%% *}" \
			"$1: $size bytes as a VMDK"
	done
}

# check_address NAME ENDPOINT CA: disksink has the options that the environment
# can give.
check_address() {
	options=(-o "endpoint=$2" -o path ${3:+-o "ca-bundle=$3"})
	bucket "$s3_endpoint" sync "$tmp/empty" disks "$tmp/state-$1"
	check_raw "$1"
	[ -n "$3" ] || check_vmdk "$1"
	is "$(uploads_left 1)" 0 "$1: no upload is left"
	bucket "$s3_endpoint" drop disks
}

check_server() {
	check_address "$1" "$s3_endpoint" ""
	[ "$1" != radosgw ] ||
		check_address radosgw-TLS "$s3_tls_endpoint" "$s3_ca"
}

make_files
each_server check_server
done_testing
