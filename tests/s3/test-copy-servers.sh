#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Real servers make objects of others: the bytes are right, and next to none of
# them come here. A source that is replaced leaves nothing behind.
# shellcheck disable=SC2154
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/each-server.sh"
mib=$((1 << 20))
a=$((20 * mib)) b=$((20 * mib + 1)) c=$((12 * mib))
b_key='d/b%20%C3%BC%2B%26'

# number NAME: out of the line of stats.
number() {
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$tmp/out"
}

put_sources() {
	cat_store >"$tmp/out" <<-END
	put a $tmp/a any
	put $b_key $tmp/b any
	put c $tmp/c any
	END
	is "$(grep -c ^ok "$tmp/out")" 4 "$1: the sources"
}

# radosgw decodes the names of sources once too often: they are fetched.
check_percent() {
	local sum

	sum=$({ cat "$tmp/c"; printf x; } | sha256sum)
	cat_store >"$tmp/out" <<-END
	put p%2541 $tmp/c any
	compose p2 any p%2541:0:$c =x
	END
	is "$(sum_of p2 $((c + 1)))" "ok ${sum%% *}" "$1: a key with %"
}

# Two disks, with what an archive has around them.
check_parts() {
	local sum in out

	sum=$({ printf head; cat "$tmp/a"; printf middle; cat "$tmp/b"
	        head -c 1024 /dev/zero; } | sha256sum)
	cat_store >"$tmp/out" <<-END
	compose o/ova new =head a:0:$a =middle $b_key:0:$b 0x1024
	stats
	END
	is "$(sum_of o/ova $((a + b + 10 + 1024)))" "ok ${sum%% *}" \
		"$1: two disks and what is around them"
	in=$(number bytes_in) out=$(number bytes_out)
	echo "# $1: $in bytes came here, $out went out, of $((a + b))"
	ok "$1: what the gaps borrow comes here, and no more" \
		[ "$in" -lt $((11 * mib)) ]
	ok "$1: and goes back" [ "$out" -lt $((11 * mib)) ]
	is "$(number bytes_copied)" $((a + b - 10 * mib + 10)) \
		"$1: the rest is copied"
}

check_whole() {
	local sum

	sum=$(sha256sum <"$tmp/c")
	cat_store >"$tmp/out" <<-END
	rename c e/f/moved
	stats
	END
	is "$(sum_of e/f/moved "$c")" "ok ${sum%% *}" "$1: an object is renamed"
	ok "$1: and none of it comes here" \
		[ "$(($(number bytes_in) + $(number bytes_out)))" -lt 50000 ]
	like "$(echo "stat c" | cat_store | tail -n 1)" "error not-found .*" \
		"$1: the old one is gone"
	cat_store >"$tmp/out" <<-END
	rename e/f/moved a
	rename e/f/moved a any
	END
	like "$(sed -n 2p "$tmp/out")" "error exists .*" \
		"$1: not over another one"
	is "$(sum_of a "$c")" "ok ${sum%% *}" "$1: but where it may"
}

# What is pinned is replaced, then copied: by one request, in parts, in parts
# with bytes of ours.
check_stale() {
	local answer

	cat_store >"$tmp/out" <<-END
	put a $tmp/a any
	pin a
	put a $tmp/b any
	compose s/1 new a:0:$a
	pin a
	put a $tmp/a any
	compose s/2 new a:0:$a $b_key:0:$b
	pin a
	put a $tmp/b any
	compose s/3 new =x a:0:$a
	all s/
	END
	for answer in 5 8 11; do
		like "$(sed -n "${answer}p" "$tmp/out")" \
			"error stale .* a: .*" \
			"$1: a source that was replaced"
	done
	is "$(tail -n 1 "$tmp/out")" "ok 0" "$1: leaves nothing"
}

# check_address NAME ENDPOINT CA
check_address() {
	options=(-o "endpoint=$2" -o path ${3:+-o "ca-bundle=$3"})
	bucket "$s3_endpoint" sync "$tmp/empty" disks "$tmp/state-$1"
	put_sources "$1"
	check_parts "$1"
	check_whole "$1"
	check_percent "$1"
	check_stale "$1"
	is "$(uploads_left 50)" 0 "$1: no upload is left"
	bucket "$s3_endpoint" drop disks
}

check_server() {
	check_address "$1" "$s3_endpoint" ""
	[ "$1" != radosgw ] ||
		check_address radosgw-TLS "$s3_tls_endpoint" "$s3_ca"
}

mkdir "$tmp/empty"
for name in a b c; do
	head -c "${!name}" /dev/urandom >"$tmp/$name"
done
each_server check_server
done_testing
