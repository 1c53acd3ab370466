#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# On real servers, too, what is wrong with a bucket, key, secret, endpoint,
# certificate or region ends a mount within 30 seconds with a sentence that
# says so (test-mounting.py has the others). radosgw takes any region, so
# Swift has to say what it thinks of them.
# shellcheck disable=SC2154
. "${0%/*}/../functions.sh"
. "$top_srcdir/tests/s3/each-server.sh"
need_fuse
mkdir "$tmp/disks" "$tmp/mnt"
echo disk >"$tmp/disks/a.img"

# mount_fails WHAT PATTERN SOURCE OPTIONS [NAME=VALUE...]
mount_fails() {
	local what=$1 pattern=$2 begin=$SECONDS text status
	text=$(with_keys env "${@:5}" timeout 60 \
		vmiefs "$3" "$tmp/mnt" -o "$4" 2>&1)
	status=$?
	what="$what: fails in $((SECONDS - begin)) s"
	if [ "$status" = 1 ] && [[ $text =~ $pattern ]] &&
	   [ $((SECONDS - begin)) -lt 30 ] && [ "$(wc -l <<<"$text")" = 1 ] &&
	   [[ $text != *"$s3_secret"* ]]; then
		pass "$what"
		echo "# $text"
	else
		fail "$what" "status $status, want $pattern: $text"
		! mountpoint -q "$tmp/mnt" || fusermount3 -u "$tmp/mnt"
	fi
}

mounts() {
	with_keys mount_vmiefs s3://disks "$tmp/mnt" -o "$2" &&
		same_file "$tmp/mnt/disks/a.img" "$tmp/disks/a.img" "$1"
	unmount_vmiefs "$tmp/mnt"
}

# What any server has to refuse.
check_refusals() {
	local end=endpoint=$s3_endpoint name=$1 keys=$2

	mounts "$name" "$end"
	mount_fails "$name: no such bucket" "there is no bucket 'nowhere'" \
		s3://nowhere "$end"
	mount_fails "$name: a wrong secret" \
		"secret key does not fit access key $s3_access \(env" \
		s3://disks "$end" AWS_SECRET_ACCESS_KEY=wrong/secret
	mount_fails "$name: an unknown key" "$keys" \
		s3://disks "$end" AWS_ACCESS_KEY_ID=NOBODY
	mount_fails "$name: no key at all" "no credentials: .*anonymous" \
		s3://disks "$end" -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY
}

check_endpoints() {
	local port=${s3_endpoint##*:} tls=${s3_tls_endpoint##*:} closed

	mounts "TLS" "endpoint=$s3_tls_endpoint,ca-bundle=$s3_ca"
	closed=$(free_ports 1)
	mount_fails "nobody listens" "127.0.0.1:$closed: cannot connect: " \
		s3://disks "endpoint=http://127.0.0.1:$closed"
	mount_fails "no such host" "nowhere.invalid: the name cannot be" \
		s3://disks "endpoint=https://nowhere.invalid"
	mount_fails "a host name that the server does not know" \
		"looked for a bucket 'localhost': .* IP address" \
		s3://disks "endpoint=http://localhost:$port"
	mount_fails "a path" "looked for a bucket 's3'" \
		s3://disks "endpoint=$s3_endpoint/s3"
	mount_fails "TLS where there is none" "127.0.0.1:$port: .*TLS" \
		s3://disks "endpoint=https://127.0.0.1:$port"
	mount_fails "none where there is TLS" "127.0.0.1:$tls: " \
		s3://disks "endpoint=http://127.0.0.1:$tls"
	mount_fails "nobody vouches for the certificate" "unknown authority" \
		s3://disks "endpoint=$s3_tls_endpoint"
	mount_fails "the certificate is for another host" "another host name" \
		s3://disks "endpoint=https://localhost:$tls,ca-bundle=$s3_ca"
	mount_fails "without a signature" "denied to requests without a key" \
		s3://disks "endpoint=$s3_endpoint,anonymous"
}

check_swift() {
	check_refusals Swift "access key NOBODY"
	mounts "Swift: the region is found out" \
		"endpoint=$s3_endpoint,region=us-east-1"
	mount_fails "Swift: a wrong region" "region.*mars-north-1" s3://disks \
		"endpoint=$s3_endpoint,region=mars-north-1"
}

check_radosgw() {
	check_refusals radosgw "does not know access key NOBODY"
	check_endpoints
}

check_server() {
	bucket "$s3_endpoint" sync "$tmp/disks" disks "$tmp/state-$1"
	"check_$1"
}

each_server check_server
done_testing
